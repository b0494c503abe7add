"""The Python API of `tagger evaluate`."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tagger import evaluation, tagging
from tagger.choices import Device, Misaligned, TagFormat, TaggedFormat, check_choices
from tagger.data import reader, tag_formats
from tagger.data.formats import FORMATS
from tagger.data.reader import Corpus
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError
from tagger.evaluation import Report
from tagger.tagging import Tagger
from tagger.tagging.texts import check_tokenizer

log = logging.getLogger(__name__)


def evaluate(
    model: str | Path | Tagger,
    data: str | Path | Sequence[Sentence],
    *,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    tag_format: TagFormat | None = None,
    strict: bool = False,
    misaligned: Misaligned | None = None,
    annotated_types: Sequence[str] | None = None,
    device: Device = "auto",
) -> Report:
    """Returns the scores of a model on tagged data, as `tagger evaluate` prints them.

    Args:
        model: a model directory, or a loaded tagger.
        data: a file of any format of training data, or sentences with gold tags.
        input_format: the format of the file; None for the format that its name and content show.
        token_column: the column of the token, by number from 0 or by name; None for the column used in training.
        tag_column: likewise the column of the tag; in CoNLL-U upos, xpos or misc:KEY; in rows the field of tags or
            spans.
        tag_format: how tags encode spans, one of `tagger.choices.TagFormat`; None for the format used in training.
        strict: whether invalid gold tag sequences are an error.
        misaligned: expand or contract spans that end within a token, drop them, or stop; None for the setting of the
            model.
        annotated_types: the types of spans that the data was annotated for; spans of other types are not scored. None
            for all types, or those of each record of the data.
        device: auto, cpu, cuda or cuda:N; not used if `model` is a tagger.

    Raises:
        ConfigError: an option does not fit the model or the file.
        DataError: the data cannot be read, holds no sentence, or has tags of another kind than the model.
        StorageError: there is no model directory.
        ModelError: the model directory is damaged.
    """
    check_choices(tag_format=(tag_format, TagFormat), misaligned=(misaligned, Misaligned))
    tagger = model if isinstance(model, Tagger) else tagging.load(model, device=device)
    if isinstance(data, str | Path):
        path = Path(data)
        settings, has_spans = tagger.model.config.data, tagger.model.scheme is not None
        file_format = input_format or reader.guess_tagged_format(path, settings)
        _check_columns(file_format, token_column, tag_column)
        layout = reader.find_layout(
            settings, file_format, has_spans=has_spans, token=token_column, tag=tag_column, tagged=True
        )
        if tag_format is not None:
            layout = replace(layout, tag_format=tag_format)
        corpus = reader.read_corpus(
            path,
            input_format=file_format,
            layout=layout,
            **reader.find_read_options(settings, layout, misaligned=misaligned),
        )
        for line in corpus.notices.lines():
            log.warning("%s", line)
        if corpus.is_split_text:
            check_tokenizer(tagger.model.config, settings.language)
    else:
        corpus = _corpus(
            data,
            tagger.model.config.data.unknown_tag,
            "untyped" if tagger.model.config.data.tag_format == "untyped" else "plain",
        )
    if annotated_types is not None:
        if tagger.model.scheme is None:
            raise ConfigError("`annotated_types` are types of spans, but the model's tags are plain")
        corpus = corpus.with_annotated_types(annotated_types)
    return evaluation.evaluate(tagger, corpus, strict=strict)


def _check_columns(file_format: TaggedFormat, token: int | str | None, tag: int | str | None) -> None:
    for name, column in (("token_column", token), ("tag_column", tag)):
        if isinstance(column, int) and FORMATS[file_format].holds_fields:
            raise ConfigError(f"`{name}` is the name of a field in the format {file_format}, got {column}")


def _corpus(sentences: Sequence[Sentence], unknown_tag: str | None, tag_format: TagFormat) -> Corpus:
    """Returns the sentences that have tokens as a corpus; each needs a tag for each token."""
    tagged = tuple(sentence for sentence in sentences if sentence.tokens)
    if not tagged:
        raise DataError("`data` holds no sentence with tokens")
    for number, sentence in enumerate(tagged):
        if len(sentence.tags) != len(sentence.tokens):
            counts = f"{len(sentence.tokens)} tokens and {len(sentence.tags)} tags"
            raise DataError(f"sentence {number} of `data` has {counts}; expected a gold tag for each token")
    if unknown_tag is not None:
        tagged = tuple(reader.mark_unknown(sentence, unknown_tag) for sentence in tagged)
    return Corpus("data", tuple(tag_formats.read_all(tagged, "data", tag_format)[0]))
