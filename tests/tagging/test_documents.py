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
def random_model() -> TaggerModel:
    return make_model(document_context={"output_dim": 9})


def tag_all(model: Tagger, inputs: Sequence[Sentence] = SENTENCES) -> list[Sentence]:
    return list(model.stream(inputs, EVERYTHING))


@pytest.fixture(scope="module")
def expected(random_model: TaggerModel) -> list[Sentence]:
    return tag_all(tagger(random_model, workers=1))


@pytest.mark.parametrize("batch_tokens", [1, 256, 32768])
@pytest.mark.parametrize("workers", [1, 3])
def test_predictions_are_the_same_for_every_batch_size_and_number_of_workers(
    random_model: TaggerModel, expected: list[Sentence], batch_tokens: int, workers: int
) -> None:
    assert tag_all(tagger(random_model, batch_tokens=batch_tokens, workers=workers)) == expected


def test_predictions_are_the_same_in_any_pools_of_whole_documents(
    random_model: TaggerModel, expected: list[Sentence]
) -> None:
    for size in (7, 35, 120):
        pools = [SENTENCES[first : first + size] for first in range(0, len(SENTENCES), size)]
        assert [actual for pool in tagger(random_model).tag_pools(pools, EVERYTHING) for actual in pool] == expected


def test_the_torch_network_gives_the_same_predictions(random_model: TaggerModel, expected: list[Sentence]) -> None:
    model = tagger(random_model)
    model._scorer = TorchScorer(random_model, CPU)
    for one, other in zip(tag_all(model), expected, strict=True):
        assert one.tags == other.tags
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_predictions_of_a_sentence_depend_on_its_document(random_model: TaggerModel, expected: list[Sentence]) -> None:
    changed = [*SENTENCES]
    changed[8] = replace(changed[8], tokens=tuple(reversed(changed[8].tokens)))
    actual = tag_all(tagger(random_model), changed)
    different = {number for number, pair in enumerate(zip(actual, expected, strict=True)) if pair[0] != pair[1]}
    assert different <= set(range(7, 14))
    assert len(different) > 3
    alone = tag_all(tagger(random_model), [SENTENCES[8]])
    assert alone[0].probabilities != expected[8].probabilities


def test_strings_and_lists_are_documents_by_themselves(random_model: TaggerModel) -> None:
    inputs = ["ba1 Ce1 DI1", ["Ce1", "ba2"], "DI1 ba1"]
    model = tagger(random_model)
    together = model.tag(inputs, probabilities=True)
    apart = [model.tag([one], probabilities=True)[0] for one in inputs]
    assert [one.probabilities for one in together] == [one.probabilities for one in apart]


def test_passages_of_a_long_document_are_separate_documents(
    random_model: TaggerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_context, "PASSAGE_TOKENS", 60)
    inputs = [replace(one, document=0) for one in SENTENCES]
    whole = tag_all(tagger(random_model), inputs)
    passages = document_context.PassageNumbering()
    numbered = [replace(one, document=passages.assign(0, len(one))) for one in inputs]
    assert passages.assign(0, 1) > 10
    monkeypatch.undo()
    assert [one.probabilities for one in tag_all(tagger(random_model), numbered)] == [
        one.probabilities for one in whole
    ]


def test_sentences_without_tokens_pass_through(random_model: TaggerModel) -> None:
    empty = Sentence((), document=3)
    assert tag_all(tagger(random_model), [empty, empty]) == [empty, empty]
    model = tagger(random_model)
    model._scorer = TorchScorer(random_model, CPU)
    assert tag_all(model, [empty]) == [empty]


def test_weights_that_are_not_finite_are_rejected() -> None:
    damaged = make_model(document_context={"output_dim": 9})
    assert damaged.network.embedding.document_context is not None
    damaged.network.embedding.document_context.projection.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match="the document context of a word is not finite"):
        tagger(damaged)
