import random
from dataclasses import fields

import numpy as np
import pytest
import torch

from tagger.data.batch_order import batch_limit, shuffled_batches, split_into_batches
from tagger.data.batching import EncodedCorpus
from tagger.data.partial import GoldEncoder
from tagger.data.sentence import Sentence
from tagger.data.vocab import SPECIAL, UNKNOWN, Vocab, casing
from tagger.data.word_arrays import WordEncoder
from tagger.data.word_encoding import MAX_CHARACTERS

WORDS = Vocab((*SPECIAL, "the", "Cat", "sat", "00"))
CHARACTERS = Vocab((*SPECIAL, *"acehst0"))
TAGS = Vocab(["O", "NN", "VB"])
SENTENCES = [
    Sentence(("The", "Cat", "sat", "the", "Cat"), tags=("O", "NN", "VB", "O", "NN")),
    Sentence(("the",), tags=("O",)),
    Sentence(("27", "zebras", "sat"), tags=("O", "NN", "VB")),
]


@pytest.mark.parametrize("positions", [[0, 1, 2], [2, 0], [1], [1, 1]])
def test_a_batch_restores_every_token_of_its_sentences(positions: list[int]):
    batch = EncodedCorpus(SENTENCES, WordEncoder(WORDS, CHARACTERS), GoldEncoder(TAGS, None)).batch(positions)
    selected = [SENTENCES[position] for position in positions]
    assert batch.lengths.tolist() == [len(item) for item in selected]
    assert batch.index.shape == batch.gold.shape == (len(selected), max(map(len, selected)))
    for row, sentence in enumerate(selected):
        for place, (token, tag) in enumerate(zip(sentence.tokens, sentence.tags, strict=True)):
            word = batch.index[row, place]
            assert batch.words[word] == WORDS.lookup(token)
            length = batch.character_lengths[word]
            assert batch.characters[word, :length].tolist() == [CHARACTERS.ids.get(item, UNKNOWN) for item in token]
            assert batch.casing[word] == casing(token)
            assert batch.gold[row, place] == TAGS[tag]


def test_each_distinct_word_occurs_once_and_padding_is_0():
    batch = EncodedCorpus(SENTENCES, WordEncoder(WORDS, CHARACTERS), GoldEncoder(TAGS, None)).batch([0, 1, 2])
    assert len(batch.words) == len({token for item in SENTENCES for token in item.tokens})  # "The" is not "the"
    assert batch.characters.shape == (len(batch.words), len("zebras"))
    is_padding = torch.arange(batch.characters.shape[1]) >= batch.character_lengths[:, None]
    assert (batch.characters[is_padding] == 0).all()
    assert (batch.characters[~is_padding] > 0).all()
    padding = torch.arange(batch.index.shape[1]) >= batch.lengths[:, None]
    assert (batch.index[padding] == 0).all()
    assert (batch.gold[padding] == 0).all()


def test_tensors_hold_integers_on_every_device():
    batch = EncodedCorpus(SENTENCES, WordEncoder(WORDS, CHARACTERS)).batch([0, 2])
    assert batch.gold is None
    moved = batch.move_to(torch.device("meta"))
    assert moved.gold is None
    for field in fields(batch):
        if field.name not in ("gold", "document_context", "weights", "transformer"):
            assert getattr(batch, field.name).dtype == torch.int64
            assert getattr(moved, field.name).device.type == "meta"
    assert batch.move_to(torch.device("cpu")) is batch


def test_a_batch_does_not_depend_on_earlier_words_of_its_encoder():
    fresh, used = WordEncoder(WORDS, CHARACTERS), WordEncoder(WORDS, CHARACTERS)
    EncodedCorpus(SENTENCES[::-1], used)
    for place in (0, 1, 2):
        item, other = (EncodedCorpus(SENTENCES, lexicon).batch([place]) for lexicon in (fresh, used))
        assert torch.equal(item.words[item.index], other.words[other.index])
        assert torch.equal(item.characters[item.index], other.characters[other.index])


def test_the_first_characters_of_a_long_word_are_encoded():
    long = "ch" * MAX_CHARACTERS
    batch = EncodedCorpus([Sentence((long, "a"))], WordEncoder(WORDS, CHARACTERS)).batch([0])
    assert sorted(batch.character_lengths.tolist()) == [1, MAX_CHARACTERS]
    longest = batch.characters[batch.index[0, 0]]
    assert longest.tolist() == CHARACTERS.encode(long[:MAX_CHARACTERS])


