"""The layers of a transformer that are read: those above them are neither run, trained nor stored."""

from typing import Any

from torch import nn

from tagger.nn.transformer import copy_with_same_weights
from tagger.transformer.architecture import FAMILIES


def without_layers_above(encoder: nn.Module, highest: int) -> nn.Module:
    """Returns an encoder without the layers above the hidden state `highest`, where its family is known.

    Both have the same weights; the original keeps its layers. One layer stays even if only the embedding layer is read.
    """
    config: Any = encoder.config
    family, count = FAMILIES.get(config.model_type), max(highest, 1)
    if family is None or not family.layers or count >= config.num_hidden_layers:
        return encoder
    short: Any = copy_with_same_weights(encoder)
    parent, _, name = family.layers.rpartition(".")
    setattr(short.get_submodule(parent), name, short.get_submodule(family.layers)[:count])
    short.config.num_hidden_layers = count
    return short  # type: ignore[no-any-return]
