"""Initial weights from another model."""

import logging

import torch
from torch import Tensor

from tagger.data.vectors import Table
from tagger.data.vocab import Vocab
from tagger.errors import ConfigError
from tagger.model import TaggerModel

log = logging.getLogger(__name__)

_WORDS = ("embedding.words.weight", "embedding.words.frozen")
_BY_CHARACTER = ("embedding.characters.embedding.weight",)
_BY_TAG = ("projection.weight", "projection.bias", "head.crf.start_transitions", "head.crf.end_transitions")
_BY_TWO_TAGS = ("head.crf.transitions",)


def vector_table(source: TaggerModel) -> Table:
    """Returns the word vectors of a model, trained and frozen, as a table for a new model."""
    words = source.network.embedding.words
    matrix = torch.cat([words.weight.detach().cpu(), words.frozen.float().cpu()]).numpy()
    return Table(dict(source.known_words.ids), matrix)


def transfer_weights(source: TaggerModel, target: TaggerModel) -> None:
    """Copies the weights of a model into a new model that was built from its `vector_table`.

    Weights of a character or tag are copied to its index in the new model; those of padding and unknown words as well.

    Raises:
        ConfigError: the networks have different shapes.
    """
    ours, theirs = target.network.state_dict(), source.network.state_dict()
    ours["embedding.words.weight"][:2] = theirs["embedding.words.weight"][:2]
    faults = [f"the model has no {name}" for name in ours.keys() - theirs.keys()]
    encoders = [model.config.model.encoder for model in (source, target)]
    merged = all(encoder.direction == "both" for encoder in encoders)
    for setting in ("cell", "direction", *["merge"] * merged):  # weights may have the same shapes
        old, new = (getattr(encoder, setting) for encoder in encoders)
        if old != new:
            faults.append(f"encoder.{setting} is {old} in the model and {new} in the recipe")
    for name in ours.keys() & theirs.keys() - set(_WORDS):
        rows = _rows(name, source, target)
        if theirs[name].shape[len(rows) :] != ours[name].shape[len(rows) :]:
            old, new = (tuple(weights[name].shape) for weights in (theirs, ours))
            faults.append(f"{name} has the shape {old} in the model and {new} in the recipe")
        else:
            _copy(theirs[name], ours[name], rows)
    if faults:
        raise ConfigError(*(f"cannot start from the model: {fault}" for fault in sorted(faults)))
    shared = sum(tag in source.tags for tag in target.tags.items)
    log.info("started from a model that knows %d of the %d tags", shared, len(target.tags))


def _rows(name: str, source: TaggerModel, target: TaggerModel) -> tuple[tuple[Vocab, Vocab], ...]:
    """Returns the vocabularies, old and new, that index the first dimensions of a tensor."""
    tags = (source.tags, target.tags)
    if name in _BY_TWO_TAGS:
        return (tags, tags)
    if name in _BY_TAG:
        return (tags,)
    return ((source.characters, target.characters),) if name in _BY_CHARACTER else ()


def _copy(old: Tensor, new: Tensor, rows: tuple[tuple[Vocab, Vocab], ...]) -> None:
    if not rows:
        new.copy_(old)
        return
    pairs = [[(olds[item], news[item]) for item in news.items if item in olds] for olds, news in rows]
    if all(pairs):
        old_ids, new_ids = zip(*(torch.tensor(ids).T for ids in pairs), strict=True)
        new[torch.meshgrid(*new_ids, indexing="ij")] = old[torch.meshgrid(*old_ids, indexing="ij")]
