"""The Python API of `tagger convert`."""

import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from tagger.choices import (
    InputFormat,
    Misaligned,
    OutputFormat,
    Scheme,
    TagFormat,
    TaggedFormat,
    check_choices,
    listed,
    options,
)
from tagger.data import data_settings, schemes
from tagger.data.conversion import Converter, TypeChanges, parse_types
from tagger.data.decisions import Decisions
from tagger.data.formats import FORMATS, Layout, brat
from tagger.data.formats.reading import AnnotationOptions, Fields, ReadOptions, record_of
from tagger.data.formats.writing import Sink, WriteOptions
from tagger.data.guessing import guess_format
from tagger.data.notices import Notices
from tagger.data.sentence import Record
from tagger.data.writer import make_sink
from tagger.errors import ConfigError
from tagger.io import atomic, directories, line_reader
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
    unknown_tag: str | None = None,
    scheme: str | None = None,
    types: str | Iterable[str] | Mapping[str, str] | None = None,
    language: str = "en",
    misaligned: Misaligned = "expand",
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
    decisions: str | Path | None = None,
) -> Summary:
    """Converts tagged files to another format, as `tagger convert` does, and returns what was written.

    Files are read and written record by record. A format with texts gets, from a source with tokens, the tokens joined
    by one space, or as SpaceAfter=No in CoNLL-U says. A file in its own format is written back unchanged except for
    the tags; several files of columns in one become new columns of tokens and tags. In rows, the new annotation
    replaces that of the source.

    brat is a folder, with a text and its annotations for each document or row: texts do not change, and sentences
    become lines. Its files have the name of the input and a number, or the id of the row.

    Args:
        paths: files, folders or globs.
        out: the file for all inputs together, which may not be one of them; or a folder for one file per input. For
            brat a folder, which is new or empty.
        input_format: the format of the inputs; None for the format that each name and content show.
        output_format: the format of the output; None for the format that the name of `out` shows.
        pattern: a glob for the files of a folder; None for all that are not hidden.
        token_column: the column of the token, by number from 0 or by name; in rows the field of tokens.
        tag_column: likewise the column of the tag; in CoNLL-U upos, xpos or misc:KEY, misc:NER if None; in rows the
            field of tags or spans.
        tag_format: how tags encode spans in the inputs, one of `tagger.choices.TagFormat`.
        outside_tag: the tag of tokens outside spans in the inputs.
        unknown_tag: the tag of tokens that were not annotated, in the inputs and the output; None if all were.
        scheme: the scheme of the output tags; None for that of the inputs.
        types: `OLD=NEW` renames a type, `OLD=` drops it, and `OLD` keeps it and drops those not named; entries, or one
            string with commas, or a mapping of old to new names.
        language: the ISO code of the language of texts with spans.
        misaligned: expand or contract spans that end within a token, drop them, or stop.
        max_record_bytes: the maximum size of a line, row or sentence in bytes.
        decisions: a file of decisions about suspects that the page of an audit saved; their changes are made.

    Raises:
        ConfigError: an option is unknown or does not fit the data.
        DataError: an input cannot be read, the output would overwrite it, or a decision does not fit the inputs.
        StorageError: the output cannot be written.
    """
    check_choices(
        input_format=(input_format, TaggedFormat),
        output_format=(output_format, OutputFormat),
        tag_format=(tag_format, TagFormat),
        misaligned=(misaligned, Misaligned),
    )
    work = _Work(
        input_format,
        _choose_output_format(Path(out), output_format),
        Layout(
            0 if token_column is None else token_column,
            tag_column,
            tag_format=tag_format,
            outside_tag=outside_tag,
            unknown_tag=unknown_tag,
        ),
        schemes.parse_scheme(scheme),
        None if types is None else parse_types(types),
        {
            "language": language,
            "annotations": AnnotationOptions(
                data_settings.with_columns(Fields(), token_column, tag_column), misaligned
            ),
            "max_record_bytes": max_record_bytes,
        },
        None if decisions is None else Decisions(Path(decisions)),
    )
    is_folder = str(out).endswith(os.sep) or Path(out).is_dir() or work.output_format == "brat"
    items = inputs.find_inputs(
        [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)],
        pattern=pattern,
        out=Path(out) if is_folder else None,
    )
    sources = _find_sources(items, work)
    if work.decisions is not None:
        work.decisions.check_files([source.path.name for source in sources])
    if work.output_format == "brat":
        summary = _convert_into_pairs(sources, Path(out), work)
    else:
        convert_all = _convert_into_folder if is_folder else _convert_into_file
        summary = convert_all(sources, Path(out), work)
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
    decisions: Decisions | None = None
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
        return replace(self.layout, tag=data_settings.default_layout(input_format, has_spans=True, tagged=True).tag)

    @property
    def needs_text(self) -> bool:
        """Whether the output has texts. A table from tokens has tokens, and no column for a text."""
        return self.output_format in ("jsonl", "doccano", "label-studio", "prodigy", "brat")


