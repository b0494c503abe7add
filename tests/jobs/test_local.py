"""Files tagged on this machine: formats, columns, schemes, and what must not be overwritten."""

import base64
import gc
import gzip
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from typer.testing import CliRunner

import tagger
from tagger import model_dir
from tagger.choices import OutputFormat
from tagger.cli import app
from tagger.data import data_settings
from tagger.data.formats import Layout
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError, Stopped, StorageError
from tagger.io import atomic, line_reader
from tagger.jobs import pools
from tagger.jobs.inputs import STDIN
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine as local
from tagger.jobs.local.folder import JOB_FOLDER, JOURNAL, OutputFolder
from tagger.jobs.summary import Summary
from tagger.tagging import DecodingOptions, Tagger
from tests.tagging.models import make_model, sentences


@pytest.fixture
def model(model_path: Path) -> Tagger:
    """The model that has learned the tiny corpus, two columns wide."""
    return tagger.load(model_path, device="cpu")


def tagged(model: Tagger, text: str, formats: Formats) -> str:
    """Returns what a stream of text is tagged as."""
    out = BytesIO()
    local.run(model, Job((STDIN,), Path("unread"), formats), (BytesIO(text.encode()), out))
    return out.getvalue().decode()


def into(model: Tagger, model_path: Path, out: Path, *paths: Path, **options: Any) -> Summary:
    """Tags files into a directory; returns the summary."""
    return local.run(model, Job(paths, model_path, out=out, **options), (BytesIO(), BytesIO()))


@pytest.mark.parametrize(
    ("name", "trained", "form"),
    [("a.conll", "conllu", "columns"), ("a.txt", "conllu", "conllu"), ("a.txt", "columns", "columns"),
     ("a.conllu.gz", "columns", "conllu"), ("a.txt", "datasets", "columns")],
)  # fmt: skip
def test_a_name_tells_a_tagged_files_format_before_the_training_does(
    model: Tagger, name: str, trained: str, form: str
) -> None:
    config = model.model.config
    data = config.data.model_copy(update={"format": trained})
    object.__setattr__(model.model, "config", config.model_copy(update={"data": data}))
    assert data_settings.guess_tagged_format(Path(name), model.model.config.data) == form


def test_a_wider_file_gets_its_tags_where_the_training_had_them(model: Tagger) -> None:
    assert tagged(model, "Ada ? x\nlives ? y\n", Formats("columns")) == "Ada S-PER x\nlives O y\n"


def test_a_narrower_file_gets_a_new_column(model: Tagger) -> None:
    assert tagged(model, "Ada\nlives\n", Formats("columns")) == "Ada S-PER\nlives O\n"


@pytest.mark.parametrize(("tag", "line"), [(-1, "Ada x S-PER\n"), (2, "Ada x S-PER\n"), (3, "Ada x ? S-PER\n")])
def test_the_tag_column_can_be_chosen(model: Tagger, tag: int, line: str) -> None:
    given = "Ada x ?\nlives x ?\n"
    assert tagged(model, given, Formats("columns", tag_column=tag)).startswith(line)


@pytest.mark.parametrize(("token", "tag"), [(None, 0), (None, 4), (None, -4), (1, 1), (1, -2)])
def test_a_tag_column_that_a_file_has_no_place_for_is_refused(model: Tagger, token: int | None, tag: int) -> None:
    with pytest.raises(
        DataError, match=f"1: tags cannot be written to column {tag} of 'Ada x \\?'; expected a column other than"
    ):
        tagged(model, "Ada x ?\nlives x ?\n", Formats("columns", token_column=token, tag_column=tag))


