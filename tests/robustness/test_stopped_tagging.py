"""A tagging job asked to stop leaves at once, with the signal's exit code, and can be gone on with.

By default a signal of each kind; TAGGER_TEST_SCALE=10 makes them 20.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tagger.jobs.local.folder import JOURNAL
from tests.robustness.runs import (
    SCALE,
    child,
    corpus,
    ended,
    leisurely_tag_command,
    slow_tag_command,
    spread,
    tag_command,
    tree,
    wait_for,
)


def command(source: Path, model: Path, out: Path) -> list[str]:
    return [
        "tag",
        str(source),
        "--model",
        str(model),
        "--out",
        str(out),
        "--from",
        "lines",
        "--on-error",
        "skip",
        "--device",
        "cpu",
    ]


def committed(journal: Path) -> None:
    """Waits until a job has written something that can be gone on with."""
    wait_for(journal)
    end = time.monotonic() + 60
    while journal.exists() and journal.read_bytes().count(b"\n") < 2:
        assert time.monotonic() < end, "nothing was committed"
        time.sleep(0.005)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_job_within_two_seconds_and_it_can_resume(
    model_path: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    source = corpus(tmp_path / "in", sentences=3000, files=30)
    assert ended(child(tag_command, command(source, model_path, tmp_path / "whole"))) == 3
    for number, seconds in enumerate(spread(SCALE, seed=int(signum), upto=0.5)):
        out = tmp_path / str(number)
        process = child(leisurely_tag_command, command(source, model_path, out))
        committed(out / JOURNAL)
        time.sleep(seconds)
        os.kill(process.pid or 0, signum)
        assert ended(process, 2) == 128 + signum
        assert (out / JOURNAL).exists()
        assert ended(child(tag_command, [*command(source, model_path, out), "--resume"])) == 3
        assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_waits_for_its_input_stops_too(model_path: Path, tmp_path: Path, signum: signal.Signals) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    process = child(tag_command, command(tmp_path / "pipe.txt", model_path, tmp_path / "out"))
    wait_for(tmp_path / "out" / JOURNAL)
    with (tmp_path / "pipe.txt").open("wb", buffering=0) as pipe:
        pipe.write(b"Ada lives in Oslo .\n" * 110)
        committed(tmp_path / "out" / JOURNAL)
        os.kill(process.pid or 0, signum)
        assert ended(process, 2) == 128 + signum
    assert "pipe.conll" not in tree(tmp_path / "out")


def test_a_second_signal_stops_at_once(model_path: Path, tmp_path: Path) -> None:
    source = corpus(tmp_path / "in", sentences=3000, files=0)
    process = child(slow_tag_command, command(source, model_path, tmp_path / "out"))
    committed(tmp_path / "out" / JOURNAL)
    os.kill(process.pid or 0, signal.SIGINT)
    time.sleep(0.3)
    assert process.is_alive()
    os.kill(process.pid or 0, signal.SIGTERM)
    assert ended(process, 2) == 143


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_job_without_a_directory_stops_at_once_without_a_traceback(model_path: Path, signum: signal.Signals) -> None:
    arguments = [
        sys.executable,
        "-m",
        "tagger",
        "tag",
        "-",
        "--from",
        "lines",
        "--model",
        str(model_path),
        "--device",
        "cpu",
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(arguments, **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(b"Ada lives in Oslo .\n" * 110)
        process.stdin.flush()
        assert process.stdout.readline() == b"Ada S-PER\n"
        process.send_signal(signum)
        assert process.wait(2) == 128 + signum
        assert process.stderr.read().decode() == f"stopped by {signum.name}\n"


def test_a_second_job_is_refused_and_the_first_continues(model_path: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    first = child(tag_command, command(tmp_path / "pipe.txt", model_path, tmp_path / "out"))
    wait_for(tmp_path / "out" / JOURNAL)
    (tmp_path / "other.txt").write_text("Alan\n")
    for resume in [[], ["--resume"]] * SCALE:
        second = child(tag_command, [*command(tmp_path / "other.txt", model_path, tmp_path / "out"), *resume])
        assert ended(second) == 2
    with (tmp_path / "pipe.txt").open("wb") as pipe:
        pipe.write(b"Ada\n")
    assert ended(first) == 0
    assert set(tree(tmp_path / "out")) == {"pipe.conll", "rejects.jsonl"}
