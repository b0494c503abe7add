"""brat: a text file and a file of annotations beside it, `a.txt` and `a.ann`; or a folder of such pairs.

Only text-bound annotations (`T1<tab>PER 0 9<tab>Ada Quill`) are spans; relations, events, attributes and notes are left
out. Each pair of files is one document, and one record if it has tags. A span over several lines has a part on each, as
brat itself writes it. The annotations of a file are numbered from 1, in the order of their offsets.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePath
from typing import BinaryIO

from tagger.data.alignment import CharSpan
from tagger.data.formats import escapes
from tagger.data.formats import text as texts
from tagger.data.formats.annotated_sentences import Origin, build_sentences
from tagger.data.formats.annotations import SpanItem, TextSpans
from tagger.data.formats.reading import ReadOptions, shorten
from tagger.data.formats.text_spans import TextWithSpans, find_text_spans
from tagger.data.formats.writing import Sink, TextSink, WriteOptions
from tagger.data.sentence import Record
from tagger.errors import ConfigError, DataError
from tagger.io import atomic, line_reader

DISCONTINUOUS = "discontinuous spans"
OTHER_ANNOTATIONS = "annotations of another kind than spans"
_ANNOTATIONS, _TEXT = ".ann", ".txt"
_SPAN = re.compile(r"(T\S*)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?")
_LINE_ENDS = "\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"  # at which brat ends a line
_PART = re.compile(rf"[^\s](?:[^{_LINE_ENDS}]*[^\s])?")
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # what no text file holds; offsets count U+FFFD in its place
_UNSAFE_NAME = re.compile(r"[^\w.-]+")
_MAX_NAME = 60
_SETTINGS = "annotation.conf"


def is_brat(path: Path) -> bool:
    """Returns whether a path is a folder with annotations, a file of annotations, or a text with one beside it."""
    if path.is_dir():
        return next(path.rglob(f"*{_ANNOTATIONS}"), None) is not None
    return path.suffix == _ANNOTATIONS or (path.suffix == _TEXT and path.with_suffix(_ANNOTATIONS).is_file())


def _is_pair(path: Path) -> bool:
    """Returns whether a path is a text with annotations beside it, or annotations with a text beside them."""
    other = {_TEXT: _ANNOTATIONS, _ANNOTATIONS: _TEXT}.get(path.suffix)
    return other is not None and path.with_suffix(other).is_file()


def _is_setting(path: Path) -> bool:
    """Returns whether a path is a file of settings in a folder of brat."""
    return path.suffix == ".conf" and next(path.parent.rglob(f"*{_ANNOTATIONS}"), None) is not None


def find_pairs(paths: Collection[Path]) -> tuple[set[Path], set[Path]]:
    """Returns the files among others that stand for a pair, and those that are no input of their own.

    A text stands for its pair; annotations do if their text is not among the files. The other annotations and the
    settings of brat are no inputs.

    >>> find_pairs([Path("no/a.txt")])
    (set(), set())
    """
    pairs = {path for path in paths if _is_pair(path)}
    named = {path for path in pairs if path.suffix == _TEXT or path.with_suffix(_TEXT) not in pairs}
    return named, (pairs - named) | {path for path in paths if _is_setting(path)}


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Returns the paragraphs of the text of a pair, as those of a raw text; its annotations are not read.

    Raises:
        ConfigError: the source is a stream.
        DataError: the text is missing or cannot be read.
    """
    if not isinstance(source, Path):
        raise ConfigError(f"{options.name}: brat cannot be read from a stream; name the file or the folder")
    return texts.read_records(find_text(source), options)


