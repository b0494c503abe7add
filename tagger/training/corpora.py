"""The parts of the data as a recipe names them, with the scheme of each told."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tagger.config import Config
from tagger.config.tree import Data
from tagger.data import schemes, sources
from tagger.data.formats.columns import Layout
from tagger.data.sources import Corpus
from tagger.errors import ConfigError, DataError
from tagger.evaluation import broken_places

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpora:
    """Training data, its tags in the scheme to train; development data and, where there is any, test data as read."""

    train: Corpus
    dev: Corpus
    test: Corpus | None

    def digests(self) -> dict[str, str]:
        """Returns the hash of what a training's course depends on."""
        return {"train": self.train.digest(), "dev": self.dev.digest()}


def layout(data: Data) -> Layout:
    """Returns where a recipe says that tokens and tags stand."""
    return Layout(data.token, data.tag, data.columns)


def placed(config: Config, *, folder: Path | None, parts: Mapping[str, Path | None], vectors: Sequence[Path]) -> Config:
    """Returns a config whose data and vectors are elsewhere than the recipe says.

    Args:
        config: the recipe's.
        folder: holds all parts under their usual names, or is a dataset if that is the recipe's format.
        parts: single files by role: train, dev and test.
        vectors: tables of word vectors.

    Raises:
        DataError: the folder holds no training file.
    """
    data, words = config.data, config.model.words
    changed: dict[str, str | None] = {}
    if folder is not None and data.format == "datasets":
        changed["dataset"] = str(folder.resolve())
    elif folder is not None:
        found = sources.find(folder)
        changed = {role: str(found[role].resolve()) if role in found else None for role in parts}
    changed |= {role: str(path.resolve()) for role, path in parts.items() if path is not None}
    if vectors:
        words = words.model_copy(update={"vectors": tuple(str(path.resolve()) for path in vectors)})
    model = config.model.model_copy(update={"words": words})
    return config.model_copy(update={"data": data.model_copy(update=changed), "model": model})


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
        kept, aside = sources.set_aside(train.sentences, data.dev_share, config.training.seed)
        log.info("no development data: %d of the training sentences set aside for it", len(aside))
        train, dev = Corpus(train.name, tuple(kept)), Corpus(f"part of {train.name}", tuple(aside))
    if len(set(kinds)) > 1:
        raise DataError(f"{train.name} and the development or test data differ: one has spans, the other plain tags")
    if kinds[0]:
        converted = (replace(one, tags=schemes.convert(one.tags, data.scheme)) for one in train.sentences)
        train = Corpus(train.name, tuple(converted))
    return Corpora(train, dev, test)


def _read(data: Data) -> tuple[Corpus, Corpus | None, Corpus | None]:
    where = layout(data)
    if data.format == "datasets":
        if data.dataset is None:
            raise ConfigError("the recipe names no dataset; give data.dataset, or a directory with --data")
        name, revision = data.dataset, data.revision
        splits = (data.splits.train, data.splits.dev, data.splits.test)
        parts = [split and sources.dataset(name, split, layout=where, revision=revision) for split in splits]
    else:
        if data.train is None:
            raise ConfigError("the recipe names no training data; give --data DIR or --train FILE")
        form = data.format
        paths = (data.train, data.dev, data.test)
        parts = [path and sources.corpus(Path(path), form=form, layout=where) for path in paths]
    train, dev, test = (part or None for part in parts)
    assert train is not None
    return train, dev, test


def _described(part: Corpus, data: Data) -> bool:
    """Logs what a part of the data is; tells whether its tags spell spans."""
    tags = [sentence.tags for sentence in part.sentences]
    found = schemes.detect(tags)
    if others := schemes.stray(tags):
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
    if found.scheme and found.broken:
        places = broken_places(part, found.scheme)
        if data.strict:
            raise DataError(*places)
        log.warning(
            "%d tags break %s and are read as conlleval reads them; first: %s", found.broken, found.name, places[0]
        )
    return found.scheme is not None
