"""Model cards: what they say, that they stay true, and that hostile names are inert in them."""

import re
import socket
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

import tagger
from tagger import model_card, model_dir, training
from tagger.config import Config
from tagger.data.calibration import Calibration
from tagger.model_card import DataPart, PartScores, TrainingFacts
from tests.conftest import parse_tiny_recipe, tiny_corpus
from tests.robustness.runs import changed
from tests.tagging.models import make_model

HOSTILE = '<script>alert(1)</script> | [x](javascript:y) `z` --> "q"\n# H \x1b[1m\u202e'
FACTS = TrainingFacts(
    [DataPart("train", "train.conll", "a" * 64, 36, 200), DataPart("dev", "dev.conll", "b" * 64, 3, 20)],
    {"vectors.txt": "c" * 64},
    seed=7,
    epoch=2,
    scores=[PartScores("dev", {"precision": 90.0, "recall": 80.0, "f1": 84.7, "accuracy": 98.0}, (80.0, 88.0))],
)


def front_matter(card: bytes) -> dict[str, object]:
    result = yaml.safe_load(card.decode().split("---\n")[1])
    assert isinstance(result, dict)
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with test data and word vectors."""
    folder = tmp_path_factory.mktemp("secret-folder")
    for name in ("train.conll", "dev.conll", "test.conll"):
        (folder / name).write_text(tiny_corpus())
    (folder / "vectors.txt").write_text("Ada 1 0\nOslo 0 1\nlives 0.5 0.5\n")
    overrides = ["training.epochs=2", f"data.test={folder / 'test.conll'}"]
    config = parse_tiny_recipe(folder / "train.conll", *overrides, dev=folder / "dev.conll")
    config = changed(config, f"model.words={{vectors: [{folder / 'vectors.txt'}]}}")
    return training.train(config, folder / "run", device="cpu").run_dir


def test_the_card_of_a_training_states_data_vectors_scores_labels_and_use(run: Path) -> None:
    card = (run / "model-best" / "README.md").read_bytes()
    text = card.decode()
    report = tagger.evaluate(run / "model-best", run.parent / "test.conll", device="cpu")
    for part in ("train", "dev", "test"):
        assert re.search(rf"\| {part} \| {part}\.conll \| 36 \| \d+ \| [0-9a-f]{{64}} \|", text)
    assert f"| vectors.txt | {sha256((run.parent / 'vectors.txt').read_bytes()).hexdigest()} |" in text
    assert f"| test | {report.precision:.2f} | {report.recall:.2f} | {report.f1:.2f} | {report.accuracy:.2f} |" in text
    assert "Types: LOC, PER." in text
    assert "best path of a CRF (Viterbi), only valid sequences of IOBES" in text
    assert f"bilstm-crf-tagger {tagger.__version__}" in text
    assert "tagger tag - --model MODEL" in text
    front = front_matter(card)
    assert front["library_name"] == "bilstm-crf-tagger"
    assert front["pipeline_tag"] == "token-classification"
    assert "license" not in front
    results = front["model-index"][0]["results"]  # type: ignore[index]
    assert [result["dataset"]["split"] for result in results] == ["dev", "test"]
    values = {metric["type"]: metric["value"] for metric in results[1]["metrics"]}
    assert values["f1"] == round(report.f1 / 100, 4)


def test_a_card_holds_no_path_and_no_host(run: Path) -> None:
    text = (run / "model-best" / "README.md").read_text()
    assert str(run.parent) not in text
    assert "secret" not in text
    assert socket.gethostname() not in text
    assert not re.search(r"(?<![/:\w])/(?!>)\w+/", text)


def test_the_hub_library_reads_the_card(run: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard.load(run / "model-best" / "README.md").data
    assert {result.metric_type for result in data.eval_results} == {"precision", "recall", "f1", "accuracy"}


def test_an_edited_card_leaves_the_model_whole_and_follows_its_copies(run: Path, tmp_path: Path) -> None:
    model_dir.copy(run / "model-best", tmp_path / "model")
    card = tmp_path / "model" / "README.md"
    card.write_text(card.read_text() + "\nMine.\n")
    tagger.load(tmp_path / "model", device="cpu")
    model_dir.add_calibration(tmp_path / "model", Calibration(2.5, {"PER": 0.5}, data="d" * 64))
    text = card.read_text()
    assert text.endswith("\nMine.\n")
    assert f"Calibrated on data with the SHA-256 {'d' * 64}: temperature 2.500." in text
    assert "| PER | 0.500 |" in text
    assert "are not calibrated" not in text
    model_dir.add_calibration(tmp_path / "model", Calibration())
    assert "are not calibrated" in card.read_text()
    card.write_text("All mine.\n")
    model_dir.add_calibration(tmp_path / "model", Calibration(2.0), tmp_path / "copies" / "copy")
    assert (tmp_path / "copies" / "copy" / "README.md").read_text() == "All mine.\n"


def test_a_model_without_a_card_loads_and_is_calibrated(run: Path, tmp_path: Path) -> None:
    model_dir.copy(run / "model-best", tmp_path / "model")
    (tmp_path / "model" / "README.md").unlink()
    tagger.load(tmp_path / "model", device="cpu")
    model_dir.add_calibration(tmp_path / "model", Calibration(2.0))
    assert not (tmp_path / "model" / "README.md").exists()


def test_the_card_of_several_seeds_has_the_scores_of_all(tiny_config: Config, tmp_path: Path) -> None:
    result = tagger.train(changed(tiny_config, "training.epochs=1"), out=tmp_path / "run", seeds=[3, 4], device="cpu")
    text = (result.model_dir / "README.md").read_text()
    for each in result.results:
        assert f"| {each.seed} | {each.dev.score:.2f} |" in text
    assert f"| mean ± sd | {result.dev} |" in text
    assert result.best is not None
    assert f"This model has seed {result.best.seed}" in text
    assert "Scores of all seeds" not in (result.best.model_dir / "README.md").read_text()


def test_hostile_names_are_inert(tmp_path: Path) -> None:
    model = make_model(types=(HOSTILE.replace("\n", "").replace("\x1b", ""), "PER"))
    facts = replace(
        FACTS,
        data=[replace(part, name=HOSTILE) for part in FACTS.data],
        vectors={HOSTILE: ""},
        scores=[replace(FACTS.scores[0], types={HOSTILE: (1.0, 2.0, 3.0, 4)})],
    )
    card = model_card.build(model, facts)
    text = card.decode()
    body = text.split("---\n", 2)[2]
    assert "<script" not in body
    assert "](javascript" not in body
    assert not re.search(r"(?<!\\)`z", body)
    assert text.isprintable() or set(filter(lambda character: not character.isprintable(), text)) == {"\n"}
    assert front_matter(card)["model-index"][0]["results"][0]["dataset"]["name"].startswith("<script>")  # type: ignore[index]
    calibrated = model_card.with_calibration(card, Calibration(2.0, {HOSTILE: 2.0}))
    assert calibrated.count(b"<!-- end of calibration -->") == 1
    assert "<script" not in calibrated.decode().split("---\n", 2)[2]


def test_the_name_on_the_hub_is_shown_in_the_part_on_use_alone() -> None:
    model = make_model()
    card = model_card.build(model, FACTS) + b"MODEL of mine\n"
    named = model_card.with_name(card, model, "hub:owner/name").decode()
    assert "--model hub:owner/name --from text" in named
    assert 'tagger.load("hub:owner/name")' in named
    assert "stands for" not in named
    assert named.endswith("MODEL of mine\n")
    renamed = model_card.with_name(named.encode(), model, "hub:other/copy").decode()
    assert renamed == named.replace("hub:owner/name", "hub:other/copy")


def test_a_language_code_that_yaml_reads_as_a_boolean_is_a_string() -> None:
    model = make_model()
    data = model.config.data.model_copy(update={"language": "no", "tokenizer": "rules"})
    card = model_card.build(replace(model, config=model.config.model_copy(update={"data": data})))
    assert front_matter(card)["language"] == "no"


def test_a_license_is_found_only_where_the_front_matter_names_one() -> None:
    card = model_card.build(make_model(), FACTS)
    assert not model_card.names_license(card)
    assert model_card.names_license(card.replace(b"# license: fill in, such as mit", b"license: mit"))
    assert not model_card.names_license(card + b"\nlicense: mit\n")


def test_the_card_of_plain_tags_has_accuracy_alone() -> None:
    card = model_card.build(make_model(plain=3), replace(FACTS, scores=[replace(FACTS.scores[0])]))
    assert "Tags: T0, T1, T2." in card.decode()
    assert front_matter(card)["metrics"] == ["accuracy"]
    assert "F1" not in card.decode().partition("## Calibration")[0]
