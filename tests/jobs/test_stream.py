"""A stream answers each record before the next one is written."""

import os
import re
import select
import time
from io import BytesIO, FileIO
from pathlib import Path

import pytest

import tagger
from tagger.errors import ConfigError
from tagger.jobs.inputs import STDIN
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine as local
from tests.robustness.runs import child, command_with_streams, ended

SECONDS = 120  # for an answer on a slow machine; without --stream none comes before the end of the input


def answer(output: FileIO, end: bytes) -> bytes:
    """Returns the output up to an end, within a time limit."""
    found, limit = b"", time.monotonic() + SECONDS
    while not found.endswith(end):
        ready, _, _ = select.select([output], [], [], max(0, limit - time.monotonic()))
        assert ready, f"no answer after {found!r}"
        data = output.read(1 << 16)
        assert data, f"the output ends after {found!r}"
        found += data
    return found


@pytest.mark.parametrize(
    ("input_format", "records", "end"),
    [
        ("jsonl", [b'{"tokens": ["Ada", "lives"]}\n', b'{"tokens": ["Alan"]}\n'], b"\n"),
        ("lines", [b"Ada lives .\n", b"Alan .\n"], b"\n\n"),
        ("text", [b"Ada lives.\n", b"Alan.\n"], b"\n"),
        ("columns", [b"Ada O\nlives O\n\n", b"Alan O\n\n"], b"\n\n"),
    ],
)
def test_each_record_is_answered_before_the_next_is_written(
    model_path: Path, tmp_path: Path, input_format: str, records: list[bytes], end: bytes
) -> None:
    for name in ("in", "out"):
        os.mkfifo(tmp_path / name)
    arguments = ["tag", "-", "--model", str(model_path), "--device", "cpu", "--stream", "--from", input_format]
    process = child(command_with_streams, arguments, tmp_path, ("in", "out", "errors"))
    with FileIO(tmp_path / "in", "w") as source, FileIO(tmp_path / "out") as output:
        for record in records:
            source.write(record)
            word = re.search(rb"A(da|lan)", record)
            assert word is not None
            assert word[0] in answer(output, end)
        source.close()
        assert ended(process, SECONDS) == 0


class Pipe(BytesIO):
    """An input whose lines arrive one at a time; notes what was written before each is read."""

    def __init__(self, lines: list[bytes], out: BytesIO) -> None:
        super().__init__()
        self._lines, self._out = lines, out
        self.written: list[int] = []

    def read1(self, size: int | None = -1) -> bytes:
        self.written.append(self._out.getvalue().count(b"Ada"))
        return self._lines.pop(0) if self._lines else b""


@pytest.mark.parametrize(
    ("input_format", "lines", "answers"),
    [
        ("jsonl", [b'{"tokens": ["Ada"]}\n'] * 3, [0, 1, 2, 3]),
        ("lines", [b"Ada\n", b"\n", b"Ada\n"], [0, 1, 1, 2]),
        ("columns", [b"Ada O\n", b"\n", b"\n", b"Ada O\n", b" \n", b"Ada O\n"], [0, 0, 1, 1, 1, 2, 2]),
        ("conllu", [b"1\tAda" + b"\t_" * 8 + b"\n", b"\n"] * 2, [0, 0, 1, 1, 2]),
    ],
)
def test_the_output_is_that_of_a_file_and_comes_as_soon_as_it_can(
    model_path: Path, input_format: str, lines: list[bytes], answers: list[int]
) -> None:
    model = tagger.load(model_path, device="cpu")
    formats = Formats(input_format)  # type: ignore[arg-type]
    whole, out = BytesIO(), BytesIO()
    local.run(model, Job((STDIN,), model_path, formats), (BytesIO(b"".join(lines)), whole))
    pipe = Pipe(list(lines), out)
    local.run(model, Job((STDIN,), model_path, formats, stream=True), (pipe, out))
    assert out.getvalue() == whole.getvalue()
    assert pipe.written[: len(answers)] == answers


@pytest.mark.parametrize("options", [{"out": Path("x")}, {"paths": (Path("a"),)}, {"paths": (STDIN, Path("a"))}])
def test_a_stream_takes_neither_files_nor_a_folder(model_path: Path, options: dict[str, object]) -> None:
    model = tagger.load(model_path, device="cpu")
    job = Job(**{"paths": (STDIN,), "model": model_path, "stream": True} | options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`stream` reads - and writes one stream; pass neither files nor `out`"):
        local.run(model, job, (BytesIO(), BytesIO()))
