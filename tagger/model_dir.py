"""The model directory: written atomically, verified before any file is parsed; and the checkpoints of a training.

model/  config.yaml  tags.txt  words.txt  frozen_words.txt  chars.txt  weights.safetensors  metrics.json  MANIFEST.json
        calibration.json (of a calibrated model)  README.md (the card, which the manifest does not list)
        transformer.json  transformer-config.json  transformer-tokenizer.json  (of a model with a transformer)
        transformer.safetensors  (of a frozen transformer whose weights the model includes)
        weights-2.safetensors, weights-3.safetensors, ...  (of the further networks of an ensemble)
run/    model-best/  checkpoint-NNNNNN/ (a model, with state.json and state.safetensors)  LATEST
        config.yaml  metrics.jsonl  train.log  training.png  counts.json
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from tagger import config, ensembles, model_card
from tagger.config import Config
from tagger.data import schemes
from tagger.data.calibration import Calibration
from tagger.data.vocab import MAX_ENTRIES, SPECIAL, Vocab
from tagger.errors import ConfigError, ModelError, StorageError, limit_faults
from tagger.io import atomic, directories, hub, json_files, regular_file, tensor_files
from tagger.io.manifest import (
    FORMAT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    ModelFiles,
    UnreadableError,
    build_manifest,
    retry_once,
)
from tagger.model import (
    MAX_TAGS,
    MAX_WEIGHT_BYTES,
    TaggerModel,
    build_meta_network,
    find_scheme,
    without_unread_layers,
)
from tagger.nn.model import Ensemble, Network
from tagger.transformer import architecture, library, tokenizer_file
from tagger.transformer.library import Pretrained

log = logging.getLogger(__name__)

LATEST = "LATEST"
_DIRECTORY_NAME, _HUB_NAME = re.compile(r"[^/\\]{1,255}"), re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?")
_CHECKPOINT = re.compile(r"checkpoint-[0-9]{6,}")
_MAX_LATEST = 1000  # bytes
_MAX_STATE_RATIO = 8  # of a state to the weights: a moving average, two moments and the word vectors twice
_VOCABULARIES = ("tags.txt", "words.txt", "frozen_words.txt", "chars.txt")
_WEIGHTS = "weights.safetensors"
_MODEL = ("config.yaml", *_VOCABULARIES, _WEIGHTS, "metrics.json")
_CALIBRATION = "calibration.json"
_TRANSFORMER = ("transformer.json", "transformer-config.json", "transformer-tokenizer.json")
_TRANSFORMER_WEIGHTS = "transformer.safetensors"
_FURTHER_WEIGHTS = tuple(f"weights-{number}.safetensors" for number in range(2, ensembles.MAX_MEMBERS + 1))
_STATE = ("state.json", "state.safetensors")
_MIB = 1 << 20
_MAX_TRANSFORMER_BYTES = 4 * architecture.MAX_PARAMETERS
_MAX_BYTES = {
    "config.yaml": _MIB // 16,
    "tags.txt": 4 * _MIB,
    "words.txt": 64 * _MIB,
    "frozen_words.txt": 64 * _MIB,
    "chars.txt": 16 * _MIB,
    "weights.safetensors": MAX_WEIGHT_BYTES + _MAX_TRANSFORMER_BYTES + tensor_files.MAX_HEADER_BYTES,
    "metrics.json": _MIB,
    _CALIBRATION: _MIB,
    "transformer.json": _MIB // 16,
    "transformer-config.json": architecture.MAX_CONFIG_BYTES,
    "transformer-tokenizer.json": tokenizer_file.MAX_BYTES,
    _TRANSFORMER_WEIGHTS: _MAX_TRANSFORMER_BYTES + tensor_files.MAX_HEADER_BYTES,
    **dict.fromkeys(_FURTHER_WEIGHTS, MAX_WEIGHT_BYTES + tensor_files.MAX_HEADER_BYTES),
    "state.json": 32 * _MIB,
    "state.safetensors": 6 * MAX_WEIGHT_BYTES + 3 * _MAX_TRANSFORMER_BYTES,
}
CARD = "README.md"
"""The model card. The manifest does not list it, so that users may edit it."""
MAX_PUBLISHED_BYTES = {MANIFEST: MAX_MANIFEST_BYTES, CARD: _MIB} | {
    name: size for name, size in _MAX_BYTES.items() if name not in _STATE
}
"""The names of the files of a model that may come from the Hub, and their maximum sizes."""
WEIGHTS = (_WEIGHTS, *_FURTHER_WEIGHTS)
"""The names of the files with weights of a model, which have at most the size of the first one together."""
_MAX_STATE_VALUES = 4_000_000
_MAX_CHARACTERS = 1_200_000  # Unicode has 1,114,112 code points

Metrics = dict[str, Any]


@dataclass(frozen=True)
class State:
    """What a training needs in addition to its model to resume: JSON values and tensors."""

    progress: dict[str, Any]
    tensors: dict[str, Tensor]


def save(
    model: TaggerModel, directory: Path, metrics: Metrics, state: State | None = None, *, card: bytes | None = None
) -> None:
    """Writes a model, and optionally the state of its training and a card, and replaces the directory.

    Raises:
        StorageError: the disk is full or the directory cannot be written; the old directory stays.
    """
    contents = {
        "config.yaml": config.dump(model.config).encode(),
        "tags.txt": model.tags.to_bytes(),
        "words.txt": model.words.to_bytes(),
        "frozen_words.txt": model.frozen_words.to_bytes(),
        "chars.txt": model.characters.to_bytes(),
        "metrics.json": json_files.dump(metrics, indent=1),
    }
    for name, weights in zip(WEIGHTS, ensembles.list_weights(model.network), strict=False):
        contents[name] = save_tensors(_to_saved(weights))
    if model.transformer is not None:
        contents |= _transformer_files(model, model.transformer, includes_weights=state is None)
    if not model.calibration.is_identity:
        contents[_CALIBRATION] = json_files.dump(asdict(model.calibration), indent=1)
    if state is not None:
        contents["state.json"] = json_files.dump(state.progress)
        contents["state.safetensors"] = save_tensors(_to_saved(state.tensors))
    _write(directory, contents | {MANIFEST: build_manifest(contents)}, card)


def _transformer_files(model: TaggerModel, transformer: Pretrained, *, includes_weights: bool) -> dict[str, bytes]:
    """Returns the files of a model's transformer; those of a checkpoint never hold its frozen weights."""
    settings, origin = model.config.model.transformer, transformer.origin
    is_local = origin.revision is None  # a directory
    if is_local:
        origin = replace(origin, name=Path(origin.name).name)  # a model does not hold paths
    contents = (json_files.dump(asdict(origin), indent=1), transformer.config, transformer.tokenizer)
    files = dict(zip(_TRANSFORMER, contents, strict=True))
    includes_weights = includes_weights and (is_local if settings.include_weights is None else settings.include_weights)
    if includes_weights and not settings.trainable:
        files[_TRANSFORMER_WEIGHTS] = save_tensors(_to_saved(transformer.encoder.state_dict()))
    return files


