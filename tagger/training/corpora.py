"""The training, dev and test data of a recipe."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tagger.config import Config
from tagger.config.schema import Data
from tagger.data import reader, schemes
from tagger.data.formats import columns
from tagger.data.reader import Corpus
from tagger.errors import ConfigError, DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpora:
    """Training data, its tags in the scheme to train; development data and, where there is any, test data as read."""

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
        config: the recipe's.
        folder: holds all parts under their usual names, or is a dataset if that is the recipe's format.
        parts: single files by role: train, dev and test.
        vectors: tables of word vectors.

    Raises:
        ConfigError: the recipe reads a dataset, which has no single files.
        DataError: the folder holds no training file.
    """
    data, words = config.data, config.model.words
    changed: dict[str, str | None] = {}
    if data.format == "datasets" and any(parts.values()):
        raise ConfigError("the recipe reads a dataset; name it with `data` or data.dataset, its parts with data.splits")
    if folder is not None and data.format == "datasets":
        changed["dataset"] = str(folder.resolve())
    elif folder is not None:
        found = reader.find_corpus_files(folder)
        changed = {role: str(found[role].resolve()) if role in found else None for role in parts}
    changed |= {role: str(path.resolve()) for role, path in parts.items() if path is not None}
    if vectors:
        words = words.model_copy(update={"vectors": tuple(str(path.resolve()) for path in vectors)})
    model = config.model.model_copy(update={"words": words})
    return config.model_copy(update={"data": data.model_copy(update=changed), "model": model})


def with_column_numbers(config: Config, train: Corpus) -> Config:
    """Returns a config whose columns are numbers from 0, as they stand in the training data.

    A model that knows the number will not take the last column of a narrower file for that of the tag.
    """
    data = config.data
    if data.format != "columns":
        return config
    column_count = columns.count_columns(train.sentences[0])
    token, tag = (
        reader.find_layout(data, data.format).number(column) % column_count for column in (data.token, data.tag)
    )
    return config.model_copy(update={"data": data.model_copy(update={"token": token, "tag": tag})})


def is_dev_split_off(data: Data) -> bool:
    """Returns whether the seed selects training documents as dev data, because there is none."""
    return (data.splits if data.format == "datasets" else data).dev is None


def load(config: Config) -> Corpora:
    """Returns the data of a recipe.

    Raises:
        ConfigError: the recipe names no training data.
        DataError: a part cannot be read, or its tags are of another kind than the training data's.
    """
    data = config.data
    train, dev, test = _read(data)
    kinds = [_described(part, data) for part in (train, dev, test) if part is not None]
    if dev is None:
        kept, aside = reader.split_off_dev(train.sentences, data.dev_fraction, config.training.seed)
        log.info("no development data: %d of the training sentences set aside for it", len(aside))
        train, dev = Corpus(train.name, tuple(kept)), Corpus(f"part of {train.name}", tuple(aside))
    if not set(kinds[1:]) <= {kinds[0], None}:
        kind = "spans" if kinds[0] else "plain tags"
        raise DataError(f"{train.name} has {kind}, the development or test data has not; is data.tag the right column?")
    if kinds[0]:
        converted = (replace(one, tags=schemes.convert(one.tags, data.scheme)) for one in train.sentences)
        train = Corpus(train.name, tuple(converted))
    return Corpora(train, dev, test)


def _read(data: Data) -> tuple[Corpus, Corpus | None, Corpus | None]:
    train = _part(data, "train")
    if train is None and data.format == "datasets":
        raise ConfigError("the recipe names no dataset; give data.dataset, or a directory as `data`")
    if train is None:
        raise ConfigError("the recipe names no training data; pass `data` or `train`")
    return train, _part(data, "dev"), _part(data, "test")


def _part(data: Data, role: str) -> Corpus | None:
    split, path = getattr(data.splits, role), getattr(data, role)
    if data.format != "datasets":
        if path is None:
            return None
        limit = data.max_record_bytes
        return reader.read_corpus(
            Path(path), input_format=data.format, layout=reader.find_layout(data, data.format), max_record_bytes=limit
        )
    if data.dataset is None or split is None:
        return None
    return reader.read_dataset(
        data.dataset, split, layout=reader.find_layout(data, data.format), revision=data.revision
    )


def _described(part: Corpus, data: Data) -> bool | None:
    """Logs what a part of the data is; tells whether its tags spell spans, None if it holds nothing but O."""
    tags = [sentence.tags for sentence in part.sentences]
    found = schemes.detect(tags)
    if control_tags := schemes.control_tags({tag for sentence in tags for tag in sentence}):
        line = next(one.line for one in part.sentences if control_tags[0] in one.tags)
        what = f"the tag {control_tags[0][:60]!r} is empty or has a control character"
        raise DataError(f"{part.name}: sentence at line {line}: {what}")
    if others := schemes.find_non_span_tags(tags):
        line = next(one.line for one in part.sentences if others[0] in one.tags)
        raise DataError(
            f"{part.name}: sentence at line {line}: {others[0]!r} stands among tags of spans such as 'B-PER'"
        )
    documents = len({sentence.document for sentence in part.sentences})
    log.info(
        "%s: %d sentences, %d tokens, %d documents; %s",
        part.name,
        len(part.sentences),
        part.tokens,
        documents,
        f"spans in {found.name}, trained in {data.scheme}" if found.scheme else found.name,
    )
    if found.scheme and found.invalid_count:
        places = part.describe_invalid(found.scheme)
        if data.strict:
            raise DataError(*places)
        log.warning(
            "%d tags break %s and are read as conlleval reads them; first: %s",
            found.invalid_count,
            found.name,
            places[0],
        )
    only_outside = {tag for sentence in tags for tag in sentence} == {schemes.OUTSIDE}
    return None if only_outside else found.scheme is not None
