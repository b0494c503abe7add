"""Corpora to score: tagged files in any format, and sentences with gold tags."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tagger.choices import Misaligned, TagFormat, TaggedFormat
from tagger.data import data_settings, reader, tag_formats
from tagger.data.corpus import Corpus
from tagger.data.data_settings import DataSettings
from tagger.data.formats import FORMATS
from tagger.data.formats.reading import shorten
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How a tagged file is read, where it differs from the settings of data; None for the setting.

    Attributes:
        input_format: the format; None for the format that name and content show.
        token: the column of the token.
        tag: the column of the tag.
        tag_format: how tags encode spans.
        misaligned: what becomes of misaligned spans.
        outside_tag: the tag of tokens outside spans.
        prefers_tags: whether tags of tokens are read even if a row has other spans.
    """

    input_format: TaggedFormat | None = None
    token: int | str | None = None
    tag: int | str | None = None
    tag_format: TagFormat | None = None
    misaligned: Misaligned | None = None
    outside_tag: str | None = None
    prefers_tags: bool = False


def read_file(path: Path, settings: DataSettings, options: FileOptions, *, has_spans: bool = True) -> Corpus:
    """Returns the tagged sentences of a file; logs what its reader changed, skipped or found suspicious.

    Args:
        path: the file.
        settings: the settings of data.
        options: what differs from the settings.
        has_spans: whether the tags encode spans, for a file in another format than the settings have.

    Raises:
        ConfigError: an option does not fit the format.
        DataError: the file cannot be read or holds no sentence.
    """
    file_format = options.input_format or data_settings.guess_tagged_format(path, settings)
    for name, column in (("token_column", options.token), ("tag_column", options.tag)):
        if isinstance(column, int) and FORMATS[file_format].holds_fields:
            raise ConfigError(f"`{name}` is the name of a field in the format {file_format}, got {column}")
    layout = data_settings.find_layout(
        settings, file_format, has_spans=has_spans, token=options.token, tag=options.tag, tagged=True
    )
    changes: dict[str, Any] = {"tag_format": options.tag_format, "outside_tag": options.outside_tag}
    layout = replace(layout, **{name: value for name, value in changes.items() if value is not None})
    read_options = data_settings.find_read_options(settings, layout, misaligned=options.misaligned)
    read_options["annotations"] = replace(read_options["annotations"], prefers_tags=options.prefers_tags)
    corpus = reader.read_corpus(path, input_format=file_format, layout=layout, **read_options)
    for line in corpus.notices.lines():
        log.warning("%s", line)
    return corpus


def check_same_tokens(gold: Corpus, predicted: Corpus) -> None:
    """Checks that two corpora hold the same tokens in the same sentences.

    Raises:
        DataError: they do not; the error names the first tokens that differ, and where they are.
    """
    pairs = zip(gold.sentences, predicted.sentences, strict=False)
    number = next((index for index, (left, right) in enumerate(pairs) if left.tokens != right.tokens), None)
    if number is not None:
        left, right = gold.sentences[number].tokens, predicted.sentences[number].tokens
        position = next(
            (index for index, each in enumerate(zip(left, right, strict=False)) if each[0] != each[1]),
            min(len(left), len(right)),
        )
    elif len(gold.sentences) != len(predicted.sentences):
        number, position = min(len(gold.sentences), len(predicted.sentences)), 0
    else:
        return
    expected, actual = (_describe_token(corpus, number, position) for corpus in (gold, predicted))
    raise DataError(
        f"{_locate(predicted, number, position)}: found {actual}, expected {expected} as in"
        f" {_locate(gold, number, position)}; gold and predicted data need the same tokens in the same sentences"
    )


def _describe_token(corpus: Corpus, number: int, position: int) -> str:
    """Returns a token for a message; or that its sentence, or the corpus, ends before it."""
    if number == len(corpus.sentences):
        return "the end of the data"
    tokens = corpus.sentences[number].tokens
    if position == len(tokens):
        return f"the end of the sentence after {shorten(repr(tokens[-1]))}"
    return f"the token {shorten(repr(tokens[position]))}"


def _locate(corpus: Corpus, number: int, position: int) -> str:
    """Returns the file and the line of a token or of the last token before it; without a file the sentence's number."""
    if number == len(corpus.sentences):
        number, position = number - 1, len(corpus.sentences[-1])
    sentence = corpus.sentences[number]
    if not sentence.line:
        return f"sentence {number} of `{corpus.name}`"
    return corpus.locate(sentence, min(position, len(sentence) - 1))


def build_corpus(
    sentences: Sequence[Sentence],
    *,
    unknown_tag: str | None = None,
    tag_format: TagFormat = "plain",
    name: str = "data",
) -> Corpus:
    """Returns the sentences that have tokens as a corpus; each needs a tag for each token.

    Args:
        sentences: the sentences.
        unknown_tag: the tag of tokens that were not annotated.
        tag_format: how tags encode spans.
        name: the parameter that the sentences are from.

    Raises:
        DataError: no sentence has tokens, a sentence has no tags, or a tag is not of the format.
    """
    tagged = tuple(sentence for sentence in sentences if sentence.tokens)
    if not tagged:
        raise DataError(f"`{name}` holds no sentence with tokens")
    for number, sentence in enumerate(tagged):
        if len(sentence.tags) != len(sentence.tokens):
            counts = f"{len(sentence.tokens)} tokens and {len(sentence.tags)} tags"
            raise DataError(f"sentence {number} of `{name}` has {counts}; expected a tag for each token")
    if unknown_tag is not None:
        tagged = tuple(tag_formats.mark_unknown(sentence, unknown_tag) for sentence in tagged)
    converted, tag_format = tag_formats.read_all(tagged, name, tag_format)
    return Corpus(name, converted, tag_format=tag_format)
