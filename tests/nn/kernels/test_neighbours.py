"""The means of what stands beside words: what plain torch gives."""

import pytest
import torch

from tagger.nn.kernels import neighbours


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_means_are_taken_over_the_occurrences_of_a_word(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    vectors, counts = torch.randn(6, 5).to(dtype), torch.tensor([1, 3, 2])
    neighbour_rows = torch.randint(6, (6, 2))
    occurrences = vectors[neighbour_rows].flatten(1)
    expected = torch.stack([occurrences[:1].mean(0), occurrences[1:4].mean(0), occurrences[4:].mean(0)])
    torch.testing.assert_close(neighbours.average_vectors(vectors, neighbour_rows, counts), expected)
