"""A network's emissions on a CPU, from what is remembered of each word.

What a word's characters say, and its product with the first layer's input weights, depend on the word alone: they are
computed once and kept in a table, of which the caller hands out the rows. Beyond them only the product of each token
with the state before it, the layers above and the projection are left.

Shapes in this module: U words, C characters, R rows of the table, N tokens of a batch one after another, B sentences,
T tokens in the longest one, S pairs of a document and a word in it, D input width, H encoder width, G numbers that a
token gives to a cell's gates, M that a document says of a word, K tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from tagger.choices import Merge
from tagger.errors import ModelError
from tagger.nn.embeddings import CharacterCNN, CharacterLSTM, DocumentContext
from tagger.nn.encoder import RecurrentLayer
from tagger.nn.kernels import recurrence
from tagger.nn.kernels.activations import tanh
from tagger.nn.kernels.compiling import compiled, unit_wise
from tagger.nn.kernels.products import PANEL, Floats, Ids, add, packed, product
from tagger.nn.model import Network

_AT_ONCE = 128  # words that are learnt together: what is computed on the way stays in the cache


class Spelling(NamedTuple):
    """Words as numbers.

    Attributes:
        words: (U,) ids.
        characters: the ids of their characters, one word after another.
        lengths: (U,) characters in each, at least 1.
        casing: (U,) ids of how each is capitalised.
    """

    words: Ids
    characters: Ids
    lengths: Ids
    casing: Ids


class Places(NamedTuple):
    """What documents say of words, as `nn.embeddings.TokenEmbedding` reads it.

    Attributes:
        which: (N,) the pair of a document and a word that each token is of.
        beside: (O, 2) the rows, from 1, of the words before and after each place; 0 where there is none.
        occurrences: (S,) places of each pair, at least 1.
        casing: (S, F) how the word is capitalised.
    """

    which: Ids
    beside: Ids
    occurrences: Ids
    casing: Floats


# Weights near the largest number of float32 overflow without a warning: what comes of it is refused where it is used.
_quiet = np.errstate(over="ignore", invalid="ignore")


class Scorer:
    """The forward pass, in evaluation, of a network in float32 without self-attention; its weights are taken now."""

    @_quiet
    def __init__(self, network: Network) -> None:
        embedding = network.embedding
        self._words, self._capitals = embedding.words, embedding.casing
        self._characters = _character_features(embedding.characters)
        self._elsewhere = (
            None if embedding.document_context is None else _Elsewhere.of(embedding.document_context, network)
        )
        of_word = embedding.output_dim - (embedding.document_context.output_dim if embedding.document_context else 0)
        self._layers = [
            _Layer.of(network.encoder.layers[0], of_word),
            *map(_Layer.of, network.encoder.layers[1:]),
        ]
        self._projection = packed(_numpy(network.projection.weight).T)
        self._bias = _numpy(network.projection.bias)
        widths = [direction.width for direction in self._layers[0].directions]
        widths += [2 * self._elsewhere.width] if self._elsewhere else []
        self._tables = [np.empty((0, width), np.float32) for width in widths]

    @property
    def row_bytes(self) -> int:
        """The bytes that the table takes for each word."""
        return sum(table.shape[1] * table.itemsize for table in self._tables)

    def grow(self, rows: int) -> None:
        """Makes room for so many words; those that are there stay."""
        if rows > len(self._tables[0]):
            self._tables = [_grown(table, rows + rows // 4) for table in self._tables]

    @_quiet
    def learn(self, rows: Ids, spelling: Spelling) -> None:
        """Computes what words give to the first layer and keeps it in rows (U,) of the table.

        Raises:
            ModelError: a vector or a weight is not finite.
        """
        places = [0, *np.cumsum(spelling.lengths).tolist()]
        for first in range(0, len(rows), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            characters = spelling.characters[places[first] : places[min(first + _AT_ONCE, len(rows))]]
            its = Spelling(spelling.words[part], characters, spelling.lengths[part], spelling.casing[part])
            features = self._features(its)
            if not np.isfinite(features).all():
                raise ModelError("what the model says of a word is not finite: its weights are damaged or diverged")
            for direction, table in zip(self._layers[0].directions, self._tables, strict=False):
                table[rows[part]] = direction.given(features)
            if self._elsewhere is not None:
                self._tables[-1][rows[part]] = self._elsewhere.beside(features[:, : self._words.output_dim])

    @_quiet
    def emissions(self, rows: Ids, lengths: Ids, places: Places | None = None) -> Floats:
        """Returns (B, T, K) the emissions of sentences, 0 in padding.

        Args:
            rows: (N,) of the table, the sentences one after another.
            lengths: (B,) tokens in each, at least 1, the longest sentence first.
            places: what documents say of the words, where the network reads it.
        """
        starts = np.cumsum(lengths) - lengths
        more: list[Floats] = []
        which = None
        if self._elsewhere is not None:
            assert places is not None
            which, more = places.which, self._elsewhere.given(self._tables[-1], places)
        states = self._layers[0].states(self._tables, rows, starts, lengths, more, which)
        for layer in self._layers[1:]:
            given = [direction.given(states) for direction in layer.directions]
            states = layer.states(given, np.arange(len(rows)), starts, lengths)
        scores = product(states, self._projection)[:, : len(self._bias)] + self._bias
        emissions = np.zeros((len(lengths), lengths[0], len(self._bias)), np.float32)
        emissions[np.arange(lengths[0]) < lengths[:, None]] = scores
        return emissions

    def _vectors(self, words: Ids) -> Floats:
        """Returns the vectors (U, D) of word ids (U,)."""
        with torch.inference_mode():
            return _numpy(self._words(torch.from_numpy(words)))

    def _features(self, spelling: Spelling) -> Floats:
        """Returns (U, D) all that is known of words, side by side."""
        parts = [self._vectors(spelling.words)]
        with torch.inference_mode():
            if self._characters is not None:
                parts.append(self._characters.features(spelling.characters, spelling.lengths))
            if self._capitals is not None:
                parts.append(_numpy(self._capitals(torch.from_numpy(spelling.casing))))
        return np.concatenate(parts, 1)


@dataclass(frozen=True)
class _Direction:
    """One direction of a layer: its packed weights and biases."""

    cell: int
    inputs: Floats  # (P, D, 16)
    states: Floats  # (P, H, 16)
    bias: Floats  # (G,) of what a token gives
    late: Floats  # (H,) of a GRU's candidate, added to the state's product

    @classmethod
    def of(cls, module: nn.RNNBase, depth: int | None = None) -> "_Direction":
        """Returns a direction of which the first `depth` numbers of each input are given, or all."""
        cell = recurrence.CELLS[type(module)]
        width = module.hidden_size
        bias, late = _numpy(module.bias_ih_l0).copy(), np.zeros(width, np.float32)
        own = _numpy(module.bias_hh_l0).copy()
        if cell == recurrence.GRU:
            late, own[2 * width :] = own[2 * width :].copy(), 0.0
        inputs, states = packed(_numpy(module.weight_ih_l0)[:, :depth].T), packed(_numpy(module.weight_hh_l0).T)
        return cls(cell, inputs, states, bias + own, late)

    @property
    def width(self) -> int:
        """G, filled up to whole panels."""
        return len(self.inputs) * PANEL

    def given(self, inputs: Floats) -> Floats:
        """Returns (N, G) what inputs (N, D) give to the gates."""
        given = product(inputs, self.inputs)
        given[:, : len(self.bias)] += self.bias
        return given


@dataclass(frozen=True)
class _Layer:
    """A recurrent layer: one direction or two, which of them start from sentences' ends, and how they are merged."""

    directions: tuple[_Direction, ...]
    is_reversed: tuple[bool, ...]
    merge: Merge

    @classmethod
    def of(cls, layer: nn.Module, depth: int | None = None) -> "_Layer":
        assert isinstance(layer, RecurrentLayer)
        return cls(tuple(_Direction.of(cell, depth) for cell in layer.cells), tuple(layer.is_reversed), layer.merge)

    def states(
        self,
        given: Sequence[Floats],
        rows: Ids,
        starts: Ids,
        lengths: Ids,
        more: Sequence[Floats] = (),
        which: Ids | None = None,
    ) -> Floats:
        """Returns (N, output_size) the merged states.

        Args:
            given: (R, G) for each direction, what is given to its gates.
            rows: (N,) of it.
            starts: (B,) where sentences begin.
            lengths: (B,) tokens in each.
            more: (S, G) for each direction, what is added to that; empty if nothing is.
            which: (N,) of its rows, if there is any.
        """
        width = len(self.directions[0].late)
        states = np.empty((len(rows), width * len(self.directions)), np.float32)
        for number, direction in enumerate(self.directions):
            recurrence.run(
                direction.cell,
                given[number],
                rows,
                more[number] if more else given[number][:0],
                rows if which is None else which,
                starts,
                lengths,
                self.is_reversed[number],
                direction.states,
                direction.late,
                states,
                number * width,
            )
        if len(self.directions) == 1 or self.merge == "concat":
            return states
        both: Floats = states[:, :width] + states[:, width:]
        return both if self.merge == "sum" else both * np.float32(0.5)