def _write(directory: Path, contents: Mapping[str, bytes], card: bytes | None = None) -> None:
    if card is not None:
        contents = {**contents, CARD: card}
    with atomic.wrap_os_errors(directory), directories.replace(directory, _is_ours) as new:
        for name, data in contents.items():
            atomic.write_new(new / name, data)


def _is_ours(directory: Path) -> bool:
    """Returns whether a directory may be replaced: it is empty, a model, or inside a training run."""
    if directories.is_marked(directory.parent) or not any(directory.iterdir()):
        return True
    try:
        ModelFiles(directory, _MAX_BYTES)
    except ModelError as error:
        if isinstance(error.__cause__, OSError):  # a disk error does not show whether it is a model
            raise StorageError(*error.faults) from error.__cause__
        return False
    return True


def _to_saved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def load(directory: Path, *, transformer: Pretrained | None = None) -> tuple[TaggerModel, Metrics]:
    """Returns the model of a directory and the metrics it was saved with.

    Args:
        directory: the model directory.
        transformer: the frozen transformer that the model names, if the caller has it; otherwise it is loaded.

    Raises:
        ModelError: the directory is missing, damaged, has another format, or its files contradict each other.
    """
    return retry_once(lambda: _load(directory, transformer))


def load_config(directory: Path) -> Config:
    """Returns the recipe that a model directory stores, without its network.

    Raises:
        ModelError: the directory is missing or damaged, or its recipe is invalid.
    """
    data = retry_once(lambda: ModelFiles(directory, _MAX_BYTES).read("config.yaml"))
    try:
        return config.parse(data.decode(), f"{directory}/config.yaml")
    except ConfigError as error:
        raise ModelError(*error.faults) from error
    except ValueError as error:
        raise ModelError(f"{directory}: {error}") from error


