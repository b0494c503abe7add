"""What a user calls a model: a directory, or a name on the Hugging Face Hub such as `hub:USER/NAME@REVISION`."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tagger import model_dir
from tagger.errors import ConfigError, ModelError
from tagger.io import directories, hub
from tagger.io.manifest import MANIFEST

log = logging.getLogger(__name__)

PREFIX = "hub:"
_REPOSITORY = r"\w[\w.-]{0,95}/\w[\w.-]{0,95}"
_HUB_NAME = re.compile(rf"(?:{PREFIX})?({_REPOSITORY})(?:@([^\s@]{{1,200}}))?", re.ASCII)
_FILES = tuple(model_dir.MAX_PUBLISHED_BYTES)  # none has a character that is special in a glob


@dataclass(frozen=True)
class HubName:
    """The name of a repository on the Hub, and a revision; None for the newest commit."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return PREFIX + self.name + (f"@{self.revision}" if self.revision else "")


def find(model: str | Path, revision: str | None = None, *, is_prefix_optional: bool = False) -> Path:
    """Returns the directory of a model; a model of the Hub is downloaded into the Hub's cache and verified.

    Args:
        model: a directory, or `hub:USER/NAME` or `hub:USER/NAME@REVISION`, which is always looked up on the Hub.
        revision: the commit, tag or branch on the Hub; None for the newest.
        is_prefix_optional: as for `parse`.

    Raises:
        ConfigError: the name is not valid, or a revision is given for a directory.
        ModelError: there is no such directory; or the Hub has no such model, or it cannot be downloaded or is damaged.
    """
    name = parse(model, is_prefix_optional=is_prefix_optional)
    if name is None:
        if revision is not None:
            raise ConfigError(f"{model}: `revision` is for a model of the Hub, and this is a directory")
        return Path(model)
    if revision is not None:
        name = parse_repository(str(model), revision)
    try:
        return _download(name)
    except hub.HubError as error:
        is_plain = not str(model).startswith(PREFIX)
        raise ModelError(f"{model}: {'no such model directory; ' * is_plain}{error}") from error


def parse(model: str | Path, *, is_prefix_optional: bool = False) -> HubName | None:
    """Returns the name of a model on the Hub; None if it is a directory.

    >>> parse("hub:user/name@v1"), parse("runs/mine/model-best")
    (HubName(name='user/name', revision='v1'), None)

    Args:
        model: as for `find`.
        is_prefix_optional: whether a name on the Hub may lack `hub:`; a mistyped path such as `runs/mine` is then taken
            for a name, unless its folder exists.

    Raises:
        ConfigError: the name is not valid.
        ModelError: it may be a directory that does not exist.
    """
    if isinstance(model, Path):
        return None
    if model.startswith(PREFIX):
        return parse_repository(model)
    match = _HUB_NAME.fullmatch(model)
    if match is None or os.path.lexists(model) or directories.current_path(Path(model)).exists():
        return None
    if not is_prefix_optional or Path(model).parent.is_dir():  # a mistyped path is not sent to the Hub
        raise ModelError(f"{model}: no such model directory; for a model of the Hub, write {PREFIX}{model}")
    return HubName(match[1], match[2])


def parse_repository(name: str, revision: str | None = None) -> HubName:
    """Returns a name on the Hub, which may lack `hub:`, with a revision that it or the second argument names.

    Raises:
        ConfigError: the name is not valid, or both name a revision.
    """
    match = _HUB_NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"{name!r}: expected a name on the Hub such as {PREFIX}USER/NAME or {PREFIX}USER/NAME@v1")
    if match[2] and revision:
        raise ConfigError(f"{name}: names a revision; omit `revision`")
    return HubName(match[1], match[2] or revision)


def _download(name: HubName) -> Path:
    """Returns the verified directory of a model of the Hub in the local cache, after a download if needed.

    Raises:
        HubError: the download failed, or the repository holds no model of a size that is read.
        ModelError: a file does not match the manifest.
    """
    with hub.quiet():
        if hub.COMMIT.fullmatch(name.revision or "") and (cached := _find_cached(name)):
            return cached
        snapshot = None if hub.is_offline() else hub.find_snapshot(name.name, name.revision)
        if snapshot is None:
            folder = hub.download(name.name, name.revision, _FILES, only_cached=True)
        else:
            size = _check_sizes(snapshot)
            log.info("%s: commit %s, %.1f MB", name, snapshot.commit[:12], size / 1e6)
            folder = hub.download_snapshot(name.name, name.revision, snapshot, _FILES)
    if snapshot is None and not hub.is_offline():
        log.warning("the Hub cannot be reached; using commit %s of %s from the local cache", folder.name[:12], name)
    _verify(folder)
    return folder


def _find_cached(name: HubName) -> Path | None:
    """Returns the directory of a complete model in the local cache, None if it lacks a file or a file is damaged."""
    try:
        folder = hub.download(name.name, name.revision, _FILES, only_cached=True)
        model_dir.verify(folder)
    except (hub.HubError, ModelError):
        return None
    return folder


def _check_sizes(snapshot: hub.Snapshot) -> int:
    """Returns the size in bytes of all files of a model.

    Raises:
        HubError: the repository holds no manifest, or a file that is too large to be read or whose size is not known.
    """
    if MANIFEST not in snapshot.sizes:
        raise hub.HubError(f"the Hub has no model of this toolkit there: it lacks {MANIFEST}")
    total = 0
    for file, limit in model_dir.MAX_PUBLISHED_BYTES.items():
        size = snapshot.sizes.get(file, 0)
        if size is None:
            raise hub.HubError(f"its {file} is refused: the Hub does not report its size")
        if size > limit:
            raise hub.HubError(f"its {file} is refused: it has {size} bytes, expected at most {limit}")
        total += size
    weights = sum(snapshot.sizes.get(file) or 0 for file in model_dir.WEIGHTS)
    if weights > model_dir.MAX_PUBLISHED_BYTES[model_dir.WEIGHTS[0]]:
        raise hub.HubError(f"its weights are refused: they have {weights} bytes together")
    return total


def _verify(folder: Path) -> None:
    """Raises ModelError if a file in the local cache does not match the manifest."""
    try:
        model_dir.verify(folder)
    except ModelError as error:
        cache = folder.parent.parent  # CACHE/snapshots/COMMIT
        raise ModelError(*(f"{fault}; remove {cache} to download the model again" for fault in error.faults)) from error