def test_parquet_does_not_come_from_the_standard_input(model: Tagger) -> None:
    with pytest.raises(ConfigError, match="Parquet is read from files only"):
        tagged(model, "", Formats("parquet", "jsonl"))


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [("IOB1", "I-LOC I-LOC"), ("IOB2", "B-LOC I-LOC"), ("IOBES", "B-LOC E-LOC"), (None, "B-LOC E-LOC")],
)
def test_spans_are_spelt_in_the_scheme_that_is_asked_for(model: Tagger, scheme: str, tags: str) -> None:
    text = tagged(model, "Ada lives in New York .\n", Formats("lines", scheme=scheme))
    assert [line.split()[1] for line in text.splitlines()[3:5]] == tags.split()


def test_plain_tags_have_no_scheme_to_be_spelt_in(model: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model.model), "scheme", None)
    with pytest.raises(ConfigError, match="plain"):
        tagged(model, "Ada\n", Formats(scheme="IOB2"))


@pytest.mark.parametrize(
    ("formats", "fault"),
    [
        (
            Formats("lines", token_column=0),
            "`token_column` has no effect from lines to columns; it is for input in columns",
        ),
        (
            Formats("lines", tag_column=1),
            "`tag_column` has no effect from lines to columns; it is for columns, csv and pipes that are",
        ),
        (Formats("columns", "jsonl", tag_column=1), "`tag_column` has no effect from columns to jsonl"),
        (Formats("conllu", "columns", tag_column="upos"), "`tag_column` has no effect from conllu to columns"),
        (
            Formats("lines", language="en"),
            "`language` has no effect from lines to columns; it is for text, jsonl, json, parquet and brat",
        ),
        (
            Formats("lines", "html", scheme="IOB2"),
            "`scheme` has no effect from lines to html; it is for output with tags",
        ),
    ],
)
def test_an_option_without_effect_is_refused(model: Tagger, formats: Formats, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        tagged(model, "Ada\n", formats)


def test_an_option_may_bear_on_one_of_the_inputs(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    for name, text in (("a.txt", "Ada\n"), ("b.conll", "x Ada\nx lives\n"), ("c.jsonl", '{"text": "Ada"}\n')):
        (tmp_path / name).write_text(text)
    formats, paths = Formats(token_column=1, tag_column=0, language="de"), sorted(tmp_path.iterdir())
    into(model, model_path, tmp_path / "out", *paths, formats=formats)
    assert (tmp_path / "out" / "b.conll").read_text() == "S-PER Ada\nO lives\n"
    with pytest.raises(ConfigError) as caught:
        into(model, model_path, tmp_path / "out", paths[0], formats=replace(formats, input_format="lines"))
    assert [fault.split()[0] for fault in caught.value.faults] == ["`token_column`", "`tag_column`", "`language`"]


@pytest.mark.parametrize("to", ["tsv", "html"])
def test_plain_tags_have_no_spans_to_be_written(model: Tagger, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    monkeypatch.setattr(type(model.model), "scheme", None)
    with pytest.raises(
        ConfigError, match=f"the model's tags are plain; {to} has spans only, choose another `output_format`"
    ):
        tagged(model, "Ada\n", Formats(output_format=to))


def test_a_layout_of_other_formats_never_points_at_a_column_that_may_hold_something(model: Tagger) -> None:
    data = model.model.config.data
    assert data_settings.find_layout(data, "lines") == Layout(0, None)
    assert data_settings.find_layout(data, "conllu").tag == "misc:NER"
    assert data_settings.find_layout(data, "columns") == Layout(0, 1, ("token", "ner"))


def test_the_texts_of_a_brat_folder_are_tagged_without_its_annotations(
    model: Tagger, model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.txt", "a.ann", "b.txt"):
        (folder / name).write_text("Ada lives in Oslo.\n")
    with caplog.at_level("INFO", logger="tagger"):
        into(model, model_path, tmp_path / "out", folder)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jsonl", "b.jsonl"]
    assert f"{folder}/a.ann: annotations of brat are not read, only their texts" in caplog.text
    into(model, model_path, tmp_path / "named", folder / "a.txt", folder / "a.ann")
    assert [path.name for path in (tmp_path / "named").iterdir()] == ["a.jsonl"]


def brat_folder(folder: Path) -> dict[str, str]:
    """Fills a folder of brat; returns its texts by name."""
    texts = {"a.txt": "\ufeffAda lives in Oslo.\r\n\nAlan\n", "sub/b.txt": "Ada"}
    (folder / "sub").mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, newline="")
        (folder / name).with_suffix(".ann").write_text("T1\tOLD 0 1\tx\n")
    (folder / "annotation.conf").write_text("[entities]\nOLD\n")
    return texts


@pytest.mark.parametrize("formats", [Formats("brat"), Formats(None, "brat")])
def test_a_folder_of_brat_is_tagged_as_such_a_folder(
    model: Tagger, model_path: Path, tmp_path: Path, formats: Formats
) -> None:
    texts = brat_folder(tmp_path / "in")
    into(model, model_path, tmp_path / "out", tmp_path / "in", formats=formats)
    written = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes().decode()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert written.keys() == {"a.txt", "a.ann", "sub/b.txt", "sub/b.ann"}
    assert {name: written[name] for name in texts} == texts
    rows = [line.split("\t") for name in ("a.ann", "sub/b.ann") for line in written[name].splitlines()]
    assert {row[1].split()[0] for row in rows} <= {"PER", "LOC"}
    assert "T1\tPER 1 4\tAda\n" in written["a.ann"]
    again = tmp_path / "again"
    into(model, model_path, again, tmp_path / "out" / "a.ann")
    assert (again / "a.ann").read_text() == written["a.ann"]


def test_texts_that_are_not_of_the_job_are_never_replaced(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    brat_folder(tmp_path / "in")
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "b.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"b\.txt: exists; choose another `out`"):
        into(model, model_path, out, tmp_path / "in", formats=Formats("brat"))
    assert [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()] == ["sub/b.txt"]
    with pytest.raises(DataError, match="would be overwritten by its own output"):
        into(model, model_path, tmp_path / "in", tmp_path / "in" / "a.txt", formats=Formats(None, "brat"))


def test_a_job_that_was_stopped_between_a_text_and_its_annotations_resumes(
    model: Tagger, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = brat_folder(tmp_path / "in")
    out, publish = tmp_path / "out", atomic.publish

    def stop(part: Path, path: Path, *, overwrite: bool) -> None:
        if path.suffix == ".ann":
            raise KeyboardInterrupt
        publish(part, path, overwrite=overwrite)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            into(model, model_path, out, tmp_path / "in", formats=Formats("brat"))
    assert (out / "a.txt").exists()
    into(model, model_path, out, tmp_path / "in", formats=Formats("brat"), resume=True)
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {*texts, *(name.replace(".txt", ".ann") for name in texts)}


@pytest.mark.parametrize("output_format", ["brat", "spacy", "label-studio", "parquet"])
def test_a_format_that_ends_with_its_file_needs_a_directory(model: Tagger, output_format: OutputFormat) -> None:
    with pytest.raises(ConfigError, match=f"{output_format} is written to files only; pass a directory as `out`"):
        tagged(model, "Ada\n", Formats("text", output_format))


def test_brat_needs_texts(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Ada"}\n')
    with pytest.raises(ConfigError, match="but jsonl has many; write jsonl, and convert it to brat"):
        into(model, model_path, tmp_path / "out", tmp_path / "a.jsonl", formats=Formats(None, "brat"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "a.txt").write_text("Ada")
    with pytest.raises(DataError, match=r"a\.txt: no text has annotations \(\.ann\) beside it"):
        into(model, model_path, tmp_path / "out", tmp_path / "a.txt", formats=Formats("brat"))


def test_tasks_for_annotation_tools_hold_predictions(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada lives.\n\nNobody\n")
    into(model, model_path, tmp_path / "out", tmp_path / "a.txt", formats=Formats(None, "label-studio"))
    first, second = json.loads((tmp_path / "out" / "a.json").read_text())
    (prediction,) = first["predictions"]
    assert first["data"]["text"] == "Ada lives."
    assert "annotations" not in first | second
    assert [(each["value"]["text"], each["value"]["labels"]) for each in prediction["result"]] == [("Ada", ["PER"])]
    into(model, model_path, tmp_path / "out", tmp_path / "a.txt", formats=Formats(None, "prodigy"))
    row, _ = map(json.loads, (tmp_path / "out" / "a.jsonl").read_text().splitlines())
    assert (row["spans"][0]["token_end"], "answer" in row) == (0, False)


def test_csv_is_tagged_as_csv(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('word,x\nAda,"1,2"\nlives,""\n')
    into(model, model_path, tmp_path / "out", tmp_path / "a.csv")
    assert (tmp_path / "out" / "a.csv").read_text() == 'word,x,tag\nAda,"1,2",S-PER\nlives,"",O\n'
    (tmp_path / "b.csv").write_text("word\nAda\n")
    job = Job((tmp_path / "a.csv", tmp_path / "b.csv"), model_path)
    with pytest.raises(ConfigError, match="several files in csv would have several headers"):
        local.run(model, job, (BytesIO(), BytesIO()))


def test_nothing_is_written_if_one_of_the_inputs_is_missing(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada\n")
    with pytest.raises(DataError, match=r"b\.txt: no such file"):
        into(model, model_path, tmp_path / "out", tmp_path / "a.txt", tmp_path / "b.txt")
    assert not (tmp_path / "out").exists()


def test_many_inputs_share_pools_and_each_has_its_output(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(50):
        (tmp_path / "in" / f"{number:02}.txt").write_text("Ada lives .\n" * number)
    pools, tag_at_once = [], model.tag_pools

    def tag_pools(given: Iterable[Sequence[Sentence]], answers: DecodingOptions) -> Iterator[list[Sentence]]:
        for pool in given:
            pools.append(len(pool))
            yield from tag_at_once([pool], answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "tag_pools", tag_pools)
        summary = into(model, model_path, tmp_path / "out", tmp_path / "in", formats=Formats("lines"))
    assert pools == [171, 342, 683, 29]  # three tokens each; the records of 50 files
    assert (summary.sentences, summary.tokens) == (1225, 3675)
    for number in range(50):
        assert (tmp_path / "out" / f"{number:02}.conll").read_text() == "Ada S-PER\nlives O\n. O\n\n" * number


@pytest.mark.parametrize("lines", [20, 2000])  # within one pool, and more
def test_of_a_file_spoilt_in_the_middle_what_comes_before_is_kept(
    model: Tagger, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    read = line_reader._read

    def breaking_off(stream: BinaryIO, name: str) -> Iterator[bytes]:
        yield from read(stream, name)
        if name.endswith("b.txt"):
            raise DataError(f"{name}: input/output error")

    monkeypatch.setattr(line_reader, "_read", breaking_off)
    (tmp_path / "a.txt").write_text("Ada lives .\n")
    (tmp_path / "b.txt").write_bytes(b"Ada lives .\n" * lines)
    (tmp_path / "c.txt").write_text("Alan lives .\n")
    (tmp_path / "d.txt.gz").write_text("no gzip")
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt", "d.txt.gz")]
    summary = into(model, model_path, tmp_path / "out", *paths, on_error="skip", formats=Formats("lines"))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.conll", "b.conll", "c.conll", "rejects.jsonl"]
    assert (tmp_path / "out" / "b.conll").read_text() == "Ada S-PER\nlives O\n. O\n\n" * lines
    assert (summary.sentences, summary.rejected, summary.spans) == (lines + 2, 2, {"PER": lines + 2})
    row, other = map(json.loads, (tmp_path / "out" / "rejects.jsonl").read_text().splitlines())
    assert (row["file"], row["line"], row["raw"]) == (str(tmp_path / "b.txt"), None, "")
    assert row["fault"].endswith(f"b.txt: input/output error; read up to line {lines}")
    assert other["fault"].startswith(f"{tmp_path / 'd.txt.gz'}: damaged gzip file: ")
    assert "read up to" not in other["fault"]


@pytest.mark.parametrize("fault", ["flipped", "truncated"])
@pytest.mark.parametrize("lines", [200, 5000])  # within one pool, and more
def test_a_packed_file_whose_bytes_were_changed_or_are_missing_is_set_aside_whole(
    model: Tagger, model_path: Path, tmp_path: Path, lines: int, fault: str
) -> None:
    (tmp_path / "a.txt").write_text("Ada lives .\n")
    packed = bytearray(gzip.compress("".join(f"Ada {7**n % 10**12}\n" for n in range(lines)).encode()))
    assert len(packed) > 1 << 10  # the bytes that are decompressed at once
    packed[-8] ^= 1  # of the checksum
    del packed[len(packed) - 9 * (fault == "truncated") :]
    (tmp_path / "b.txt.gz").write_bytes(packed)
    (tmp_path / "c.txt").write_text("Alan lives .\n")
    paths = [tmp_path / name for name in ("a.txt", "b.txt.gz", "c.txt")]
    summary = into(model, model_path, tmp_path / "out", *paths, on_error="skip", formats=Formats("lines"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.conll", "c.conll", "rejects.jsonl"]
    assert (summary.documents, summary.sentences, summary.rejected, summary.spans) == (2, 2, 1, {"PER": 2})
    row = json.loads((tmp_path / "out" / "rejects.jsonl").read_text())
    assert (row["file"], row["line"], row["raw"]) == (str(tmp_path / "b.txt.gz"), None, "")
    assert row["fault"].startswith(f"{tmp_path / 'b.txt.gz'}: damaged gzip file: ")


def test_of_many_rejects_some_are_told(
    model: Tagger, model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\n" * 50)
    assert into(model, model_path, tmp_path / "out", tmp_path / "a.txt", on_error="skip").rejected == 50
    assert caplog.text.count("rejected") == 21
    assert len((tmp_path / "out" / "rejects.jsonl").read_text().splitlines()) == 50


def test_what_is_set_aside_can_be_had_back_byte_for_byte(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    lines = [b"caf\xe9\n", rb"\xe9" b"\0\n", "é\0\r\n".encode(), b"\xed\xa0\x80"]
    (tmp_path / "a.txt").write_bytes(b"".join(lines))
    (tmp_path / "b.conll").write_bytes(b"Ada O\ncaf\xe9 O\n\n")
    into(model, model_path, tmp_path / "out", *sorted(tmp_path.iterdir()), on_error="skip")
    rows = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text("utf-8").splitlines()]
    found = [base64.b64decode(row["base64"]) if "base64" in row else row["raw"].encode() for row in rows]
    assert found == [*lines, b"Ada O\ncaf\xe9 O\n\n"]
    assert ["base64" in row for row in rows] == [True, False, False, True, True]
    assert rows[0]["raw"] == "caf\\xe9\n"


def broken_off(model: Tagger, model_path: Path, out: Path, *paths: Path) -> None:
    """Leaves a job after its first pool."""

    def callback(*_: object) -> None:
        raise Stopped(2)

    with pytest.raises(Stopped):
        local.run(model, Job(paths, model_path, out=out), (BytesIO(), BytesIO()), callback=callback)


def test_another_job_cannot_be_gone_on_with(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada lives .\n" * 300)
    broken_off(model, model_path, tmp_path / "out", tmp_path / "a.txt")
    before = (tmp_path / "out" / JOURNAL).read_bytes()
    with pytest.raises(
        StorageError, match=r"the unfinished job here is another: `output_format` was None, now 'jsonl'"
    ):
        into(
            model, model_path, tmp_path / "out", tmp_path / "a.txt", resume=True, formats=Formats(output_format="jsonl")
        )
    assert (tmp_path / "out" / JOURNAL).read_bytes() == before
    assert into(model, model_path, tmp_path / "out", tmp_path / "a.txt", resume=True).sentences == 300


def test_resuming_without_a_job_starts_with_a_log_line(
    model: Tagger, model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("Ada lives .\n" * 300)
    caplog.set_level("INFO")
    out, notice = tmp_path / "out", f"{tmp_path / 'out'}: nothing to resume; the job starts from the beginning"
    assert into(model, model_path, out, tmp_path / "a.txt", resume=True).sentences == 300
    assert notice in caplog.messages
    shutil.rmtree(out)
    broken_off(model, model_path, out, tmp_path / "a.txt")
    caplog.clear()
    into(model, model_path, out, tmp_path / "a.txt", resume=True)
    assert notice not in caplog.messages


def test_documents_stay_together_from_file_to_file_and_from_break_to_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "POOL_TOKENS", 40)
    made, directory = make_model(document_context={"output_dim": 9}), tmp_path / "model"
    model_dir.save(made, directory, {})
    reading, paths, expected = Tagger(made, torch.device("cpu")), [], ""
    for name in ("a.conll", "b.conll"):
        given = [
            replace(one, document=number // 3) for number, one in enumerate(sentences(60, longest=9, seed=len(paths)))
        ]
        blocks = []
        for number, found in enumerate(reading.stream(given)):
            blocks += [] if number % 3 else ["-DOCSTART- O\n\n"]
            blocks.append(
                "".join(f"{token} {tag}\n" for token, tag in zip(found.tokens, found.tags, strict=True)) + "\n"
            )
        expected += "".join(blocks)
        paths.append(tmp_path / name)
        paths[-1].write_text(re.sub(r" \S+\n", " O\n", "".join(blocks)))
    broken_off(reading, directory, tmp_path / "out", *paths)
    into(reading, directory, tmp_path / "out", *paths, resume=True)
    assert "".join((tmp_path / "out" / path.name).read_text() for path in paths) == expected
    assert {line.split()[1] for line in expected.splitlines() if line} > {"O"}


def test_english_by_default_and_by_name_are_one_job(model: Tagger, model_path: Path) -> None:
    jobs = [Job((), model_path, Formats(language=language)) for language in (None, "en", "de")]
    one, other, german = (job.options(job.formats.language_of(model.model)) for job in jobs)
    assert one == other != german


def test_an_input_that_changed_after_it_was_begun_is_tagged_from_its_beginning(
    model: Tagger, model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("Ada lives .\n" * 300)
    broken_off(model, model_path, tmp_path / "out", tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("Alan lives .\n")
    assert into(model, model_path, tmp_path / "out", tmp_path / "a.txt", resume=True).sentences == 1
    assert (tmp_path / "out" / "a.jsonl").read_text().count("S-PER") == 1


def test_a_part_file_that_is_gone_is_a_clear_error(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada lives .\n" * 300)
    broken_off(model, model_path, tmp_path / "out", tmp_path / "a.txt")
    (tmp_path / "out" / JOB_FOLDER / "part-000000").unlink()
    with pytest.raises(StorageError, match="has fewer bytes than the journal says; start again without `resume`"):
        into(model, model_path, tmp_path / "out", tmp_path / "a.txt", resume=True)


def test_the_collector_is_left_to_the_caller_and_seldom_runs_in_the_command(
    model: Tagger, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("Ada\n")
    found, honest, usual = [], Tagger.tag_pools, gc.get_threshold()

    def tag_pools(*given: Any, **options: Any) -> Any:
        found.append(gc.get_threshold())
        return honest(*given, **options)

    monkeypatch.setattr(Tagger, "tag_pools", tag_pools)
    into(model, model_path, tmp_path / "out", tmp_path / "a.txt")
    assert found == [usual]
    assert CliRunner().invoke(app, ["tag", str(tmp_path / "a.txt"), "--model", str(model_path)]).exit_code == 0
    assert found[1][0] > usual[0]


def test_the_rejects_cannot_overwrite_an_input(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada\n")
    options = {"on_error": "skip", "rejects": tmp_path / "a.txt"}
    with pytest.raises(DataError, match="`rejects` would overwrite it"):
        into(model, model_path, tmp_path / "out", tmp_path / "a.txt", **options)


def test_several_inputs_follow_one_another_in_one_stream(model: Tagger, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada lives.\n")
    (tmp_path / "b.conll").write_text("Alan ?\nlives ?\n")
    out = BytesIO()
    summary = local.run(
        model,
        Job((tmp_path / "a.txt", tmp_path / "b.conll"), Path("unread"), Formats(output_format="columns")),
        (BytesIO(), out),
    )
    assert (
        out.getvalue() == f"-DOCSTART- {tmp_path}/a.txt\n\nAda\tS-PER\nlives\tO\n.\tO\n\nAlan S-PER\nlives O\n".encode()
    )
    assert summary.documents == 2


@pytest.mark.parametrize(
    ("first", "between"),
    [(b"Alan ?\nlives ?", b"\n\n"), (b"Alan ?\nlives ?\n", b"\n"), (b"Alan ?\nlives ?\n\n", b""), (b"", b"")],
)
def test_a_corpus_in_a_stream_is_not_taken_for_more_of_the_one_before(
    model: Tagger, tmp_path: Path, first: bytes, between: bytes
) -> None:
    (tmp_path / "a.conll").write_bytes(first)
    (tmp_path / "b.conll").write_bytes(b"\xef\xbb\xbfAda ?\nlives ?\n")
    out = BytesIO()
    local.run(model, Job((tmp_path / "a.conll", tmp_path / "b.conll"), Path("unread")), (BytesIO(), out))
    tagged_first = first.replace(b"Alan ?", b"Alan S-PER").replace(b"lives ?", b"lives O")
    assert out.getvalue() == tagged_first + between + b"Ada S-PER\nlives O\n"


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("a.lines", "Ada\n\nAlan\n", [0, 1, 2, 3, 4, 5]),
        ("a.conll", "-DOCSTART- O\n\nAda O\n\n-DOCSTART- O\n\nAlan O\n", [0, 1, 2, 3]),
        ("a.jsonl", '{"tokens": ["Ada"]}\n{"tokens": ["Alan"], "id": 7}\n{"tokens": []}\n', [0, 7, 2, 3, 7, 5]),
        ("a.jsonl", '{"tokens": [], "document": null}\n{"tokens": [], "id": 1.5}\n', [0, 1, 2, 3]),
    ],
)
def test_documents_without_ids_count_on_through_the_inputs_of_a_stream(
    model: Tagger, tmp_path: Path, name: str, content: str, ids: list[int]
) -> None:
    for folder in ("b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
    out = BytesIO()
    paths = (tmp_path / "b" / name, tmp_path / "c" / name)
    formats = Formats("lines" if name == "a.lines" else None, "jsonl")
    summary = local.run(model, Job(paths, Path("unread"), formats), (BytesIO(), out))
    assert [json.loads(line)["document"] for line in out.getvalue().splitlines()] == ids
    assert summary.documents == len(ids)


def test_each_raw_text_in_a_stream_begins_a_document(model: Tagger, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("Ada lives.\n")
    out, formats = BytesIO(), Formats("text", "columns")
    local.run(model, Job((tmp_path / "a.txt", tmp_path / "b.txt"), Path("unread"), formats), (BytesIO(), out))
    starts = [line for line in out.getvalue().decode().splitlines() if line.startswith("-DOCSTART-")]
    assert starts == [f"-DOCSTART- {tmp_path / name}" for name in ("a.txt", "b.txt")]


def test_what_was_rejected_of_an_input_that_changed_is_not_told_twice(
    model: Tagger, model_path: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "a.txt", tmp_path / "out"
    lines = b"Ada lives .\n" * 400
    source.write_bytes(b"\xff\n" + lines)

    def callback(*_: object) -> None:
        raise Stopped(2)

    job = Job((source,), model_path, out=out, on_error="skip")
    with pytest.raises(Stopped):
        local.run(model, job, (BytesIO(), BytesIO()), callback=callback)
    source.write_bytes(lines + b"\xff\n\xfe\n")
    summary = local.run(model, replace(job, resume=True), (BytesIO(), BytesIO()))
    assert summary.rejected == len((out / "rejects.jsonl").read_text().splitlines()) == 2
    assert summary.sentences == 400


def test_a_whole_output_that_is_gone_is_told(model: Tagger, model_path: Path, tmp_path: Path) -> None:
    for name, lines in (("a.txt", 100), ("b.txt", 300)):  # the first pool ends in the second
        (tmp_path / name).write_text("Ada lives .\n" * lines)
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OutputFolder, "publish", lambda self: None)
        broken_off(model, model_path, out, tmp_path / "a.txt", tmp_path / "b.txt")
    (out / JOB_FOLDER / "part-000000").unlink()
    with pytest.raises(StorageError, match="is missing, but the journal counts it as complete"):
        into(model, model_path, out, tmp_path / "a.txt", tmp_path / "b.txt", resume=True)


def test_a_record_beyond_the_limit_of_the_job_is_set_aside_and_the_limit_is_part_of_the_job(
    model: Tagger, model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("Ada lives .\n" + "Ada " * 300 + "\nAlan lives .\n")
    summary = into(model, model_path, tmp_path / "out", tmp_path / "a.txt", on_error="skip", max_record_bytes=1000)
    assert (summary.sentences, summary.rejected) == (2, 1)
    row = json.loads((tmp_path / "out" / "rejects.jsonl").read_text())
    assert (row["line"], len(row["raw"])) == (2, line_reader.MAX_REJECT_BYTES + 1)
    with pytest.raises(DataError, match=r"a\.txt:2: a line of over 1,000 bytes"):
        into(model, model_path, tmp_path / "other", tmp_path / "a.txt", max_record_bytes=1000)
    assert Job((STDIN,), model_path).options("en")["max_record_bytes"] == line_reader.MAX_RECORD_BYTES


@pytest.mark.parametrize("size", ["0", "999", str((1 << 30) + 1), "9" * 30])
def test_the_limit_of_a_record_has_bounds(model_path: Path, size: str) -> None:
    done = CliRunner().invoke(app, ["tag", "-", "--model", str(model_path), "--max-record-bytes", size], input="Ada\n")
    assert done.exit_code == 2


def test_text_files_in_another_format_are_read_in_it_or_named(
    model: Tagger, model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    contents = {
        "a": "Ada B-PER\nran O\n\nno O\n",
        "b": "Ada N\nran V\n\n" * 5,
        "c": "Ada N\nran V\n\n" * 5,
        "d": "Ada ran.",
    }
    for name, content in contents.items():
        (tmp_path / "in" / f"{name}.txt").write_text(content)
    caplog.set_level("INFO")
    into(model, model_path, tmp_path / "out", tmp_path / "in", formats=Formats())
    messages = [message.replace(f"{tmp_path}/", "") for message in caplog.messages if ".txt" in message]
    assert messages == [
        "text files read as columns by their content (1): in/a.txt; `input_format` text reads raw text",
        "text files that look like columns but are read as raw text (2): in/b.txt;"
        " `input_format` columns reads columns",
    ]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.*")) == ["a.txt", "b.jsonl", "c.jsonl", "d.jsonl"]
    assert (tmp_path / "out" / "a.txt").read_text() == "Ada S-PER\nran O\n\nno O\n"


def test_options_that_the_model_cannot_meet_are_refused_before_any_output(model: Tagger, model_path: Path) -> None:
    out, decoding = BytesIO(), DecodingOptions(precision=0.95)
    job = Job((STDIN,), model_path, Formats("lines", "tsv"), decoding)
    with pytest.raises(ConfigError, match="`precision` needs a calibrated model; run `tagger calibrate`"):
        local.run(model, job, (BytesIO(b"Ada ran\n"), out))
    assert out.getvalue() == b""
