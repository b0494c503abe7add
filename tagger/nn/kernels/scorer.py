"""A network's forward pass on a CPU from a table of word projections.

A word's features, and their product with the first layer's input weights, depend on the word alone. They are computed
once and stored in a table, whose rows the caller assigns. For each token, only the recurrent products, the layers above
and the output projection remain.

Shapes in this module: U words, R rows of the table, N tokens of a batch concatenated, B sentences, T tokens in the
longest one, S pairs of a document and a word, O occurrences of those words, P panels of 16 columns, D input width, H
hidden size, G columns of a cell's gates, M output size of the document context, K tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from tagger.choices import Merge
from tagger.errors import ModelError
from tagger.nn.embeddings import CharacterCNN, CharacterLSTM, DocumentContext, WordEmbedding
from tagger.nn.encoder import RecurrentLayer
from tagger.nn.kernels import recurrence
from tagger.nn.kernels.activations import tanh
from tagger.nn.kernels.compiling import compiled, elementwise
from tagger.nn.kernels.matmul import PANEL, Floats, Ids, add_into, multiply, pack
from tagger.nn.kernels.recurrence import Projections, Recurrence, Sentences
from tagger.nn.model import Network

_CHUNK = 128  # words that are added together: their intermediate results stay in the cache


class ContextArrays(Protocol):
    """Document context of a batch's tokens, as `data.document_context.DocumentContext` holds it."""

    @property
    def pairs(self) -> Ids:
        """(N,) pair of a document and a word, for each token."""

    @property
    def neighbours(self) -> Ids:
        """(O, 2) row + 1 of the left and right neighbour of each occurrence, pair after pair; 0 at a sentence's end."""

    @property
    def counts(self) -> Ids:
        """(S,) occurrences of each pair, at least 1."""

    @property
    def casing(self) -> Floats:
        """(S, F) casing features of each pair."""


# Weights near the float32 maximum overflow without a warning; the results are checked where they are used.
_ignore_overflow = np.errstate(over="ignore", invalid="ignore")