def _load(directory: Path, transformer: Pretrained | None) -> tuple[TaggerModel, Metrics]:
    files = ModelFiles(directory, _MAX_BYTES)
    try:
        settings = config.parse(files.read("config.yaml").decode(), f"{directory}/config.yaml")
        tags, words, frozen_words, characters = _read_vocabularies(files, settings)
        metrics = _parse_metrics(files.read("metrics.json"))
        calibration = _read_calibration(files)
        transformer = _read_transformer(files, settings, transformer)
        sizes = {"words": len(words), "frozen_words": len(frozen_words)}
        further = _list_further_weights(files)
        networks = [
            build_meta_network(settings, tags, characters, **sizes, transformer=transformer)
            for _ in range(1 + len(further))
        ]
        ensembles.check_size(networks)
    except UnreadableError:
        raise
    except (ConfigError, ModelError) as error:
        name = str(directory)
        faults = (fault if fault.startswith(name) else f"{name}: {fault}" for fault in error.faults)
        raise ModelError(*faults) from error
    except ValueError as error:
        raise ModelError(f"{directory}: {error}") from error
    _load_weights(networks[0], files, _WEIGHTS)
    for name, further_network in zip(further, networks[1:], strict=True):
        _load_weights(further_network, files, name, ensembles.shared_weights(networks[0]))
    network = Ensemble(networks) if further else networks[0]
    if transformer is not None and any(parameter.is_meta for parameter in transformer.encoder.parameters()):
        _load_weights(transformer.encoder, files, _TRANSFORMER_WEIGHTS)
    model = TaggerModel(settings, tags, words, frozen_words, characters, network, calibration, transformer)
    return model, metrics


def _list_further_weights(files: ModelFiles) -> list[str]:
    """Returns the names of the weights of the second and later networks of an ensemble; none if it is no ensemble."""
    names = [name for name in _FURTHER_WEIGHTS if name in files]
    if tuple(names) != _FURTHER_WEIGHTS[: len(names)]:
        missing = next(name for name in _FURTHER_WEIGHTS if name not in files)
        raise ModelError(f"holds {names[-1]}, but not {missing}")
    return names


def _read_transformer(files: ModelFiles, settings: Config, loaded: Pretrained | None) -> Pretrained | None:
    """Returns the transformer of a model; weights that the model includes are still on the device meta."""
    chosen = settings.model.transformer
    included = (_TRANSFORMER_WEIGHTS,) if chosen.trainable else ()
    refused = (*_TRANSFORMER, _TRANSFORMER_WEIGHTS) if chosen.name is None else included
    if unexpected := [name for name in refused if name in files]:
        kind = "a trainable" if chosen.trainable else "no"
        raise ModelError(f"holds {unexpected[0]}, but config.yaml names {kind} transformer")
    if chosen.name is None:
        return None
    origin_file, config_file, tokenizer_file = (bytes(files.read(name)) for name in _TRANSFORMER)
    try:
        origin = json_files.parse_as(library.Origin, origin_file)
        _check_origin(origin)
    except ValueError as error:
        raise ModelError(f"{_TRANSFORMER[0]}: {error}") from error
    is_known = loaded is not None and loaded.origin.digest == origin.digest  # else the weights that the model includes
    if chosen.trainable or (_TRANSFORMER_WEIGHTS in files and not is_known):
        return without_unread_layers(chosen, library.restore(config_file, tokenizer_file, origin))
    if loaded is None and origin.revision is None:
        raise ModelError(
            f"the directory of its transformer {origin.name!r} is known to its training only; use model-best"
        )
    transformer = loaded or library.load(origin.name, origin.revision)
    library.check_digest(transformer.origin, origin)
    return without_unread_layers(chosen, transformer)


