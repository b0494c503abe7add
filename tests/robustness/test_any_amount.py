"""Tagging streams: what it holds does not grow with its input, nor with the number of files; a full disk costs a line.

By default the input is 0.6 MB, and its second half may add 3 MB: a job that kept what it reads adds 12 MB, one
that remembered all its words 8 MB. TAGGER_TEST_SCALE=10 makes it 100 MB, which may add 50 MB after the first 10.
"""

from io import BytesIO
from pathlib import Path

import pytest

import tagger
from tagger.errors import StorageError
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine as local
from tagger.jobs.local import folder
from tagger.tagging.cached_scorer import CACHE_BYTES
from tests.robustness.runs import SCALE, child, corpus, ended, tag_measured, tree
from tests.robustness.test_crash_while_saving import small_disk

LINE = b"Ada lives in New York . Grace works in Oslo and Paris , as Alan did before .\n"  # 18 tokens, 77 bytes


def new(number: int) -> bytes:
    """Returns a line of which six words stand in no other."""
    return LINE.replace(b"a", b"a%08d" % number)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no resident size on this system")
@pytest.mark.parametrize("count", [1, 300 if SCALE == 1 else 1000])
def test_the_resident_size_does_not_grow_with_the_input(model_path: Path, tmp_path: Path, count: int) -> None:
    size, first, most = (600_000, 300_000, 3e6) if SCALE == 1 else (SCALE * 10_000_000, 10_000_000, 50e6)
    lines = size // len(new(0))
    (tmp_path / "in").mkdir()
    for number in range(count):
        with (tmp_path / "in" / f"{number}.txt").open("wb") as stream:
            stream.writelines(new(number * lines + place) for place in range(lines // count))
    tokens = 18 * first // len(new(0))
    remembered = 2**20 if SCALE == 1 else CACHE_BYTES
    process = child(
        tag_measured, tmp_path / "in", model_path, tmp_path / "out", tokens, remembered, tmp_path / "report"
    )
    assert ended(process, 3600) == 0
    assert int((tmp_path / "report").read_text()) < most


def test_a_full_disk_is_one_error_line_and_the_job_can_resume(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "COMMIT_SECONDS", 0)
    monkeypatch.setattr(folder, "_COMMIT_INTERVAL_RATIO", 0)
    source = corpus(tmp_path / "in", sentences=200, files=3)
    model = tagger.load(model_path, device="cpu")

    def run(out: Path, *, resume: bool = False) -> dict[str, bytes]:
        job = Job((source,), model_path, Formats("lines", "jsonl"), out=out, on_error="skip", resume=resume)
        local.run(model, job, (BytesIO(), BytesIO()))
        return tree(out)

    expected = run(tmp_path / "whole")
    with small_disk(50_000), pytest.raises(StorageError, match=r"^\S*out: cannot be written: .+$") as raised:
        run(tmp_path / "out")
    assert len(raised.value.faults) == 1
    assert all(name.startswith(".") for name in tree(tmp_path / "out"))
    assert run(tmp_path / "out", resume=True) == expected


def test_a_disk_that_is_full_from_the_start_is_not_changed(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(LINE * 200)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.conll").write_text("old")
    job = Job((tmp_path / "a.txt",), model_path, Formats("lines"), out=tmp_path / "out", overwrite=True)
    model = tagger.load(model_path, device="cpu")
    with small_disk(2000), pytest.raises(StorageError, match="cannot be written"):
        local.run(model, job, (BytesIO(), BytesIO()))
    assert tree(tmp_path / "out") == {"a.conll": b"old"}
