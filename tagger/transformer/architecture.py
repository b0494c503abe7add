"""The families of transformers that are supported, and the settings of a `config.json` that define their networks.

The file may come from anywhere.
"""

import math
from typing import Any, NamedTuple

from tagger.io import json_files

MAX_CONFIG_BYTES = 1 << 20
MAX_SUBWORDS = 4096
"""Largest number of subwords in a window, whatever a transformer allows."""
MAX_LAYERS = 64
MAX_POSITIONS = 1 << 16
MAX_PARAMETERS = 1_500_000_000
_MAX_SIZE, _MAX_TEXT, _MAX_ITEMS = 10_000_000, 60, MAX_LAYERS
_STORED_LIMIT = "max_subwords"  # written by this toolkit: a tokenizer may allow less than the network


class Family(NamedTuple):
    """A kind of transformer.

    Attributes:
        prefix: prefix of the names of its classes in the transformers library.
        has_pooler: whether its network has a pooling layer that can be omitted.
        are_positions_shifted: whether positions are counted from the padding id on.
        has_plain_attention: whether attention depends on positions through the embeddings of position ids alone.
        layers: the path of the list of layers in its network, if the output of each is a hidden state without further
            normalization; then the upper ones can be left out. Empty otherwise.
    """

    prefix: str
    has_pooler: bool = False
    are_positions_shifted: bool = False
    has_plain_attention: bool = False
    layers: str = ""


FAMILIES = {
    "albert": Family("Albert", has_pooler=True, has_plain_attention=True),
    "bert": Family("Bert", has_pooler=True, has_plain_attention=True, layers="encoder.layer"),
    "camembert": Family(
        "Camembert", has_pooler=True, are_positions_shifted=True, has_plain_attention=True, layers="encoder.layer"
    ),
    "deberta": Family("Deberta"),
    "deberta-v2": Family("DebertaV2"),
    "distilbert": Family("DistilBert", has_plain_attention=True, layers="transformer.layer"),
    "electra": Family("Electra", has_plain_attention=True, layers="encoder.layer"),
    "ernie": Family("Ernie", has_pooler=True, has_plain_attention=True),
    "modernbert": Family("ModernBert"),
    "mpnet": Family("MPNet", has_pooler=True, are_positions_shifted=True),
    "roberta": Family(
        "Roberta", has_pooler=True, are_positions_shifted=True, has_plain_attention=True, layers="encoder.layer"
    ),
    "xlm-roberta": Family(
        "XLMRoberta", has_pooler=True, are_positions_shifted=True, has_plain_attention=True, layers="encoder.layer"
    ),
}
"""The families that are read, by `model_type`."""

# All that defines a network. Nothing else of a config is read: no code, no kernel, no quantization, no name.
_SETTINGS = frozenset(
    (
        *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
        *("hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size"),
        *("initializer_range", "layer_norm_eps", "pad_token_id", "embedding_size"),
        *("num_hidden_groups", "inner_group_num"),  # albert
        *("dim", "n_layers", "n_heads", "hidden_dim", "dropout", "attention_dropout", "activation"),  # distilbert
        *("sinusoidal_pos_embds", "relative_attention_num_buckets", "task_type_vocab_size", "use_task_id"),
        *("relative_attention", "max_relative_positions", "position_biased_input", "pos_att_type"),  # deberta
        *("position_buckets", "norm_rel_ebd", "share_att_key", "attention_head_size"),
        *("conv_kernel_size", "conv_groups", "conv_act"),
        *("hidden_activation", "norm_eps", "norm_bias", "attention_bias", "layer_types"),  # modernbert
        *("rope_parameters", "local_attention", "embedding_dropout", "mlp_bias", "mlp_dropout"),
        *("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"),
    )
)
_LAYERS = ("num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num")
_GROUPS = ("num_hidden_groups", "inner_group_num")  # each group has so many layers of its own
# Settings that would change what is computed, with the value that they must have.
_FIXED = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}


class Architecture(NamedTuple):
    """The parts of a transformer's config that this toolkit reads.

    Attributes:
        family: the kind of transformer.
        settings: the settings of its network.
        stored_limit: largest number of subwords, if this toolkit wrote the config.
    """

    family: Family
    settings: dict[str, Any]
    stored_limit: int


def parse(data: bytes) -> Architecture:
    """Returns the architecture that a `config.json` describes.

    Raises:
        ValueError: it is not valid, or describes a network that is not supported; the message is one line.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise ValueError(f"it has {len(data)} bytes; at most {MAX_CONFIG_BYTES} are read")
    raw = json_files.parse(data)
    if not isinstance(raw, dict):
        raise ValueError("it is not a JSON object")
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(f"its model_type is {str(kind)[:_MAX_TEXT]!r}; supported are {', '.join(FAMILIES)}")
    for name, expected in _FIXED.items():
        if raw.get(name, expected) not in (expected, None):
            raise ValueError(f"its {name} is {str(raw[name])[:_MAX_TEXT]!r}; only {expected!r} is supported")
    settings = {name: value for name, value in raw.items() if name in _SETTINGS and value is not None}
    for name, value in settings.items():
        _check_value(name, value)
    _check_groups(settings)
    limit = raw.get(_STORED_LIMIT, MAX_SUBWORDS)
    if type(limit) is not int or not 1 <= limit <= MAX_SUBWORDS:
        raise ValueError(f"its {_STORED_LIMIT} is not a number from 1 to {MAX_SUBWORDS}")
    return Architecture(FAMILIES[kind], settings | {"model_type": kind}, limit)


def dump(architecture: Architecture, max_subwords: int) -> bytes:
    """Returns the `config.json` of an architecture whose windows have at most `max_subwords` subwords."""
    return json_files.dump(architecture.settings | {_STORED_LIMIT: max_subwords}, indent=2) + b"\n"


def _check_value(name: str, value: Any) -> None:
    """Raises ValueError if a value, or one inside it, is not small, or a number of layers is below 1."""
    lowest = 1 if name in _LAYERS else -1
    limit = MAX_LAYERS if name in _LAYERS else MAX_POSITIONS if name == "max_position_embeddings" else _MAX_SIZE
    if isinstance(value, dict | list):
        if len(value) > _MAX_ITEMS:
            raise ValueError(f"its {name} has {len(value)} items; at most {_MAX_ITEMS} are supported")
        for item in value.values() if isinstance(value, dict) else value:
            _check_value(name, item)
    elif isinstance(value, str) and len(value) > _MAX_TEXT:
        raise ValueError(f"its {name} has {len(value)} characters; at most {_MAX_TEXT} are supported")
    elif isinstance(value, int | float) and not lowest <= value <= limit:
        raise ValueError(f"its {name} is {value}; expected {lowest} to {limit}")


def _check_groups(settings: dict[str, Any]) -> None:
    """Raises ValueError if groups of layers have too many layers in all."""
    sizes = [settings[name] for name in _GROUPS if isinstance(settings.get(name), int)]
    if math.prod(sizes) > MAX_LAYERS:
        raise ValueError(f"its {' and '.join(_GROUPS)} are {sizes}; at most {MAX_LAYERS} layers are supported")