def read_tagged_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yields a record for each pair of files, sorted by name; in a folder at any depth.

    Raises:
        ConfigError: the source is a stream.
        DataError: a file is missing or cannot be read, or an annotation is not valid; the error names file and line.
    """
    if not isinstance(source, Path):
        raise ConfigError(f"{options.name}: brat cannot be read from a stream; name the file or the folder")
    files = find_annotations(source)
    if not files:
        raise DataError(f"{source}: holds no file of annotations ({_ANNOTATIONS})")
    for number, path in enumerate(files):
        try:
            record = _read_pair(path, number, options)
        except DataError as error:
            options.refuse(str(error), number + 1, cause=error)
        else:
            yield record


def find_texts(source: Path) -> list[Path]:
    """Returns the text of each pair of files, in the order of the records."""
    return [path.with_suffix(_TEXT) for path in find_annotations(source)]


def copy_pairs(source: Path, out: Path, numbers: Iterable[int]) -> None:
    """Copies pairs of files of a folder, by their numbers from 0, to the same paths in another folder.

    Raises:
        StorageError: a file cannot be written.
    """
    files = find_annotations(source)
    for path in (files[number] for number in numbers):
        for file in (path, path.with_suffix(_TEXT)):
            atomic.write_output(out / file.relative_to(source), file.read_bytes())


def find_annotations(source: Path) -> list[Path]:
    """Returns the files of annotations of a folder, sorted, or the one of a pair."""
    return sorted(source.rglob(f"*{_ANNOTATIONS}")) if source.is_dir() else [source.with_suffix(_ANNOTATIONS)]


def find_text(path: Path) -> Path:
    """Returns the text of a file of annotations; any other path is returned unchanged.

    Raises:
        DataError: there is no text beside the annotations.
    """
    if path.suffix != _ANNOTATIONS:
        return path
    text_path = path.with_suffix(_TEXT)
    if path.is_file() and not text_path.is_file():
        raise DataError(f"{path}: has no text {text_path.name} beside it")
    return text_path if text_path.is_file() else path


def _read_pair(path: Path, number: int, options: ReadOptions) -> Record:
    text = "".join(line for _, line in _read_lines(find_text(path), options))
    annotation = TextSpans(text, list(_read_spans(path, text, options)))
    try:
        sentences = build_sentences(annotation, Origin(str(path), 1, number), options)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    sentences = [replace(each, line=text.count("\n", 0, each.offsets[0][0]) + 1) for each in sentences]
    return Record(tuple(sentences), path.stem, 1, text, fields={"text": text}, size=len(text))


def _read_lines(path: Path, options: ReadOptions) -> Iterator[tuple[int, str]]:
    return line_reader.read_lines(path, str(path), max_record_bytes=options.max_record_bytes)


def _read_spans(path: Path, text: str, options: ReadOptions) -> Iterator[SpanItem]:
    for number, line in _read_lines(path, options):
        content = line.removesuffix("\n").removesuffix("\r")
        location = f"{path}:{number}"
        if not content.strip():
            continue
        if not content.startswith("T"):
            options.notices.add(OTHER_ANNOTATIONS, f"{location}: {shorten(content)} is left out")
            continue
        match = _SPAN.fullmatch(content)
        if match is None:
            expected = "an identifier, a tab, a type, offsets, a tab and a text"
            raise DataError(f"{location}: expected {expected}, found {shorten(repr(content))}")
        if (item := _build_span(match, location, text, options)) is not None:
            yield item


def _build_span(match: re.Match[str], location: str, text: str, options: ReadOptions) -> SpanItem | None:
    """Returns the span of an annotation; None if it has several parts with words between them and is dropped.

    Raises:
        DataError: it has such parts, and the option `misaligned` is stop.
    """
    name, kind, offsets, annotated = match.groups()
    (kind,) = escapes.unescape((kind,))
    parts = [tuple(map(int, part.split())) for part in offsets.split(";")]
    start, end = min(part[0] for part in parts), max(part[1] for part in parts)
    gaps = [text[first[1] : second[0]] for first, second in pairwise(parts)]
    if all(first[1] <= second[0] for first, second in pairwise(parts)) and not "".join(gaps).strip():
        return SpanItem(CharSpan(kind, start, end), annotated)
    policy = options.annotations.misaligned
    described = f"{name} {kind} {offsets} {shorten(repr(annotated))}"
    if policy == "stop":
        advice = "correct it, or choose another `misaligned` than stop"
        raise DataError(f"{location}: found {DISCONTINUOUS}: {described}; {advice}")
    action = "is dropped" if policy == "drop" else f"becomes {start}-{end}"
    options.notices.add(DISCONTINUOUS, f"{location}: {described} {action}")
    return None if policy == "drop" else SpanItem(CharSpan(kind, start, end))


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of the annotations of one text, whose file keeps its own content; see `check_source`."""
    check_source(options.name, options.input_format)
    return _AnnotationSink(_write_annotations)


class _AnnotationSink(TextSink):
    """A sink of annotations, which `finish` numbers."""

    def finish(self, part: Path) -> None:
        """Numbers the annotations of a file from 1; a file that is numbered already does not change."""
        with part.open("rb") as source, atomic.open_atomic(part) as numbered:
            for number, line in enumerate(source, 1):
                numbered.write(b"T%d\t" % number + line.partition(b"\t")[2])


