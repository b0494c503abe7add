"""What models say about sentences that they were not trained on: their predictions, and mean probabilities."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tagger import tagging
from tagger.data.sentence import Sentence
from tagger.tagging.decoding import DecodingOptions

log = logging.getLogger(__name__)


class HeldOut(NamedTuple):
    """A model and the sentences that it was not trained on.

    Attributes:
        model: the directory of the model.
        positions: the positions of the sentences, in order.
    """

    model: Path
    positions: Sequence[int]


def predict(sentences: Sequence[Sentence], models: Sequence[HeldOut], *, device: str) -> list[list[Sentence]]:
    """Returns for each sentence its predictions, with tags and spans, one by each model that did not train on it."""
    predictions: list[list[Sentence]] = [[] for _ in sentences]
    for model, positions in models:
        tagger = tagging.load(model, device=device)
        tagged = tagger.stream(sentences[position] for position in positions)
        for position, prediction in zip(positions, tagged, strict=True):
            predictions[position].append(prediction)
    return predictions


def rate_candidates(
    candidates: Sequence[Sentence], models: Sequence[HeldOut], *, device: str
) -> list[list[float | None]]:
    """Returns for each sentence the mean probabilities of its spans or, if it has none, of its plain tags.

    The mean is over the models that did not train on the sentence and that know the type or the tag; None if no model
    does, or if windows cut the span.

    Args:
        candidates: the sentences, with any spans, which may overlap; a span with an empty type stands for no span.
        models: the models and their sentences.
        device: auto, cpu, cuda or cuda:N.
    """
    totals = [[0.0] * (len(sentence.spans) or len(sentence.tags)) for sentence in candidates]
    counts = [[0] * len(row) for row in totals]
    options = DecodingOptions(candidates=True)
    for number, (model, positions) in enumerate(models, 1):
        tagger = tagging.load(model, device=device)
        tagged = tagger.stream((candidates[position] for position in positions), options)
        for position, prediction in zip(positions, tagged, strict=True):
            for index, probability in enumerate(prediction.candidate_probabilities):
                if probability is not None:
                    totals[position][index] += probability
                    counts[position][index] += 1
        log.info("%d of %d models have rated the annotations", number, len(models))
    return [
        [total / count if count else None for total, count in zip(*row, strict=True)]
        for row in zip(totals, counts, strict=True)
    ]
