"""Starting a model from the weights of another."""

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
    """Returns the word vectors of a model, trained and kept, as a table from which a new one can be built."""
    words = source.network.embedding.words
    matrix = torch.cat([words.weight.detach().cpu(), words.frozen.float().cpu()]).numpy()
    return Table(dict(source.known_words.ids), matrix)


def transfer_weights(source: TaggerModel, target: TaggerModel) -> None:
    """Copies a model's weights into a new one that was built over its table of words.

    What stands for a character or a tag goes where the new model has it; the unknown word's vector comes along.

    Raises:
        ConfigError: the recipe's network has another shape than the model's.
    """
    ours, theirs = target.network.state_dict(), source.network.state_dict()
    ours["embedding.words.weight"][:2] = theirs["embedding.words.weight"][:2]
    faults = [f"{name} is not in the model" for name in ours.keys() - theirs.keys()]
    encoders = [model.config.model.encoder for model in (source, target)]
    merged = all(encoder.direction == "both" for encoder in encoders)
    for setting in ("cell", "direction", *["merge"] * merged):  # weights may have the same shapes
        there, here = (getattr(encoder, setting) for encoder in encoders)
        if there != here:
            faults.append(f"encoder.{setting} is {there} there and {here} in the recipe")
    for name in ours.keys() & theirs.keys() - set(_WORDS):
        rows = _rows(name, source, target)
        if theirs[name].shape[len(rows) :] != ours[name].shape[len(rows) :]:
            faults.append(f"{name} has {tuple(theirs[name].shape)} there and {tuple(ours[name].shape)} in the recipe")
        else:
            _copy(theirs[name], ours[name], rows)
    if faults:
        raise ConfigError(*(f"cannot start from the model: {fault}" for fault in sorted(faults)))
    shared = sum(tag in source.tags for tag in target.tags.items)
    log.info("started from a model that knows %d of the %d tags", shared, len(target.tags))


def _rows(name: str, source: TaggerModel, target: TaggerModel) -> tuple[tuple[Vocab, Vocab], ...]:
    """Returns the vocabularies, old and new, that the first dimensions of a tensor stand for."""
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
    pairs = [[(there[item], here[item]) for item in here.items if item in there] for there, here in rows]
    if all(pairs):
        old_ids, new_ids = zip(*(torch.tensor(found).T for found in pairs), strict=True)
        new[torch.meshgrid(*new_ids, indexing="ij")] = old[torch.meshgrid(*old_ids, indexing="ij")]
