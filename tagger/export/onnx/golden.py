"""Golden examples: tokens, the inputs that they become, and their tags."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tagger.data.document_context import DocumentContext
from tagger.data.sentence import Sentence
from tagger.data.word_arrays import WordEncoder
from tagger.data.word_encoding import encode_words
from tagger.export.onnx.samples import sample_documents
from tagger.io import json_files
from tagger.model import TaggerModel

Tag = Callable[[list[Sentence]], list[Sentence]]
"""Returns sentences with tags and probabilities."""


def to_bytes(model: TaggerModel, tag: Tag) -> bytes:
    """Returns the content of `golden.json`: documents that are hard to preprocess, with their inputs and tags."""
    return json_files.dump({"documents": [_describe(model, tag, document) for document in sample_documents(model)]})


def _describe(model: TaggerModel, tag: Tag, document: list[Sentence]) -> list[dict[str, Any]]:
    """Returns an example for each sentence of a document."""
    tagged = tag(document)
    reads_context = model.network.embedding.document_context is not None
    contexts = _describe_context(model, document) if reads_context else [{}] * len(document)
    return [
        {
            "tokens": sentence.tokens,
            "inputs": _describe_words(model, sentence) | context,
            "tags": sentence.tags,
            "probabilities": sentence.probabilities,
            "spans": [
                {"type": span.type, "start": span.start, "end": span.end, "probability": span.probability}
                for span in sentence.spans
            ],
        }
        for sentence, context in zip(tagged, contexts, strict=True)
    ]


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
    words = [np.array(list(map(encoder.index, sentence.tokens)), np.int64) for sentence in document]
    context = encoder.occurrences(words, [0] * len(words)).select(np.arange(sum(map(len, words))))
    ends = np.cumsum(list(map(len, words)))
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
