"""Corpora to score: tagged files in any format, and sentences with gold tags."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tagger.choices import Misaligned, TagFormat, TaggedFormat
from tagger.data import reader, tag_formats
from tagger.data.formats import FORMATS
from tagger.data.reader import Corpus, DataSettings
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
    """

    input_format: TaggedFormat | None = None
    token: int | str | None = None
    tag: int | str | None = None
    tag_format: TagFormat | None = None
    misaligned: Misaligned | None = None


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
    file_format = options.input_format or reader.guess_tagged_format(path, settings)
    for name, column in (("token_column", options.token), ("tag_column", options.tag)):
        if isinstance(column, int) and FORMATS[file_format].holds_fields:
            raise ConfigError(f"`{name}` is the name of a field in the format {file_format}, got {column}")
    layout = reader.find_layout(
        settings, file_format, has_spans=has_spans, token=options.token, tag=options.tag, tagged=True
    )
    if options.tag_format is not None:
        layout = replace(layout, tag_format=options.tag_format)
    read_options = reader.find_read_options(settings, layout, misaligned=options.misaligned)
    corpus = reader.read_corpus(path, input_format=file_format, layout=layout, **read_options)
    for line in corpus.notices.lines():
        log.warning("%s", line)
    return corpus


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
        tagged = tuple(reader.mark_unknown(sentence, unknown_tag) for sentence in tagged)
    return Corpus(name, tuple(tag_formats.read_all(tagged, name, tag_format)[0]))