class _Source(NamedTuple):
    """An input, its path and its format."""

    item: Input
    path: Path
    format: TaggedFormat


def _find_sources(items: Sequence[Input], work: _Work) -> list[_Source]:
    """Returns the inputs with their formats. Of brat, each pair of files is one input, and settings are none."""
    _, left_out = brat.find_pairs([item.path for item in items if item.path is not None])
    return [
        _Source(item, item.path, work.find_format(item.path))
        for item in items
        if item.path is not None and item.path not in left_out
    ]


def _choose_output_format(out: Path, output_format: OutputFormat | None) -> OutputFormat:
    if output_format is not None:
        return output_format
    names = (name for name, each in FORMATS.items() if out.suffix in each.suffixes)
    if (name := next(names, None)) in (None, "brat") or not FORMATS[name].writes:
        raise ConfigError(f"{out}: the name shows no format; choose one with `output_format`")
    return cast(OutputFormat, name)


def _convert_into_folder(sources: Sequence[_Source], out: Path, work: _Work) -> Summary:
    suffix = FORMATS[work.output_format].suffixes[0]
    names = [source.item.output_path(suffix, same_format=source.format == work.output_format) for source in sources]
    inputs.check_outputs(out, [source.item for source in sources], names, ())
    summary = Summary()
    for source, name in zip(sources, names, strict=True):
        _convert_files([source], out / name, work, summary)
    return summary


def _convert_into_file(sources: Sequence[_Source], out: Path, work: _Work) -> Summary:
    inputs.check_extra_outputs({"out": out}, [source.path for source in sources], None, lambda path: False)
    formats = {source.format for source in sources}
    if len(sources) > 1 and work.output_format == "parquet" and (len(formats) > 1 or "parquet" in formats):
        raise ConfigError("several inputs have different columns; pass a folder as `out` for one Parquet file each")
    # Rows of several files may have other separators or numbers of columns.
    work = replace(work, writes_back=len(sources) == 1 or formats == {"conllu"})
    summary = Summary()
    _convert_files(sources, out, work, summary)
    return summary


def _convert_into_pairs(sources: Sequence[_Source], out: Path, work: _Work) -> Summary:
    """Converts inputs into one folder of brat, which appears when it is complete."""
    start, summary = time.perf_counter(), Summary()
    with atomic.wrap_os_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with directories.replace(out, lambda folder: next(folder.iterdir(), None) is None) as folder:
            writer = brat.PairWriter(folder)
            for source in sources:
                records, notices, converter = _open_source(source, work)
                _check_spans(work, source, converter)
                name = source.item.relative_path.with_name(inputs.strip_suffixes(source.item.relative_path))
                is_corpus = FORMATS[source.format].is_corpus
                document: str | int | None = None
                for record in writer.write(records, name, is_corpus=is_corpus, is_pair=source.format == "brat"):
                    document = summary.add([record], document)
                _finish_source(source, work, notices)
            writer.finish()
    summary.seconds += time.perf_counter() - start
    return summary