def _check_origin(origin: library.Origin) -> None:
    """Raises ValueError if a model's transformer has no valid name and commit: a model never names a path to read."""
    pattern = _DIRECTORY_NAME if origin.revision is None else _HUB_NAME
    if not pattern.fullmatch(origin.name) or not origin.name.isprintable():
        raise ValueError(f"name: expected the name of a directory or of the Hub, found {origin.name[:60]!r}")
    if origin.revision is not None and not hub.COMMIT.fullmatch(origin.revision):
        raise ValueError(f"revision: expected a commit, found {origin.revision[:60]!r}")


def _read_vocabularies(files: ModelFiles, settings: Config) -> tuple[Vocab, Vocab, Vocab, Vocab]:
    """Returns tags, words, frozen words and characters.

    Raises:
        ModelError: a vocabulary is damaged, or two of them contradict each other.
    """

    def read(name: str, limit: int) -> Vocab:
        try:
            return Vocab.from_bytes(files.read(name), limit=limit)
        except UnreadableError:
            raise
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from error

    tags = read("tags.txt", MAX_TAGS)
    words = read("words.txt", MAX_ENTRIES)
    frozen_words = read("frozen_words.txt", MAX_ENTRIES - len(words))
    characters = read("chars.txt", _MAX_CHARACTERS)
    for name, vocab in (("words.txt", words), ("chars.txt", characters)):
        if vocab.items[: len(SPECIAL)] != SPECIAL:
            raise ModelError(f"{name}: expected {SPECIAL[0]} and {SPECIAL[1]} as its first entries")
    if not words.ids.keys().isdisjoint(frozen_words.ids):
        raise ModelError("frozen_words.txt: has a word that is also in words.txt")
    if not settings.model.words.embedding_dim and (len(words) > len(SPECIAL) or len(frozen_words)):
        raise ModelError("words.txt: has words, but model.words.embedding_dim is 0 in config.yaml")
    _check_tags(tags, settings)
    return tags, words, frozen_words, characters


def _check_tags(tags: Vocab, settings: Config) -> None:
    if not len(tags):
        raise ModelError("tags.txt: expected at least one tag")
    if control_tags := schemes.control_tags(tags.items):
        raise ModelError(f"tags.txt: the tag {control_tags[0][:60]!r} is empty or has a control character")
    scheme = find_scheme(tags, settings)
    if scheme is None:
        return
    if schemes.OUTSIDE not in tags:
        raise ModelError(f"tags.txt: has span tags, but not {schemes.OUTSIDE}")
    valid = schemes.tag_set({schemes.split(tag)[1] for tag in tags.items} - {""}, scheme)
    if wrong := sorted(set(tags.items) - set(valid)):
        raise ModelError(f"tags.txt: {wrong[0][:60]!r} is not a tag of the scheme {scheme}")


def _parse_metrics(data: bytearray) -> Metrics:
    try:
        metrics = json_files.parse(bytes(data))
    except ValueError as error:
        raise ModelError(f"metrics.json: {error}") from error
    if not isinstance(metrics, dict):
        raise ModelError(f"metrics.json: expected a JSON object, found {type(metrics).__name__}")
    return metrics


