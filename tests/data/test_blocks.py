"""Blocks of lines do not depend on the runs in which the lines arrive."""

import itertools
import random
from collections.abc import Iterator
from io import BytesIO

import pytest

from tagger.data.formats import blocks
from tagger.data.formats.blocks import Block
from tagger.errors import DataError, TruncatedError
from tagger.io import line_reader
from tagger.io.line_reader import BlockEnd, LineRun, Unreadable

LINES = ("a O\n", "b\n", "\n", " \t\n", "\x0b\n", "\ufeff\n", "word " * 9 + "\n", "é" * 30 + "\n", "c\r\n")


def is_blank(line: str) -> bool:
    return not line.strip(" \t\r\n")


def split(runs: list[LineRun], error: DataError | None = None, limit: int = 100) -> tuple[list[Block], str]:
    """Returns the blocks, and the message of the error that ends them."""

    def read() -> Iterator[LineRun]:
        yield from runs
        if error is not None:
            raise error

    found: list[Block] = []
    try:
        found.extend(blocks.split(read(), is_blank, "x", limit))
    except DataError as fault:
        return found, str(fault)
    return found, ""


def draw_lines(generator: random.Random) -> list[str]:
    lines = generator.choices(LINES, weights=(9, 3, 4, 1, 1, 1, 2, 2, 1), k=generator.randrange(1, 40))
    kinds = {0: lambda line: Unreadable("x: not UTF-8", 1, line), 1: BlockEnd}
    return [
        kinds[kind](line) if (kind := generator.randrange(20)) == 0 or (kind == 1 and is_blank(line)) else line
        for line in lines
    ]


@pytest.mark.parametrize("seed", range(40))
def test_blocks_do_not_depend_on_runs(seed: int) -> None:
    generator = random.Random(seed)
    lines = draw_lines(generator)
    error = generator.choice([None, TruncatedError("x: cut", len(lines)), DataError("x: fault")])
    single = split([LineRun(number, [line]) for number, line in enumerate(lines, 1)], error)
    cuts = sorted({0, len(lines), *generator.choices(range(len(lines)), k=4)})
    runs = [LineRun(start + 1, lines[start:end]) for start, end in itertools.pairwise(cuts)]
    for found in (split([LineRun(1, lines)], error), split(runs, error)):
        assert [repr(block) for block in found[0]] == [repr(block) for block in single[0]]
        assert found[1] == single[1]


@pytest.mark.parametrize("seed", range(20))
def test_blocks_hold_all_lines_in_order(seed: int) -> None:
    lines = draw_lines(random.Random(seed))
    found, _ = split([LineRun(1, lines)], limit=10_000)
    assert [line for block in found for line in block.raw] == lines
    number = 1
    for block in found:
        assert block.first == number
        assert not any(is_blank(line) for line in block.lines if type(line) is not Unreadable)
        assert all(is_blank(line.removeprefix("\ufeff")) for line in block.blank)
        number += len(block.raw)


def test_a_block_over_the_limit_is_cut_and_its_rest_is_skipped() -> None:
    rows = ["a O\n"] * 30
    found, _ = split([LineRun(1, [*rows, "\n", "b O\n"])])
    assert [(block.first, len(block.lines), bool(block.size_fault)) for block in found] == [
        (1, 26, True),
        (32, 1, False),
    ]


def test_runs_have_the_lines_of_the_source() -> None:
    data = b"a O\n\nb\x0c O\n\xff O\n\nc O"
    runs = list(line_reader.read_runs(BytesIO(data), "x", Unreadable))
    assert [len(run.lines) for run in runs] == [1] * 6  # a block with a fault is yielded line by line
    assert [run.first for run in runs] == [1, 2, 3, 4, 5, 6]
    whole = list(line_reader.read_runs(BytesIO(b"a O\n\nb\x0c O\nc O"), "x"))
    assert whole[0] == LineRun(1, ["a O\n", "\n", "b\x0c O\n"])
    with pytest.raises(DataError, match="x:4: byte 1 is 0xff"):
        list(line_reader.read_runs(BytesIO(data), "x"))
