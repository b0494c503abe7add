"""A tagging job killed at any moment ends, resumed, with the outputs of the job never killed.

By default 5 kills; TAGGER_TEST_SCALE=10 makes them 50.
"""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import tagger
from tagger.errors import StorageError
from tagger.io import atomic
from tagger.jobs import pools
from tagger.jobs.inputs import STDIN
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine as local
from tagger.jobs.local import folder
from tagger.tagging import Tagger
from tests.robustness.runs import (
    SCALE,
    child,
    corpus,
    ended,
    killed_after,
    leisurely_tag_command,
    spread,
    tree,
    wait_for,
)


def command(source: Path, model: Path, out: Path) -> list[str]:
    options = ["--model", str(model), "--out", str(out), "--summary", str(out) + ".json", "--device", "cpu"]
    return ["tag", str(source), *options, "--from", "lines", "--to", "jsonl", "--on-error", "skip", "--resume"]


def results(out: Path) -> dict[str, Any]:
    """Returns all that must be the same of two jobs: every file, and the summary but for times."""
    summary = json.loads(Path(f"{out}.json").read_text())
    return {"files": tree(out), "summary": {key: value for key, value in summary.items() if "second" not in key}}


def test_a_repeatedly_killed_job_has_the_outputs_of_an_uninterrupted_one(model_path: Path, tmp_path: Path) -> None:
    source = corpus(tmp_path / "in", sentences=700 if SCALE == 1 else 2000, files=60)
    began = time.monotonic()
    assert ended(child(leisurely_tag_command, command(source, model_path, tmp_path / "whole"))) == 3
    seconds = iter(spread(1000 * SCALE, seed=4, upto=0.6 * (time.monotonic() - began)))
    expected = results(tmp_path / "whole")
    assert len(expected["files"]) == 60 + 2 + 1  # the rejects have a file, the spoilt input has none
    out, kills, resumed = tmp_path / "out0", 0, 0
    while kills < 5 * SCALE:
        process = child(leisurely_tag_command, command(source, model_path, out))
        wait_for(out / folder.JOURNAL)
        if killed_after(process, next(seconds)):
            kills += 1
            resumed += (out / folder.JOURNAL).read_bytes().count(b"\n") > 1
        else:
            assert results(out) == expected
            out = tmp_path / f"out{kills}"
    assert ended(child(leisurely_tag_command, command(source, model_path, out))) == 3
    assert results(out) == expected
    assert resumed


class _Crash(BaseException):
    """What no handler of errors stops."""


class _Failing:
    """Counts calls that change the disk and raises at one of them; what was to be written is then half written."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
        self.calls, self.at, self.error = 0, at, error
        for place, name in (
            (os, "fsync"),
            (os, "link"),
            (Path, "replace"),
            (Path, "rename"),
            (Path, "mkdir"),
            (os, "ftruncate"),
        ):
            patch.setattr(place, name, self._counting(getattr(place, name), lambda *_: None))
        patch.setattr(atomic, "write_from", self._counting(atomic.write_from, self._half(atomic.write_from)))
        unlink = Path.unlink  # clearing up works on a full disk
        if isinstance(error, _Crash):
            patch.setattr(Path, "unlink", self._counting(unlink, lambda *_: None))
            patch.setattr(Path, "rmdir", self._counting(Path.rmdir, lambda *_: None))

    def _half(self, extend: Callable[..., None]) -> Callable[..., None]:
        return lambda path, data, at: extend(path, data[: len(data) // 2], at)

    def _counting(self, act: Callable[..., Any], last: Callable[..., None]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                last(*arguments)
                raise self.error
            return act(*arguments, **options)

        return call


def _broken_off(at: int, error: BaseException, run: Callable[[], object]) -> bool:
    """Runs until a call breaks off; tells whether there were so many calls."""
    with pytest.MonkeyPatch.context() as patch:
        failing = _Failing(patch, at, error)
        with suppress(_Crash, StorageError):
            run()
    return failing.calls >= at


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, model_path: Path) -> Iterator[Tagger]:
    """A tagger whose jobs have small pools, each of them committed."""
    monkeypatch.setattr(pools, "POOL_TOKENS", 150)
    monkeypatch.setattr(pools, "_FIRST_TOKENS", 60)
    monkeypatch.setattr(folder, "COMMIT_SECONDS", 0)
    monkeypatch.setattr(folder, "_COMMIT_INTERVAL_RATIO", 0)
    return tagger.load(model_path, device="cpu")


@pytest.mark.parametrize(
    "error", [_Crash(), OSError(errno.ENOSPC, "No space left on device")], ids=["crash", "full disk"]
)
def test_a_job_interrupted_at_any_call_resumes_with_the_outputs_of_an_uninterrupted_one(
    small: Tagger, model_path: Path, tmp_path: Path, error: BaseException
) -> None:
    source = corpus(tmp_path / "in", sentences=24, files=4)

    def job(out: Path, **options: Any) -> dict[str, Any]:
        formats = Formats("lines", "jsonl")
        job = Job((source,), model_path, formats, out=out, on_error="skip", **options)
        summary = local.run(small, job, (BytesIO(), BytesIO())).to_json()
        return {key: value for key, value in summary.items() if "second" not in key}

    expected = job(tmp_path / "whole"), tree(tmp_path / "whole")
    for at in range(1, 1000):
        out = tmp_path / f"out{at}"
        if not _broken_off(at, error, partial(job, out)):
            break
        for name, data in tree(out).items() if out.exists() else ():
            assert name.startswith(".") or data == expected[1][name]
        left = {name: data for name, data in tree(out).items() if name != ".tagger.lock"} if out.exists() else {}
        if left == expected[1]:  # the job's last act, the removal of its own folder, broke off
            shutil.rmtree(out)
        assert (job(out, resume=True), tree(out)) == expected, f"broken off at call {at}"
    assert at > 50


def test_without_resume_an_unfinished_job_is_replaced_with_a_notice(
    small: Tagger, model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("Ada lives in Oslo .\n" * 100)
    job = Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=tmp_path / "out")
    assert _broken_off(20, _Crash(), lambda: local.run(small, job, (BytesIO(), BytesIO())))
    assert (tmp_path / "out" / folder.JOB_FOLDER / "part-000000").exists()
    (tmp_path / "b.txt").write_text("Ada\n")
    caplog.set_level("INFO")
    local.run(
        small, Job((tmp_path / "b.txt",), model_path, Formats("lines"), out=tmp_path / "out"), (BytesIO(), BytesIO())
    )
    assert list(tree(tmp_path / "out")) == ["b.conll"]
    assert "`resume=True` would have continued it" in caplog.text


def test_a_killed_job_on_a_stream_resumes_with_the_same_stream(small: Tagger, model_path: Path, tmp_path: Path) -> None:
    text = "Ada lives in Oslo .\n\nAlan works .\n" * 100
    expected = BytesIO()
    local.run(small, Job((STDIN,), model_path, Formats("lines")), (BytesIO(text.encode()), expected))
    job = Job((STDIN,), model_path, Formats("lines"), out=tmp_path / "out", resume=True)
    for at in (12, 25):
        assert _broken_off(at, _Crash(), lambda: local.run(small, job, (BytesIO(text.encode()), BytesIO())))
    local.run(small, job, (BytesIO(text.encode()), BytesIO()))
    assert tree(tmp_path / "out") == {"stdin.conll": expected.getvalue()}
