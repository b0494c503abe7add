"""The Python API of `tagger info`."""

from pathlib import Path
from typing import Any

from tagger import model_dir


def info(model: str | Path) -> dict[str, Any]:
    """Returns the description of a model directory: layers, tags, vocabulary, file size and scores.

    Args:
        model: a model directory.

    Raises:
        StorageError: the directory is missing or cannot be read.
        ModelError: the directory is damaged or of another format.
    """
    return model_dir.describe(Path(model))
