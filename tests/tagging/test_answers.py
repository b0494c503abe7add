"""Probabilities, thresholds and alternatives, against every path written out."""

import math
import re
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest
import torch

from tagger.data import schemes
from tagger.data.calibration import Calibration
from tagger.data.sentence import Sentence, Span
from tagger.errors import ConfigError, ModelError
from tagger.model import TaggerModel
from tagger.nn.crf import kernel_choice
from tagger.nn.crf.chain_scores import ChainScores
from tagger.tagging import DecodingOptions, scorer
from tests.tagging.models import CPU, make_model, sentences, tagger

Tags = tuple[str, ...]
Entity = tuple[str, int, int]
SHORT = [Sentence(sentence.tokens[:length]) for sentence, length in zip(sentences(15, longest=9), [1, 2, 3, 4, 5] * 3)]  # noqa: B905
MANY = sentences(100)
KINDS = {
    "IOBES": {"scheme": "IOBES", "types": ("PER",)},
    "IOB2": {"scheme": "IOB2", "types": ("LOC", "PER")},
    "IOB1": {"scheme": "IOB1", "types": ("LOC", "PER")},
    "softmax": {"scheme": "IOB2", "types": ("LOC", "PER"), "head": {"kind": "softmax"}},
    "plain": {"plain": 4},
    "plain softmax": {"plain": 4, "head": {"kind": "softmax"}},
}
each_of_spans = pytest.mark.parametrize("kind", ["IOBES", "IOB2", "IOB1", "softmax"])
each_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind: str) -> TaggerModel:
    return make_model(**KINDS[kind], spread=0.4, words={"embedding_dim": 4})  # type: ignore[arg-type]


def written_out(model: TaggerModel, sentence: Sentence) -> dict[Tags, float]:
    """Returns the probability of every path that is allowed, from the plain network's scores, in float64."""
    temperature = model.calibration.temperature
    scores, _ = scorer.TorchScorer(model, CPU).prepare([sentence.tokens], [0])
    emissions, lengths = scores([0])
    with torch.no_grad():
        rows, transitions, start, end, _ = (
            part.double().tolist() for part in model.network.head.chain(emissions, lengths).scores
        )
    weights = {}
    for path in product(range(len(start)), repeat=len(sentence)):
        score = start[path[0]] + end[path[-1]] + sum(rows[0][token][tag] for token, tag in enumerate(path))
        score += sum(transitions[left][right] for left, right in pairwise(path))
        if score > -math.inf:
            weights[tuple(model.tags.items[tag] for tag in path)] = math.exp(score / temperature)
    total = math.fsum(weights.values())
    return {path: weight / total for path, weight in weights.items()}


def entities(tags: Tags, scheme: str | None) -> list[Entity]:
    """Returns the entities that legal tags spell, each type by a pattern of its own."""
    inside = {"IOBES": "S|BI*E", "IOB2": "BI*", "IOB1": "BI*|I+"}
    found = []
    for kind in ("LOC", "PER"):
        letters = "".join(tag[0] if tag[1:] == f"-{kind}" else "." for tag in tags)
        found += [(kind, *match.span()) for match in re.finditer(inside[scheme], letters)] if scheme else []
    return sorted(found, key=lambda entity: entity[1])


def number_of(span: Span) -> float:
    assert span.probability is not None
    return span.probability


def plainly(span: Span) -> Entity:
    return span.type, span.start, span.end


@each_kind
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.5])
def test_tags_spans_and_probabilities_are_those_of_all_paths(kind: str, temperature: float) -> None:
    model = replace(made(kind), calibration=Calibration(temperature))
    for found in tagger(model).tag(SHORT, probabilities=True):
        paths = written_out(model, found)
        by_entity: dict[Entity, float] = defaultdict(float)
        for path, probability in paths.items():
            for entity in entities(path, model.scheme):
                by_entity[entity] += probability
        assert paths[found.tags] == pytest.approx(max(paths.values()), rel=1e-4)
        assert [plainly(span) for span in found.spans] == entities(found.tags, model.scheme)
        expected = [
            math.fsum(p for path, p in paths.items() if path[token] == tag) for token, tag in enumerate(found.tags)
        ]
        for span in found.spans:
            assert span.probability == pytest.approx(by_entity[plainly(span)], abs=1e-5)
            expected[span.start : span.end] = [by_entity[plainly(span)]] * (span.end - span.start)
        assert found.probabilities == pytest.approx(expected, abs=1e-5)