def _read_calibration(files: ModelFiles) -> Calibration:
    if _CALIBRATION not in files:
        return Calibration()
    try:
        return json_files.parse_as(Calibration, bytes(files.read(_CALIBRATION)))
    except UnreadableError:
        raise
    except ValueError as error:
        raise ModelError(f"{_CALIBRATION}: {error}") from error


def check_target(directory: Path) -> None:
    """Checks that a model can be written to a directory, which may not exist yet.

    Raises:
        StorageError: the directory cannot be written, or exists and is no model.
    """
    with atomic.wrap_os_errors(directory):
        directories.check_replaceable(directory, _is_ours)
    atomic.check_writable(directory / MANIFEST)


def add_calibration(directory: Path, calibration: Calibration, target: Path | None = None) -> None:
    """Writes a model with another calibration into a directory; None for its own.

    Raises:
        ConfigError: the directory is the checkpoint of a training, which would lose its state.
        ModelError: the model is missing or damaged.
        StorageError: the target cannot be written; an old directory stays.
    """
    refuse_checkpoint(directory, "calibrate its model-best or a copy of a model")
    contents = read_files(directory)
    del contents[MANIFEST]
    contents[_CALIBRATION] = json_files.dump(asdict(calibration), indent=1)
    card = read_card(directory)
    card = None if card is None else model_card.with_calibration(card, calibration)
    target = target or directory
    with atomic.wrap_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, contents | {MANIFEST: build_manifest(contents)}, card)


def refuse_checkpoint(directory: Path, advice: str) -> None:
    """Raises ConfigError with some advice if a directory is the checkpoint of a training.

    Raises:
        ModelError: the directory is missing, or its manifest is damaged.
    """
    if _STATE[0] in ModelFiles(directory, _MAX_BYTES):
        raise ConfigError(f"{directory}: is a checkpoint of a training; {advice}")


def compute_digest(directory: Path) -> str:
    """Returns the SHA-256 of a model's manifest, in hexadecimal; it identifies the complete model.

    Raises:
        StorageError: the manifest cannot be read.
    """
    return hashlib.sha256(regular_file.read(directory / MANIFEST, limit=MAX_MANIFEST_BYTES)).hexdigest()


def read_files(directory: Path, *, includes_state: bool = False) -> dict[str, bytes]:
    """Returns the content of each file of a model by name, verified; of a checkpoint, perhaps with its state.

    Raises:
        ModelError: the directory is missing or damaged.
    """

    def read() -> dict[str, bytes]:
        files = ModelFiles(directory, _MAX_BYTES)
        names = [*_list_names(files), *(_STATE if includes_state else ())]
        return {name: bytes(files.read(name)) for name in names} | {MANIFEST: files.manifest}

    return retry_once(read)


def _list_names(files: ModelFiles) -> list[str]:
    """Returns the names of the files of a model, without the state of a training."""
    optional = (*_FURTHER_WEIGHTS, _CALIBRATION, *_TRANSFORMER, _TRANSFORMER_WEIGHTS)
    return [*_MODEL, *(name for name in optional if name in files)]


def verify(directory: Path) -> None:
    """Checks the files of a model against its manifest, without parsing them.

    Raises:
        ModelError: the directory is missing or damaged.
    """

    def compare() -> None:
        files = ModelFiles(directory, _MAX_BYTES)
        files.verify(_list_names(files))

    retry_once(compare)


def check_publishable(directory: Path) -> None:
    """Checks that a model can be published: a manifest lists the files of a model and no others.

    Raises:
        ConfigError: the directory is the checkpoint of a training.
        ModelError: the model is missing or damaged, or its manifest lists other files.
    """
    refuse_checkpoint(directory, "publish its model-best")
    files = ModelFiles(directory, _MAX_BYTES)
    if unknown := sorted(set(files.names) - MAX_PUBLISHED_BYTES.keys()):
        raise ModelError(f"{directory}/{MANIFEST}: lists {unknown[0][:60]!r}, which is no file of a model")


