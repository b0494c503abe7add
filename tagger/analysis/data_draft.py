"""Drafts the `data` settings that fit a file: format, columns of token and tag."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tagger.analysis.parts import find_rows
from tagger.choices import TaggedFormat
from tagger.config.schema import Data
from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.sentence import Sentence

_PROBE_SENTENCES = 1000
_SPAN_TAG = re.compile(r"[BI]-.+")
_UPOS, _XPOS, _MISC = 3, 4, 9  # columns of CoNLL-U
_MAX_TAGS = 1000
_MAX_EXAMPLES = 3


@dataclass(frozen=True)
class DataDraft:
    """Settings of `data` by name, and notes on those that could be otherwise."""

    settings: dict[str, str | int]
    notes: dict[str, str]


def draft(path: Path, input_format: TaggedFormat | None = None) -> DataDraft:
    """Returns the settings for a tagged file, from its name and its first sentences.

    Raises:
        DataError: the file cannot be read.
    """
    file_format = input_format or reader.guess_tagged_format(path, Data())
    rows = _read_rows(path, file_format)
    return _draft_conllu(rows) if file_format == "conllu" else _draft_columns(rows)


def _read_rows(path: Path, file_format: TaggedFormat) -> list[list[list[str]]]:
    """Returns the fields of each token of the first sentences."""
    layout = Layout(0, "upos" if file_format == "conllu" else None)
    sentences = reader.read_sentences(path, input_format=file_format, layout=layout, tagged=False)
    return [_fields(sentence) for sentence in islice(filter(len, sentences), _PROBE_SENTENCES)]


def _fields(sentence: Sentence) -> list[list[str]]:
    lines = [sentence.raw[index].strip("\r\n\ufeff") for index in find_rows(sentence)]
    return [line.split("\t") if "\t" in line else line.split() for line in lines]


def _draft_conllu(sentences: Sequence[Sequence[Sequence[str]]]) -> DataDraft:
    rows = [row for rows in sentences for row in rows]
    items = (item.split("=", 1) for row in rows for item in row[_MISC].split("|") if "=" in item)
    keys = dict.fromkeys(key for key, value in items if _SPAN_TAG.fullmatch(value))
    fields = [f"misc:{key}" for key in keys]
    fields += [name for name, column in (("upos", _UPOS), ("xpos", _XPOS)) if any(row[column] != "_" for row in rows)]
    settings: dict[str, str | int] = {"format": "conllu", "tag": fields[0] if fields else "upos"}
    return DataDraft(settings, {"tag": f"other fields with tags: {', '.join(fields[1:])}"} if fields[1:] else {})


def _draft_columns(sentences: Sequence[Sequence[Sequence[str]]]) -> DataDraft:
    """Returns the settings for columns: the token is in the first column that is no numbering, the tag in the last."""
    column_count = min((len(row) for rows in sentences for row in rows), default=0)
    if column_count < 2:
        return DataDraft({"format": "columns"}, {})
    token = int(all([row[0] for row in rows] == [str(number + 1) for number in range(len(rows))] for rows in sentences))
    tags = {
        column: Counter(row[column] for rows in sentences for row in rows) for column in range(token + 1, column_count)
    }
    if not tags:
        token, tags = 0, {column_count - 1: Counter()}
    plausible = [column for column, counts in tags.items() if 1 < len(counts) <= min(_MAX_TAGS, counts.total() / 2)]
    tag = plausible[-1] if plausible else column_count - 1
    texts = [f"{column} ({', '.join(list(tags[column])[:_MAX_EXAMPLES])}, …)" for column in plausible if column != tag]
    notes = {"tag": f"other columns that may hold tags: {', '.join(texts)}"} if texts else {}
    return DataDraft({"format": "columns", "token": token, "tag": tag}, notes)
