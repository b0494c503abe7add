"""Pretrained transformers: the only code that uses Hugging Face's transformers library."""

import copyreg
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tagger.errors import ConfigError, ModelError, StorageError, TaggerError
from tagger.io import hub, json_files, regular_file
from tagger.transformer import architecture, layers, tokenizer_file
from tagger.transformer.architecture import Architecture
from tagger.transformer.subwords import MISSING_LIBRARY, SubwordEncoder

_SHA256 = re.compile("[0-9a-f]{64}")
CONFIG_FILE, TOKENIZER_FILE = "config.json", "tokenizer.json"
_TOKENIZER_CONFIG, _WEIGHTS, _INDEX = "tokenizer_config.json", "model.safetensors", "model.safetensors.index.json"
_VOCABULARIES = ("vocab.txt", "vocab.json", "*.model")
_TOKENIZER_PARTS = ("merges.txt", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class Origin:
    """Where a transformer comes from.

    Attributes:
        name: name on the Hub, or the path of a directory.
        revision: the commit on the Hub; None for a directory.
        digest: SHA-256 of the weight files, concatenated in order of name.
    """

    name: str
    revision: str | None
    digest: str


@dataclass(frozen=True)
class Pretrained:
    """A pretrained transformer.

    Attributes:
        encoder: the network, in evaluation mode; its parameters require no gradients. It may lack the upper layers.
        subwords: splits tokens into subwords.
        config: the settings of its network, a `config.json`.
        tokenizer: its tokenizer, a `tokenizer.json`.
        origin: where it comes from.
        max_subwords: largest number of subwords that it reads at once, special tokens included.
        layer_count: number of its hidden states: the embedding layer and all others, also those that `encoder` lacks.
    """

    encoder: nn.Module
    subwords: SubwordEncoder
    config: bytes
    tokenizer: bytes
    origin: Origin
    max_subwords: int
    layer_count: int

    @property
    def hidden_size(self) -> int:
        """Size of its hidden states."""
        return int(self._config.hidden_size)

    @property
    def vocab_size(self) -> int:
        """Number of ids of subwords that its network reads."""
        return int(self._config.vocab_size)

    @property
    def padding_id(self) -> int:
        """The id that its network expects in padding."""
        return int(self._config.pad_token_id or 0)

    @property
    def _config(self) -> Any:
        return self.encoder.config


def load(name: str, revision: str | None = None) -> Pretrained:
    """Loads a pretrained transformer, in float32.

    Args:
        name: the absolute path of a directory, or a name on the Hugging Face Hub.
        revision: the commit, tag or branch on the Hub; None for the newest.

    Raises:
        ConfigError: a library is missing; the transformer does not exist, cannot be downloaded, is damaged, or is not
            supported.
    """
    transformers = _import_transformers()
    folder, commit = Path(name), None
    with _convert_errors(f"transformer {name}"), _quiet(transformers):
        if not folder.is_absolute():
            folder, commit = _download(name, revision)
        elif not folder.is_dir():
            raise ConfigError(f"transformer {name}: no such directory")
        weights = _find_weights(folder)
        parsed = architecture.parse(_read(folder / CONFIG_FILE, architecture.MAX_CONFIG_BYTES))
        config = _build_config(transformers, parsed)
        tokenizer = _read_tokenizer(transformers, folder)
        digest = regular_file.compute_sha256(weights)
        if commit is not None:
            _check_download(weights, digest)
        encoder = _load_network(transformers, parsed, config, folder)
        max_subwords = min(_max_subwords(parsed, encoder), _tokenizer_limit(folder))
        return _assemble(encoder, tokenizer, parsed, Origin(name, commit, digest), max_subwords)


def restore(config: bytes, tokenizer: bytes, origin: Origin) -> Pretrained:
    """Rebuilds a transformer from the files of a model directory, which may come from anywhere.

    Its parameters are on the device meta; the caller loads them.

    Args:
        config: its `config.json`.
        tokenizer: its `tokenizer.json`.
        origin: where it comes from.

    Raises:
        ConfigError: a library is missing.
        ModelError: a file is not valid.
    """
    transformers = _import_transformers()
    try:
        with _quiet(transformers):
            parsed = architecture.parse(config)
            encoder = _build_network(transformers, parsed, _build_config(transformers, parsed))
            return _assemble(encoder, tokenizer, parsed, origin, _max_subwords(parsed, encoder))
    except (TaggerError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"transformer {origin.name}: {hub.one_line(error)}") from error


def without_layers_above(transformer: Pretrained, highest: int) -> Pretrained:
    """Returns a transformer without the layers above the hidden state `highest`, where its family is known.

    The layers that stay have the same weights. One layer stays even if only the embedding layer is read.
    """
    encoder = layers.without_layers_above(transformer.encoder, highest)
    return transformer if encoder is transformer.encoder else replace(transformer, encoder=encoder)


def check_digest(origin: Origin, expected: Origin) -> None:
    """Checks that a transformer has the weights that a model was trained with.

    Raises:
        ModelError: it has other weights.
    """
    if origin.digest != expected.digest:
        raise ModelError(
            f"the transformer {origin.name} has other weights than the model was trained with: "
            f"expected SHA-256 {expected.digest}, found {origin.digest}"
        )


def checkpoint_activations(encoder: Any) -> None:
    """Makes a transformer compute its hidden states again in the backward pass, instead of storing them."""
    # The second name is that of versions before 5.
    enable = getattr(encoder, "activation_checkpointing_enable", None) or encoder.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _import_transformers() -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):
            import transformers  # an extra, which takes seconds to import
    except ImportError as error:
        raise ConfigError(MISSING_LIBRARY) from error
    return transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keeps the library from writing warnings and progress bars within the block."""
    logging = transformers.utils.logging
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with hub.quiet():
            yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


@contextmanager
def _convert_errors(subject: str) -> Iterator[None]:
    """Converts an exception of any type, which the library raises for damaged data, to a ConfigError of one line."""
    try:
        yield
    except (ConfigError, MemoryError):
        raise
    except Exception as error:
        raise ConfigError(f"{subject}: {hub.one_line(error)}") from error


def _download(name: str, revision: str | None) -> tuple[Path, str]:
    """Returns the directory of a transformer of the Hub in the local cache, and its commit."""
    patterns = [CONFIG_FILE, TOKENIZER_FILE, _TOKENIZER_CONFIG, _WEIGHTS, _INDEX, "model-*.safetensors"]
    try:
        folder = hub.download(name, revision, [*patterns, *_VOCABULARIES, *_TOKENIZER_PARTS])
    except hub.HubError as error:
        raise ValueError(f"no such directory; {error}") from error
    return folder, folder.name


def _find_weights(folder: Path) -> list[Path]:
    """Returns the files of the weights, by name."""
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).is_file():
        raise ValueError(f"expected its weights in {_WEIGHTS}; other formats are not read")
    index = json_files.parse(_read(folder / _INDEX, tokenizer_file.MAX_BYTES), allow_long_integers=True)
    names = sorted(set(index["weight_map"].values()))
    if any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise ValueError(f"{_INDEX} names files outside of its directory")
    return [folder / name for name in names]


def _read(path: Path, limit: int) -> bytes:
    try:
        return bytes(regular_file.read(path, limit=limit))
    except StorageError as error:
        raise ConfigError(*error.faults) from error


def _check_download(weights: list[Path], digest: str) -> None:
    """Raises ValueError if a file has another SHA-256 than the Hub names: in the local cache its name is this hash."""
    for path in weights:
        blob = path.resolve()
        if _SHA256.fullmatch(blob.name) and blob.name != (
            digest if len(weights) == 1 else regular_file.compute_sha256([path])
        ):
            raise ValueError(f"its {path.name} is damaged: its SHA-256 is not that of the Hub; remove {blob}")


def _read_tokenizer(transformers: Any, folder: Path) -> bytes:
    """Returns the `tokenizer.json` of a directory, converted from other files if it has none."""
    if (folder / TOKENIZER_FILE).is_file():
        return _read(folder / TOKENIZER_FILE, tokenizer_file.MAX_BYTES)
    if not any(path for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        raise ValueError(f"expected its tokenizer in {TOKENIZER_FILE}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not tokenizer.is_fast:
        raise ValueError(f"expected a fast tokenizer in {TOKENIZER_FILE}")
    text: str = tokenizer.backend_tokenizer.to_str()
    return text.encode()


def _tokenizer_limit(folder: Path) -> int:
    """Returns the largest number of subwords that the settings of a tokenizer allow."""
    path = folder / _TOKENIZER_CONFIG
    if not path.is_file():
        return architecture.MAX_SUBWORDS
    settings = json_files.parse(_read(path, tokenizer_file.MAX_BYTES), allow_long_integers=True)
    limit = settings.get("model_max_length")
    return limit if isinstance(limit, int) and limit > 0 else architecture.MAX_SUBWORDS


def _max_subwords(parsed: Architecture, encoder: Any) -> int:
    """Returns the largest number of subwords that a network reads at once."""
    shift = encoder.embeddings.padding_idx + 1 if parsed.family.are_positions_shifted else 0
    return min(int(encoder.config.max_position_embeddings) - shift, parsed.stored_limit)


def _build_config(transformers: Any, parsed: Architecture) -> Any:
    settings = {name: value for name, value in parsed.settings.items() if name != "model_type"}
    return getattr(transformers, f"{parsed.family.prefix}Config")(**settings)


def _network_options(network: Any, parsed: Architecture) -> dict[str, Any]:
    """Returns how a network is built: without a pooling layer, with attention that is part of torch."""
    attention = "sdpa" if getattr(network, "_supports_sdpa", False) else "eager"
    return {"attn_implementation": attention} | ({"add_pooling_layer": False} if parsed.family.has_pooler else {})


def _load_network(transformers: Any, parsed: Architecture, config: Any, folder: Path) -> nn.Module:
    """Returns the network with the weights of a directory."""
    network = getattr(transformers, f"{parsed.family.prefix}Model")
    encoder, info = network.from_pretrained(
        folder,
        config=config,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **_network_options(network, parsed),
    )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"its weights lack {missing[0]}{f' and {len(missing) - 1} more' * (len(missing) > 1)}")
    result: nn.Module = encoder.float()
    return result


class _ParametersOnMeta(TorchFunctionMode):
    """Allocates no memory for parameters, which layers create by `torch.empty`; buffers get their values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.empty:
            kwargs = {**(kwargs or {}), "device": "meta"}
        return func(*args, **(kwargs or {}))


