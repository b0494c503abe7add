"""The Python API of `tagger convert`."""

import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from tagger.choices import InputFormat, Misaligned, OutputFormat, Scheme, TagFormat, TaggedFormat, listed, options
from tagger.data import schemes
from tagger.data.conversion import Converter, TypeChanges, parse_types
from tagger.data.formats import FORMATS, Layout
from tagger.data.formats.reading import AnnotationOptions, Fields, ReadOptions
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.data.guessing import guess_format
from tagger.data.notices import Notices
from tagger.data.sentence import Record
from tagger.data.writer import make_sink
from tagger.errors import ConfigError, check_choices
from tagger.io import atomic, line_reader
from tagger.jobs import inputs
from tagger.jobs.inputs import Input
from tagger.jobs.summary import Summary

log = logging.getLogger(__name__)

_POOL = 500  # records that are written at once


def convert(
    paths: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    input_format: TaggedFormat | None = None,
    output_format: OutputFormat | None = None,
    pattern: str | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    tag_format: TagFormat = "auto",
    outside_tag: str = "O",
    scheme: str | None = None,
    types: str | Iterable[str] | Mapping[str, str] | None = None,
    language: str = "en",
    misaligned: Misaligned = "expand",
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Summary:
    """Converts tagged files to another format, as `tagger convert` does, and returns what was written.

    Files are read and written record by record. A format with texts gets, from a source with tokens, the tokens joined
    by one space, or as SpaceAfter=No in CoNLL-U says. A file in its own format is written back unchanged except for
    the tags; several files of columns in one become new columns of tokens and tags.

    Args:
        paths: files, folders or globs.
        out: the file for all inputs together, which may not be one of them; or a folder for one file per input.
        input_format: the format of the inputs; None for the format that each name and content show.
        output_format: the format of the output; None for the format that the name of `out` shows.
        pattern: a glob for the files of a folder; None for all that are not hidden.
        token_column: the column of the token, by number from 0 or by name; in rows the field of tokens.
        tag_column: likewise the column of the tag; in CoNLL-U upos, xpos or misc:KEY, misc:NER if None; in rows the
            field of tags or spans.
        tag_format: how tags encode spans in the inputs, one of `tagger.choices.TagFormat`.
        outside_tag: the tag of tokens outside spans in the inputs.
        scheme: the scheme of the output tags; None for that of the inputs.
        types: `OLD=NEW` renames a type, `OLD=` drops it, and `OLD` keeps it and drops those not named; entries, or one
            string with commas, or a mapping of old to new names.
        language: the ISO code of the language of texts with spans.
        misaligned: expand or contract spans that end within a token, drop them, or stop.
        max_record_bytes: the maximum size of a line, row or sentence in bytes.

    Raises:
        ConfigError: an option is unknown or does not fit the data.
        DataError: an input cannot be read, or the output would overwrite it.
        StorageError: the output cannot be written.
    """
    check_choices(
        input_format=(input_format, TaggedFormat),
        output_format=(output_format, OutputFormat),
        tag_format=(tag_format, TagFormat),
        misaligned=(misaligned, Misaligned),
    )
    is_folder = str(out).endswith(os.sep) or Path(out).is_dir()
    work = _Work(
        input_format,
        _choose_output_format(Path(out), output_format),
        Layout(0 if token_column is None else token_column, tag_column, tag_format=tag_format, outside_tag=outside_tag),
        schemes.parse_scheme(scheme),
        None if types is None else parse_types(types),
        {
            "language": language,
            "annotations": AnnotationOptions(_fields(token_column, tag_column), misaligned),
            "max_record_bytes": max_record_bytes,
        },
    )
    items = inputs.find_inputs(
        [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)],
        pattern=pattern,
        out=Path(out) if is_folder else None,
    )
    items = _without_annotations(items, work)
    summary = _convert_into_folder(items, Path(out), work) if is_folder else _convert_into_file(items, Path(out), work)
    if work.types is not None and work.types.unseen:
        log.warning("no span has the type %s", listed(tuple(sorted(work.types.unseen)), 10))
    return summary


