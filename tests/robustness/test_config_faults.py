"""No recipe, however broken, brings the reader down or keeps it busy.

By default 100 broken recipes; TAGGER_TEST_SCALE multiplies them.
"""

import random
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tagger.cli import app
from tagger.config import Config, dump, parse
from tagger.errors import ConfigError
from tests.robustness.runs import SCALE

PIECES = (
    *("[", "]", "{", "}", ": ", "- ", "? ", "'", '"', "|", ">", "%", "#", "&a ", "*a", "!!int ", "---\n"),
    *("\n", "  ", "\t", "\x00", "é", "9" * 400, ".nan", "null"),
)


def test_no_damaged_recipe_crashes_the_loader() -> None:
    source, whole, refused = random.Random(17), dump(Config()), 0
    for _ in range(100 * SCALE):
        text = whole
        for _ in range(source.randint(1, 4)):
            start = source.randrange(len(text))
            end = start + source.choice((0, 0, 1, 5, 100))
            text = text[:start] + source.choice(PIECES) * source.choice((1, 1, 30)) + text[end:]
        try:
            parse(text, "recipe.yaml")
        except ConfigError:
            refused += 1
    assert refused > 33 * SCALE


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "[\n" * 5_000,
        "{a: " * 2_500,
        "? " * 5_000,
        "- " * 5_000,
        "data: {columns: [" + "1," * 4_900 + "]}",
        "k: 1\n" * 2_000,
        "".join(f"k{number}: 1\n" for number in range(1_000)),
        "a: &a [x]\n" + "".join(f"b{n}: &b{n} [{'*a,' * 9}]\n" for n in range(9)),
        "training: {epochs: " + "9" * 9_000 + "}",
        "!" * 10_000,
        "'" * 9_999,
    ],
    ids=lambda text: text[:12],
)
def test_no_recipe_takes_long(text: str) -> None:
    started = time.thread_time()
    with pytest.raises(ConfigError):
        parse(text, "recipe.yaml")
    assert time.thread_time() - started < 5


def test_the_command_line_prints_each_fault_on_a_line_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("training:\n  epochs: 0\n  seeed: 1\n")
    arguments = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]
    finished = CliRunner().invoke(app, arguments)
    assert finished.exit_code == 2
    assert finished.stderr.splitlines() == [
        f"{tmp_path}/recipe.yaml:2:3: training.epochs should be greater than or equal to 1, got 0",
        f"{tmp_path}/recipe.yaml:3:3: unknown key 'training.seeed'; did you mean 'seed'?",
    ]
    assert finished.stdout == ""
    assert not (tmp_path / "run").exists()
