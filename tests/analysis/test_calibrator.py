"""Calibration: known temperatures are found, stored, and used wherever a probability comes out."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch

import tagger
from tagger import model_dir
from tagger.analysis import calibrator
from tagger.analysis.calibrator import CalibrationResult, Predictions
from tagger.data.calibration import Calibration
from tagger.data.corpus import Corpus
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError, ModelError
from tagger.io.manifest import MANIFEST, build_manifest
from tagger.model import TaggerModel
from tagger.tagging import DecodingOptions, scorer
from tests.conftest import tiny_corpus
from tests.tagging.models import CPU, make_model, sentences
from tests.tagging.models import tagger as tagger_of

TAGGED = tiny_corpus().replace("Ada B-PER", "Ada B-LOC")  # the model of the tiny corpus makes six errors


def drawn(model: TaggerModel, temperature: float, count: int) -> Corpus:
    """Returns sentences whose gold tags are drawn from the model's distribution at a temperature."""
    random = torch.Generator().manual_seed(3)
    texts = sentences(count, longest=12)
    scores, _ = scorer.TorchScorer(model, CPU).prepare([each.tokens for each in texts], list(range(count)))
    with torch.no_grad():
        chain = model.network.head.chain(*scores(list(range(count)))).tempered(temperature)
        paths = chain.sample(generator=random)[:, 0].tolist()
    rows = []
    for number, (sentence, path) in enumerate(zip(texts, paths, strict=True)):
        tags = tuple(model.tags.items[tag] for tag in path[: len(sentence)])
        rows.append(Sentence(sentence.tokens, tags=tags, line=number + 1))
    return Corpus("drawn", tuple(rows))


@pytest.mark.parametrize("temperature", [0.6, 2.0])
@pytest.mark.parametrize("kind", [{"scheme": "IOBES"}, {"plain": 4}, {"head": {"kind": "softmax"}}])
def test_the_temperature_of_the_data_is_found(kind: dict[str, object], temperature: float) -> None:
    model = make_model(spread=0.7, **kind)  # type: ignore[arg-type]
    result = calibrator.fit(tagger_of(model), drawn(model, temperature, 400))
    assert result.calibration.temperature == pytest.approx(temperature, rel=0.2)
    assert result.after.error < result.before.error
    assert result.after.error < 0.05
    assert result.after.brier < result.before.brier


