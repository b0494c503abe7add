"""A folder of pages gets an index page, once, under the same rules as every output."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import tagger
from tagger.errors import DataError, StorageError
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine as local
from tagger.jobs.local.folder import JOB_FOLDER, OutputFolder
from tagger.tagging import Tagger


@pytest.fixture
def model(model_path: Path) -> Tagger:
    return tagger.load(model_path, device="cpu")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("Ada lives .\n\nAlan .\n")
    (tmp_path / "in" / "sub" / "b.txt").write_text("lives .\n" * 3)
    return tmp_path / "in"


def into(model: Tagger, model_path: Path, out: Path, *paths: Path, to: str = "html", **options: Any) -> None:
    formats = Formats("lines", to)  # type: ignore[arg-type]
    local.run(model, Job(paths, model_path, formats, out=out, **options), (BytesIO(), BytesIO()))


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def cells(index: bytes) -> list[str]:
    return re.findall(r"<td>(.*?)</td>", index.decode())


def test_the_index_of_a_folder_counts_sentences_and_spans(model: Tagger, model_path: Path, texts: Path) -> None:
    out = texts.parent / "out"
    into(model, model_path, out, texts)
    assert sorted(files(out)) == ["a.html", "index.html", "sub/b.html"]
    index = (out / "index.html").read_bytes()
    assert cells(index) == [
        '<a dir="auto" href="a.html">a.html</a>', "2", "2", '<a dir="auto" href="sub/b.html">sub/b.html</a>', "3", "0"
    ]  # fmt: skip
    page = (out / "a.html").read_bytes()
    assert page.count(b'<span class="c7" dir="auto">PER</span>') == 1


def test_only_several_pages_have_an_index(model: Tagger, model_path: Path, texts: Path) -> None:
    into(model, model_path, texts.parent / "one", texts / "a.txt")
    into(model, model_path, texts.parent / "rows", texts, to="jsonl")
    assert sorted(files(texts.parent / "one")) == ["a.html"]
    assert sorted(files(texts.parent / "rows")) == ["a.jsonl", "sub/b.jsonl"]


def test_the_page_of_an_input_takes_the_place_of_the_index(
    model: Tagger, model_path: Path, texts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (texts / "index.txt").write_text("Ada .\n")
    caplog.set_level("INFO")
    into(model, model_path, texts.parent / "out", texts)
    assert b"<article" in (texts.parent / "out" / "index.html").read_bytes()
    assert "index.html: is the page of an input, so the job writes no index page" in caplog.text


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_an_existing_index_is_not_touched_unless_it_may_be_replaced(
    model: Tagger, model_path: Path, texts: Path, kind: str
) -> None:
    out = texts.parent / "out"
    out.mkdir()
    index = out / "index.html"
    make = {"file": lambda: index.write_text("mine"), "folder": index.mkdir, "link": lambda: index.symlink_to("x")}
    make[kind]()  # type: ignore[operator]
    with pytest.raises(StorageError, match=r"index\.html: (exists; choose|is a folder, but an output)"):
        into(model, model_path, out, texts)
    assert [path.name for path in out.iterdir()] == ["index.html"]
    if kind != "folder":
        into(model, model_path, out, texts, overwrite=True)
        assert len(cells(index.read_bytes())) == 6


def test_another_output_of_the_job_may_not_have_the_path_of_the_index(
    model: Tagger, model_path: Path, texts: Path
) -> None:
    out = texts.parent / "out"
    with pytest.raises(DataError, match=r"index\.html: is written by the job itself, and `summary` would overwrite it"):
        into(model, model_path, out, texts, summary=out / "index.html")


class Killed(BaseException):
    """Ends a job like a kill."""


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("step", ["write", "publish", "_publish_index", "_remove"])
@pytest.mark.parametrize("after", [False, True])
def test_a_job_that_is_killed_at_any_step_resumes_to_the_same_index(
    model: Tagger,
    model_path: Path,
    texts: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    after: bool,
    overwrite: bool,
) -> None:
    into(model, model_path, texts.parent / "whole", texts)
    out, original = texts.parent / "out", getattr(OutputFolder, step)
    expected = {name: data.replace(b"whole", b"out") for name, data in files(texts.parent / "whole").items()}

    def kill(folder: OutputFolder, *arguments: Any) -> None:
        if step == "publish" and not folder.state.pools:
            original(folder, *arguments)
            return
        if after:
            original(folder, *arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, step, kill)
        with pytest.raises(Killed):
            into(model, model_path, out, texts, overwrite=overwrite)
    is_complete = step == "_remove" and after
    into(model, model_path, out, texts, overwrite=overwrite or is_complete, resume=True)
    assert files(out) == expected
    assert not (out / JOB_FOLDER).exists()