@each_kind
def test_the_probability_of_each_candidate_is_that_of_all_paths_that_hold_it(kind: str) -> None:
    model = made(kind)
    names = model.tags.items if model.scheme is None else ("LOC", "PER", "", "unseen")
    for sentence in SHORT[:8]:
        paths = written_out(model, sentence)
        if model.scheme is None:
            for tag in names:
                candidate = Sentence(sentence.tokens, tags=(tag,) * len(sentence))
                (found,) = tagger(model).stream([candidate], DecodingOptions(candidates=True))
                expected = [
                    math.fsum(p for path, p in paths.items() if path[token] == tag) for token in range(len(sentence))
                ]
                assert found.candidate_probabilities == pytest.approx(expected, abs=1e-5)
            continue
        spans = [Span(name, start, end) for name in names for start, end in combinations(range(len(sentence) + 1), 2)]
        candidate = Sentence(sentence.tokens, spans=tuple(spans))
        (found,) = tagger(model).stream([candidate], DecodingOptions(candidates=True))
        for span, probability in zip(spans, found.candidate_probabilities, strict=True):
            if not span.type:
                held = [p for path, p in paths.items() if set(path[span.start : span.end]) == {"O"}]
                assert probability == pytest.approx(math.fsum(held), abs=1e-5)
            elif span.type in "".join(model.tags.items):
                held = [p for path, p in paths.items() if plainly(span) in entities(path, model.scheme)]
                assert probability == pytest.approx(math.fsum(held), abs=1e-5)
            else:
                assert probability is None


def test_the_paths_hold_spans_of_every_length() -> None:
    lengths = Counter(
        span.end - span.start
        for kind in ("IOBES", "IOB2", "IOB1")
        for found in tagger(made(kind)).tag(SHORT)
        for span in found.spans
    )
    assert {1, 2, 3} <= set(lengths)


@each_kind
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_alternatives_are_the_most_probable_paths_in_order(kind: str, temperature: float) -> None:
    model = replace(made(kind), calibration=Calibration(temperature))
    for found in tagger(model).tag(SHORT, nbest=5):
        paths = written_out(model, found)
        best = sorted(paths.values(), reverse=True)[:5]
        shares = [alternative.probability for alternative in found.alternatives]
        assert shares == pytest.approx(best, rel=1e-4)
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1 + 1e-6
        assert found.alternatives[0].tags == found.tags
        assert len({alternative.tags for alternative in found.alternatives}) == len(shares)
        for alternative in found.alternatives:
            assert alternative.probability == pytest.approx(paths[alternative.tags], rel=1e-4)
        assert found.probabilities == ()


def test_there_are_fewer_alternatives_where_there_are_fewer_paths() -> None:
    model = made("IOBES")
    counts = [len(found.alternatives) for found in tagger(model).tag(list(SHORT), nbest=1000)]
    assert counts == [len(written_out(model, sentence)) for sentence in SHORT]
    assert counts[0] == 2  # O and S-PER


@each_of_spans
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_a_threshold_leaves_out_spans_below_it_and_their_tags(kind: str, share: float) -> None:
    model = tagger(made(kind))
    wholes = model.tag(SHORT, probabilities=True)
    numbers = sorted(number_of(span) for whole in wholes for span in whole.spans)
    threshold = 1.0 if share == 1 else numbers[int(share * len(numbers))] if share else 0.0
    found = model.tag(SHORT, threshold=threshold, probabilities=True)
    kept = [[span for span in whole.spans if number_of(span) >= threshold] for whole in wholes]
    assert [list(one.spans) for one in found] == kept
    assert [one.tags for one in found] == [
        schemes.spans_to_tags(spans, len(one), model.model.scheme)  # type: ignore[arg-type]
        for one, spans in zip(found, kept, strict=True)
    ]
    count = sum(map(len, kept))
    assert count == len(numbers) if not share else count == 0 if share == 1 else 0 < count < len(numbers)


@pytest.mark.parametrize("scheme", ["IOBES", "IOB2", "IOB1"])
def test_tags_keep_to_their_scheme_where_a_span_that_touched_another_is_left_out(scheme: str) -> None:
    model = tagger(make_model(scheme=scheme, types=("PER",), spread=0.4, words={"embedding_dim": 4}))
    touched = 0
    for whole, found in zip(model.tag(MANY), model.tag(MANY, threshold=0.2), strict=True):
        assert schemes.find_invalid(found.tags, scheme) == []  # type: ignore[arg-type]
        before = {span.end for span in whole.spans if span.start not in {kept.start for kept in found.spans}}
        touched += len(before & {span.start for span in found.spans})
    assert touched


