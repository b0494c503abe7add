"""What a word's embedding depends on, and what it must not depend on."""

import pytest
import torch
from torch import Tensor, nn

from tagger.data.batching import Batch
from tagger.nn.embeddings import (
    CharacterCNN,
    CharacterLSTM,
    TokenEmbedding,
    WordEmbedding,
    draw_uniform,
)

KINDS = [
    CharacterCNN(9, 4, 6, kernel_size=3, dropout=0.5),
    CharacterCNN(9, 4, 6, kernel_size=5, dropout=0.5),
    CharacterLSTM(9, 4, 6, dropout=0.5),
]


@pytest.mark.parametrize("features", KINDS)
def test_the_features_of_a_word_do_not_depend_on_longer_words_in_the_batch(features: nn.Module) -> None:
    features.eval()
    alone = features(torch.tensor([[3, 5]]), torch.tensor([2]))
    in_batch = features(torch.tensor([[3, 5, 0, 0], [2, 4, 6, 8]]), torch.tensor([2, 4]))
    torch.testing.assert_close(in_batch[:1], alone, atol=1e-6, rtol=1e-5)
    assert alone.shape == (1, features.output_dim)


@pytest.mark.parametrize("features", KINDS)
def test_the_order_of_characters_matters(features: nn.Module) -> None:
    features.eval()
    one, other = features(torch.tensor([[3, 5, 7], [7, 5, 3]]), torch.tensor([3, 3]))
    assert not torch.allclose(one, other)


def words() -> WordEmbedding:
    return WordEmbedding(torch.arange(12.0).reshape(4, 3), torch.tensor([[0.5, 0.25, 0.125]]))


def test_frozen_vectors_follow_the_trainable_ones_and_stay_in_half_precision() -> None:
    embedding = words()
    actual = embedding(torch.tensor([3, 4]))
    assert actual.tolist() == [[9.0, 10.0, 11.0], [0.5, 0.25, 0.125]]
    assert embedding.frozen.dtype is torch.float16
    actual.sum().backward()
    assert embedding.weight.grad.sum(1).tolist() == [0.0, 0.0, 0.0, 3.0]


def test_frozen_vectors_in_int8_differ_by_at_most_half_a_step_of_their_row() -> None:
    frozen = torch.tensor([[1.27, -0.014, 0.5], [0.0, 0.0, 0.0], [-2e-5, 1e-5, 0.0]])
    embedding = WordEmbedding(torch.zeros(4, 3), frozen, frozen_dtype="int8")
    actual = embedding(torch.tensor([4, 5, 6]))
    steps = torch.tensor([0.01, 0.0, 2e-5 / 127])
    assert embedding.frozen.dtype is torch.int8
    assert ((actual - frozen).abs() <= steps[:, None] * 0.501).all()
    assert torch.equal(embedding.frozen_vectors(), actual)


@pytest.mark.parametrize("dim", [3, 8, 10])
def test_product_quantization_stores_a_byte_for_four_values(dim: int) -> None:
    random = torch.Generator().manual_seed(1)
    few = torch.randn(200, dim, generator=random)  # fewer vectors than centroids: each is its own
    embedding = WordEmbedding(torch.zeros(4, dim), few, frozen_dtype="product")
    assert embedding.frozen.dtype is torch.uint8
    assert embedding.frozen.shape == (200, -(-dim // 4))
    torch.testing.assert_close(embedding(torch.arange(4, 204)), few)


def test_product_quantization_takes_the_nearest_centroid_of_each_part() -> None:
    vectors = torch.randn(3000, 8, generator=torch.Generator().manual_seed(1))
    embedding = WordEmbedding(torch.zeros(4, 8), vectors, frozen_dtype="product")
    assert embedding.frozen_centroids is not None
    for part in range(2):
        nearest = torch.cdist(vectors[:, part::2], embedding.frozen_centroids[:, part].T).argmin(1)
        assert torch.equal(nearest, embedding.frozen[:, part].long())
    assert ((embedding.frozen_vectors() - vectors) ** 2).sum() < 0.15 * (vectors**2).sum()
    again = WordEmbedding(torch.zeros(4, 8), vectors, frozen_dtype="product")
    assert torch.equal(again.frozen_vectors(), embedding.frozen_vectors())


def test_a_lookup_may_hold_trainable_words_only_or_no_words() -> None:
    embedding = words()
    assert torch.equal(embedding(torch.tensor([2, 1, 2])), embedding.weight[[2, 1, 2]])
    assert embedding(torch.tensor([], dtype=torch.long)).shape == (0, embedding.output_dim)


def embed(embedding: TokenEmbedding) -> Tensor:
    batch = Batch(
        words=torch.tensor([2, 3]),
        characters=torch.tensor([[2, 0], [3, 4]]),
        character_lengths=torch.tensor([1, 2]),
        casing=torch.tensor([2, 4]),
        index=torch.tensor([[0, 1, 1], [1, 0, 0]]),
        lengths=torch.tensor([3, 3]),
    )
    return embedding(batch)


def test_tokens_get_the_features_of_their_word() -> None:
    embedding = TokenEmbedding(words(), KINDS[0], nn.Embedding(6, 2), word_dropout=0.5).eval()
    actual = embed(embedding)
    assert actual.shape == (2, 3, embedding.output_dim) == (2, 3, 3 + 6 + 2)
    assert actual[0, :, :3].tolist() == [[6.0, 7.0, 8.0], [9.0, 10.0, 11.0], [9.0, 10.0, 11.0]]
    torch.testing.assert_close(actual[0, 1], actual[1, 0])


def test_word_dropout_replaces_some_words_by_the_unknown_word_in_training() -> None:
    embedding = TokenEmbedding(words(), None, None, word_dropout=0.5).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = torch.cat([embed(embedding)[0, 0][None] for _ in range(200)])
    unknown = (drawn == torch.tensor([3.0, 4.0, 5.0])).all(1)
    assert 60 < int(unknown.sum()) < 140
    assert (drawn[~unknown] == torch.tensor([6.0, 7.0, 8.0])).all()


def test_initial_vectors_are_uniform_over_their_range() -> None:
    drawn = draw_uniform(2000, 12)
    assert drawn.abs().max() <= 0.5
    assert drawn.abs().mean() == pytest.approx(0.25, abs=0.01)
