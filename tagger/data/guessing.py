"""Guesses the format of a file from its name and its first bytes."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple, cast

from tagger.choices import InputFormat, TaggedFormat
from tagger.data.formats import FORMATS, brat, names_of
from tagger.errors import DataError
from tagger.io import line_reader

_HEAD_BYTES = 1 << 13
_JSON = re.compile(r"\{\s*[\"}]|\[\s*[\[{\"\]]")
_CONLLU_ROW = re.compile(r"[0-9]+([-.][0-9]+)?(\t[^\t]*){9}")
_PARQUET_MAGIC = b"PAR1"
_DOCUMENT_START = "-DOCSTART-"
_TAG = re.compile(r"O|[BIESLUM]-[^\W\d]\S*")  # a type begins with a letter, unlike "vitamin B-12"
_MIN_ROWS = 3  # with tags of spans
_MIN_PLAIN_ROWS = 8  # without, for a warning


class Guess(NamedTuple):
    """The format of a file, and what shows it: "name", "content", or nothing for a default."""

    format: InputFormat | TaggedFormat
    evidence: str = ""


def guess_format(path: Path, *, tagged: bool = False) -> Guess:
    """Returns the format of a file.

    1. Content that no other format has decides: the first bytes of Parquet, or a beginning in JSON, be it JSON lines or
       one JSON value.
    2. Else the suffix decides, also before the suffix of a compression.
    3. A file with another suffix is CoNLL-U if its first row has ten fields with tabs and begins with a number. A
       tagged file is `pipes` if its items, such as `Ada|PER`, have equally many bars; else it is columns. A file to be
       tagged is columns if it has rows of equally many columns, at least two, and a blank line; else it is raw text.
    4. A text file (`.txt`) to be tagged is raw text, unless it is CoNLL-U or plainly columns: a `-DOCSTART-` line
       comes first, or all rows have equally many columns, at least two, and end in tags such as O and B-PER. See
       `find_likely_format` for other content.
    5. A folder with files of annotations (`.ann`), and a text file with one beside it, are brat if they hold tags.

    Only the first 8 KiB of regular files are read, after decompression. Without them, the name decides.

    >>> guess_format(Path("en-dev.conllu.gz"))
    Guess(format='conllu', evidence='name')

    Args:
        path: the file, which need not exist.
        tagged: whether the file holds tags, for training or evaluation.
    """
    plain = line_reader.strip_compression_suffix(path)
    if plain.suffix == ".txt" and not tagged:
        return _guess_text(_read_rows(_read_head(path)))
    if tagged and brat.is_brat(path):
        return Guess("brat", "name")
    head = _read_head(path)
    if head.startswith(_PARQUET_MAGIC):
        return Guess("parquet", "content")
    text = _decode(head)
    if _JSON.match(text.lstrip()):
        return Guess(_guess_json(text.lstrip(), plain.suffix), "content")
    names = (
        name for name in names_of("is_training_data" if tagged else "reads") if plain.suffix in FORMATS[name].suffixes
    )
    if (name := next(names, None)) is not None:
        return Guess(cast(TaggedFormat, name), "name")
    rows = _read_rows(head)
    if _looks_like_conllu(rows):
        return Guess("conllu", "content")
    if tagged and _looks_like_pipes(rows):
        return Guess("pipes", "content")
    return Guess("columns") if tagged or _looks_like_columns(rows) else Guess("text")


def find_likely_format(path: Path) -> InputFormat | TaggedFormat | None:
    """Returns the format that a text file to be tagged may have instead of raw text; None for ordinary text."""
    if line_reader.strip_compression_suffix(path).suffix != ".txt" or guess_format(path).format != "text":
        return None
    head = _read_head(path)
    if not head.startswith(_PARQUET_MAGIC) and not _JSON.match(_decode(head).lstrip()):
        rows = [row for row in _read_rows(head) if row.strip()]
        if len(rows) < _MIN_PLAIN_ROWS:
            return None
        return "pipes" if _looks_like_pipes(rows) else "columns" if _looks_like_columns(_read_rows(head)) else None
    guess = guess_format(path, tagged=True)
    return guess.format if guess.evidence == "content" else None


def _guess_text(rows: list[str]) -> Guess:
    """Returns the format of a text file to be tagged."""
    if _looks_like_conllu(rows):
        return Guess("conllu", "content")
    return Guess("columns", "content") if _looks_like_tagged_columns(rows) else Guess("text")


def _decode(head: bytes) -> str:
    return head.decode(errors="replace").removeprefix("\ufeff")


def _read_rows(head: bytes) -> list[str]:
    """Returns the complete lines of a head, and the last one of a whole file."""
    *lines, last = _decode(head).split("\n")
    if last and len(head) < _HEAD_BYTES:
        lines.append(last)
    return [line.rstrip("\r") for line in lines]


def _read_head(path: Path) -> bytes:
    if not path.is_file():  # reading a pipe would take its content away
        return b""
    try:
        with line_reader.open_decompressed(path) as stream:
            return stream.read(_HEAD_BYTES)
    except DataError:  # the reader of the format reports it
        return b""


def _guess_json(text: str, suffix: str) -> InputFormat:
    """Returns whether a text that begins in JSON is JSON lines or one JSON value."""
    is_json, is_jsonl = (suffix in FORMATS[name].suffixes for name in ("json", "jsonl"))
    line, is_complete, rest = text.partition("\n")
    if not is_complete:
        return "jsonl" if is_jsonl or (text[0] == "{" and not is_json) else "json"
    try:
        value: Any = json.loads(line)
    except ValueError:
        end = line.rstrip()[-1]  # of a value on several lines, or of a line with a fault
        return "jsonl" if line[0] + end == "{}" or (is_jsonl and end not in "[{,") else "json"
    is_row = isinstance(value, dict) or (len(value) == 2 and isinstance(value[0], str))
    return "jsonl" if is_row and (rest.strip() or not is_json) else "json"


def _looks_like_pipes(rows: list[str]) -> bool:
    """Returns whether all tokens of the rows have the same number of bars, and a row has several tokens."""
    tokens = [row.split() for row in rows]
    counts = {token.count("|") for row in tokens for token in row}
    return len(counts) == 1 and counts.pop() > 0 and any(len(row) > 1 for row in tokens)


def _looks_like_conllu(rows: list[str]) -> bool:
    first = next((row for row in rows if row.strip() and not row.startswith("#")), "")
    return _CONLLU_ROW.fullmatch(first) is not None


def _looks_like_columns(rows: list[str]) -> bool:
    counts = {len(_split(row)) for row in rows if row.strip()}
    return len(counts) == 1 and counts.pop() > 1 and any(not row.strip() for row in rows)


def _looks_like_tagged_columns(rows: list[str]) -> bool:
    """Returns whether rows have equally many columns, and begin with a document or end in tags of spans."""
    fields = [_split(row) for row in rows if not row.startswith("# ")]
    words = [row for row in fields if row and row[0].strip() and row[0] != _DOCUMENT_START]
    if len({len(row) for row in words}) != 1 or len(words[0]) < 2:
        return False
    if fields[0][:1] == [_DOCUMENT_START] and not fields[1]:
        return True
    tags = {row[-1] for row in words}
    return len(words) >= _MIN_ROWS and "O" in tags and len(tags) > 1 and all(map(_TAG.fullmatch, tags))


def _split(row: str) -> list[str]:
    return row.split("\t") if "\t" in row else row.split()
