"""Files tagged on this machine: formats, columns, schemes, and what must not be overwritten."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import tagger
from tagger.data.formats.columns import Layout
from tagger.errors import ConfigError, DataError
from tagger.jobs import job, local
from tagger.jobs.inputs import STDIN
from tagger.jobs.job import Formats, Job
from tagger.jobs.summary import Summary
from tagger.tagging import Tagger


@pytest.fixture
def model(model_dir: Path) -> Tagger:
    """The model that has learned the tiny corpus, two columns wide."""
    return tagger.load(model_dir, device="cpu")


def tagged(model: Tagger, text: str, formats: Formats) -> str:
    """Returns what a stream of text is tagged as."""
    out = BytesIO()
    local.run(model, Job((STDIN,), Path("unread"), formats), (BytesIO(text.encode()), out))
    return out.getvalue().decode()


def into(model: Tagger, model_dir: Path, out: Path, *paths: Path, **options: Any) -> Summary:
    """Tags files into a directory; returns the summary."""
    return local.run(model, Job(paths, model_dir, out=out, **options), (BytesIO(), BytesIO()))


@pytest.mark.parametrize(
    ("name", "trained", "form"),
    [("a.conll", "conllu", "columns"), ("a.txt", "conllu", "conllu"), ("a.txt", "columns", "columns"),
     ("a.conllu.gz", "columns", "conllu"), ("a.txt", "datasets", "columns")],
)  # fmt: skip
def test_a_name_tells_a_tagged_files_format_before_the_training_does(
    model: Tagger, name: str, trained: str, form: str
) -> None:
    config = model.bundle.config
    data = config.data.model_copy(update={"format": trained})
    object.__setattr__(model.bundle, "config", config.model_copy(update={"data": data}))
    assert job.tagged_format(model.bundle, Path(name)) == form


def test_a_wider_file_gets_its_tags_where_the_training_had_them(model: Tagger) -> None:
    assert tagged(model, "Ada ? x\nlives ? y\n", Formats("columns")) == "Ada S-PER x\nlives O y\n"


def test_a_narrower_file_gets_a_new_column(model: Tagger) -> None:
    assert tagged(model, "Ada\nlives\n", Formats("columns")) == "Ada S-PER\nlives O\n"


@pytest.mark.parametrize(("tag", "line"), [(-1, "Ada x S-PER\n"), (2, "Ada x S-PER\n"), (3, "Ada x ? S-PER\n")])
def test_the_tag_column_can_be_chosen(model: Tagger, tag: int, line: str) -> None:
    given = "Ada x ?\nlives x ?\n"
    assert tagged(model, given, Formats("columns", tag=tag)).startswith(line)


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [("IOB1", "I-LOC I-LOC"), ("IOB2", "B-LOC I-LOC"), ("IOBES", "B-LOC E-LOC"), (None, "B-LOC E-LOC")],
)
def test_spans_are_spelt_in_the_scheme_that_is_asked_for(model: Tagger, scheme: str, tags: str) -> None:
    text = tagged(model, "Ada lives in New York .\n", Formats(scheme=scheme))
    assert [line.split()[1] for line in text.splitlines()[3:5]] == tags.split()


def test_plain_tags_have_no_scheme_to_be_spelt_in(model: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model.bundle), "scheme", None)
    with pytest.raises(ConfigError, match="plain"):
        tagged(model, "Ada\n", Formats(scheme="IOB2"))


def test_a_layout_of_other_formats_never_points_at_a_column_that_may_hold_something(model: Tagger) -> None:
    assert job.layout(model.bundle, "lines") == Layout(0, None)
    assert job.layout(model.bundle, "conllu").tag == "misc:NER"
    assert job.layout(model.bundle, "columns") == Layout(0, 1, ("token", "ner"))


def test_nothing_is_written_if_one_of_the_inputs_is_missing(model: Tagger, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada\n")
    with pytest.raises(DataError, match=r"b\.txt: no such file"):
        into(model, model_dir, tmp_path / "out", tmp_path / "a.txt", tmp_path / "b.txt")
    assert not (tmp_path / "out").exists()