def read_card(directory: Path) -> bytes | None:
    """Returns the model card of a directory, None if it has none.

    Raises:
        StorageError: the card is too large or not a regular file.
    """
    path = directories.current_path(directory) / CARD
    if not os.path.lexists(path):
        return None
    return bytes(regular_file.read(path, limit=MAX_PUBLISHED_BYTES[CARD]))


def write_card(directory: Path, card: bytes) -> None:
    """Writes the card of a model.

    Raises:
        StorageError: the directory cannot be written; an old card stays.
    """
    with atomic.wrap_os_errors(directory):
        atomic.replace(directory / CARD, card)


def copy(source: Path, directory: Path) -> None:
    """Copies a model with its card and replaces the target directory.

    Raises:
        ModelError: the model is missing or damaged.
        StorageError: the directory cannot be written; the old directory stays.
    """
    _write(directory, read_files(source), read_card(source))


def describe(directory: Path) -> dict[str, Any]:
    """Returns a description of a model for display: architecture, tags, vocabulary sizes, size on disk and scores.

    Raises:
        ModelError: as `load`.
    """
    model, metrics = load(directory)
    settings = model.config.model
    encoder = settings.encoder
    directions = "in both directions" if encoder.direction == "both" else encoder.direction
    return {
        "format": FORMAT,
        "scheme": model.scheme or "plain tags",
        "tags": list(model.tags.items),
        "words": f"{len(model.words)} trained, {len(model.frozen_words)} frozen"
        if settings.words.embedding_dim
        else "none",
        "embedding_dim": settings.words.embedding_dim,
        "characters": f"{settings.characters.kind}, {len(model.characters)} distinct",
        **({} if isinstance(model.network, Network) else {"networks": len(model.network.members)}),
        "encoder": f"{encoder.cell}, {encoder.num_layers} x {encoder.hidden_size} {directions}"
        if encoder.num_layers
        else "none",
        "merge": encoder.merge if encoder.direction == "both" else "none",
        "reads": "documents" if settings.reads_documents else "single sentences",
        **({} if model.transformer is None else {"transformer": _describe_transformer(model, model.transformer)}),
        "head": settings.head.kind,
        "parameters": sum(parameter.numel() for network in model.network.members for parameter in network.parameters()),
        "megabytes": round(sum(path.stat().st_size for path in directories.current_path(directory).iterdir()) / 1e6, 2),
        "metrics": {name: value for name, value in metrics.items() if not name.startswith("diagnostics")},
        **({} if model.calibration.is_identity else {"calibration": _describe_calibration(model.calibration)}),
    }


def _describe_transformer(model: TaggerModel, transformer: Pretrained) -> str:
    """Returns the name and kind of a model's transformer."""
    origin, settings = transformer.origin, model.config.model.transformer
    revision = f"@{origin.revision}" if origin.revision else ""
    return f"{origin.name}{revision}, {'trained' if settings.trainable else 'frozen'}, context {settings.context}"


def _describe_calibration(calibration: Calibration) -> dict[str, Any]:
    """Returns the temperatures of a model, and the data that it was calibrated on."""
    return {
        "temperature": calibration.temperature,
        "temperature of types": calibration.type_temperatures or None,
        "data": f"sha256:{calibration.data[:12]}",
    }


def load_state(directory: Path, limit: int = _MAX_BYTES["state.safetensors"]) -> State:
    """Returns the state of the training that wrote a checkpoint; the file of tensors has at most `limit` bytes.

    Raises:
        ModelError: the directory is not a checkpoint or is damaged.
    """

    def read() -> tuple[bytearray, bytearray]:
        files = ModelFiles(directory, _MAX_BYTES)
        return files.read("state.json"), files.read("state.safetensors", sizes=(0, limit))

    progress, tensors = retry_once(read)
    try:
        if sum(map(progress.count, (b",", b"[", b"{"))) > _MAX_STATE_VALUES:
            raise ValueError(f"it has more than {_MAX_STATE_VALUES} values")
        values = json_files.parse(bytes(progress))
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
    except ValueError as error:
        raise ModelError(f"{directory}/state.json is refused: {error}") from error
    return State(values, _load_tensors(tensors, f"{directory}/state.safetensors"))


