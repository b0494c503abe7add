"""brat: a text file and a file of annotations beside it, `a.txt` and `a.ann`; or a folder of such pairs.

Only text-bound annotations (`T1<tab>PER 0 9<tab>Ada Quill`) are spans; relations, events, attributes and notes are left
out. Each pair of files is one record and one document.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tagger.data.alignment import CharSpan
from tagger.data.formats.annotated_sentences import Origin, build_sentences
from tagger.data.formats.annotations import SpanItem, TextSpans
from tagger.data.formats.reading import ReadOptions, shorten
from tagger.data.sentence import Record
from tagger.errors import ConfigError, DataError
from tagger.io import atomic, line_reader

DISCONTINUOUS = "discontinuous spans"
OTHER_ANNOTATIONS = "annotations of another kind than spans"
_ANNOTATIONS, _TEXT = ".ann", ".txt"
_SPAN = re.compile(r"(T\S*)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?")


def is_brat(path: Path) -> bool:
    """Returns whether a path is a folder with annotations, a file of annotations, or a text with one beside it."""
    if path.is_dir():
        return next(path.rglob(f"*{_ANNOTATIONS}"), None) is not None
    return path.suffix == _ANNOTATIONS or (path.suffix == _TEXT and path.with_suffix(_ANNOTATIONS).is_file())


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
    text_path = find_text(path)
    text = "".join(line for _, line in _read_lines(text_path, options))
    annotation = TextSpans(text, list(_read_spans(path, options)))
    try:
        sentences = build_sentences(annotation, Origin(str(path), 1, number), options)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return Record(tuple(sentences), path.stem, 1, text, fields={"text": text}, size=len(text))


def _read_lines(path: Path, options: ReadOptions) -> Iterator[tuple[int, str]]:
    return line_reader.read_lines(path, str(path), max_record_bytes=options.max_record_bytes)


def _read_spans(path: Path, options: ReadOptions) -> Iterator[SpanItem]:
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
        if (item := _build_span(match, location, options)) is not None:
            yield item


def _build_span(match: re.Match[str], location: str, options: ReadOptions) -> SpanItem | None:
    """Returns the span of an annotation; None if it has several parts and is dropped.

    Raises:
        DataError: it has several parts, and the option `misaligned` is stop.
    """
    name, kind, offsets, text = match.groups()
    parts = [tuple(map(int, part.split())) for part in offsets.split(";")]
    start, end = min(part[0] for part in parts), max(part[1] for part in parts)
    if len(parts) == 1:
        return SpanItem(CharSpan(kind, start, end), text)
    policy = options.annotations.misaligned
    described = f"{name} {kind} {offsets} {shorten(repr(text))}"
    if policy == "stop":
        advice = "correct it, or choose another `misaligned` than stop"
        raise DataError(f"{location}: found {DISCONTINUOUS}: {described}; {advice}")
    action = "is dropped" if policy == "drop" else f"becomes {start}-{end}"
    options.notices.add(DISCONTINUOUS, f"{location}: {described} {action}")
    return None if policy == "drop" else SpanItem(CharSpan(kind, start, end))