def _build_network(transformers: Any, parsed: Architecture, config: Any) -> nn.Module:
    """Returns the network with parameters on the device meta.

    Raises:
        ValueError: it has too many parameters.
    """
    network = getattr(transformers, f"{parsed.family.prefix}Model")
    with _ParametersOnMeta():
        encoder: nn.Module = network._from_config(config, **_network_options(network, parsed))
    count = sum(parameter.numel() for parameter in encoder.parameters())
    if count > architecture.MAX_PARAMETERS:
        raise ValueError(f"its network has {count:,} parameters; at most {architecture.MAX_PARAMETERS:,} are supported")
    return encoder


def _reduce(encoder: nn.Module) -> tuple[Any, ...]:
    """Returns how a network is pickled and copied: without the hooks that its first use adds, which cannot be."""
    trained = [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    return _rebuild, (encoder.config, dict(encoder.state_dict(keep_vars=True)), trained, encoder.training)


def _rebuild(config: Any, tensors: dict[str, Tensor], trained: list[str], training: bool) -> nn.Module:
    """Returns the network of a config with these weights, of which those named `trained` require gradients."""
    parsed = Architecture(architecture.FAMILIES[config.model_type], {}, architecture.MAX_SUBWORDS)
    encoder = _build_network(_import_transformers(), parsed, config)
    encoder.load_state_dict(tensors, assign=True)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in trained)
    return encoder.train(training)


def _assemble(encoder: Any, tokenizer: bytes, parsed: Architecture, origin: Origin, max_subwords: int) -> Pretrained:
    """Returns the transformer whose parts are valid and belong together.

    Raises:
        ValueError: the tokenizer is not valid, or does not belong to the network.
    """
    encoder.eval().requires_grad_(False)
    copyreg.pickle(type(encoder), _reduce)
    try:
        subwords = SubwordEncoder(tokenizer)
    except ValueError as error:
        raise ValueError(f"its {TOKENIZER_FILE}: {error}") from error
    config = architecture.dump(parsed, max_subwords)
    layer_count = int(encoder.config.num_hidden_layers) + 1
    result = Pretrained(encoder, subwords, config, tokenizer, origin, max_subwords, layer_count)
    if result.padding_id < 0 or max(subwords.max_id, result.padding_id) >= result.vocab_size:
        raise ValueError(f"its tokenizer has ids up to {subwords.max_id}, but its network only {result.vocab_size} ids")
    if max_subwords <= len(subwords.prefix) + len(subwords.suffix):
        raise ValueError(f"it reads {max_subwords} subwords at once, which leaves none for text")
    return result
