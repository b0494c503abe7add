"""The Python API of `tagger evaluate`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tagger import evaluation, tagging
from tagger.choices import Device, TagFormat, TaggedFormat, listed, options
from tagger.data import reader, tag_formats
from tagger.data.reader import Corpus
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError
from tagger.evaluation import Report
from tagger.tagging import Tagger


def evaluate(
    model: str | Path | Tagger,
    data: str | Path | Sequence[Sentence],
    *,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    tag_format: TagFormat | None = None,
    strict: bool = False,
    device: Device = "auto",
) -> Report:
    """Returns the scores of a model on tagged data, as `tagger evaluate` prints them.

    Args:
        model: a model directory, or a loaded tagger.
        data: a file in columns or CoNLL-U, or sentences with gold tags.
        input_format: the format of the file; None for the format that its name suggests.
        token_column: the column of the token, by number from 0 or by name; None for the column used in training.
        tag_column: likewise the column of the tag; in CoNLL-U upos, xpos or misc:KEY.
        tag_format: how tags encode spans, one of `tagger.choices.TagFormat`; None for the format used in training.
        strict: whether invalid gold tag sequences are an error.
        device: auto, cpu, cuda or cuda:N; not used if `model` is a tagger.

    Raises:
        ConfigError: an option does not fit the model or the file.
        DataError: the data cannot be read, holds no sentence, or has tags of another kind than the model.
        StorageError: there is no model directory.
        ModelError: the model directory is damaged.
    """
    if tag_format is not None and tag_format not in options(TagFormat):
        raise ConfigError(f"`tag_format` must be {listed(options(TagFormat))}, got {tag_format!r}")
    tagger = model if isinstance(model, Tagger) else tagging.load(model, device=device)
    if isinstance(data, str | Path):
        path = Path(data)
        settings, has_spans = tagger.model.config.data, tagger.model.scheme is not None
        file_format = input_format or reader.guess_tagged_format(path, settings)
        layout = reader.find_layout(
            settings, file_format, has_spans=has_spans, token=token_column, tag=tag_column, tagged=True
        )
        if tag_format is not None:
            layout = replace(layout, tag_format=tag_format)
        limit = settings.max_record_bytes
        corpus = reader.read_corpus(path, input_format=file_format, layout=layout, max_record_bytes=limit)
    else:
        corpus = _corpus(data, "untyped" if tagger.model.config.data.tag_format == "untyped" else "plain")
    return evaluation.evaluate(tagger, corpus, strict=strict)


def _corpus(sentences: Sequence[Sentence], tag_format: TagFormat) -> Corpus:
    """Returns the sentences that have tokens as a corpus; each needs a tag for each token."""
    tagged = tuple(sentence for sentence in sentences if sentence.tokens)
    if not tagged:
        raise DataError("`data` holds no sentence with tokens")
    for number, sentence in enumerate(tagged):
        if len(sentence.tags) != len(sentence.tokens):
            counts = f"{len(sentence.tokens)} tokens and {len(sentence.tags)} tags"
            raise DataError(f"sentence {number} of `data` has {counts}; expected a gold tag for each token")
    return Corpus("data", tuple(tag_formats.read_all(tagged, "data", tag_format)[0]))
