"""Drafts the `data` settings that fit a file: format, columns of token and tag, how tags encode spans."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

from tagger.choices import TagFormat, TaggedFormat
from tagger.config.schema import Data
from tagger.data import data_settings, reader, schemes, tag_formats
from tagger.data.formats import FORMATS, Layout, columns
from tagger.data.sentence import Sentence

_PROBE_SENTENCES = 1000
_SPAN_TAG = re.compile(r"[BI]-.+")
_MAX_TAGS = 1000
_MAX_EXAMPLES = 3
_SPAN_FORMATS: tuple[TagFormat, ...] = ("prefix", "suffix")

_NO_VALUE = "_"  # in CoNLL-U
_ONTONOTES = (3, 10)  # columns of the token and of the named entity

Tags = Sequence[Sequence[str]]


@dataclass(frozen=True)
class DataDraft:
    """Settings of `data` by name, and notes on those that could be otherwise."""

    settings: dict[str, str | int]
    notes: dict[str, str]


def draft(
    path: Path,
    data: Data | None = None,
) -> DataDraft:
    """Returns the settings for a tagged file, from its name and its first sentences.

    Args:
        path: the file.
        data: settings that are set; without a column of the token, the first one that is no numbering is drafted;
            without a column of the tag, the last one that may hold tags.

    Raises:
        DataError: the file cannot be read.
    """
    data = data or Data()
    token = data.token if "token" in data.model_fields_set else None
    tag = data.tag if "tag" in data.model_fields_set else None
    file_format = (
        data_settings.guess_tagged_format(path, Data()) if data.format is None else cast(TaggedFormat, data.format)
    )
    result = DataDraft({"format": file_format}, {})
    if file_format == "conllu":
        tags = _draft_field(path, None if tag is None else str(tag), data, result)
    elif file_format == "columns":
        tags = _draft_columns(path, token, tag, data, result)
    else:
        sentences = _probe(path, file_format, data.token, data.tag, data)
        _draft_language(sentences, file_format, data, result)
        tags = [] if _are_texts(sentences) else [sentence.tags for sentence in sentences]
    if "tag_format" not in data.model_fields_set:
        _draft_tag_format(tags, result)
    return result


def _probe(path: Path, file_format: TaggedFormat, token: int | str, tag: int | str, data: Data) -> list[Sentence]:
    """Returns the first sentences with unconverted tags; those that cannot be read are left out."""
    sentences = reader.read_sentences(
        path,
        input_format=file_format,
        layout=Layout(token, tag, data.columns, comments=data.comments),
        tagged=True,
        reject=lambda _: None,
        **data_settings.find_read_options(data),
    )
    return list(islice(filter(len, sentences), _PROBE_SENTENCES))


def _are_texts(sentences: Sequence[Sentence]) -> bool:
    return any(sentence.has_annotated_text for sentence in sentences)


def _draft_language(sentences: Sequence[Sentence], file_format: str, data: Data, result: DataDraft) -> None:
    """Adds the language if the tokenizer splits texts."""
    if FORMATS[file_format].holds_texts and _are_texts(sentences):
        result.settings["language"] = data.language
        result.notes["language"] = "of the texts, as an ISO 639 code; it decides how they are split into tokens"


def _draft_field(path: Path, tag: str | None, data: Data, result: DataDraft) -> Tags:
    """Adds the field of the tag in CoNLL-U; returns the tags."""
    by_field = {name: [each.tags for each in _probe(path, "conllu", 0, name, data)] for name in ("upos", "xpos")}
    miscs = (line.rpartition("\t")[2].strip() for each in _probe(path, "conllu", 0, "upos", data) for line in each.raw)
    items = (item.partition("=") for misc in miscs for item in misc.split("|"))
    keys = dict.fromkeys(key for key, _, value in items if _SPAN_TAG.fullmatch(value))
    fields = [f"misc:{key}" for key in keys]
    fields += [name for name, tags in by_field.items() if {tag for each in tags for tag in each} != {_NO_VALUE}]
    column = tag or (fields or ["upos"])[0]
    result.settings["tag"] = column
    if other := [field for field in fields if field != column]:
        result.notes["tag"] = f"other fields with tags: {', '.join(other)}"
    if column in by_field and any(_NO_VALUE in tags for tags in by_field[column]):
        result.settings["unknown_tag"] = _NO_VALUE
        result.notes["unknown_tag"] = "tokens without a value may have any tag"
    return by_field.get(column) or [each.tags for each in _probe(path, "conllu", 0, column, data)]


def _draft_columns(path: Path, token: int | str | None, tag: int | str | None, data: Data, result: DataDraft) -> Tags:
    """Adds the columns of token and tag; returns the tags."""
    sentences = _probe(path, "columns", 0, -1, data)
    if not sentences:
        return []
    count = columns.count_columns(sentences[0])
    if token is None and tag is None and _is_ontonotes(sentences[0]):
        token, tag = _ONTONOTES
    by_column = {
        column: [each.tags for each in _probe(path, "columns", 0 if column else 1, column, data)]
        for column in range(count)
    }
    if token is None:
        token = next((column for column in range(count - 1) if not _is_bookkeeping(by_column[column])), 0)
    counts = {
        column: Counter(tag for each in tags for tag in each) for column, tags in by_column.items() if column != token
    }
    plausible = [
        column for column, tags in counts.items() if column > 0 and 1 < len(tags) <= min(_MAX_TAGS, tags.total() / 2)
    ]
    if tag is None:
        tag = plausible[-1] if plausible else count - 1
        other = [
            f"{column} ({', '.join(list(counts[column])[:_MAX_EXAMPLES])}, …)" for column in plausible if column != tag
        ]
        if other:
            result.notes["tag"] = f"other columns that may hold tags: {', '.join(other)}"
    result.settings.update(token=token, tag=tag)
    return by_column[tag] if tag in by_column else [each.tags for each in _probe(path, "columns", token, tag, data)]


def _is_ontonotes(sentence: Sentence) -> bool:
    """Returns whether a file has the columns of OntoNotes in the CoNLL-2012 task."""
    return any(line.lstrip("\ufeff").startswith("#begin document") for line in sentence.raw)


def _is_bookkeeping(sentences: Tags) -> bool:
    """Returns whether a column has the numbers of tokens, or the same value in all of a sentence, such as its id."""
    is_number = all(value.isdecimal() for values in sentences for value in values)
    is_constant = all(len(set(values)) == 1 for values in sentences) and any(len(values) > 1 for values in sentences)
    return is_number or is_constant


def _draft_tag_format(tags: Tags, result: DataDraft) -> None:
    """Adds how tags encode spans, if the reader refuses to guess it or reads tags that may be types as plain tags."""
    guess = tag_formats.guess(tags)
    if guess.fault:
        for outside in (schemes.OUTSIDE, *tag_formats.USUAL_OUTSIDE):
            for tag_format in _SPAN_FORMATS:
                if _can_read(tags, tag_format, outside):
                    result.settings["tag_format"] = tag_format
                    if outside != schemes.OUTSIDE:
                        result.settings["outside_tag"] = outside
                    return
    elif "types" in guess.notice:
        result.settings["tag_format"] = "types"
        result.notes["tag_format"] = "runs of one type are spans; `plain` if the tags encode no spans"


def _can_read(tags: Tags, tag_format: TagFormat, outside: str) -> bool:
    tag_reader = tag_formats.TagReader(tag_format, outside)
    try:
        for each in tags:
            tag_reader.read_tags(each)
    except ValueError:
        return False
    return True