def _open_source(source: _Source, work: _Work) -> tuple[Iterator[Record], Notices, Converter]:
    """Returns the converted records of an input, what its reader reports, and the converter."""
    label, notices, layout = source.item.label, Notices(), work.find_layout(source.format)
    converter = Converter(
        label,
        layout,
        scheme=work.scheme,
        types=work.types,
        needs_text=work.needs_text,
        marks_unknown=work.output_format != "spacy",
        decide=None if work.decisions is None else partial(work.decisions.take, source.path.name),
    )
    read_options = ReadOptions(label, layout, notices=notices, **work.read_options)  # type: ignore[arg-type]
    return converter.convert(_read_records(source, read_options)), notices, converter


def _finish_source(source: _Source, work: _Work, notices: Notices) -> None:
    """Logs what the reader of a source reports; refuses decisions about sentences that it does not have."""
    if work.decisions is not None:
        work.decisions.check_taken(source.path.name)
    for line in notices.lines():
        log.warning("%s", line)


def _convert_files(sources: Sequence[_Source], out: Path, work: _Work, summary: Summary) -> None:
    """Converts inputs into one file, which appears when it is complete."""
    start = time.perf_counter()
    sink: Sink | None = None
    with (
        atomic.wrap_os_errors(out),
        _open_output(out, needs_file=FORMATS[work.output_format].needs_file) as (stream, part),
    ):
        output = _Output(stream, summary, is_corpus=FORMATS[work.output_format].is_corpus)
        for source in sources:
            records, notices, converter = _open_source(source, work)
            new_sink = _make_sink(work, source, converter)
            if sink is None:
                stream.write(new_sink.begin())
            sink = new_sink if sink is None or work.output_format != "parquet" else sink
            output.write(sink, records)
            _finish_source(source, work, notices)
        if sink is not None:
            stream.write(sink.end())
            stream.flush()
            if part is not None:
                sink.finish(part)
    summary.seconds += time.perf_counter() - start


@contextmanager
def _open_output(out: Path, *, needs_file: bool) -> Iterator[tuple[BinaryIO, Path | None]]:
    """Opens an output; yields the stream and, if only a file can be finished, the path of its temporary file."""
    if not needs_file:
        with atomic.open_output(out) as stream:
            yield stream, None
        return
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part"
        with part.open("wb") as stream:
            yield stream, part
        atomic.copy_output(part, out)


def _read_records(source: _Source, read_options: ReadOptions) -> Iterator[Record]:
    module = FORMATS[source.format].load()
    if not FORMATS[source.format].is_corpus:
        records: Iterator[Record] = module.read_tagged_records(source.path, read_options)
        return records
    return (record_of(sentence, sentence.document) for sentence in module.read_tagged(source.path, read_options))


def _check_spans(work: _Work, source: _Source, converter: Converter) -> None:
    """Raises ConfigError if the output has spans only, and the input has none."""
    if not converter.has_spans and not FORMATS[work.output_format].holds_tags:
        raise ConfigError(f"{source.item.label}: the tags are plain tags; {work.output_format} has spans only")


def _make_sink(work: _Work, source: _Source, converter: Converter) -> Sink:
    _check_spans(work, source, converter)
    layout = work.find_layout(source.format)
    if source.format != "conllu" and work.output_format == "conllu":
        layout = data_settings.default_layout("conllu", has_spans=converter.has_spans, tagged=False)
    options_of_sink = WriteOptions(
        cast(InputFormat, source.format),
        layout,
        name=source.item.label,
        source=source.path,
        has_spaces=True,
        writes_back=work.writes_back,
        marks_starts=True,
        has_spans=converter.has_spans,
        is_annotated=True,
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
