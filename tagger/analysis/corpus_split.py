"""Splits an annotated file into training, dev and test files of the same format."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from io import BytesIO
from itertools import chain, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, cast

from tagger.analysis.corpus_check import PartFigures, figures, figures_table
from tagger.analysis.corpus_files import ROLES, CorpusFiles
from tagger.analysis.parts import Part
from tagger.choices import InputFormat, list_briefly
from tagger.config.schema import Data
from tagger.data import data_settings, reader, splitting
from tagger.data.corpus import Corpus
from tagger.data.formats import FORMATS, Layout, brat, doc_bin, json_file, jsonl
from tagger.data.formats.reading import ReadOptions
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError, StorageError
from tagger.io import atomic, line_reader

FRACTIONS = (80.0, 10.0, 10.0)
_BLOCKS = ("columns", "conllu")  # formats in which a sentence is a block of lines, comments before it included
_LINES = ("csv", "pipes", "jsonl")  # formats in which a sentence or row starts on its own line and all lines follow
_RECORDS = ("json", "parquet", "brat", "spacy")  # formats in which a record is no line


@dataclass(frozen=True)
class CorpusSplit:
    """The result of a split: the files and their figures, in the order train, dev, test."""

    files: tuple[Path, ...]
    parts: tuple[PartFigures, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns files and figures as JSON has them."""
        parts = [asdict(part) for part in self.parts]
        return {"files": list(map(str, self.files)), "parts": parts, "missing": self.missing}

    @property
    def missing(self) -> dict[str, list[str]]:
        """The types, or for plain tags the tags, that a part lacks, by its role; none for a part with all of them."""
        names = [part.types or part.tags for part in self.parts]
        every = sorted({name for each in names for name in each})
        pairs = zip(self.parts, names, strict=True)
        absent = {part.role: [name for name in every if name not in each] for part, each in pairs}
        return {role: names for role, names in absent.items() if names}

    def __str__(self) -> str:
        notes = [f"{role} has no {list_briefly(names)}" for role, names in self.missing.items()]
        return "\n".join([*figures_table(self.parts), "", *notes, *[""] * bool(notes), *map(str, self.files)])


class _Piece(NamedTuple):
    """Text of the file that stays together, a sentence with its lines or a row, and its sentences.

    In formats of records, `rows` has the numbers of the records from 0, in place of a text.
    """

    text: str
    sentences: tuple[Sentence, ...]
    rows: tuple[int, ...] = ()

    def extend(self, text: str) -> "_Piece":
        """Returns the piece with further text."""
        return self._replace(text=self.text + text)

    def join(self) -> Sentence:
        """Returns all tokens and tags as one sentence."""
        tokens, tags = (
            tuple(chain.from_iterable(getattr(each, name) for each in self.sentences)) for name in ("tokens", "tags")
        )
        return Sentence(tokens, tags=tags, document=self.sentences[0].document)


def split(source: CorpusFiles, out: Path, fractions: Sequence[float] = FRACTIONS, *, seed: int = 1) -> CorpusSplit:
    """Splits a file into parts, which hold its sentences or rows unchanged and in their order.

    Args:
        source: one file, and the settings to read it with.
        out: the folder of the parts, which must not hold them yet.
        fractions: the fractions of train and dev, or of train, dev and test.
        seed: the random seed.

    Raises:
        ConfigError: the fractions cannot be used, or `source` is not one file.
        DataError: the file cannot be read, or has fewer sentences or rows than parts.
        StorageError: the folder holds such a file, or cannot be written.
    """
    if len(fractions) not in (2, 3) or not all(0 < fraction < 1e9 for fraction in fractions):
        text = ",".join(f"{fraction:g}" for fraction in fractions)
        raise ConfigError(f"`fractions` must be two or three numbers above 0 such as 80,10,10, got {text}")
    paths = [path for paths in source.files.values() for path in paths]
    if len(paths) != 1:
        raise ConfigError(f"name one file to split as `data`; got {len(paths)} files")
    file_format = data_settings.choose_format(paths[0], source.config.data)
    suffix = "" if file_format == "brat" else line_reader.strip_compression_suffix(paths[0]).suffix
    files = tuple(out / (role + suffix) for role in ROLES[: len(fractions)])
    for file in files:
        if file.exists() or file.is_symlink():
            raise StorageError(f"{file}: exists already; choose another `out`")
        atomic.check_writable(file)
    header, pieces = _read_pieces(paths[0], source.config.data)
    part_writer = _PartWriter(paths[0], file_format, header)
    if len(pieces) < len(fractions):
        raise DataError(
            f"{paths[0]}: expected at least {len(fractions)} sentences or rows to split, found {len(pieces)}"
        )
    numbers = splitting.split([piece.join() for piece in pieces], fractions, seed)
    parts = []
    for index, file in enumerate(files):
        chosen = [piece for piece, number in zip(pieces, numbers, strict=True) if number == index]
        part_writer.write(file, chosen)
        sentences = tuple(chain.from_iterable(piece.sentences for piece in chosen))
        parts.append(figures(Part(ROLES[index], (Corpus(file.name, sentences),))))
    return CorpusSplit(files, tuple(parts))


