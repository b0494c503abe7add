"""Sentences as the inputs of a graph.

Shapes in this module: B sentences, T tokens in the longest one, U distinct words, C characters in the longest of them,
R pairs of a document and a word, O occurrences of those words, M occurrences of one of them at most.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from tagger.data.document_context import DocumentContext
from tagger.data.word_arrays import WordEncoder, pad, token_indices
from tagger.data.word_cache import Ids
from tagger.export.onnx import ports
from tagger.export.onnx.preprocessing import Preprocessing
from tagger.export.onnx.session import Array


class EncodedSentences:
    """Sentences as numbers, from which the inputs of batches are built.

    Args:
        preprocessing: the vocabularies and the inputs of the graph.
        sentences: the tokens of each sentence, at least one.
        passages: the passage number of each sentence.
    """

    def __init__(
        self, preprocessing: Preprocessing, sentences: Sequence[Sequence[str]], passages: Sequence[int]
    ) -> None:
        self._names = frozenset(preprocessing.inputs)
        self._encoder = WordEncoder(preprocessing.words, preprocessing.characters)
        self.lengths = list(map(len, sentences))
        words, lengths = self._encoder.indices(chain.from_iterable(sentences)), np.array(self.lengths, np.int64)
        ends = np.cumsum(lengths)
        self._words, self._starts = np.split(words, ends[:-1]), ends - lengths
        reads_context = ports.CONTEXT_INDEX in self._names
        self._occurrences = self._encoder.occurrences(words, lengths, passages) if reads_context else None

    def build_inputs(self, positions: Sequence[int], *, probabilities: bool) -> dict[str, Array]:
        """Returns the inputs of the graph for the sentences at these positions."""
        arrays = self._encoder.arrays([self._words[position] for position in positions])
        inputs: dict[str, Array] = {
            ports.WORDS: arrays.words,
            ports.CHARACTERS: arrays.characters,
            ports.CASING: arrays.casing,
            ports.INDEX: arrays.index,
            ports.LENGTHS: arrays.lengths,
            ports.PROBABILITIES: np.array(probabilities),
        }
        if self._occurrences is not None:
            context = self._occurrences.select(token_indices(self._starts, self.lengths, positions))
            inputs[ports.CONTEXT_INDEX] = pad(context.pairs, arrays.lengths)
            inputs[ports.CONTEXT_NEIGHBOURS] = _pad_neighbours(context)
            inputs[ports.CONTEXT_CASING] = context.casing
        return {name: value for name, value in inputs.items() if name in self._names}


def _pad_neighbours(context: DocumentContext) -> Ids:
    """Returns the neighbours (R, M, 2) at the occurrences of each pair, -1 where there are fewer than M."""
    counts = context.counts
    padded = np.full((len(counts), counts.max(), 2), -1, np.int64)
    padded[np.arange(padded.shape[1]) < counts[:, None]] = context.neighbours
    return padded