@dataclass(frozen=True)
class _Elsewhere:
    """What documents say of words, and what that gives to the first layer."""

    before: Floats  # (P, D, 16)
    after: Floats  # (P, D, 16)
    edge: Floats  # (2M,)
    casing: Floats  # (P, F, 16)
    bias: Floats  # (M,)
    gates: tuple[Floats, ...]  # of each direction (P, M, 16)

    @classmethod
    def of(cls, module: DocumentContext, network: Network) -> "_Elsewhere":
        layer = network.encoder.layers[0]
        assert isinstance(layer, RecurrentLayer)
        weight, words = _numpy(module.projection.weight), network.embedding.words
        parts = np.split(weight, [words.output_dim, 2 * words.output_dim], 1)
        before, after, casing = (packed(np.ascontiguousarray(part.T)) for part in parts)
        gates = [packed(_numpy(cell.weight_ih_l0)[:, -module.output_dim :].T) for cell in layer.cells]
        edge = _sides(_numpy(words.weight)[:1], before, after)[0]
        return cls(before, after, edge, casing, _numpy(module.projection.bias), tuple(gates))

    @property
    def width(self) -> int:
        """M, filled up to whole panels."""
        return len(self.before) * PANEL

    def beside(self, vectors: Floats) -> Floats:
        """Returns (U, 2M) what words of vectors (U, D) say of one that they stand before, and of one they follow."""
        return _sides(vectors, self.before, self.after)

    def given(self, table: Floats, places: Places) -> list[Floats]:
        """Returns for each direction (S, G) what pairs give to the gates, by a table of what `beside` returned."""
        said = product(places.casing, self.casing)
        _say(table, self.edge, places.beside, places.occurrences, self.bias, said)
        if not np.isfinite(said).all():
            raise ModelError("what the model says of a document is not finite: its weights are damaged or diverged")
        return [product(said[:, : len(self.bias)], gates) for gates in self.gates]


