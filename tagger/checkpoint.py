"""The model directory: written whole, verified before anything in it is parsed, resumable.

model/  config.yaml  tags.txt  words.txt  kept.txt  chars.txt  weights.safetensors  metrics.json  MANIFEST.json
run/    model-best/  checkpoint-NNNNNN/ (a model, with state.json and state.safetensors)  LATEST
        config.yaml  metrics.jsonl  train.log  training.png  counts.json
"""

import hashlib
import json
import logging
import re
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from tagger import __version__, build, config
from tagger.build import Bundle
from tagger.data.vocab import Vocab
from tagger.errors import CheckpointError, ConfigError
from tagger.io import atomic

log = logging.getLogger(__name__)

FORMAT = 1
MANIFEST, LATEST = "MANIFEST.json", "LATEST"
_CHECKPOINT = re.compile(r"checkpoint-[0-9]{6,}")
_MAX_LATEST = 1000  # bytes
_MODEL = ("config.yaml", "tags.txt", "words.txt", "kept.txt", "chars.txt", "weights.safetensors", "metrics.json")
_STATE = ("state.json", "state.safetensors")

Metrics = dict[str, Any]


@dataclass(frozen=True)
class State:
    """What a training needs beside its model in order to go on: numbers and text, and tensors."""

    progress: dict[str, Any]
    tensors: dict[str, Tensor]


def save(bundle: Bundle, directory: Path, metrics: Metrics, state: State | None = None) -> None:
    """Writes a model, and the state of its training if given, in place of what the directory held.

    Raises:
        CheckpointError: the disk is full or the place cannot be written; what was there before stays.
    """
    contents = {
        "config.yaml": config.dump(bundle.config).encode(),
        "tags.txt": bundle.tags.to_bytes(),
        "words.txt": bundle.words.to_bytes(),
        "kept.txt": bundle.kept.to_bytes(),
        "chars.txt": bundle.characters.to_bytes(),
        "weights.safetensors": save_tensors(_saved(bundle.network.state_dict())),
        "metrics.json": json.dumps(metrics, indent=1).encode(),
    }
    if state is not None:
        contents["state.json"] = json.dumps(state.progress).encode()
        contents["state.safetensors"] = save_tensors(_saved(state.tensors))
    _write(directory, contents | {MANIFEST: _manifest(contents)})


def _write(directory: Path, contents: Mapping[str, bytes]) -> None:
    with atomic.writing(directory), atomic.atomic_directory(directory, _is_ours) as fresh:
        for name, data in contents.items():
            atomic.write_new(fresh / name, data)


def _is_ours(directory: Path) -> bool:
    """Returns whether a directory may be replaced: it is empty, a model, or inside a training run."""
    if atomic.is_marked(directory.parent) or not any(directory.iterdir()):
        return True
    try:
        _read_manifest(directory)
    except CheckpointError as error:
        if isinstance(error.__cause__, OSError):  # the disk's fault says nothing about the directory
            raise
        return False
    return True


def _saved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _manifest(contents: Mapping[str, bytes]) -> bytes:
    listed = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    return _sealed({"format": FORMAT, "tagger": __version__, "files": listed})


def _sealed(manifest: dict[str, Any]) -> bytes:
    """Returns a manifest as JSON in one fixed spelling, with its own hash in it."""
    seal = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return json.dumps(manifest | {"sha256": seal}, sort_keys=True, indent=1).encode()


def load(directory: Path) -> tuple[Bundle, Metrics]:
    """Returns the model of a directory and the metrics it was saved with.

    Raises:
        CheckpointError: the directory is missing, damaged, of another format, or its parts do not fit each other.
    """
    contents = _verified(directory, _MODEL)
    try:
        settings = config.parse(contents["config.yaml"].decode(), f"{directory}/config.yaml")
        tags, words, kept, characters = (
            Vocab.from_bytes(contents[name]) for name in ("tags.txt", "words.txt", "kept.txt", "chars.txt")
        )
        metrics = json.loads(contents["metrics.json"])
    except (ConfigError, CheckpointError) as error:
        raise CheckpointError(*(f"{directory}: {fault}" for fault in error.faults)) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{directory}: {error}") from error
    width = settings.model.words.width
    with torch.random.fork_rng(devices=[]):  # start values are drawn, only to be replaced
        fixed = torch.zeros(len(kept), width, dtype=torch.half)
        network = build.network(settings, tags, characters, torch.zeros(len(words), width), fixed)
    bundle = Bundle(settings, tags, words, kept, characters, network)
    _fill(bundle, _parsed(contents["weights.safetensors"], directory), directory)
    return bundle, metrics