class TableScorer:
    """Computes emissions of a float32 network of recurrent layers without self-attention.

    It has the network's weights at construction time. Transformer features are inputs: it does not run a transformer.
    """

    @_ignore_overflow
    def __init__(self, network: Network) -> None:
        embedding = network.embedding
        self._words, self._casing = embedding.words, embedding.casing
        self._characters = _character_features(embedding.characters)
        self._context = None
        word_dim = embedding.output_dim - (embedding.transformer.output_dim if embedding.transformer else 0)
        self._feature_weights = _input_weights(network, word_dim, embedding.output_dim)
        if embedding.document_context is not None and embedding.words is not None:
            last = word_dim
            word_dim -= embedding.document_context.output_dim
            weights = _input_weights(network, word_dim, last)
            self._context = _ContextProjection.from_module(embedding.document_context, embedding.words, weights)
        first, *rest = network.encoder.layers
        self._layers = [_Layer.from_module(first, word_dim), *map(_Layer.from_module, rest)]
        self._projection = pack(_numpy(network.projection.weight).T)
        self._bias = _numpy(network.projection.bias)
        columns = [direction.columns for direction in self._layers[0].directions]
        columns += [2 * self._context.columns] if self._context else []
        self._tables = [np.empty((0, count), np.float32) for count in columns]

    @property
    def row_bytes(self) -> int:
        """The table's bytes per word."""
        return sum(table.shape[1] * table.itemsize for table in self._tables)

    def reserve(self, rows: int) -> None:
        """Enlarges the table to at least `rows` rows; existing rows are unchanged."""
        if rows > len(self._tables[0]):
            self._tables = [_enlarge(table, rows + rows // 4) for table in self._tables]

    @_ignore_overflow
    def add(self, rows: Ids, words: Ids, characters: Ids, lengths: Ids, casing: Ids) -> None:
        """Computes the input projections of words and stores them in rows of the table.

        Args:
            rows: (U,) rows to write.
            words: (U,) word ids.
            characters: character ids, word after word.
            lengths: (U,) characters per word, at least 1.
            casing: (U,) casing ids.

        Raises:
            ModelError: a feature is not finite.
        """
        ends = [0, *np.cumsum(lengths).tolist()]
        for first in range(0, len(rows), _CHUNK):
            chunk = slice(first, first + _CHUNK)
            chunk_characters = characters[ends[first] : ends[min(first + _CHUNK, len(rows))]]
            features = self._features(words[chunk], chunk_characters, lengths[chunk], casing[chunk])
            if not np.isfinite(features).all():
                raise ModelError("the features of a word are not finite: the model's weights are damaged or diverged")
            for direction, table in zip(self._layers[0].directions, self._tables, strict=False):
                table[rows[chunk]] = direction.project(features)
            if self._context is not None:
                self._tables[-1][rows[chunk]] = self._context.project_vectors(features)

    @_ignore_overflow
    def emissions(
        self, rows: Ids, lengths: Ids, context: ContextArrays | None = None, features: Floats | None = None
    ) -> Floats:
        """Returns the emissions (B, T, K) of sentences, 0 in padding.

        Args:
            rows: (N,) row of each token, sentence after sentence.
            lengths: (B,) tokens per sentence, at least 1, the longest sentence first.
            context: document context; required if the network reads it.
            features: (N, Q) transformer features; required if the network reads them.

        Raises:
            ModelError: the document context of a word or a transformer feature is not finite.
        """
        sentences = Sentences(np.cumsum(lengths) - lengths, lengths)
        context_tables: Sequence[Floats] = ()
        context_rows = rows
        if self._context is not None:
            assert context is not None
            context_tables, context_rows = self._context.project(self._tables[-1], context), context.pairs
        tables: Sequence[Floats] = self._tables
        if self._feature_weights:
            assert features is not None
            tables, rows = self._add_features(rows, features), np.arange(len(rows))
        states = self._layers[0].run(tables, rows, sentences, context_tables, context_rows)
        for layer in self._layers[1:]:
            tables = [direction.project(states) for direction in layer.directions]
            states = layer.run(tables, np.arange(len(rows)), sentences)
        scores = multiply(states, self._projection)[:, : len(self._bias)] + self._bias
        emissions = np.zeros((len(lengths), lengths[0], len(self._bias)), np.float32)
        emissions[np.arange(lengths[0]) < lengths[:, None]] = scores
        return emissions

    def _add_features(self, rows: Ids, features: Floats) -> list[Floats]:
        """Returns, for each direction, the input projections (N, G) of tokens with their transformer features."""
        if not np.isfinite(features).all():
            raise ModelError("a transformer feature is not finite: the model's weights are damaged or diverged")
        projections = []
        for table, weight in zip(self._tables, self._feature_weights, strict=False):
            projected = multiply(features, weight)
            projected += table[rows]
            projections.append(projected)
        return projections

    def _features(self, words: Ids, characters: Ids, lengths: Ids, casing: Ids) -> Floats:
        """Returns the concatenated features (U, D) of words."""
        with torch.inference_mode():
            parts = [np.empty((len(words), 0), np.float32)]  # a network may read transformer features only
            if self._words is not None:
                parts.append(_numpy(self._words(torch.from_numpy(words))))
            if self._characters is not None:
                parts.append(self._characters.features(characters, lengths))
            if self._casing is not None:
                parts.append(_numpy(self._casing(torch.from_numpy(casing))))
        return np.concatenate(parts, 1)


class MeanScorer:
    """Computes the mean emissions of networks with equal shapes; see `TableScorer`.

    Args:
        networks: the networks, which have equal settings, vocabularies and tags.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._scorers = list(map(TableScorer, networks))

    @property
    def row_bytes(self) -> int:
        """The bytes per word of all tables."""
        return sum(scorer.row_bytes for scorer in self._scorers)

    def reserve(self, rows: int) -> None:
        """Enlarges the tables to at least `rows` rows; existing rows are unchanged."""
        for scorer in self._scorers:
            scorer.reserve(rows)

    def add(self, rows: Ids, words: Ids, characters: Ids, lengths: Ids, casing: Ids) -> None:
        """Computes the input projections of words; arguments and errors as for `TableScorer.add`."""
        for scorer in self._scorers:
            scorer.add(rows, words, characters, lengths, casing)

    def emissions(
        self, rows: Ids, lengths: Ids, context: ContextArrays | None = None, features: Floats | None = None
    ) -> Floats:
        """Returns the mean emissions (B, T, K).

        Arguments and errors are those of `TableScorer.emissions`; `features` has those of each network, side by side.
        """
        count = len(self._scorers)
        if count == 1:
            return self._scorers[0].emissions(rows, lengths, context, features)
        parts: Sequence[Floats | None] = [None] * count
        if features is not None:
            parts = [np.ascontiguousarray(part) for part in np.split(features, count, 1)]
        emissions = [
            scorer.emissions(rows, lengths, context, part) for scorer, part in zip(self._scorers, parts, strict=True)
        ]
        mean: Floats = np.mean(emissions, axis=0, dtype=np.float32)
        return mean


@dataclass(frozen=True)
class _Direction:
    """One direction of a layer."""

    weight_ih: Floats  # (P, D, 16)
    bias: Floats  # (G,) added to the input projection
    recurrence: Recurrence

    @classmethod
    def from_module(cls, module: nn.RNNBase, *, is_reversed: bool, input_dim: int | None = None) -> "_Direction":
        """Returns the direction of a cell, with the first `input_dim` columns of its input weights, or all."""
        cell = recurrence.CELLS[type(module)]
        size = module.hidden_size
        bias_ih, candidate_bias = _numpy(module.bias_ih_l0).copy(), np.zeros(size, np.float32)
        bias_hh = _numpy(module.bias_hh_l0).copy()
        if cell == recurrence.GRU:  # whose reset gate scales the candidate's recurrent bias
            candidate_bias, bias_hh[2 * size :] = bias_hh[2 * size :].copy(), 0.0
        weight_ih = pack(_numpy(module.weight_ih_l0)[:, :input_dim].T)
        weight_hh = pack(_numpy(module.weight_hh_l0).T)
        return cls(weight_ih, bias_ih + bias_hh, Recurrence(cell, weight_hh, candidate_bias, is_reversed))

    @property
    def columns(self) -> int:
        """G, padded to whole panels."""
        return len(self.weight_ih) * PANEL

    def project(self, inputs: Floats) -> Floats:
        """Returns the input projections (N, G) of inputs (N, D), biases included."""
        projections = multiply(inputs, self.weight_ih)
        projections[:, : len(self.bias)] += self.bias
        return projections


@dataclass(frozen=True)
class _Layer:
    """A recurrent layer of one or two directions, and how the directions are merged."""

    directions: tuple[_Direction, ...]
    merge: Merge

    @classmethod
    def from_module(cls, layer: nn.Module, input_dim: int | None = None) -> "_Layer":
        assert isinstance(layer, RecurrentLayer)
        directions = tuple(
            _Direction.from_module(cell, is_reversed=is_reversed, input_dim=input_dim)
            for cell, is_reversed in zip(layer.cells, layer.is_reversed, strict=True)
        )
        return cls(directions, layer.merge)

    def run(
        self,
        tables: Sequence[Floats],
        rows: Ids,
        sentences: Sentences,
        context_tables: Sequence[Floats] = (),
        context_rows: Ids | None = None,
    ) -> Floats:
        """Returns the merged hidden states (N, output_size).

        Args:
            tables: for each direction, input projections (R, G); further tables are ignored.
            rows: (N,) row of each token in `tables`.
            sentences: the batch.
            context_tables: for each direction, projections (S, G) to add; empty for none.
            context_rows: (N,) row of each token in `context_tables`.
        """
        size = len(self.directions[0].recurrence.bias)
        states = np.empty((len(rows), size * len(self.directions)), np.float32)
        for number, direction in enumerate(self.directions):
            words = Projections(tables[number], rows)
            contexts = Projections(tables[number][:0], rows)
            if context_tables and context_rows is not None:
                contexts = Projections(context_tables[number], context_rows)
            recurrence.run(direction.recurrence, words, contexts, sentences, states, number * size)
        if len(self.directions) == 1 or self.merge == "concat":
            return states
        total: Floats = states[:, :size] + states[:, size:]
        return total if self.merge == "sum" else total * np.float32(0.5)


@dataclass(frozen=True)
class _ContextProjection:
    """The document context's projection, and the first layer's input weights for it."""

    left: Floats  # (P, D, 16)
    right: Floats  # (P, D, 16)
    boundary: Floats  # (2M,) projections of the padding vector, which stands for a missing neighbour
    casing: Floats  # (P, F, 16)
    bias: Floats  # (M,)
    weight_ih: tuple[Floats, ...]  # of each direction, (P, M, 16)

    @classmethod
    def from_module(
        cls, module: DocumentContext, words: WordEmbedding, weight_ih: Sequence[Floats]
    ) -> "_ContextProjection":
        weight = _numpy(module.projection.weight)
        parts = np.split(weight, [words.output_dim, 2 * words.output_dim], 1)
        left, right, casing = (pack(np.ascontiguousarray(part.T)) for part in parts)
        boundary = _project_sides(_numpy(words.weight)[:1], left, right)[0]
        return cls(left, right, boundary, casing, _numpy(module.projection.bias), tuple(weight_ih))

    @property
    def columns(self) -> int:
        """M, padded to whole panels."""
        return len(self.left) * PANEL

    def project_vectors(self, features: Floats) -> Floats:
        """Returns the projections (U, 2M) of words as left neighbours, then as right neighbours.

        The features (U, D) of the words start with their vectors.
        """
        return _project_sides(features[:, : self.left.shape[1]], self.left, self.right)

    def project(self, table: Floats, context: ContextArrays) -> list[Floats]:
        """Returns, for each direction, the input projections (S, G) of pairs.

        Args:
            table: (R, 2M) rows of `project_vectors`.
            context: the pairs.
        """
        vectors = multiply(context.casing, self.casing)
        _finish_vectors(table, self.boundary, context.neighbours, context.counts, self.bias, vectors)
        if not np.isfinite(vectors).all():
            raise ModelError(
                "the document context of a word is not finite: the model's weights are damaged or diverged"
            )
        return [multiply(vectors[:, : len(self.bias)], weight) for weight in self.weight_ih]


def _project_sides(vectors: Floats, left: Floats, right: Floats) -> Floats:
    return np.concatenate([multiply(vectors, left), multiply(vectors, right)], 1)


@compiled()
def _finish_vectors(
    table: Floats, boundary: Floats, neighbours: Ids, counts: Ids, bias: Floats, out: Floats
) -> None:  # pragma: no cover
    """Adds the mean neighbour projection and the bias to `out`, then applies tanh.

    Args:
        table: (R, 2M) projections of words as left and right neighbours.
        boundary: (2M,) projections of a missing neighbour.
        neighbours: (O, 2) row + 1 of the left and right neighbour; 0 for none.
        counts: (S,) occurrences of each pair.
        bias: (M,), not padded.
        out: (S, M) casing projections on entry, document context vectors on return.
    """
    columns, occurrence = out.shape[1], 0
    total = np.empty(columns, np.float32)
    for pair, count in enumerate(counts):
        total[:] = 0
        for _ in range(count):
            left, right = neighbours[occurrence]
            add_into(total, (table[left - 1] if left else boundary)[:columns])
            add_into(total, (table[right - 1] if right else boundary)[columns:])
            occurrence += 1
        _apply_tanh(out[pair], total, np.float32(1 / count), bias)


@elementwise
def _apply_tanh(out: Floats, total: Floats, factor: np.float32, bias: Floats) -> None:  # pragma: no cover
    for unit in range(len(bias)):
        out[unit] = tanh(out[unit] + total[unit] * factor + bias[unit])


class _CharacterFeatures(Protocol):
    def features(self, characters: Ids, lengths: Ids) -> Floats:
        """Returns the features (U, D) of words, given their character ids, word after word."""


class _CharacterConvolution:
    """A CNN over characters, as a sum of table rows: one row per character and kernel offset."""

    def __init__(self, module: CharacterCNN) -> None:
        embedding, weight = _numpy(module.embedding.weight), _numpy(module.convolution.weight)
        # (W, C, F) by kernel offset, character and feature
        self._table = np.einsum("cd,fdk->kcf", embedding.astype(np.float64), weight).astype(np.float32)
        self._table[:, 0] = 0.0  # padding
        assert module.convolution.bias is not None
        self._bias = _numpy(module.convolution.bias)

    def features(self, characters: Ids, lengths: Ids) -> Floats:
        margin = len(self._table) // 2
        starts = np.cumsum(lengths + margin) - lengths  # with a margin before each word
        padded = np.zeros(starts[-1] + lengths[-1] + 2 * margin, np.int64)
        word_starts = np.cumsum(lengths) - lengths
        positions = np.arange(len(characters)) + np.repeat(starts - word_starts, lengths)
        padded[positions] = characters
        sums = self._table[0][padded[positions - margin]]
        for offset in range(1, len(self._table)):
            sums += self._table[offset][padded[positions - margin + offset]]
        maxima: Floats = np.maximum.reduceat(sums, word_starts, axis=0)
        return maxima + self._bias


class _CharacterStates:
    """An LSTM over characters: its last state in each direction."""

    def __init__(self, module: CharacterLSTM) -> None:
        self._layer = _Layer.from_module(module.layer)
        self._tables = [direction.project(_numpy(module.embedding.weight)) for direction in self._layer.directions]

    def features(self, characters: Ids, lengths: Ids) -> Floats:
        order = np.argsort(-lengths, kind="stable")
        starts = (np.cumsum(lengths) - lengths)[order]
        states = self._layer.run(self._tables, characters, Sentences(starts, lengths[order]))
        size = states.shape[1] // 2
        features = np.empty((len(lengths), 2 * size), np.float32)
        features[order, :size] = states[starts + lengths[order] - 1, :size]
        features[order, size:] = states[starts, size:]
        return features


def _character_features(module: CharacterCNN | CharacterLSTM | None) -> _CharacterFeatures | None:
    if module is None:
        return None
    return _CharacterConvolution(module) if isinstance(module, CharacterCNN) else _CharacterStates(module)


def _input_weights(network: Network, first: int, stop: int) -> list[Floats]:
    """Returns, for each direction of the first layer, the packed input weights of columns [first, stop); none if empty.

    Shapes of the result: (P, stop - first, 16) each.
    """
    layer = network.encoder.layers[0]
    assert isinstance(layer, RecurrentLayer)
    if first == stop:
        return []
    return [pack(np.ascontiguousarray(_numpy(cell.weight_ih_l0)[:, first:stop].T)) for cell in layer.cells]


def _numpy(tensor: torch.Tensor | nn.Module) -> Floats:
    assert isinstance(tensor, torch.Tensor)
    return tensor.detach().numpy()


def _enlarge(table: Floats, rows: int) -> Floats:
    larger = np.empty((rows, table.shape[1]), np.float32)
    larger[: len(table)] = table
    return larger
