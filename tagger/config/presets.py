"""The settings of a training by the amount of its data. configs/README.md has the trials behind them."""

from dataclasses import dataclass
from typing import Any

from tagger.choices import Schedule

MIN_DOCUMENTS = 10
"""The smallest number of documents for features of the document context."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings for training data of up to a number of sentences.

    Attributes:
        max_sentences: the largest number of training sentences.
        epochs, batch_size, learning_rate, ema_decay, schedule: the settings of these names.
        dev_fraction: the fraction of the training data to split off if there is no dev data.
        casing: the size of the vector for a word's casing.
        has_context: whether spans get features of the document context, which need many documents.
    """

    max_sentences: float
    epochs: int
    batch_size: int
    learning_rate: float
    ema_decay: float | None
    schedule: Schedule
    dev_fraction: float
    casing: int
    has_context: bool = False


SPANS = (
    Preset(100, 60, 4, 0.03, 0.99, "constant", 0.2, 10),
    Preset(1_000, 40, 8, 0.03, 0.99, "constant", 0.2, 10),
    Preset(5_000, 40, 16, 0.04, 0.99, "inverse", 0.1, 0, has_context=True),
    Preset(float("inf"), 30, 32, 0.04, 0.999, "inverse", 0.1, 0, has_context=True),
)
"""For spans; the last row as in the recipe ner-conll2003."""

PLAIN_TAGS = (
    Preset(1_000, 40, 8, 0.03, None, "inverse", 0.2, 8),
    Preset(5_000, 25, 16, 0.03, None, "inverse", 0.1, 8),
    Preset(float("inf"), 16, 16, 0.03, 0.999, "inverse", 0.1, 8),
)
"""For plain tags; the last row as in the recipe pos-ewt."""


def choose(sentences: int, documents: int, *, has_spans: bool) -> dict[str, Any]:
    """Returns settings by section for an amount of training data; only those that differ from the defaults.

    >>> choose(300, 1, has_spans=True)["training"]["batch_size"]
    8
    """
    preset = next(each for each in (SPANS if has_spans else PLAIN_TAGS) if sentences <= each.max_sentences)
    model: dict[str, Any] = {"characters": {"dropout": 0.25}}
    if not has_spans:
        model["characters"] |= {"output_dim": 100, "kernel_size": 5}
    if preset.casing:
        model["casing"] = preset.casing
    if preset.has_context and documents >= MIN_DOCUMENTS and sentences > documents:
        model["document_context"] = {"output_dim": 100}
    model["dropout"] = {"input": 0.35}
    training: dict[str, Any] = {"epochs": preset.epochs, "batch_size": preset.batch_size}
    if preset.ema_decay is not None:
        training["ema_decay"] = preset.ema_decay
    training["optimizer"] = {"learning_rate": preset.learning_rate}
    if preset.schedule != "constant":
        training["schedule"] = {"kind": preset.schedule}
    return {"data": {"dev_fraction": preset.dev_fraction}, "model": model, "training": training}
