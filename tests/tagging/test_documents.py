"""Models that read what a document says of a word: the same answers however its sentences come, and near the network's.

Neighbours of a word count, and so do its spellings: changing one sentence changes the answers for its document alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from tagger.data import document_context
from tagger.data.sentence import Sentence
from tagger.errors import ModelError
from tagger.model import TaggerModel
from tagger.tagging import DecodingOptions, Tagger
from tagger.tagging.scorer import TorchScorer
from tests.tagging.models import CPU, make_model, sentences, tagger

EVERYTHING = DecodingOptions(probabilities=True, nbest=2)
SENTENCES = [replace(one, document=number // 7) for number, one in enumerate(sentences(120, longest=25))]


@pytest.fixture(scope="module")
def made() -> TaggerModel:
    return make_model(document_context={"output_dim": 9})


def all_of(model: Tagger, given: Sequence[Sentence] = SENTENCES) -> list[Sentence]:
    return list(model.stream(given, EVERYTHING))


@pytest.fixture(scope="module")
def expected(made: TaggerModel) -> list[Sentence]:
    return all_of(tagger(made, workers=1))


@pytest.mark.parametrize("batch_tokens", [1, 256, 32768])
@pytest.mark.parametrize("workers", [1, 3])
def test_answers_are_the_same_for_every_size_of_batch_and_number_of_workers(
    made: TaggerModel, expected: list[Sentence], batch_tokens: int, workers: int
) -> None:
    assert all_of(tagger(made, batch_tokens=batch_tokens, workers=workers)) == expected


def test_answers_are_the_same_in_any_pools_that_keep_documents_whole(
    made: TaggerModel, expected: list[Sentence]
) -> None:
    for size in (7, 35, 120):
        pools = [SENTENCES[first : first + size] for first in range(0, len(SENTENCES), size)]
        assert [found for pool in tagger(made).tag_pools(pools, EVERYTHING) for found in pool] == expected


def test_the_network_itself_says_the_same(made: TaggerModel, expected: list[Sentence]) -> None:
    model = tagger(made)
    model._scoring = TorchScorer(made, CPU)
    for one, other in zip(all_of(model), expected, strict=True):
        assert one.tags == other.tags
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_a_sentence_has_the_answers_that_its_document_gives_it(made: TaggerModel, expected: list[Sentence]) -> None:
    changed = [*SENTENCES]
    changed[8] = replace(changed[8], tokens=tuple(reversed(changed[8].tokens)))
    found = all_of(tagger(made), changed)
    different = {number for number, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]}
    assert different <= set(range(7, 14))
    assert len(different) > 3
    alone = all_of(tagger(made), [SENTENCES[8]])
    assert alone[0].probabilities != expected[8].probabilities


def test_strings_and_lists_are_documents_by_themselves(made: TaggerModel) -> None:
    given = ["ba1 Ce1 DI1", ["Ce1", "ba2"], "DI1 ba1"]
    model = tagger(made)
    together = model.tag(given, probabilities=True)
    apart = [model.tag([one], probabilities=True)[0] for one in given]
    assert [one.probabilities for one in together] == [one.probabilities for one in apart]


def test_passages_of_a_long_document_are_read_by_themselves(made: TaggerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_context, "_PASSAGE_TOKENS", 60)
    given = [replace(one, document=0) for one in SENTENCES]
    whole = all_of(tagger(made), given)
    passages = document_context.PassageNumbering()
    numbered = [replace(one, document=passages.assign(0, len(one))) for one in given]
    assert passages.assign(0, 1) > 10
    monkeypatch.undo()
    assert [one.probabilities for one in all_of(tagger(made), numbered)] == [one.probabilities for one in whole]


def test_sentences_without_tokens_pass_through(made: TaggerModel) -> None:
    empty = Sentence((), document=3)
    assert all_of(tagger(made), [empty, empty]) == [empty, empty]
    model = tagger(made)
    model._scoring = TorchScorer(made, CPU)
    assert all_of(model, [empty]) == [empty]


def test_weights_that_are_not_finite_are_refused() -> None:
    broken = make_model(document_context={"output_dim": 9})
    assert broken.network.embedding.document_context is not None
    broken.network.embedding.document_context.projection.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match="of a document is not finite"):
        tagger(broken)