def digest(directory: Path) -> str:
    """Returns the SHA-256, in hexadecimal, of a model's manifest, which stands for all of the model.

    Raises:
        CheckpointError: there is no model.
    """
    return hashlib.sha256(_bytes(directory, MANIFEST)).hexdigest()


def contents(directory: Path) -> dict[str, bytes]:
    """Returns the files of a model by name, verified; written into another directory they are that model.

    Raises:
        CheckpointError: the directory is missing or damaged.
    """
    return _verified(directory, _MODEL) | {MANIFEST: _bytes(atomic.settled(directory), MANIFEST)}


def copy(source: Path, directory: Path) -> None:
    """Writes a model in place of what a directory held.

    Raises:
        CheckpointError: the model is missing or damaged, or the place cannot be written; what was there before stays.
    """
    _write(directory, contents(source))


def card(directory: Path) -> dict[str, Any]:
    """Returns what a model is, by keys fit to print: its shape, tags, words, size on disk and scores.

    Raises:
        CheckpointError: as `load`.
    """
    bundle, metrics = load(directory)
    model = bundle.config.model
    encoder = model.encoder
    ways = "in 2 directions" if encoder.directions == 2 else "backward" if encoder.backward else "forward"
    return {
        "format": FORMAT,
        "scheme": bundle.scheme or "plain tags",
        "tags": list(bundle.tags.items),
        "words": f"{len(bundle.words)} trained, {len(bundle.kept)} kept; vectors of width {model.words.width}",
        "characters": f"{model.characters.kind}, {len(bundle.characters)} distinct",
        "encoder": f"{encoder.cell}, {encoder.layers} x {encoder.width} {ways}",
        "merge": encoder.merge if encoder.directions == 2 else "none",
        "reads": "documents" if model.elsewhere.width else "sentences one by one",
        "head": model.head.kind,
        "parameters": sum(parameter.numel() for parameter in bundle.network.parameters()),
        "megabytes": round(sum(path.stat().st_size for path in atomic.settled(directory).iterdir()) / 1e6, 2),
        "metrics": {name: value for name, value in metrics.items() if not name.startswith("diagnostics")},
    }


