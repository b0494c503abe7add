"""The files of an export: its directory, verified before any file is parsed."""

import os
from pathlib import Path

from tagger.errors import ModelError, StorageError
from tagger.io import atomic, directories
from tagger.io.manifest import MANIFEST, ModelFiles, build_manifest, retry_once

GRAPH, PREPROCESSING, GOLDEN = "model.onnx", "preprocessing.json", "golden.json"
_MIB = 1 << 20
_MAX_BYTES = {GRAPH: 2048 * _MIB, PREPROCESSING: 512 * _MIB, GOLDEN: 64 * _MIB}


def read(directory: Path) -> tuple[bytearray, bytes]:
    """Returns the graph and the preprocessing of an export.

    Raises:
        ModelError: the directory is missing, damaged or no export.
    """

    def load() -> tuple[bytearray, bytes]:
        files = ModelFiles(directory, _MAX_BYTES)
        return files.read(GRAPH), bytes(files.read(PREPROCESSING))

    return retry_once(load)


def check_writable(directory: Path, *, overwrite: bool) -> None:
    """Checks that an export can be written to a directory; leaves no trace.

    Raises:
        StorageError: it cannot be written, or may not be replaced.
    """
    with atomic.wrap_os_errors(directory):
        if os.path.lexists(directory):
            is_directory = directory.is_dir() and not directory.is_symlink()
            if not is_directory or not _is_replaceable(directory, overwrite=True):
                raise StorageError(f"{directory}: exists and was not made by this tool; choose another directory")
            if not _is_replaceable(directory, overwrite=overwrite):
                raise StorageError(f"{directory}: exists already; choose another directory, or pass `overwrite=True`")
    atomic.check_writable(atomic.unfinished_path(directory.parent) if directory.exists() else directory)


def write(directory: Path, contents: dict[str, bytes], *, overwrite: bool) -> None:
    """Writes the files of an export and its manifest; the directory appears complete or not at all.

    Raises:
        StorageError: the directory cannot be written, or may not be replaced.
    """
    with atomic.wrap_os_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with directories.replace(directory, lambda path: _is_replaceable(path, overwrite=overwrite)) as new:
            for name, data in (contents | {MANIFEST: build_manifest(contents)}).items():
                atomic.write_new(new / name, data)


def _is_replaceable(directory: Path, *, overwrite: bool) -> bool:
    """Returns whether a directory is empty or, with `overwrite`, holds the files of an export and no others."""
    names = {path.name for path in directory.iterdir()}
    if not names or not overwrite or names != {GRAPH, PREPROCESSING, GOLDEN, MANIFEST}:
        return not names
    try:
        files = ModelFiles(directory, _MAX_BYTES)
    except ModelError:
        return False
    return all(name in files for name in (GRAPH, PREPROCESSING, GOLDEN))