@dataclass(frozen=True)
class _Work:
    """The options of a conversion.

    `read_options` are further options of `ReadOptions`; `writes_back` is that of `WriteOptions`.
    """

    input_format: TaggedFormat | None
    output_format: OutputFormat
    layout: Layout
    scheme: Scheme | None
    types: TypeChanges | None
    read_options: dict[str, object]
    writes_back: bool = True

    def find_format(self, path: Path) -> TaggedFormat:
        """Returns the format of an input."""
        if self.input_format is not None:
            return self.input_format
        guess = guess_format(path, tagged=True).format
        if guess not in options(TaggedFormat):
            raise ConfigError(f"{path}: {guess} holds no tags; choose another format with `input_format`")
        return cast(TaggedFormat, guess)

    def find_layout(self, input_format: TaggedFormat) -> Layout:
        """Returns the columns of an input."""
        if self.layout.tag is not None:
            return replace(self.layout, fixed=True)
        return replace(self.layout, tag="misc:NER" if input_format == "conllu" else -1)

    @property
    def needs_text(self) -> bool:
        """Whether the output has texts. A table from tokens has tokens, and no column for a text."""
        return self.output_format in ("jsonl", "doccano")


def _fields(token: int | str | None, tag: int | str | None) -> Fields:
    """Returns the fields of rows that columns name; numbers name none."""
    tag_field = tag if isinstance(tag, str) else None
    return Fields(tokens=token if isinstance(token, str) else None, tags=tag_field, spans=tag_field)


def _choose_output_format(out: Path, output_format: OutputFormat | None) -> OutputFormat:
    if output_format is not None:
        return output_format
    names = (name for name in options(OutputFormat) if out.suffix in FORMATS[name].suffixes)
    if (name := next(names, None)) is None:
        raise ConfigError(f"{out}: the name shows no format; choose one with `output_format`")
    return cast(OutputFormat, name)


def _convert_into_folder(items: Sequence[Input], out: Path, work: _Work) -> Summary:
    suffix = FORMATS[work.output_format].suffixes[0]
    names = [
        item.output_path(suffix, same_format=work.find_format(_path(item)) == work.output_format) for item in items
    ]
    inputs.check_outputs(out, items, names, ())
    summary = Summary()
    for item, name in zip(items, names, strict=True):
        _convert_files([item], out / name, work, summary)
    return summary


def _convert_into_file(items: Sequence[Input], out: Path, work: _Work) -> Summary:
    inputs.check_extra_outputs({"out": out}, map(_path, items), None, lambda path: False)
    formats = {work.find_format(_path(item)) for item in items}
    if len(items) > 1 and work.output_format == "parquet" and (len(formats) > 1 or "parquet" in formats):
        raise ConfigError("several inputs have different columns; pass a folder as `out` for one Parquet file each")
    # Rows of several files of columns may have other separators or numbers of columns.
    work = replace(work, writes_back=len(items) == 1 or formats == {"conllu"})
    summary = Summary()
    _convert_files(items, out, work, summary)
    return summary


def _without_annotations(items: Sequence[Input], work: _Work) -> list[Input]:
    """Returns the inputs without the annotation files of brat whose texts are inputs, too."""
    texts = {_path(item).with_suffix("") for item in items if _path(item).suffix == ".txt"}
    return [
        item
        for item in items
        if not (_path(item).suffix == ".ann" and _path(item).with_suffix("") in texts)
        or work.find_format(_path(item)) != "brat"
    ]


def _path(item: Input) -> Path:
    assert item.path is not None
    return item.path


