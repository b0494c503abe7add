"""The Python API of `tagger info`."""

from pathlib import Path
from typing import Any

from tagger import model_dir, model_names


def info(model: str | Path) -> dict[str, Any]:
    """Returns the description of a model: layers, tags, vocabulary, file size and scores.

    Args:
        model: a model directory, or `hub:USER/NAME` or `hub:USER/NAME@REVISION` for a model of the Hub.

    Raises:
        ModelError: the model is missing, damaged or of another format.
    """
    return model_dir.describe(model_names.find(model))