def test_a_type_gets_a_temperature_of_its_own_only_if_its_spans_need_it() -> None:
    """The log-odds of PER are twice too large, those of LOC are right, and ORG has too few spans."""
    random = np.random.default_rng(4)
    log_odds = random.normal(1, 2, 3000)
    types = np.array(["LOC", "PER", "ORG"])[np.minimum(random.integers(0, 200, 3000) // 99, 2)]
    true_odds = np.where(types == "LOC", log_odds, log_odds / 2)
    is_correct = random.random(3000) < 1 / (1 + np.exp(-true_odds))
    predictions = Predictions(types.tolist(), 1 / (1 + np.exp(-log_odds)), is_correct, random.integers(0, 900, 3000))
    temperatures = dict(calibrator.fit_types(predictions))
    assert temperatures["PER"] == pytest.approx(2, rel=0.1)
    assert temperatures.get("LOC", 1.0) == pytest.approx(1, rel=0.1)
    assert "ORG" not in temperatures


def test_a_type_whose_probabilities_hold_seldom_gets_a_temperature_by_chance() -> None:
    random = np.random.default_rng(8)
    own = 0
    for _ in range(60):
        log_odds = random.normal(1, 2, 400)
        probabilities = 1 / (1 + np.exp(-log_odds))
        is_correct = random.random(400) < probabilities
        own += len(dict(calibrator.fit_types(Predictions(["PER"] * 400, probabilities, is_correct, np.arange(400)))))
    assert own <= 2


def test_the_thresholds_count_the_calibrated_spans() -> None:
    model = make_model(spread=0.7)
    data = drawn(model, 1.0, 300)
    calibration = calibrator.fit(tagger_of(model), data).calibration
    tagged = tagger_of(replace(model, calibration=calibration)).tag(list(data.sentences), probabilities=True)
    for kind, rows in calibration.thresholds.items():
        assert 5 < len(rows) <= 20
        assert rows[0][0] == 0.0
        for threshold, count, correct in rows:
            spans = [
                (number, span)
                for number, sentence in enumerate(tagged)
                for span in sentence.spans
                if span.type == kind and span.probability >= threshold  # type: ignore[operator]
            ]
            gold = [(number, span) for number, each in enumerate(data.sentences) for span in _entities(each)]
            hits = sum((number, (span.type, span.start, span.end)) in gold for number, span in spans)
            assert (count, correct) == (len(spans), hits)


def _entities(sentence: Sentence) -> list[tuple[str, int, int]]:
    """Returns the entities of IOBES tags."""
    entities, start = [], 0
    for position, tag in enumerate(sentence.tags):
        if tag[0] in "BS":
            start = position
        if tag[0] in "ES":
            entities.append((tag[2:], start, position + 1))
    return entities


def test_the_result_shows_what_a_precision_costs_and_no_thresholds_of_plain_tags() -> None:
    rows = {"LOC": ((0.0, 1000, 800), (0.6, 500, 499)), "ORG": ((0.0, 100, 100),), "PER": ((0.0, 1000, 10),)}
    gold = {"LOC": 1000, "ORG": 200, "PER": 500}
    diagram = Predictions(["LOC"], np.array([0.5]), np.array([True]), np.array([0])).reliability()
    shown = CalibrationResult(Calibration(1.5, thresholds=rows), diagram, diagram, (0.95,), gold)
    assert str(shown).splitlines()[3:] == [
        "precision 0.95 with 95 % confidence:",
        "  LOC: threshold 0.6000, recall 49.90 instead of 80.00",
        "  ORG: all spans, recall 50.00",
        "  PER: no threshold",
    ]
    plain = calibrator.fit(tagger_of(make_model(plain=3, spread=0.7)), drawn(make_model(plain=3, spread=0.7), 1.5, 200))
    assert "precision" not in str(plain)


def test_a_precision_leaves_only_spans_above_the_threshold_of_their_type(tmp_path: Path) -> None:
    model = make_model(spread=0.7, types=("LOC", "PER"))
    rows = {"LOC": ((0.0, 1000, 10), (0.6, 500, 499)), "PER": ((0.0, 1000, 10),)}
    calibrated = tagger_of(replace(model, calibration=Calibration(thresholds=rows)))
    texts = sentences(60)
    every = calibrated.tag(texts, probabilities=True)
    precise = calibrated.tag(texts, precision=0.95)
    probable = [
        [span for span in each.spans if span.type == "LOC" and span.probability >= 0.6]  # type: ignore[operator]
        for each in every
    ]
    assert sum(map(len, probable)) > 10
    assert [list(each.spans) for each in precise] == probable


def test_a_precision_leaves_out_spans_without_a_probability() -> None:
    model = make_model(types=("LOC",))
    calibrated = replace(model, calibration=Calibration(thresholds={"LOC": ((0.0, 1000, 1000),)}))
    text = Sentence(tuple(token for each in sentences(60) for token in each.tokens))
    windows = tagger_of(calibrated, max_tokens=4)
    (every,) = windows.tag([text], probabilities=True)
    (precise,) = windows.tag([text], precision=0.95)
    rated = [span for span in every.spans if span.probability is not None]
    assert len(rated) < len(every.spans)
    assert list(precise.spans) == rated
    assert sum(tag != "O" for tag in precise.tags) == sum(span.end - span.start for span in rated)


@pytest.mark.parametrize(
    ("options", "model", "fault"),
    [
        ({"precision": 0.9}, make_model(), "needs a calibrated model"),
        ({"precision": 0.9}, make_model(plain=3), "the model's tags are plain"),
        ({"precision": 1.5}, make_model(), "must be from 0 to 1"),
        ({"precision": 0.9, "threshold": 0.5}, make_model(), "omit `threshold` or `precision`"),
    ],
)
def test_a_precision_that_cannot_be_kept_is_an_error(options: dict[str, float], model: TaggerModel, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        tagger_of(model).tag(["ba0"], **options)  # type: ignore[arg-type]


def test_a_calibrated_model_is_stored_copied_and_read(model_path: Path, tmp_path: Path) -> None:
    model = Path(copytree(model_path, tmp_path / "model"))
    data = tmp_path / "dev.conll"
    data.write_text(TAGGED)
    result = tagger.calibrate(model, data, precisions=[0.9], device="cpu")
    assert isinstance(result, CalibrationResult)
    loaded, metrics = model_dir.load(model)
    assert loaded.calibration == result.calibration
    assert metrics == model_dir.load(model_path)[1]
    assert set(result.thresholds[0.9]) == {"LOC", "PER"}
    assert json.loads(json.dumps(result.to_json()))["temperature"] == result.calibration.temperature
    model_dir.copy(model, tmp_path / "copy")
    assert model_dir.load(tmp_path / "copy")[0].calibration == result.calibration
    assert "calibration.json" in model_dir.read_files(model)
    model_dir.save(loaded, tmp_path / "saved", metrics)
    assert model_dir.load(tmp_path / "saved")[0].calibration == result.calibration
    assert tagger.info(model)["calibration"]["temperature"] == result.calibration.temperature


def test_probabilities_of_files_and_python_are_calibrated(model_path: Path, tmp_path: Path) -> None:
    model = Path(copytree(model_path, tmp_path / "model"))
    before = tagger.load(model, device="cpu").tag(["Ada lives in Oslo ."], probabilities=True)[0].probabilities
    model_dir.add_calibration(model, Calibration(3.0))
    after = tagger.load(model, device="cpu").tag(["Ada lives in Oslo ."], probabilities=True)[0]
    assert all(new < old for new, old in zip(after.probabilities, before, strict=True))
    (tmp_path / "a.txt").write_text("Ada lives in Oslo .\n")
    options = {"input_format": "lines", "output_format": "jsonl", "out": tmp_path / "out", "device": "cpu"}
    tagger.tag_files(model, tmp_path / "a.txt", probabilities=True, **options)
    (row,) = map(json.loads, (tmp_path / "out" / "a.jsonl").read_text().splitlines())
    assert row["probabilities"] == pytest.approx(after.probabilities, abs=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"temperature": 0, "type_temperatures": {}, "thresholds": {}, "data": ""}',
        b'{"temperature": 1.0, "type_temperatures": {}, "thresholds": {"PER": [[2.0, 1, 1]]}, "data": ""}',
        b'{"temperature": 1.0}',
    ],
)
def test_a_calibration_made_by_somebody_else_is_checked(model_path: Path, tmp_path: Path, content: bytes) -> None:
    model = Path(copytree(model_path, tmp_path / "model"))
    contents = model_dir.read_files(model) | {"calibration.json": content}
    contents.pop(MANIFEST)
    (model / "calibration.json").write_bytes(content)
    (model / MANIFEST).write_bytes(build_manifest(contents))
    with pytest.raises(ModelError, match=r"calibration\.json"):
        model_dir.load(model)


def test_too_few_predictions_are_an_error_and_the_model_stays(model_path: Path, tmp_path: Path) -> None:
    model = Path(copytree(model_path, tmp_path / "model"))
    (tmp_path / "dev.conll").write_text("Ada B-PER\nlives O\n\n")
    with pytest.raises(DataError, match="1 predictions are too few"):
        tagger.calibrate(model, tmp_path / "dev.conll", device="cpu")
    assert model_dir.load(model)[0].calibration == Calibration()


def test_data_without_errors_is_refused(model_path: Path, tmp_path: Path) -> None:
    model = Path(copytree(model_path, tmp_path / "model"))
    (tmp_path / "dev.conll").write_text(tiny_corpus())
    with pytest.raises(DataError, match=r"72 of 72 predictions are correct.*Was the model trained on this data\?"):
        tagger.calibrate(model, tmp_path / "dev.conll", device="cpu")


def test_a_checkpoint_is_not_calibrated(model_path: Path, tmp_path: Path) -> None:
    run = Path(copytree(model_path.parent, tmp_path / "run"))
    checkpoint = model_dir.find_newest_checkpoint(run)
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    with pytest.raises(ConfigError, match="is a checkpoint of a training"):
        model_dir.add_calibration(checkpoint, Calibration(2.0))
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before


def test_a_type_of_every_other_sentence_gets_no_temperature_of_its_own() -> None:
    is_correct = np.arange(200) % 3 > 0
    predictions = Predictions(["PER"] * 200, np.full(200, 0.9), is_correct, 2 * np.arange(200))
    assert dict(calibrator.fit_types(predictions)) == {}


def test_alternatives_and_candidates_are_tempered_too() -> None:
    model = make_model()
    hot = replace(model, calibration=Calibration(1e1))
    (sentence,) = sentences(1, longest=4)
    (cold_result,), (hot_result,) = (
        tagger_of(each).tag([sentence], nbest=3, probabilities=True) for each in (model, hot)
    )
    assert hot_result.tags == cold_result.tags
    assert hot_result.alternatives[0].probability < cold_result.alternatives[0].probability
    candidate = Sentence(sentence.tokens, spans=hot_result.spans)
    (rated,) = tagger_of(hot).stream([candidate], DecodingOptions(candidates=True))
    assert rated.candidate_probabilities == pytest.approx([span.probability for span in hot_result.spans])
