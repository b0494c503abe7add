"""The READMEs are true: their blocks run on the sample corpus, and their other commands parse."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tagger
from tagger.cli import app
from tagger.config import loader
from tagger.data.formats import FORMATS
from tests.scripts_in_process import small_sample

ROOT = Path(__file__).parents[1]
README, GUIDE = ((ROOT / name).read_text() for name in ("README.md", "tagger/README.md"))
MODEL = "runs/quickstart/model-best"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README + GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that looks like a checkout after `scripts/quickstart`, with a small sample and a model of one epoch."""
    folder = tmp_path_factory.mktemp("readme")
    configs = shutil.copytree(ROOT / "configs", folder / "configs")
    small_sample(configs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "recipes", lambda: configs)
        tagger.train("sample", out=folder / "runs/quickstart", settings={"training.epochs": 1})
        yield folder


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.split("\n")[0][:50])
def test_the_shell_blocks_run(checkout: Path, monkeypatch: pytest.MonkeyPatch, block: str) -> None:
    if any(character in block for character in "|<>$"):
        command = f'set -euo pipefail\ntagger() {{ "{sys.executable}" -m tagger "$@"; }}\n{block}'
        subprocess.run(["bash", "-c", command], cwd=checkout, check=True, capture_output=True)
        return
    monkeypatch.chdir(checkout)
    for line in block.replace("\\\n", "").splitlines():
        program, *arguments = shlex.split(line)
        done = CliRunner().invoke(app, arguments)
        assert (program, done.exit_code) == ("tagger", 0), done.stderr


def test_the_python_blocks_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    for block in blocks("python"):
        exec(block, {})


def test_commands_on_the_users_own_data_parse() -> None:
    import typer

    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ tagger")]
    assert commands
    for command in commands:
        name, *arguments = shlex.split(command, comments=True)[1:]
        known = typer.main.get_command(app).commands[name]
        known.make_context(name, arguments)


def test_the_recipe_in_the_readme_and_the_search_space_in_the_guide_are_valid() -> None:
    import yaml

    from tagger.config import parse, search_space

    recipe, space = blocks("yaml")
    assert parse(recipe, "README.md").training.epochs == 25
    assert len(search_space.parse(yaml.safe_load(space)).settings) == 3


def test_the_guide_names_the_keys_of_a_report() -> None:
    from dataclasses import fields

    from tagger.evaluation import Report

    details = {"interval", "errors", "confusions", "calibration_error", "reliability", "thresholds"}
    details |= {"by_seen", "by_span_length", "by_sentence_length", "by_document"}
    table = GUIDE.split("| field of `--json` |")[1].split("\n\n")[0]
    names = set(re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:])))
    assert {field.name for field in fields(Report)} | {"sentences_per_second"} | details == names


def test_the_guide_lists_every_format_with_its_suffixes() -> None:
    table = GUIDE.split("| format | file names |")[1].split("\n\n")[0]
    rows = {row.split("`")[1]: row.split("|")[2:5] for row in table.splitlines()[2:]}
    assert rows.keys() == FORMATS.keys() - {"datasets"}
    for name, (suffixes, is_read, is_written) in rows.items():
        form = FORMATS[name]
        assert (is_read.strip() == "yes", is_written.strip() == "yes") == (form.reads, form.writes), name
        if form.reads and name not in ("lines", "text"):
            assert set(re.findall(r"`([^`]+)`", suffixes)) == set(form.suffixes), name


def prose(text: str) -> list[str]:
    """Returns the sentences of a README without code, tables, headings and pictures."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("|", "#", "!")))
    text = re.sub(r"`[^`]*`", "code", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))
    blocks = re.split(r"\n\s*\n|\n- ", text)
    sentences = (part.strip() for block in blocks for part in re.split(r"(?<=[.!?:;])\s+", " ".join(block.split())))
    return [sentence for sentence in sentences if sentence]


def test_the_readme_has_at_most_900_words_of_prose_in_short_sentences() -> None:
    lengths = [len(sentence.split()) for sentence in prose(README)]
    assert sum(lengths) <= 900
    assert sum(lengths) / len(lengths) <= 15


def test_no_placeholder_is_left() -> None:
    assert "@@" not in README + GUIDE


@pytest.mark.parametrize("text", [README, GUIDE], ids=["README.md", "tagger/README.md"])
def test_no_sentence_has_more_than_25_words(text: str) -> None:
    assert not [sentence for sentence in prose(text) if len(sentence.split()) > 25]


def test_named_files_and_recipes_exist() -> None:
    for path in re.findall(r"`((?:scripts|configs|tagger)/[\w./-]*)`", README + GUIDE):
        assert (ROOT / path).exists(), path
