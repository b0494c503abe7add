"""Ensembles: models whose scores are averaged in tagging."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tagger.data.calibration import Calibration
from tagger.errors import ConfigError
from tagger.model import MAX_WEIGHT_BYTES, TaggerModel
from tagger.nn.model import Ensemble, Network

MAX_MEMBERS = 20
"""Maximum number of models of an ensemble."""
_SHARED_PREFIX = "embedding.words.frozen"
"""Start of the names of the weights that all members share."""


def check_count(count: int) -> None:
    """Raises ConfigError unless so many models can form an ensemble."""
    if not 2 <= count <= MAX_MEMBERS:
        raise ConfigError(f"an ensemble has 2 to {MAX_MEMBERS} models, got {count}")


def build(models: Mapping[str, TaggerModel]) -> TaggerModel:
    """Returns the ensemble of models, which is not calibrated.

    The models have the same recipe, vocabularies and frozen word vectors, and different seeds. The config is that of
    the first one. The networks become part of the ensemble.

    Args:
        models: the models, by the names that messages use.

    Raises:
        ConfigError: there are too few or too many models; one is an ensemble or has a trained transformer; two have
            equal weights, or differ in more than their trained weights; or the ensemble is too large.
    """
    check_count(len(models))
    networks: dict[str, Network] = {}
    (first_name, first), *_ = models.items()
    for name, model in models.items():
        is_trained = model.transformer is not None and model.config.model.transformer.trainable
        if isinstance(model.network, Ensemble) or is_trained:
            kind = "a model with a trained transformer" if is_trained else "an ensemble"
            raise ConfigError(f"{name}: {kind} cannot be part of an ensemble")
        if difference := _find_difference(first, model):
            advice = "expected models of one recipe and the same data, with different seeds"
            raise ConfigError(f"{name}: has other {difference} than {first_name}; {advice}")
        if same := next((other for other, network in networks.items() if _are_equal(network, model.network)), None):
            raise ConfigError(f"{name}: has the same weights as {same}; expected models with different seeds")
        networks[name] = model.network
    check_size([*networks.values()])
    return replace(first, network=Ensemble([*networks.values()]), calibration=Calibration())


def _are_equal(first: Network, second: Network) -> bool:
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def _find_difference(first: TaggerModel, other: TaggerModel) -> str | None:
    """Returns the name of a part in which two models differ and because of which their scores cannot be averaged."""
    parts: dict[str, Callable[[TaggerModel], object]] = {
        "settings in model": lambda model: model.config.model,
        "tags": lambda model: (model.tags.items, model.scheme),
        "words": lambda model: (model.words.items, model.frozen_words.items),
        "characters": lambda model: model.characters.items,
        "weights of the transformer": lambda model: model.transformer and model.transformer.origin.digest,
        "tokenizers": lambda model: (model.config.data.language, model.config.data.tokenizer),
    }
    if name := next((name for name, read in parts.items() if read(first) != read(other)), None):
        return name
    theirs = shared_weights(other.single_network)
    is_equal = all(torch.equal(tensor, theirs[name]) for name, tensor in shared_weights(first.single_network).items())
    return None if is_equal else "frozen word vectors"


def shared_weights(network: Network) -> dict[str, Tensor]:
    """Returns the weights of a network, by name, that all members of an ensemble have in common."""
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith(_SHARED_PREFIX)}


def list_weights(network: Network | Ensemble) -> list[dict[str, Tensor]]:
    """Returns the weights of each network of a model by name; those that all share belong to the first only."""
    first, *further = network.members
    return [first.state_dict(), *map(_unshared_weights, further)]


def _unshared_weights(network: Network) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(_SHARED_PREFIX)}


def check_size(networks: Sequence[Network]) -> None:
    """Raises ConfigError if networks, perhaps on the device meta, have more weights than a model may have."""
    first, *further = networks
    weights = [first.state_dict(), *map(_unshared_weights, further)]
    size = sum(tensor.nbytes for each in weights for tensor in each.values())
    if size > MAX_WEIGHT_BYTES:
        raise ConfigError(
            f"the ensemble has {size >> 20} MiB of weights; at most {MAX_WEIGHT_BYTES >> 20} MiB are loaded"
        )