def _sides(vectors: Floats, before: Floats, after: Floats) -> Floats:
    return np.concatenate([product(vectors, before), product(vectors, after)], 1)


@compiled()
def _say(
    table: Floats, edge: Floats, beside: Ids, occurrences: Ids, bias: Floats, said: Floats
) -> None:  # pragma: no cover
    """Adds to what capitals say (S, M) the mean of what stands beside the places, and the bias; then tanh.

    Args:
        table: (R, 2M) what words say that stand before one, and after it.
        edge: (2M,) what the ends of sentences say.
        beside: (O, 2) rows, from 1, 0 for an end.
        occurrences: (S,) places of each pair.
        bias: (M,) not filled up.
        said: (S, M) is changed.
    """
    width, place = said.shape[1], 0
    total = np.empty(width, np.float32)
    for pair, count in enumerate(occurrences):
        total[:] = 0
        for _ in range(count):
            before, after = beside[place]
            add(total, (table[before - 1] if before else edge)[:width])
            add(total, (table[after - 1] if after else edge)[width:])
            place += 1
        _finish(said[pair], total, np.float32(1 / count), bias)


@unit_wise
def _finish(said: Floats, total: Floats, share: np.float32, bias: Floats) -> None:  # pragma: no cover
    for unit in range(len(bias)):
        said[unit] = tanh(said[unit] + total[unit] * share + bias[unit])


class _CharacterFeatures(Protocol):
    def features(self, characters: Ids, lengths: Ids) -> Floats:
        """Returns (U, D) features of words spelt as ids, one word after another."""


class _Convolution:
    """The sum over a window of what each of its characters gives, and the largest value of each feature."""

    def __init__(self, module: CharacterCNN) -> None:
        embedding, weight = _numpy(module.embedding.weight), _numpy(module.convolution.weight)
        self._given = np.einsum("cd,fdk->kcf", embedding.astype(np.float64), weight).astype(np.float32)
        self._given[:, 0] = 0.0  # padding gives nothing
        assert module.convolution.bias is not None
        self._bias = _numpy(module.convolution.bias)

    def features(self, characters: Ids, lengths: Ids) -> Floats:
        margin = len(self._given) // 2
        starts = np.cumsum(lengths + margin) - lengths  # in a row of all words with a margin before each
        filled = np.zeros(starts[-1] + lengths[-1] + 2 * margin, np.int64)
        places = np.arange(len(characters)) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        filled[places] = characters
        sums = self._given[0][filled[places - margin]]
        for number in range(1, len(self._given)):
            sums += self._given[number][filled[places - margin + number]]
        largest: Floats = np.maximum.reduceat(sums, np.cumsum(lengths) - lengths, axis=0)
        return largest + self._bias


class _LastStates:
    """The last states of a recurrent layer over the characters, from either side."""

    def __init__(self, module: CharacterLSTM) -> None:
        self._layer = _Layer.of(module.layer)
        self._given = [direction.given(_numpy(module.embedding.weight)) for direction in self._layer.directions]

    def features(self, characters: Ids, lengths: Ids) -> Floats:
        order = np.argsort(-lengths, kind="stable")
        starts = (np.cumsum(lengths) - lengths)[order]
        states = self._layer.states(self._given, characters, starts, lengths[order])
        width = states.shape[1] // 2
        features = np.empty((len(lengths), 2 * width), np.float32)
        features[order, :width] = states[starts + lengths[order] - 1, :width]
        features[order, width:] = states[starts, width:]
        return features


def _character_features(module: CharacterCNN | CharacterLSTM | None) -> _CharacterFeatures | None:
    if module is None:
        return None
    return _Convolution(module) if isinstance(module, CharacterCNN) else _LastStates(module)


def _numpy(tensor: torch.Tensor | nn.Module) -> Floats:
    assert isinstance(tensor, torch.Tensor)
    return tensor.detach().numpy()


def _grown(table: Floats, rows: int) -> Floats:
    larger = np.empty((rows, table.shape[1]), np.float32)
    larger[: len(table)] = table
    return larger