def load_state(directory: Path) -> State:
    """Returns the state of the training that wrote a checkpoint.

    Raises:
        CheckpointError: the directory is no checkpoint or is damaged.
    """
    contents = _verified(directory, _STATE)
    try:
        progress = json.loads(contents["state.json"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{directory}/state.json is refused: {error}") from error
    return State(progress, _parsed(contents["state.safetensors"], directory))


def newest(run: Path) -> Path:
    """Returns the newest whole checkpoint of a run: LATEST's, or an older one if that is damaged, which is logged.

    Raises:
        CheckpointError: the run has no checkpoint that can be read.
    """
    found = checkpoints(run)[::-1]
    latest = run / LATEST
    if latest.is_file():
        with latest.open("rb") as stream:
            named = run / stream.read(_MAX_LATEST).decode(errors="replace").strip()
        found.sort(key=lambda path: path != named)
    for path in found:
        try:
            _verified(path, _MODEL + _STATE)
        except CheckpointError as error:
            log.warning("%s; going back to the checkpoint before it", error)
        else:
            return path
    again = "" if found else "; give the command that began it again, without --resume"
    raise CheckpointError(f"{run}: holds no checkpoint to resume from{again}")


def add(run: Path, number: int, bundle: Bundle, metrics: Metrics, state: State, *, keep: int) -> None:
    """Writes the checkpoint of a step into a run, moves LATEST to it and removes all but the newest `keep`.

    Raises:
        CheckpointError: it cannot be written; the checkpoints before it stay.
    """
    directory = run / f"checkpoint-{number:06d}"
    save(bundle, directory, metrics, state)
    with atomic.writing(run):
        atomic.replace(run / LATEST, f"{directory.name}\n".encode())
    found = checkpoints(run)
    place = found.index(directory) + 1
    for path in found[: max(place - keep, 0)] + found[place:]:  # later ones are left by a damaged LATEST
        shutil.rmtree(path, ignore_errors=True)


def checkpoints(run: Path) -> list[Path]:
    """Returns the directories of a run's checkpoints, oldest first."""
    found = (path for path in run.glob("checkpoint-*") if is_checkpoint_name(path.name))
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=_number)


def is_checkpoint_name(name: str) -> bool:
    """Returns whether a name is that of a checkpoint.

    >>> is_checkpoint_name("checkpoint-000012"), is_checkpoint_name("checkpoint-mine")
    (True, False)
    """
    return _CHECKPOINT.fullmatch(name) is not None


def _number(path: Path) -> tuple[int, str]:
    return len(path.name), path.name  # seven digits come after six


def _verified(directory: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Returns the named files of a model directory, each checked against the manifest before it is handed out."""
    try:
        return _read_verified(directory, names)
    except CheckpointError:
        return _read_verified(directory, names)  # a training may have replaced the directory while it was read


def _read_verified(directory: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    directory = atomic.settled(directory)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such model directory" + ", it is a file" * directory.exists())
    manifest = _read_manifest(directory)
    contents = {}
    for name in names:
        entry = manifest.get(name)
        if not isinstance(entry, dict):
            raise CheckpointError(f"{directory}: holds no {name}; is it the right directory?")
        data = _bytes(directory, name)
        if len(data) != entry.get("size") or hashlib.sha256(data).hexdigest() != entry.get("sha256"):
            raise CheckpointError(f"{directory}/{name} is corrupt: sha256 differs from the manifest's")
        contents[name] = data
    return contents


def _read_manifest(directory: Path) -> dict[str, Any]:
    if not (directory / MANIFEST).is_file():
        inside = [path.parent.name for path in sorted(directory.glob(f"*/{MANIFEST}"), reverse=True)]
        hint = f"; did you mean {directory / inside[0]}?" if inside else ""
        raise CheckpointError(f"{directory}: no model here, there is no {MANIFEST}{hint}")
    data = _bytes(directory, MANIFEST)
    try:
        manifest = json.loads(data)
        seal = manifest.pop("sha256")
        version, listed = manifest["format"], dict(manifest["files"])
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{directory}/{MANIFEST} is corrupt: it is no manifest") from error
    if _sealed(manifest) != data:
        raise CheckpointError(f"{directory}/{MANIFEST} is corrupt: sha256 differs, {str(seal)[:8]} is written in it")
    if version != FORMAT:
        raise CheckpointError(f"{directory}: has model format {version}, this version reads {FORMAT}")
    return listed


def _bytes(directory: Path, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{directory}/{name} cannot be read: {error.strerror}") from error


def _parsed(data: bytes, directory: Path) -> dict[str, Tensor]:
    try:
        (length,) = struct.unpack("<Q", data[:8])
        if length > len(data) - 8:
            raise ValueError("its header is longer than the file")
        json.loads(data[8 : 8 + length], object_pairs_hook=_once)
        return load_tensors(data)
    except (struct.error, ValueError, KeyError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{directory}: a safetensors file is refused: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object; the library would let the last of two equal names win."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a name stands twice in its header")
    return dict(pairs)


def _fill(bundle: Bundle, tensors: Mapping[str, Tensor], directory: Path) -> None:
    expected = bundle.network.state_dict()
    faults = [f"{name} is missing" for name in expected.keys() - tensors.keys()]
    faults += [f"{name} does not belong there" for name in tensors.keys() - expected.keys()]
    for name in expected.keys() & tensors.keys():
        wanted, found = expected[name], tensors[name]
        if wanted.shape != found.shape or wanted.dtype != found.dtype:
            faults.append(
                f"{name} has {found.dtype} {tuple(found.shape)}, expected {wanted.dtype} {tuple(wanted.shape)}"
            )
        elif found.numel() and not all(bound.isfinite() for bound in found.aminmax()):
            faults.append(f"{name} holds a value that is not finite")
    if faults:
        raise CheckpointError(*(f"{directory}/weights.safetensors: {fault}" for fault in sorted(faults)))
    bundle.network.load_state_dict(dict(tensors))
