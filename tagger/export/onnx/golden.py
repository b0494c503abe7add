"""Golden examples: tokens, the inputs that they become, and their tags."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import Any

import numpy as np

from tagger.data.calibration import find_threshold
from tagger.data.document_context import DocumentContext
from tagger.data.sentence import Sentence, Span
from tagger.data.word_arrays import WordEncoder
from tagger.data.word_encoding import encode_words
from tagger.export.onnx.preprocessing import Preprocessing
from tagger.export.onnx.samples import sample_documents
from tagger.io import json_files
from tagger.model import TaggerModel

Tag = Callable[..., list[Sentence]]
"""Returns sentences with tags, given the options of `Tagger.tag`."""


def to_bytes(model: TaggerModel, preprocessing: Preprocessing, tag: Tag) -> bytes:
    """Returns the content of `golden.json`: documents that are hard to preprocess, with their inputs and tags."""
    documents = sample_documents(model)
    with _without_notices():
        return _build(model, preprocessing, tag, documents)


@contextmanager
def _without_notices() -> Iterator[None]:
    """Runs the block without notices about types that have no threshold of a precision: nobody asked for it."""
    logger = logging.getLogger("tagger")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _build(model: TaggerModel, preprocessing: Preprocessing, tag: Tag, documents: Sequence[list[Sentence]]) -> bytes:
    tagged = [tag(document, probabilities=True) for document in documents]
    spans = [span for document in tagged for sentence in document for span in sentence.spans]
    options = _choose_options(preprocessing, spans)
    return json_files.dump(options | {"documents": [_describe(model, tag, document, options) for document in tagged]})


def _choose_options(preprocessing: Preprocessing, spans: Sequence[Span]) -> dict[str, float]:
    """Returns a threshold and a precision that remove some spans, none of them by a small difference.

    There is no threshold if no spans have different probabilities, and no precision without a calibration.
    """
    values = sorted({span.probability for span in spans if span.probability is not None})
    thresholds = [(low + high) / 2 for low, high in pairwise(values)]
    steps = preprocessing.thresholds
    precisions = sorted({precision for rows in steps.values() for precision, _ in rows})

    def margin(precision: float) -> float:
        limits = {span.type: find_threshold(steps.get(span.type, ()), precision) for span in spans}
        pairs = [(span.probability, limits[span.type]) for span in spans]
        return min((abs(value - limit) for value, limit in pairs if value is not None and limit is not None), default=0)

    options = {}
    if thresholds:
        options["threshold"] = max(thresholds, key=lambda limit: min(abs(limit - value) for value in values))
    if precisions:
        options["precision"] = max(precisions, key=margin)
    return options


def _describe(
    model: TaggerModel, tag: Tag, document: list[Sentence], options: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Returns an example for each sentence of a document that is tagged with probabilities."""
    reads_context = model.network.embedding.document_context is not None
    contexts = _describe_context(model, document) if reads_context else [{}] * len(document)
    filtered = {
        f"with_{name}": map(_describe_tags, tag(document, probabilities=True, **{name: value}))
        for name, value in options.items()
    }
    return [
        {"tokens": sentence.tokens, "inputs": _describe_words(model, sentence) | context}
        | _describe_tags(sentence)
        | {name: next(rows) for name, rows in filtered.items()}
        for sentence, context in zip(document, contexts, strict=True)
    ]


def _describe_tags(sentence: Sentence) -> dict[str, Any]:
    """Returns the tags, spans and probabilities of a sentence."""
    spans = [
        {"type": span.type, "start": span.start, "end": span.end, "probability": span.probability}
        for span in sentence.spans
    ]
    return {"tags": sentence.tags, "probabilities": sentence.probabilities, "spans": spans}


def _describe_words(model: TaggerModel, sentence: Sentence) -> dict[str, Any]:
    """Returns the numbers of each token that depend on its word alone."""
    encoded = encode_words(sentence.tokens, model.known_words, model.characters)
    ends = encoded.lengths.cumsum()
    characters = np.split(encoded.characters, ends[:-1])
    return {
        "words": encoded.ids.tolist(),
        "characters": [ids.tolist() for ids in characters],
        "casing": encoded.casing.tolist(),
    }


def _describe_context(model: TaggerModel, document: list[Sentence]) -> list[dict[str, Any]]:
    """Returns the document context of each token of each sentence."""
    encoder = WordEncoder(model.known_words, model.characters)
    words = encoder.indices(chain.from_iterable(sentence.tokens for sentence in document))
    lengths = np.fromiter(map(len, document), np.int64, len(document))
    context = encoder.occurrences(words, lengths, [0] * len(document)).select(np.arange(len(words)))
    ends = np.cumsum(lengths)
    return [
        {
            "context_neighbours": [_neighbours(context, pair) for pair in pairs],
            "context_casing": [context.casing[pair].tolist() for pair in pairs],
        }
        for pairs in (part.tolist() for part in np.split(context.pairs, ends[:-1]))
    ]


def _neighbours(context: DocumentContext, pair: int) -> list[list[int]]:
    """Returns the left and right neighbour at each occurrence of a pair."""
    end = int(context.counts[: pair + 1].sum())
    rows: list[list[int]] = context.neighbours[end - int(context.counts[pair]) : end].tolist()
    return rows