def check_source(name: str, input_format: str) -> None:
    """Raises ConfigError if the source of a name is no text that has annotations of its own."""
    if input_format not in ("text", "brat"):
        raise ConfigError(
            f"{name}: brat has one text for each file of annotations, but {input_format} has many; "
            "write jsonl, and convert it to brat"
        )


def _write_annotations(record: Record) -> str:
    annotated = find_text_spans(record)
    return "" if annotated is None else "".join(_annotation_lines(annotated, record.start, 1))


def _annotation_lines(annotated: TextWithSpans, start: int, number: int) -> Iterator[str]:
    """Yields a line for each span of a text that starts at an offset of its file; `number` is that of the first."""
    for identifier, span in enumerate(annotated.spans, number):
        first, end = span["start"], span["end"]
        parts = list(_PART.finditer(annotated.text, first, end))
        offsets = ";".join(f"{start + part.start()} {start + part.end()}" for part in parts)
        content = _UNWRITABLE.sub("\ufffd", " ".join(part[0] for part in parts))
        yield f"T{identifier}\t{escapes.field(span['type'], escapes.WHITE)} {offsets}\t{content}\n"


class PairWriter:
    """Writes documents as pairs of files into a folder, and the types of their spans as settings of brat.

    Args:
        folder: the folder, in which nothing else is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._document: str | int | None = None
        self._files: tuple[BinaryIO, BinaryIO] | None = None
        self._length = self._count = self._span_count = 0
        self._types: set[str] = set()

    def write(self, records: Iterable[Record], name: PurePath, *, is_corpus: bool, is_pair: bool) -> Iterator[Record]:
        """Writes the records of a source, and yields them.

        Args:
            records: the records. Those with a text of their own are a document each, with this text.
            name: the path of the source, relative to the folder, without a suffix. Documents have this name and a
                number, or their ids.
            is_corpus: whether the records are sentences, which are lines of their document.
            is_pair: whether the source is a pair of files, whose document has the name of the source.
        """
        for record in records:
            if (annotated := find_text_spans(record)) is not None:
                if not (is_corpus and self._files is not None and record.document == self._document):
                    self._open(self._name(record, name, is_pair=is_pair))
                    self._document = record.document
                self._types.update(span["type"] for span in annotated.spans)
                lines = _annotation_lines(annotated, self._length, self._span_count + 1)
                self._write(annotated.text + "\n" * is_corpus, lines)
                self._span_count += len(annotated.spans)
            yield record
        self._close()

    def finish(self) -> None:
        """Writes the settings, which brat needs to show the types."""
        types = sorted({escapes.field(kind, escapes.WHITE) for kind in self._types})
        sections = ["[entities]", *types, "[relations]", "[events]", "[attributes]"]
        (self._folder / _SETTINGS).write_bytes(_encode("\n".join(sections) + "\n"))

    def _write(self, text: str, annotations: Iterable[str]) -> None:
        assert self._files is not None
        text_file, annotation_file = self._files
        text_file.write(_UNWRITABLE.sub("\ufffd", text).encode())
        annotation_file.write(_encode("".join(annotations)))
        self._length += len(text)

    def _name(self, record: Record, name: PurePath, *, is_pair: bool) -> PurePath:
        self._count += 1
        if is_pair:
            return name
        number = f"{self._count:06d}"
        identifier = _UNSAFE_NAME.sub("_", str(record.document))[:_MAX_NAME].strip("._-")
        return PurePath(f"{name.name}-{number}" if record.numbered or not identifier else identifier)

    def _open(self, name: PurePath) -> None:
        """Opens the files of the next document; a name that exists gets a number."""
        self._close()
        path = self._folder / name
        while path.with_name(f"{path.name}{_ANNOTATIONS}").exists():
            path = path.with_name(f"{path.name}-{self._count:06d}")
        path.parent.mkdir(parents=True, exist_ok=True)
        text, annotations = (path.with_name(path.name + suffix).open("xb") for suffix in (_TEXT, _ANNOTATIONS))
        self._files, self._length, self._span_count = (text, annotations), 0, 0

    def _close(self) -> None:
        if self._files is not None:
            for file in self._files:
                file.close()
            self._files = None


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
