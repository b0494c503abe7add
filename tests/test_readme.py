"""What the README shows is what happens: its blocks are run on the sample, its other commands are parsed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tagger.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MODEL = "runs/quickstart/model-best"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a checkout after `scripts/quickstart`, with a model of two epochs."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "configs").symlink_to(ROOT / "configs")
    run = ["train", "sample", "--out", str(folder / "runs/quickstart"), "--set", "training.epochs=1"]
    subprocess.run([sys.executable, "-m", "tagger", *run], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.split("\n")[0][:50])
def test_the_shell_blocks_run(workplace: Path, block: str) -> None:
    command = f'set -euo pipefail\ntagger() {{ "{sys.executable}" -m tagger "$@"; }}\n{block}'
    subprocess.run(["bash", "-c", command], cwd=workplace, check=True, capture_output=True)


def test_the_python_blocks_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    for block in blocks("python"):
        exec(block, {})


def test_the_commands_that_need_data_of_the_users_parse() -> None:
    import typer

    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ tagger")]
    assert commands
    for command in commands:
        name, *arguments = shlex.split(command)[1:]
        known = typer.main.get_command(app).commands[name]
        known.make_context(name, arguments)


def test_the_recipe_it_shows_is_one() -> None:
    from tagger.config import parse

    for block in blocks("yaml"):
        assert parse(block, "README.md").training.epochs == 25


def test_the_json_keys_it_names_are_those_that_are_printed() -> None:
    from dataclasses import fields

    from tagger.evaluation import Report

    named = README.split("`--json` gives")[1].split("##")[0]
    assert {field.name for field in fields(Report)} | {"sentences_per_second"} == set(re.findall(r"`(\w+)`", named))


def test_the_files_and_recipes_it_names_are_there() -> None:
    for path in re.findall(r"`((?:scripts|configs|tagger)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path
