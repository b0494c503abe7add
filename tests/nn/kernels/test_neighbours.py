"""The means of what stands beside words: what plain torch gives."""

import pytest
import torch

from tagger.nn.kernels import neighbours


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mean_of_each_side_is_taken_over_a_words_places(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    vectors, counts = torch.randn(6, 5).to(dtype), torch.tensor([1, 3, 2])
    beside = torch.randint(6, (6, 2))
    places = vectors[beside].flatten(1)
    expected = torch.stack([places[:1].mean(0), places[1:4].mean(0), places[4:].mean(0)])
    torch.testing.assert_close(neighbours.average(vectors, beside, counts), expected)