def find_newest_checkpoint(run: Path) -> Path:
    """Returns the newest valid checkpoint of a run: the one in LATEST or, if it is damaged, an older one.

    Raises:
        ModelError: the run has no checkpoint that can be read.
    """
    candidates = list_checkpoints(run)[::-1]
    latest = run / LATEST
    if latest.is_file():
        with latest.open("rb") as stream:
            named = run / stream.read(_MAX_LATEST).decode(errors="replace").strip()
        candidates.sort(key=lambda path: path != named)
    for path in candidates:
        try:
            retry_once(lambda: _verify_checkpoint(path))  # noqa: B023  # called at once
        except ModelError as error:
            log.warning("%s; using an older checkpoint", error)
        else:
            return path
    hint = "" if candidates else "; run the command that started it again, without `resume`"
    raise ModelError(f"{run}: has no checkpoint to resume from{hint}")


def _verify_checkpoint(checkpoint: Path) -> None:
    """Raises ModelError if a file of a checkpoint does not match its manifest, or its state is too large."""
    files = ModelFiles(checkpoint, _MAX_BYTES)
    files.lower_limit("state.safetensors", _MAX_STATE_RATIO * files.size("weights.safetensors") + (1 << 20))
    files.verify([*_MODEL, *_STATE, *(name for name in _TRANSFORMER if name in files)])


def add_checkpoint(
    run: Path, number: int, model: TaggerModel, metrics: Metrics, state: State, *, retained: int
) -> None:
    """Writes the checkpoint of a step, updates LATEST and removes all but the newest `retained` checkpoints.

    Raises:
        StorageError: it cannot be written; older checkpoints stay.
    """
    directory = run / f"checkpoint-{number:06d}"
    save(model, directory, metrics, state)
    with atomic.wrap_os_errors(run):
        atomic.replace(run / LATEST, f"{directory.name}\n".encode())
    paths = list_checkpoints(run)
    count = paths.index(directory) + 1
    for path in paths[: max(count - retained, 0)] + paths[count:]:  # later ones remain after a damaged LATEST
        if (path / MANIFEST).is_file():  # else it is not a checkpoint of this toolkit
            shutil.rmtree(path, ignore_errors=True)


def list_checkpoints(run: Path) -> list[Path]:
    """Returns the directories of a run's checkpoints, oldest first."""
    paths = (path for path in run.glob("checkpoint-*") if is_checkpoint_name(path.name))
    return sorted((path for path in paths if path.is_dir() and not path.is_symlink()), key=_step_order)


def is_checkpoint_name(name: str) -> bool:
    """Returns whether a name is the name of a checkpoint.

    >>> is_checkpoint_name("checkpoint-000012"), is_checkpoint_name("checkpoint-mine")
    (True, False)
    """
    return _CHECKPOINT.fullmatch(name) is not None


def _step_order(path: Path) -> tuple[int, str]:
    """Returns the key that sorts the names of checkpoints by step."""
    return len(path.name), path.name  # seven digits sort after six


def _load_tensors(data: bytearray, name: str) -> dict[str, Tensor]:
    try:
        return tensor_files.load_tensors(data)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{name} is refused: {error}") from error


def _load_weights(network: nn.Module, files: ModelFiles, file: str, shared: Mapping[str, Tensor] | None = None) -> None:
    """Loads the weights of a network on the device meta; reads the file only if its size matches the network.

    The weights in `shared` are those of another network, and not in the file.
    """
    shared = shared or {}
    expected = {name: tensor for name, tensor in network.state_dict().items() if name not in shared}
    name = f"{files.directory}/{file}"
    tensors = _load_tensors(files.read(file, sizes=tensor_files.size_range(expected)), name)
    if faults := tensor_files.find_mismatches(tensors, expected):
        raise ModelError(*limit_faults([f"{name}: {fault}" for fault in faults]))
    network.load_state_dict({**tensors, **shared}, assign=True)
