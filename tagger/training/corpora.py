"""The training, dev and test data of a recipe."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tagger.choices import counted
from tagger.config import Config
from tagger.config.schema import Data
from tagger.data import reader, schemes, tag_formats
from tagger.data.formats import Layout, columns, hub, text
from tagger.data.reader import Corpus
from tagger.errors import ConfigError, DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpora:
    """The training data, with tags in the scheme of the model; the dev data and, if any, the test data, as read."""

    train: Corpus
    dev: Corpus
    test: Corpus | None

    def digests(self) -> dict[str, str]:
        """Returns the hashes of the data that a training depends on."""
        return {"train": self.train.digest(), "dev": self.dev.digest()}


def with_paths(
    config: Config, *, folder: Path | None, parts: Mapping[str, Path | None], vectors: Sequence[Path]
) -> Config:
    """Returns a config with other paths of data and vectors.

    Args:
        config: the config of the recipe.
        folder: a folder with files of the usual names, or a dataset if that is the recipe's format.
        parts: single files by role: train, dev and test.
        vectors: files of word vectors.

    Raises:
        ConfigError: the recipe reads a dataset, which has no single files.
        DataError: the folder holds no training file.
    """
    data, words = config.data, config.model.words
    changed: dict[str, str | None] = {}
    is_dataset = data.implied_format == "datasets"
    if is_dataset and any(parts.values()):
        raise ConfigError(
            "the recipe reads a dataset; pass it as `data` or set data.dataset, and its splits in data.splits"
        )
    if folder is not None and (is_dataset or (data.implied_format is None and hub.is_dataset(folder))):
        changed |= {"format": "datasets", "dataset": str(folder.resolve())}
    elif folder is not None:
        files = reader.find_corpus_files(folder)
        changed = {role: str(files[role].resolve()) if role in files else None for role in parts}
    changed |= {role: str(path.resolve()) for role, path in parts.items() if path is not None}
    if vectors:
        words = words.model_copy(update={"vectors": tuple(str(path.resolve()) for path in vectors)})
    model = config.model.model_copy(update={"words": words})
    return config.model_copy(update={"data": data.model_copy(update=changed), "model": model})


def with_resolved_columns(config: Config, train: Corpus) -> Config:
    """Returns a config with the format, the tag format, the tokenizer and the columns of the training data.


    Columns become numbers from 0. With a number, a model does not read the last column of a file with fewer columns as
    the tags.
    """
    data = config.data
    changed: dict[str, object] = {"format": train.format or data.format, "tag_format": train.tag_format}
    if train.format == "columns":
        layout, column_count = Layout(data.token, data.tag, data.columns), columns.count_columns(train.sentences[0])
        changed["token"], changed["tag"] = (layout.number(column) % column_count for column in (data.token, data.tag))
    if train.is_split_text:
        changed["tokenizer"] = text.describe_tokenizer(data.language)
    return config.model_copy(update={"data": data.model_copy(update=changed)})


def is_dev_split_off(data: Data) -> bool:
    """Returns whether the seed selects training documents as dev data, because there is none."""
    return (data.splits if data.implied_format == "datasets" else data).dev is None


def load(config: Config) -> Corpora:
    """Returns the data of a recipe.

    Raises:
        ConfigError: the recipe names no training data.
        DataError: a part cannot be read, or its tags are of another kind than the training data's.
    """
    data = config.data
    train = _read_train(data)
    kinds = [_check_tags(train, data)]
    data = data.model_copy(update={"tag_format": train.tag_format})
    dev, test = (reader.read_part(data, role, has_spans=kinds[0] is not False) for role in ("dev", "test"))
    kinds += [_check_tags(part, data) for part in (dev, test) if part is not None]
    if dev is None:
        remaining, split = reader.split_off_dev(train.sentences, data.dev_fraction, config.training.seed)
        log.info("no dev data: %d training sentences are split off as dev data", len(split))
        dev = replace(train, name=f"part of {train.name}", sentences=tuple(split))
        train = replace(train, sentences=tuple(remaining))
    if not set(kinds[1:]) <= {kinds[0], None}:
        kind = "spans" if kinds[0] else "plain tags"
        raise DataError(f"{train.name} has {kind}, but the dev or test data does not; is data.tag the right column?")
    if kinds[0]:
        converted = (
            replace(sentence, tags=schemes.convert(sentence.tags, data.scheme)) for sentence in train.sentences
        )
        train = replace(train, sentences=tuple(converted))
    return Corpora(train, dev, test)


def _read_train(data: Data) -> Corpus:
    train = reader.read_part(data, "train")
    if train is None and data.implied_format == "datasets":
        raise ConfigError("the recipe names no dataset; give data.dataset, or a directory as `data`")
    if train is None:
        raise ConfigError("the recipe names no training data; pass `data` or `train`")
    return train


def _check_tags(part: Corpus, data: Data) -> bool | None:
    """Checks and logs the tags and the notices of a part; returns whether its tags encode spans, None if all are O.

    Raises:
        DataError: a tag is empty or has a control character, or plain tags are mixed with tags of spans.
    """
    for notice in part.notices.lines():
        log.warning("%s", notice)
    tags = [sentence.tags for sentence in part.sentences]
    detected = schemes.detect(tags)
    if control_tags := schemes.control_tags({tag for sentence in tags for tag in sentence}):
        line = _find_line(part, control_tags[0])
        fault = f"the tag {control_tags[0][:60]!r} is empty or has a control character"
        raise DataError(f"{part.name}:{line}: {fault}")
    if plain_tags := schemes.find_non_span_tags(tags):
        line, tag = _find_line(part, plain_tags[0]), tag_formats.describe_tag(plain_tags[0])
        advice = "if it is the tag outside spans, set data.outside_tag"
        raise DataError(f"{part.name}:{line}: expected tags of spans such as 'B-PER', found {tag}; {advice}")
    if detected.scheme and data.tag_format == "plain":
        raise DataError(f"{part.name}: the tags are spans in {detected.name}; omit data.tag_format plain")
    documents = len({sentence.document for sentence in part.sentences})
    log.info(
        "%s: %s, %s, %s; %s",
        part.name,
        counted(len(part.sentences), "sentence"),
        counted(part.tokens, "token"),
        counted(documents, "document"),
        f"spans in {detected.name}, trained in {data.scheme}" if detected.scheme else detected.name,
    )
    if detected.scheme and detected.invalid_count:
        faults = part.describe_invalid(detected.scheme)
        if data.strict:
            raise DataError(*faults)
        log.warning(
            "%d tags are invalid in %s and are read by the rules of conlleval; the first: %s",
            detected.invalid_count,
            detected.name,
            faults[0],
        )
    only_outside = {tag for sentence in tags for tag in sentence} == {schemes.OUTSIDE}
    return None if only_outside else detected.scheme is not None


def _find_line(part: Corpus, tag: str) -> int:
    """Returns the line of the first token with a tag."""
    sentence = next(sentence for sentence in part.sentences if tag in sentence.tags)
    return tag_formats.find_line(sentence, sentence.tags.index(tag))