LENGTHS = [*random.Random(7).choices(range(1, 40), k=150), 500]
LIMITS = [{"max_sentences": 1}, {"max_sentences": 7}, {"max_tokens": 64}, {"max_sentences": 5, "max_tokens": 90}]


def assert_within(batches: list[list[int]], limit: dict[str, int]) -> None:
    for batch in batches:
        assert batch
        padded = len(batch) * max(LENGTHS[position] for position in batch)
        assert len(batch) <= limit.get("max_sentences", len(batch))
        assert padded <= limit.get("max_tokens", padded) or len(batch) == 1


@pytest.mark.parametrize("limit", LIMITS)
def test_splitting_preserves_the_order_and_fills_each_batch_up_to_its_limit(limit: dict[str, int]):
    order = list(range(len(LENGTHS)))[::-1]
    batches = list(split_into_batches(order, LENGTHS, batch_limit(**limit)))
    assert [position for batch in batches for position in batch] == order
    assert_within(batches, limit)
    for batch, following in zip(batches, batches[1:], strict=False):  # noqa: RUF007
        more = [*batch, following[0]]
        assert batch_limit(**limit)(len(more), max(LENGTHS[position] for position in more))


def test_no_sentences_give_no_batches():
    assert (
        list(split_into_batches([], [], batch_limit(max_sentences=2)))
        == list(shuffled_batches([], batch_limit(max_sentences=2), bucket_size=4, seed=1, epoch=0))
        == []
    )


@pytest.mark.parametrize("pool", [1, 2, 20, 1000])
@pytest.mark.parametrize("limit", LIMITS)
def test_an_epoch_contains_every_sentence_once_and_stays_within_the_limits(pool: int, limit: dict[str, int]):
    batches = list(shuffled_batches(LENGTHS, batch_limit(**limit), bucket_size=pool, seed=3, epoch=1))
    assert sorted(position for batch in batches for position in batch) == list(range(len(LENGTHS)))
    assert_within(batches, limit)


@pytest.mark.parametrize("pool", [1, 20])
def test_batches_are_determined_by_seed_and_epoch(pool: int):
    def batches(seed: int, epoch: int) -> list[list[int]]:
        return list(shuffled_batches(LENGTHS, batch_limit(max_sentences=7), bucket_size=pool, seed=seed, epoch=epoch))

    state = np.random.get_state()[1].tolist()
    assert batches(3, 1) == batches(3, 1)
    actual = {str(batches(seed, epoch)) for seed in (3, 4, 2**63 - 1) for epoch in (0, 1, 2)}
    assert len(actual) == 9
    assert np.random.get_state()[1].tolist() == state  # no global random state is touched


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("pool", [1, 2, 20, 1000])
def test_batches_are_those_that_lists_give_and_can_be_sliced(pool: int, limit: dict[str, int]):
    lengths = [length % 4 + 1 for length in LENGTHS]  # many are equal, so that the sort must be stable
    random = np.random.default_rng((3, 1))
    order, expected = random.permutation(len(lengths)).tolist(), []
    size = len(order) if pool == 1 else pool
    for start in range(0, len(order), size):
        bucket = order[start : start + size]
        if pool > 1:
            bucket.sort(key=lengths.__getitem__)
        expected += split_into_batches(bucket, lengths, batch_limit(**limit))
    expected = [expected[index] for index in random.permutation(len(expected))]
    for array in (lengths, np.array(lengths, np.int32)):
        batches = shuffled_batches(array, batch_limit(**limit), bucket_size=pool, seed=3, epoch=1)
        assert list(batches) == expected
        assert list(batches[2:]) == expected[2:]
        assert len(batches) == len(expected)


def test_buckets_reduce_padding():
    def padded(pool: int) -> int:
        batches = shuffled_batches(LENGTHS, batch_limit(max_sentences=7), bucket_size=pool, seed=3, epoch=1)
        return sum(len(batch) * max(LENGTHS[position] for position in batch) for batch in batches)

    assert padded(1000) < 0.8 * padded(1)