def _read_pieces(path: Path, data: Data) -> tuple[str, list[_Piece]]:
    """Returns the header that each part needs, and the pieces of a file, which together have all of its text."""
    corpus = reader.read_part(data.model_copy(update={"train": str(path)}), "train")
    assert corpus is not None
    file_format = str(corpus.format)
    if file_format in _RECORDS:
        return "", _read_records(path, data, corpus)
    by_line: dict[int, list[Sentence]] = {}
    for sentence in corpus.sentences:
        by_line.setdefault(sentence.line, []).append(sentence)
    pieces: list[_Piece] = []
    head = ""  # lines before the next sentence
    for line, text in _read_blocks(path, data, file_format) if file_format in _BLOCKS else line_reader.read_lines(path):
        if line in by_line:
            pieces.append(_Piece(head + text, tuple(by_line[line])))
            head = ""
        elif pieces and file_format in _LINES:
            pieces[-1] = pieces[-1].extend(text)
        else:
            head += text
    pieces[-1] = pieces[-1].extend(head)
    if file_format != "csv":
        return "", pieces
    header = "".join(text for line, text in line_reader.read_lines(path) if line < min(by_line))
    return header, [pieces[0]._replace(text=pieces[0].text.removeprefix(header)), *pieces[1:]]


def _read_records(path: Path, data: Data, corpus: Corpus) -> list[_Piece]:
    """Returns a piece for each record with sentences, and the records after it that have none."""
    if corpus.format == "json":
        numbers = _number_json_rows(path, data)
    elif corpus.format == "brat":
        numbers = [sentence.document for sentence in corpus.sentences]
    else:
        numbers = [sentence.line - 1 for sentence in corpus.sentences]
    groups = [
        (number, tuple(sentence for _, sentence in group))
        for number, group in groupby(zip(numbers, corpus.sentences, strict=True), key=itemgetter(0))
    ]
    starts = [0, *(number for number, _ in groups[1:]), _count_records(path, str(corpus.format))]
    return [
        _Piece("", sentences, tuple(range(*bounds)))
        for bounds, (_, sentences) in zip(pairwise(starts), groups, strict=True)
    ]


def _read_raw_rows(path: Path) -> Iterator[tuple[Any, str]]:
    """Yields the value and the text of each record of a JSON file."""
    return json_file.read_raw_rows(path, ReadOptions(str(path), Layout()))


def _count_records(path: Path, file_format: str) -> int:
    if file_format == "json":
        return sum(1 for _ in _read_raw_rows(path))
    if file_format == "brat":
        return len(brat.find_annotations(path))
    if file_format == "spacy":
        return doc_bin.count_docs(path)
    with path.open("rb") as stream:
        sizes: list[tuple[int, int]] = FORMATS["parquet"].load().read_group_sizes(stream, str(path))
    return sum(row_count for row_count, _ in sizes)


def _number_json_rows(path: Path, data: Data) -> list[int]:
    """Returns the number of its record, from 0, for each sentence; several records may be on one line."""
    lines = b"".join(jsonl.dump(value) + b"\n" for value, _ in _read_raw_rows(path))
    sentences = reader.read_sentences(
        BytesIO(lines),
        input_format="jsonl",
        layout=data_settings.find_layout(data, "json"),
        tagged=True,
        **data_settings.find_read_options(data),
    )
    return [sentence.line - 1 for sentence in sentences if sentence.tokens]


class _PartWriter:
    """Writes the parts of a file."""

    def __init__(self, source: Path, file_format: str, header: str) -> None:
        self._source, self._format, self._header = source, file_format, header

    @cached_property
    def _raw_rows(self) -> list[str]:
        """The text of each record of JSON."""
        return [text for _, text in _read_raw_rows(self._source)]

    def write(self, file: Path, pieces: Sequence[_Piece]) -> None:
        """Writes the pieces of a part."""
        rows = [row for piece in pieces for row in piece.rows]
        if self._format == "json":
            records = ",\n".join(self._raw_rows[row] for row in rows)
            atomic.write_output(file, f"[\n{records}\n]\n".encode())
        elif self._format == "parquet":
            FORMATS["parquet"].load().write_rows(self._source, file, rows)
        elif self._format == "brat":
            brat.copy_pairs(self._source, file, rows)
        elif self._format == "spacy":
            doc_bin.write_docs(self._source, file, rows)
        else:
            atomic.write_output(file, "".join((self._header, *(piece.text for piece in pieces))).encode())


def _read_blocks(path: Path, data: Data, file_format: str) -> Iterator[tuple[int, str]]:
    """Yields the lines of each sentence with the line of its first token; 0 for lines of no sentence."""
    sentences = reader.read_sentences(
        path,
        input_format=cast(InputFormat, file_format),
        layout=data_settings.find_layout(data, file_format),
        tagged=False,
        max_record_bytes=data.max_record_bytes,
    )
    yield from ((sentence.line if sentence.tokens else 0, "".join(sentence.raw)) for sentence in sentences)
