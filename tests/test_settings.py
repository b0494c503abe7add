"""The list of settings, and the real names behind usual ones."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tagger
from tagger import config
from tagger.cli import app
from tagger.config import Config, setting_names
from tagger.errors import ConfigError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def flatten(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in tree.items():
        is_section = isinstance(value, dict) and (value or name not in ("learning_rates", "tag_weights"))
        flat |= flatten(value, f"{prefix}{name}.") if is_section else {f"{prefix}{name}": value}  # type: ignore[arg-type]
    return flat


def test_every_setting_is_listed_with_its_default_and_meaning() -> None:
    defaults = flatten(Config().model_dump(mode="json"))
    entries = json.loads(run("settings", "--json").stdout)
    assert {entry["name"] for entry in entries} == set(defaults)
    assert all(entry["meaning"] for entry in entries)
    shown = {entry["name"]: entry["default"] for entry in entries}
    assert (shown["training.epochs"], shown["model.encoder.cell"], shown["data.train"]) == ("30", "lstm", "null")
    assert set(setting_names.all_names()) == set(defaults)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("training.epochs", ["training.epochs"]),
        ("epochs", ["training.epochs"]),
        ("lr", ["training.optimizer.learning_rate"]),
        ("data.splits", ["data.splits.train", "data.splits.dev", "data.splits.test"]),
        ("patience", ["training.schedule.patience", "training.patience"]),
    ],
)
def test_a_setting_is_found_by_its_name_its_section_or_a_usual_name(name: str, expected: list[str]) -> None:
    assert sorted(entry.name for entry in tagger.settings(name)) == sorted(expected)


def test_a_setting_is_printed_with_its_values_and_without_markup() -> None:
    assert run("settings", "training.epochs").stdout == (
        "training.epochs: 30\n    largest number of epochs (integer ≥ 1 and ≤ 10000)\n"
    )
    assert "`" not in run("settings").stdout


def test_an_unknown_setting_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^no setting is called 'epocs'; did you mean 'training\.epochs'\?$"):
        tagger.settings("epocs")


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("epochs", "training.epochs"),
        ("max_epochs", "training.epochs"),
        ("lr", "training.optimizer.learning_rate"),
        ("learning-rate", "training.optimizer.learning_rate"),
        ("training.lr", "training.optimizer.learning_rate"),
        ("batch_size", "training.batch_size"),
        ("mini_batch_size", "training.batch_size"),
        ("hidden_size", "model.encoder.hidden_size"),
        ("model.hidden_dim", "model.encoder.hidden_size"),
        ("max_grad_norm", "training.clip_norm"),
        ("seed", "training.seed"),
        ("dropout", "model.dropout.input"),
    ],
)
def test_a_usual_name_in_a_recipe_is_an_error_with_the_real_name(name: str, setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown key '{name}'; did you mean '{setting}'"):
        config.load("sample", [f"{name}=2"])


def test_a_typing_error_in_a_section_still_suggests_its_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'hidden_size'\?$"):
        config.load("sample", ["model.encoder.hiden_size=2"])


def test_every_usual_name_belongs_to_a_setting_and_is_no_setting_itself() -> None:
    table = setting_names._USUAL_NAMES
    assert table.keys() <= set(setting_names.all_names())
    for usual in " ".join(table.values()).split():
        assert setting_names.find(usual)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "2"], "--epochs is not an option of train; give the setting as --set training.epochs=VALUE\n"),
        (
            ["--lr=2"],
            "--lr is not an option of train; give the setting as --set training.optimizer.learning_rate=VALUE\n",
        ),
        (["epochs=2"], "epochs is not an option of train; give the setting as --set training.epochs=VALUE\n"),
    ],
)
def test_a_setting_given_as_an_option_is_one_line_with_its_real_name(arguments: list[str], message: str) -> None:
    done = run("train", "sample", *arguments)
    assert (done.exit_code, done.stderr) == (2, message)


def test_other_unknown_options_and_commands_are_reported_as_before() -> None:
    assert run("train", "sample", "--sed", 1).stderr.startswith("No such option: --sed (Possible options: ")
    assert run("tag", "--epochs", 2).stderr.startswith("No such option: --epochs")


def test_a_missing_recipe_names_those_that_exist() -> None:
    done = run("train")
    assert done.exit_code == 2
    assert done.stderr.startswith("RECIPE is missing; shipped are ner-conll2003, ")
    assert "`tagger init DATA --out mine.yaml` drafts one" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("BIO", "IOB2"), ("bio", "IOB2"), ("iob1", "IOB1"), ("BIOES", "IOBES"), ("Bilou", "IOBES"), ("BMES", "IOBES")],
)
def test_a_scheme_may_have_its_usual_other_name(name: str, scheme: str) -> None:
    assert config.load("sample", [f"data.scheme={name}"]).data.scheme == scheme
    done = run("tag", "text.txt", "--model", "missing", "--scheme", name)
    assert "missing" in done.stderr
    assert "--scheme" not in done.stderr


def test_an_unknown_scheme_is_an_error_that_names_the_known_ones() -> None:
    names = r"must be IOB1, IOB2 \(also BIO\) or IOBES \(also BIOES, BILOU, BMES\), got 'BII'"
    with pytest.raises(ConfigError, match=f"data.scheme: {names}"):
        config.load("sample", ["data.scheme=BII"])
    assert re.fullmatch(f"--scheme {names}\n", run("tag", "text.txt", "--model", "missing", "--scheme", "BII").stderr)


def test_data_in_place_of_a_recipe_is_one_line_that_names_init(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n")
    assert run("train", tmp_path / "train.jsonl").stderr == (
        f"{tmp_path}/train.jsonl: expected a recipe in YAML (.yaml); `tagger init` drafts one for annotated data\n"
    )
    assert "`tagger init` drafts a recipe" in run("train", tmp_path).stderr
