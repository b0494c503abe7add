"""What a training reads before it starts: data, vector tables and a transformer."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tagger.config import Config
from tagger.config.schema import Transformer
from tagger.data.vectors import Table
from tagger.errors import ConfigError
from tagger.model import read_tables, without_unread_layers
from tagger.training import corpora, records
from tagger.training.corpora import Corpora
from tagger.training.overview import log_overview
from tagger.transformer import library
from tagger.transformer.library import Pretrained


@dataclass(frozen=True)
class Inputs:
    """The data, vector tables and transformer of a recipe, and the log records of reading them.

    Trainings that differ only in their seeds can share one, unless the seed selects the dev data: see
    `corpora.is_dev_split_off`.
    """

    data: Corpora
    tables: Sequence[Table]
    transformer: Pretrained | None
    notices: Sequence[logging.LogRecord]


def read_inputs(
    config: Config,
    *,
    is_new: bool = True,
    positions: Sequence[int] | None = None,
    needs_transformer: bool = True,
) -> Inputs:
    """Returns the data of a recipe, and the pretrained weights that it needs.

    Args:
        config: the recipe.
        is_new: whether to read vector tables and a transformer to be trained, whose weights a checkpoint or another
            model holds otherwise.
        positions: the training sentences to train on, numbered from 0; None for all.
        needs_transformer: whether to read a frozen transformer.

    Raises:
        TaggerError: the recipe names no training data, or a file cannot be read.
    """
    with records.LogBuffer() as notices:
        data = corpora.load(config, positions)
        log_overview(config, data)
        vectors = read_tables(config, data.train.sentences) if is_new else []
        transformer = load_transformer(config.model.transformer, is_new=is_new) if needs_transformer else None
    return Inputs(data, vectors, transformer, notices.records)


def load_transformer(settings: Transformer, *, is_new: bool) -> Pretrained | None:
    """Returns the transformer of a recipe; None without one, or for one to be trained whose weights a checkpoint holds.

    Raises:
        TaggerError: the settings contradict one another, or the transformer cannot be read.
    """
    if settings.is_local and settings.include_weights is False:
        raise ConfigError(
            "a model always includes a transformer from a directory; omit model.transformer.include_weights"
        )
    if settings.is_local and settings.revision is not None:
        raise ConfigError("model.transformer.revision has no effect on a directory; omit it")
    if settings.name is None or (settings.trainable and not is_new):
        return None
    return without_unread_layers(settings, library.load(settings.name, settings.revision))
