"""The settings of a training by the amount of its data. Change the numbers here after measuring."""

from dataclasses import dataclass
from typing import Any

MIN_DOCUMENTS = 10
"""Documents, of more than one sentence in the mean, from which on features of the document context pay."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings for training data of up to a number of sentences.

    Attributes:
        max_sentences: the largest number of training sentences.
        epochs, batch_size, learning_rate, ema_decay, hidden_size: the settings of these names.
        dev_fraction: the fraction of the training data to split off if there is no dev data.
    """

    max_sentences: float
    epochs: int
    batch_size: int
    learning_rate: float
    ema_decay: float | None
    hidden_size: int
    dev_fraction: float


SPANS = (
    Preset(1_000, 40, 8, 0.04, None, 200, 0.2),
    Preset(5_000, 40, 16, 0.04, None, 200, 0.1),
    Preset(float("inf"), 30, 32, 0.04, 0.999, 200, 0.1),
)
"""For spans; the last row as in the recipe ner-conll2003."""

PLAIN_TAGS = (
    Preset(1_000, 40, 8, 0.03, None, 200, 0.2),
    Preset(5_000, 25, 16, 0.03, None, 200, 0.1),
    Preset(float("inf"), 16, 16, 0.03, 0.999, 200, 0.1),
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
        model["casing"] = 8
    if has_spans and documents >= MIN_DOCUMENTS and sentences > documents:
        model["document_context"] = {"output_dim": 100}
    if preset.hidden_size != 200:
        model["encoder"] = {"hidden_size": preset.hidden_size}
    model["dropout"] = {"input": 0.35}
    training: dict[str, Any] = {"epochs": preset.epochs}
    if preset.ema_decay is not None:
        training["ema_decay"] = preset.ema_decay
    training |= {
        "batch_size": preset.batch_size,
        "optimizer": {"learning_rate": preset.learning_rate},
        "schedule": {"kind": "inverse"},
    }
    return {"data": {"dev_fraction": preset.dev_fraction}, "model": model, "training": training}
