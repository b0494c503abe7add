"""Suspects from given probabilities: what is compared with what, and what is left out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tagger.analysis import held_out, suspects
from tagger.analysis.suspects import Findings, Suspect
from tagger.data import schemes
from tagger.data.sentence import Sentence, Span

TOKENS = ("The", "New", "York", "Times", "of", "Ada", "Bo")
Key = tuple[str, int, int]
Find = Callable[..., Findings]


def sentence(*spans: Key, **fields: Any) -> Sentence:
    tags = schemes.spans_to_tags([Span(*span) for span in spans], len(TOKENS), "IOB2")
    return Sentence(TOKENS, tags=tags, line=10, **fields)


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Find:
    """Finds the suspects of a sentence, given the spans that each model predicts and the mean probabilities."""

    def find(annotated: Sentence, predicted: Sequence[Sequence[Key]], means: Mapping[Key, float | None]) -> Findings:
        def rate(candidates: Sequence[Sentence], models: object, *, device: str) -> list[list[float | None]]:
            return [[means.get((span.type, span.start, span.end), 0.0) for span in candidates[0].spans]]

        predictions = [Sentence(TOKENS, spans=tuple(Span(*span) for span in spans)) for spans in predicted]
        monkeypatch.setattr(held_out, "predict", lambda *_, **__: [predictions])
        monkeypatch.setattr(held_out, "rate_candidates", rate)
        return suspects.find_suspects("a.txt", [annotated], [], scheme="IOB2")

    return find


def summary(suspect: Suspect) -> tuple[str, str | None, str, str]:
    return suspect.kind, suspect.annotated_type, suspect.text, suspect.alternative_text


def test_a_span_of_another_type_is_one_suspect(find: Find) -> None:
    (suspect,) = find(sentence(("PER", 1, 4)), [[("ORG", 1, 4)]], {("PER", 1, 4): 0.1, ("ORG", 1, 4): 0.8}).suspects
    assert summary(suspect) == ("type", "PER", "New York Times", "New York Times")
    assert suspect.score == pytest.approx((math.log(0.8 / 0.1) + math.log(0.8 / 0.2)) / 2)
    assert (suspect.probability, suspect.alternative_probability, suspect.line) == (0.1, 0.8, 10)


@pytest.mark.parametrize(("kind", "type_"), [("boundary", "ORG"), ("type and boundary", "LOC")])
def test_a_moved_boundary_is_one_suspect(find: Find, kind: str, type_: str) -> None:
    means = {("ORG", 1, 3): 0.01, (type_, 0, 4): 0.7, ("", 1, 3): 0.1, ("", 0, 4): 0.2}
    (suspect,) = find(sentence(("ORG", 1, 3)), [[(type_, 0, 4)], [("ORG", 1, 4)]], means).suspects
    assert summary(suspect) == (kind, "ORG", "New York", "The New York Times")


def test_an_invented_span_is_compared_with_no_span(find: Find) -> None:
    (suspect,) = find(sentence(("LOC", 4, 5)), [[]], {("LOC", 4, 5): 0.001, ("", 4, 5): 0.99}).suspects
    assert summary(suspect) == ("spurious", "LOC", "of", "")
    assert suspect.alternative is None


def test_a_missing_span_is_one_suspect_though_models_predict_other_bounds(find: Find) -> None:
    means = {("ORG", 1, 4): 0.5, ("LOC", 1, 3): 0.4, ("", 1, 4): 0.05, ("", 1, 3): 0.06}
    (suspect,) = find(
        sentence(("PER", 5, 6)), [[("ORG", 1, 4)], [("LOC", 1, 3)]], means | {("PER", 5, 6): 0.9}
    ).suspects
    assert summary(suspect) == ("missing", None, "New York Times", "New York Times")
    assert suspect.probability == 0.05


def test_probable_annotations_are_no_suspects_and_impossible_ones_have_a_finite_score(find: Find) -> None:
    assert not find(sentence(("PER", 5, 6)), [[]], {("PER", 5, 6): 0.9, ("", 5, 6): 0.09}).suspects
    (suspect,) = find(sentence(("PER", 5, 6)), [[]], {("PER", 5, 6): 0.0, ("", 5, 6): 1.0}).suspects
    assert 20 < suspect.score < 100


def test_models_that_are_sure_of_an_alternative_make_a_higher_score_than_unsure_ones(find: Find) -> None:
    odds = {("PER", 5, 6): 0.01, ("", 5, 6): 0.98}, {("PER", 5, 6): 0.005, ("", 5, 6): 0.5}
    (sure,), (unsure,) = (find(sentence(("PER", 5, 6)), [[]], means).suspects for means in odds)
    assert sure.alternative_probability / sure.probability < unsure.alternative_probability / unsure.probability
    assert sure.score > unsure.score


def test_an_annotation_that_no_model_can_judge_is_counted(find: Find) -> None:
    findings = find(sentence(("NEW", 5, 6)), [[]], {("NEW", 5, 6): None, ("", 5, 6): 0.9})
    assert (findings.suspects, findings.annotations, findings.unjudged) == ((), 1, 1)


def test_disagreement_is_counted_by_model(find: Find) -> None:
    predicted = [[("PER", 5, 6)], [("PER", 5, 7)], []]
    assert find(sentence(("PER", 5, 6)), predicted, {("PER", 5, 6): 0.9}).disagreements == (2,)
    assert suspects.weigh([0, 1, 2]) == (1.0, 0.7, 0.49)


def test_spans_of_types_that_were_not_annotated_are_neither_suspects_nor_disagreements(find: Find) -> None:
    means = {("ORG", 1, 4): 0.9, ("", 1, 4): 0.1, ("PER", 5, 6): 0.9}
    annotated = sentence(("PER", 5, 6), annotated_types=("PER",))
    assert find(annotated, [[("ORG", 1, 4), ("PER", 5, 6)]], means) == Findings((), 1, 0, (0,))
    everything = find(replace(annotated, annotated_types=None), [[("ORG", 1, 4), ("PER", 5, 6)]], means)
    assert [each.kind for each in everything.suspects] == ["missing"]
    assert everything.disagreements == (1,)


def test_tokens_that_were_not_annotated_are_not_judged(find: Find) -> None:
    tags = ("O", "", "", "", "O", "B-PER", "O")
    means = {("ORG", 1, 4): 0.9, ("", 1, 4): 0.1, ("PER", 5, 6): 0.9}
    assert find(Sentence(TOKENS, tags=tags), [[("ORG", 1, 4), ("PER", 5, 6)]], means) == Findings((), 1, 0, (0,))
