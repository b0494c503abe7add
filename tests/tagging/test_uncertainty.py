"""The uncertainty of sentences, against every path written out."""

import math
from collections import defaultdict
from dataclasses import replace
from typing import get_args

import pytest
import torch

from tagger.choices import Uncertainty
from tagger.data.calibration import Calibration
from tagger.data.sentence import Sentence
from tagger.data.windows import Window
from tagger.errors import ConfigError, ModelError
from tagger.tagging import DecodingOptions
from tagger.tagging.decoding import Prediction
from tagger.tagging.long_sentences import stitch
from tagger.tagging.uncertainty import score
from tests.tagging.models import make_model, sentences, tagger
from tests.tagging.test_answers import KINDS, SHORT, Tags, entities, made, written_out

MEASURES = get_args(Uncertainty)


def expected(by: str, paths: dict[Tags, float], predicted: Tags, scheme: str | None) -> float:
    """Returns the score of a sentence from the probabilities of all its paths."""
    best, *rest = sorted(paths.values(), reverse=True)
    if by == "entropy":
        return -math.fsum(p * math.log(p) for p in paths.values() if p) / len(predicted)
    if by == "least-confidence":
        return 1 - best ** (1 / len(predicted))
    if by == "margin":
        return 1 - (best - (rest[0] if rest else 0))
    if scheme is None:
        return math.fsum(p * sum(map(str.__ne__, path, predicted)) for path, p in paths.items())
    spans = set(entities(predicted, scheme))
    return math.fsum(p * len(spans ^ set(entities(path, scheme))) for path, p in paths.items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", MEASURES)
def test_a_score_is_that_of_all_paths(kind: str, by: Uncertainty) -> None:
    model = made(kind)
    for tagged in tagger(model).stream(SHORT, DecodingOptions(uncertainty=by)):
        assert tagged.uncertainty is not None
        wanted = expected(by, written_out(model, tagged), tagged.tags, model.scheme)
        assert score(by, tagged.uncertainty, len(tagged)) == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize("by", MEASURES)
def test_the_temperature_of_the_model_holds_for_uncertainty(by: Uncertainty) -> None:
    model = replace(made("IOB2"), calibration=Calibration(temperature=2.5))
    for tagged in tagger(model).stream(SHORT[:8], DecodingOptions(uncertainty=by)):
        wanted = expected(by, written_out(model, tagged), tagged.tags, model.scheme)
        assert tagged.uncertainty is not None
        assert score(by, tagged.uncertainty, len(tagged)) == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize("by", MEASURES)
def test_uncertainty_changes_no_other_result_and_is_absent_unless_asked_for(by: Uncertainty) -> None:
    model = tagger(made("IOB2"))
    plain = list(model.stream(SHORT, DecodingOptions(probabilities=True, threshold=0.9)))
    measured = list(model.stream(SHORT, DecodingOptions(probabilities=True, threshold=0.9, uncertainty=by)))
    unfiltered = list(model.stream(SHORT, DecodingOptions(uncertainty=by)))
    assert {each.uncertainty for each in plain} == {None}
    assert [(each.tags, each.spans) for each in plain] == [(each.tags, each.spans) for each in measured]
    assert any(left.tags != right.tags for left, right in zip(measured, unfiltered, strict=True))
    assert [each.uncertainty for each in measured] == pytest.approx([each.uncertainty for each in unfiltered], abs=1e-5)


def test_sentences_of_a_document_have_the_score_of_their_joint_paths() -> None:
    model = made("IOB2")
    first, second = tagger(model).stream(SHORT[1:3], DecodingOptions(uncertainty="least-confidence"))
    joint: dict[Tags, float] = defaultdict(float)
    for left, p in written_out(model, first).items():
        for right, q in written_out(model, second).items():
            joint[(*left, *right)] += p * q
    assert first.uncertainty is not None
    assert second.uncertainty is not None
    total = first.uncertainty + second.uncertainty
    wanted = 1 - max(joint.values()) ** (1 / len(first.tags + second.tags))
    assert score("least-confidence", total, len(first) + len(second)) == pytest.approx(wanted, abs=1e-5)


def test_each_window_adds_the_uncertainty_of_its_part() -> None:
    first = Prediction(("O",) * 4, uncertainty=8.0)
    second = Prediction(("O",) * 6, uncertainty=3.0)
    parts = [(Window(0, 4, 0, 3), first), (Window(2, 8, 3, 8), second)]
    for scheme in ("IOB2", None):
        assert stitch(parts, scheme).uncertainty == pytest.approx(8.0 * 3 / 4 + 3.0 * 5 / 6)  # type: ignore[arg-type]


@pytest.mark.parametrize("by", MEASURES)
def test_a_sentence_in_windows_has_about_the_uncertainty_of_the_whole(by: Uncertainty) -> None:
    sentence = max(sentences(60), key=len)
    model = make_model(spread=0.3)
    (whole,) = tagger(model).stream([sentence], DecodingOptions(uncertainty=by))
    (parts,) = tagger(model, max_tokens=len(sentence) - 4).stream([sentence], DecodingOptions(uncertainty=by))
    assert whole.uncertainty
    assert parts.uncertainty == pytest.approx(whole.uncertainty, rel=0.3)


def test_a_model_that_is_certain_has_no_uncertainty() -> None:
    model = made("IOBES")
    with torch.no_grad():
        model.network.projection.weight.zero_()
        model.network.projection.bias.copy_(torch.tensor([0.0, 0, 0, 0, 1000]))
    for by in MEASURES:
        (tagged,) = tagger(model).stream([Sentence(("a", "b", "c"))], DecodingOptions(uncertainty=by))
        assert tagged.uncertainty == pytest.approx(0, abs=1e-6)
        assert tagged.uncertainty >= 0


def test_an_unknown_measure_and_a_margin_of_too_many_tags_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="`uncertainty` must be entropy, least-confidence, margin or errors, got 'x'"):
        DecodingOptions(uncertainty="x")  # type: ignore[arg-type]
    monkeypatch.setattr("tagger.tagging.decoding._MAX_NBEST_TAGS", 3)
    with pytest.raises(ConfigError, match="n-best paths are limited to models of 3 tags; the model has 4"):
        list(tagger(made("plain")).stream(SHORT, DecodingOptions(uncertainty="margin")))


def test_an_uncertainty_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.tagging.uncertainty.measure", lambda *_: torch.full((1,), math.nan))
    with pytest.raises(ModelError, match="not finite"):
        list(tagger(made("IOB2")).stream(SHORT[:1], DecodingOptions(uncertainty="entropy")))