@each_of_spans
def test_a_token_of_a_span_that_is_left_out_has_the_probability_of_lying_outside(kind: str) -> None:
    model = made(kind)
    for found in tagger(model).tag(SHORT, threshold=1.0):
        paths = written_out(model, found)
        outside = [math.fsum(p for path, p in paths.items() if path[token] == "O") for token in range(len(found))]
        assert found.tags == ("O",) * len(found)
        assert found.probabilities == pytest.approx(outside, abs=1e-5)


def test_a_span_that_is_certain_passes_every_threshold() -> None:
    model = made("IOBES")
    with torch.no_grad():
        model.network.projection.weight.zero_()
        model.network.projection.bias.copy_(torch.tensor([0.0, 0, 0, 0, 1000]))
    (found,) = tagger(model).tag(["a b c"], threshold=1.0)
    assert found.spans == (Span("PER", 0, 1, 1.0), Span("PER", 1, 2, 1.0), Span("PER", 2, 3, 1.0))
    assert found.probabilities == (1.0, 1.0, 1.0)


@each_kind
def test_no_probability_leaves_its_range(kind: str) -> None:
    model = make_model(**KINDS[kind], spread=1.5)  # type: ignore[arg-type]
    for found in tagger(model).tag(MANY, probabilities=True, nbest=3):
        numbers = [*found.probabilities, *(one.probability for one in found.alternatives)]
        numbers += [span.probability for span in found.spans if span.probability is not None]
        assert min(numbers) >= 0
        assert max(numbers) <= 1


def test_what_was_not_asked_for_is_not_there() -> None:
    for found in tagger(made("IOBES")).tag(SHORT):
        assert (found.probabilities, found.alternatives) == ((), ())
        assert all(span.probability is None for span in found.spans)


@pytest.mark.parametrize("kind", ["plain", "plain softmax"])
def test_plain_tags_have_no_threshold(kind: str) -> None:
    with pytest.raises(ConfigError, match="tags are plain"):
        tagger(made(kind)).tag(SHORT, threshold=0.5)
    assert all(found.spans == () for found in tagger(made(kind)).tag(SHORT, probabilities=True))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, math.inf])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(ConfigError, match="from 0 to 1, got"):
        DecodingOptions(threshold=threshold)


def test_a_number_of_alternatives_is_not_negative() -> None:
    with pytest.raises(ConfigError, match="at least 0, got -1"):
        DecodingOptions(nbest=-1)


def test_numbers_in_answers_are_pythons_own() -> None:
    found = tagger(made("IOBES")).tag(SHORT, probabilities=True, nbest=2)
    numbers = [number for one in found for number in one.probabilities]
    numbers += [alternative.probability for one in found for alternative in one.alternatives]
    numbers += [number for one in found for span in one.spans for number in (span.start, span.end, span.probability)]  # type: ignore[misc]
    assert {type(number) for number in numbers} == {int, float}
    assert not any(isinstance(number, np.generic) for number in numbers)


@pytest.mark.parametrize("kind", ["IOBES", "plain softmax"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["embedding.words.weight", "projection.weight", "projection.bias"])
def test_scores_that_are_not_finite_give_no_tags(kind: str, bad: float, name: str) -> None:
    model = made(kind)
    model.network.get_parameter(name).data[1] = bad
    with pytest.raises(ModelError, match="not finite"):
        tagger(model).tag(SHORT)


@each_kind
@pytest.mark.parametrize("options", [{"probabilities": True}, {"threshold": 0.5}, {"probabilities": True, "nbest": 3}])
def test_probabilities_of_a_batch_cost_one_forward_backward_pass(
    kind: str, options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "plain" in kind:
        options = {name: value for name, value in options.items() if name != "threshold"} or {"probabilities": True}
    model = tagger(made(kind))
    kernel = kernel_choice.choose_kernel(ChainScores(*(torch.zeros(1),) * 5)._replace(emissions=torch.zeros(1, 1, 1)))
    calls = Counter[str]()

    def count(name: str) -> None:
        honest = getattr(kernel, name)

        def counting(*arguments: object) -> object:
            calls[name] += 1
            return honest(*arguments)

        monkeypatch.setattr(kernel, name, counting)

    for name in ("messages", "negative_log_likelihood", "best_path"):
        count(name)
    model.tag(["a b c", "d e"], **options)  # type: ignore[arg-type]
    assert calls == {"messages": 1, "best_path": 1}