def _convert_files(items: Sequence[Input], out: Path, work: _Work, summary: Summary) -> None:
    """Converts inputs into one file, which appears when it is complete."""
    start = time.perf_counter()
    sink: Sink | None = None
    with atomic.wrap_os_errors(out), _open_output(out, is_table=work.output_format == "parquet") as (stream, part):
        output = _Output(stream, summary, is_corpus=FORMATS[work.output_format].is_corpus)
        for item in items:
            input_format, notices = work.find_format(_path(item)), Notices()
            layout = work.find_layout(input_format)
            converter = Converter(item.label, layout, scheme=work.scheme, types=work.types, needs_text=work.needs_text)
            read_options = ReadOptions(item.label, layout, notices=notices, **work.read_options)  # type: ignore[arg-type]
            records = converter.convert(_read_records(_path(item), input_format, read_options))
            new_sink = _make_sink(work, input_format, layout, item, converter)
            if sink is None:
                stream.write(new_sink.begin())
            sink = new_sink if sink is None or work.output_format != "parquet" else sink
            output.write(sink, records)
            for line in notices.lines():
                log.warning("%s", line)
        if sink is not None:
            stream.write(sink.end())
            stream.flush()
            if part is not None:
                sink.finish(part)
    summary.seconds += time.perf_counter() - start


@contextmanager
def _open_output(out: Path, *, is_table: bool) -> Iterator[tuple[BinaryIO, Path | None]]:
    """Opens an output. That of a table is a file elsewhere, by its path, until it is complete."""
    if not is_table:
        with atomic.open_output(out) as stream:
            yield stream, None
        return
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part"
        with part.open("wb") as stream:
            yield stream, part
        atomic.copy_output(part, out)


def _read_records(path: Path, input_format: TaggedFormat, read_options: ReadOptions) -> Iterator[Record]:
    module = FORMATS[input_format].load()
    if not FORMATS[input_format].is_corpus:
        records: Iterator[Record] = module.read_tagged_records(path, read_options)
        return records
    return (
        Record((sentence,), sentence.document, sentence.line, numbered=True)
        for sentence in module.read_tagged(path, read_options)
    )


def _make_sink(work: _Work, input_format: TaggedFormat, layout: Layout, item: Input, converter: Converter) -> Sink:
    if not converter.has_spans and not FORMATS[work.output_format].holds_tags:
        raise ConfigError(f"{item.label}: the tags are plain tags; {work.output_format} has spans only")
    if input_format != "conllu" and work.output_format == "conllu":
        layout = Layout(0, "misc:NER" if converter.has_spans else "xpos")
    options_of_sink = WriteOptions(
        cast(InputFormat, input_format),
        layout,
        name=item.label,
        source=item.path,
        has_spaces=True,
        writes_back=work.writes_back,
        marks_starts=True,
    )
    return make_sink(work.output_format, options_of_sink)


class _Output:
    """Writes records and counts them.

    Args:
        stream: the stream.
        summary: the counts.
        is_corpus: whether a blank line ends a sentence.
    """

    def __init__(self, stream: BinaryIO, summary: Summary, *, is_corpus: bool) -> None:
        self._stream, self._summary, self._is_corpus = stream, summary, is_corpus
        self._end = b"\n\n"  # of what was written
        self._has_records = False

    def write(self, sink: Sink, records: Iterable[Record]) -> None:
        """Writes the records of one input."""
        document: str | int | None = None
        pool: list[Record] = []
        if self._is_corpus and not self._end.endswith(b"\n\n"):
            self._write(b"\n" if self._end.endswith(b"\n") else b"\n\n")
        for record in records:
            is_new = record.document != document
            document = self._summary.add([record], document)
            # The first document of numbered ones needs no start.
            pool.append(replace(record, starts_document=is_new and (self._has_records or not record.numbered)))
            self._has_records = True
            if len(pool) == _POOL:
                self._write(sink.write(pool))
                pool = []
        self._write(sink.write(pool))

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._end = (self._end + data[-2:])[-2:]
