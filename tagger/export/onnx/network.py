"""The network as nodes of an ONNX graph: from ids to emissions.

Shapes in this module: U distinct words, C characters in the longest one, B sentences, T tokens in the longest one, D
size of the vectors, H hidden size, G gates of a cell, K tags, R pairs of a document and a word, M occurrences of those
words at most. Values per token are (T, B, …), as the recurrent operators of ONNX read them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from tagger.export.onnx import ports
from tagger.export.onnx.graph import Array, Graph
from tagger.nn.embeddings import CharacterCNN, CharacterLSTM, DocumentContext, TokenEmbedding, WordEmbedding
from tagger.nn.encoder import Encoder, RecurrentLayer, SelfAttention
from tagger.nn.model import Network


def to_array(tensor: Tensor) -> Array:
    """Returns the values of a tensor."""
    array: Array = tensor.detach().cpu().numpy()
    return array


def axes(*numbers: int) -> Array:
    """Returns axes, as operators read them."""
    return np.array(numbers, np.int64)


class NetworkNodes:
    """Adds the nodes of a network to a graph.

    Args:
        graph: the graph.
        network: the network.
        quantize: whether word vectors and the weights of LSTMs over tokens are stored as int8.
    """

    def __init__(self, graph: Graph, network: Network, *, quantize: bool) -> None:
        self._graph, self._network, self._quantize = graph, network, quantize
        self._lengths = graph.cast(ports.LENGTHS, "int32")
        self._index = graph.add("Transpose", ports.INDEX, perm=[1, 0])  # (T, B)

    def add_emissions(self) -> str:
        """Returns the name of the emissions (T, B, K), in float32."""
        states = self._add_encoder(self._network.encoder, self._add_embedding(self._network.embedding))
        return self._add_linear(self._network.projection, states)

    def _add_linear(self, layer: nn.Linear, inputs: str) -> str:
        product = self._graph.add("MatMul", inputs, to_array(layer.weight).T)
        return self._graph.add("Add", product, to_array(layer.bias))

    def _add_concat(self, parts: Sequence[str], axis: int) -> str:
        return parts[0] if len(parts) == 1 else self._graph.add("Concat", *parts, axis=axis)

    def _add_embedding(self, embedding: TokenEmbedding) -> str:
        """Returns the vectors (T, B, D) of the tokens."""
        graph = self._graph
        table = None if embedding.words is None else _WordTable.from_words(embedding.words, quantize=self._quantize)
        parts = [] if table is None else [table.add_lookup(graph, ports.WORDS)]
        if embedding.characters is not None:
            parts.append(self._add_characters(embedding.characters))
        if embedding.casing is not None:
            parts.append(graph.add("Gather", to_array(embedding.casing.weight), ports.CASING))
        tokens = [graph.add("Gather", self._add_concat(parts, 1), self._index)]
        if embedding.document_context is not None:
            assert table is not None
            index = graph.add("Transpose", ports.CONTEXT_INDEX, perm=[1, 0])
            tokens.append(graph.add("Gather", self._add_document_context(embedding.document_context, table), index))
        return self._add_concat(tokens, 2)

    def _add_characters(self, module: CharacterCNN | CharacterLSTM) -> str:
        """Returns the character features (U, D) of the words."""
        graph = self._graph
        vectors = graph.add("Gather", to_array(module.embedding.weight), ports.CHARACTERS)  # (U, C, D)
        is_character = graph.cast(ports.CHARACTERS, "bool")  # the id 0 is padding
        if isinstance(module, CharacterLSTM):
            counts = graph.add("ReduceSum", graph.cast(is_character, "int32"), axes(1), keepdims=0)
            inputs = graph.add("Transpose", vectors, perm=[1, 0, 2])
            last = self._add_recurrence(module.layer, inputs, counts, quantize=False)[1]  # (2, U, H)
            return graph.add("Reshape", graph.add("Transpose", last, perm=[1, 0, 2]), axes(0, -1))
        mask = graph.add("Unsqueeze", is_character, axes(1))  # (U, 1, C)
        channels = graph.add("Where", mask, graph.add("Transpose", vectors, perm=[0, 2, 1]), np.float32(0))
        weight = to_array(module.convolution.weight)
        margin = weight.shape[2] // 2
        assert module.convolution.bias is not None
        windows = graph.add("Conv", channels, weight, to_array(module.convolution.bias), pads=[margin, margin])
        return graph.add("ReduceMax", graph.add("Where", mask, windows, np.float32(-math.inf)), axes=[2], keepdims=0)

    def _add_document_context(self, module: DocumentContext, table: "_WordTable") -> str:
        """Returns the vectors (R, D) of the pairs of a document and a word."""
        graph = self._graph
        neighbours = graph.add("Transpose", ports.CONTEXT_NEIGHBOURS, perm=[0, 2, 1])  # (R, 2, M)
        is_occurrence = graph.cast(graph.add("GreaterOrEqual", neighbours, 0), "float32")
        vectors = table.add_lookup(graph, graph.add("Max", neighbours, 0))  # (R, 2, M, D)
        sums = graph.add("MatMul", graph.add("Unsqueeze", is_occurrence, axes(2)), vectors)  # (R, 2, 1, D)
        counts = graph.add("ReduceSum", is_occurrence, axes(2), keepdims=1)
        means = graph.add("Div", sums, graph.add("Unsqueeze", counts, axes(3)))
        features = self._add_concat([graph.add("Reshape", means, axes(0, -1)), ports.CONTEXT_CASING], 1)
        return graph.add("Tanh", self._add_linear(module.projection, features))

    def _add_encoder(self, encoder: Encoder, inputs: str) -> str:
        """Returns the states (T, B, D) of inputs (T, B, D)."""
        states = inputs
        for layer in encoder.layers:
            assert isinstance(layer, RecurrentLayer)
            states = self._add_layer(layer, states)
        return states if encoder.attention is None else self._add_attention(encoder.attention, states)

    def _add_layer(self, layer: RecurrentLayer, inputs: str) -> str:
        graph = self._graph
        states = self._add_recurrence(layer, inputs, self._lengths, quantize=self._quantize)[0]
        if len(layer.cells) == 1:
            return graph.add("Squeeze", states, axes(1))
        if layer.merge == "sum":
            return graph.add("ReduceSum", states, axes(1), keepdims=0)
        if layer.merge == "mean":
            return graph.add("ReduceMean", states, axes=[1], keepdims=0)
        return graph.add("Reshape", graph.add("Transpose", states, perm=[0, 2, 1, 3]), axes(0, 0, -1))

    def _add_recurrence(self, layer: RecurrentLayer, inputs: str, lengths: str, *, quantize: bool) -> list[str]:
        """Returns the states (T, directions, B, H), 0 in padding, and the last states (directions, B, H)."""
        weights = _RecurrentWeights.from_layer(layer)
        direction = "bidirectional" if len(layer.cells) == 2 else "reverse" if layer.is_reversed[0] else "forward"
        attributes = {"hidden_size": layer.cells[0].hidden_size, "direction": direction}
        if quantize and weights.operator == "LSTM":
            arguments = weights.quantized(lengths)
            return self._graph.add_node("DynamicQuantizeLSTM", 2, inputs, *arguments, **attributes)
        if weights.operator == "GRU":
            attributes["linear_before_reset"] = 1  # cuDNN's form of the reset gate, as torch has it
        arrays = weights.input_weights, weights.recurrent_weights, weights.biases
        return self._graph.add_node(weights.operator, 2, inputs, *arrays, lengths, **attributes)

    def _add_attention(self, module: SelfAttention, inputs: str) -> str:
        """Returns the outputs (T, B, D) of self-attention over inputs (T, B, D)."""
        graph, attention = self._graph, module.attention
        heads, dim = attention.num_heads, attention.head_dim
        assert attention.in_proj_weight is not None
        projected = graph.add("MatMul", inputs, to_array(attention.in_proj_weight).T)
        projected = graph.add("Add", projected, to_array(attention.in_proj_bias))
        split = graph.add("Reshape", projected, axes(0, 0, 3, heads, dim))
        queries, keys, values = (
            graph.add("Gather", graph.add("Transpose", split, perm=[2, 1, 3, 0, 4]), number) for number in range(3)
        )  # (B, heads, T, dim)
        scores = graph.add("MatMul", queries, graph.add("Transpose", keys, perm=[0, 1, 3, 2]))
        scores = graph.add("Mul", scores, np.float32(1 / math.sqrt(dim)))
        mask = graph.add("Unsqueeze", graph.add("Transpose", token_mask(graph, 0), perm=[1, 0]), axes(1, 2))
        scores = graph.add("Where", mask, scores, np.float32(-math.inf))
        attended = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), values)
        attended = graph.add("Reshape", graph.add("Transpose", attended, perm=[2, 0, 1, 3]), axes(0, 0, -1))
        added = graph.add("Add", inputs, self._add_linear(attention.out_proj, attended))
        scale, bias = to_array(module.norm.weight), to_array(module.norm.bias)
        return graph.add("LayerNormalization", added, scale, bias, axis=-1, epsilon=module.norm.eps)


def token_mask(graph: Graph, padding: int) -> str:
    """Returns the name of (T + padding, B) booleans: whether a position holds a token."""
    longest = graph.add("Gather", graph.add("Shape", ports.INDEX), 1)
    stop = graph.add("Add", longest, padding) if padding else longest
    positions = graph.add("Unsqueeze", graph.add("Range", 0, stop, 1), axes(1))
    return graph.add("Less", positions, graph.add("Unsqueeze", ports.LENGTHS, axes(0)))


@dataclass(frozen=True)
class _Vectors:
    """Vectors as a graph stores them.

    Attributes:
        values: (N, D) in float32, float16 or int8.
        steps: (N, 1) the factor of each row; None if it is 1.
    """

    values: Array
    steps: Array | None = None

    def add_lookup(self, graph: Graph, ids: str) -> str:
        """Returns the name of the vectors (…, D), in float32, of ids (…)."""
        vectors = graph.add("Gather", self.values, ids)
        if self.values.dtype != np.float32:
            vectors = graph.cast(vectors, "float32")
        return vectors if self.steps is None else graph.add("Mul", vectors, graph.add("Gather", self.steps, ids))


@dataclass(frozen=True)
class _ProductVectors:
    """Vectors by product quantization, as a graph stores them.

    Attributes:
        codes: (N, S) the code of each of the S parts of a vector, as uint8.
        centroids: (4, S, 256) the numbers of each part that codes stand for.
        dim: D, size of a vector.
    """

    codes: Array
    centroids: Array
    dim: int

    def add_lookup(self, graph: Graph, ids: str) -> str:
        """Returns the name of the vectors (…, D), in float32, of ids (…)."""
        size, count, centroids = self.centroids.shape
        codes = graph.cast(graph.add("Gather", self.codes, ids), "int64")
        rows = graph.add("Add", graph.add("Concat", *[codes] * size, axis=-1), np.arange(size * count) * centroids)
        return graph.add(
            "Slice", graph.add("Gather", self.centroids.reshape(-1), rows), axes(0), axes(self.dim), axes(-1)
        )


@dataclass(frozen=True)
class _WordTable:
    """The word vectors of a graph.

    Attributes:
        trainable: (W, D) trainable vectors; all vectors if both kinds are in int8.
        frozen: (V, D) frozen vectors, whose ids follow; None if there are no others.
    """

    trainable: _Vectors
    frozen: _Vectors | _ProductVectors | None

    @classmethod
    def from_words(cls, words: WordEmbedding, *, quantize: bool) -> "_WordTable":
        """Returns the table of a network's words."""
        trainable, frozen = to_array(words.weight), to_array(words.frozen)
        steps = None if words.frozen_steps is None else to_array(words.frozen_steps)
        if words.frozen_centroids is not None:
            vectors = _Vectors(*quantize_rows(trainable)) if quantize else _Vectors(trainable)
            products = _ProductVectors(frozen, to_array(words.frozen_centroids), words.output_dim)
            return cls(vectors, products if len(frozen) else None)
        if quantize:
            trainable, trainable_steps = quantize_rows(trainable)
            if steps is None:
                frozen, steps = quantize_rows(frozen.astype(np.float32))
            every = np.concatenate([trainable, frozen]), np.concatenate([trainable_steps, steps])
            return cls(_Vectors(*every), None)
        return cls(_Vectors(trainable), _Vectors(frozen, steps) if len(frozen) else None)

    def add_lookup(self, graph: Graph, ids: str) -> str:
        """Returns the name of the vectors (…, D), in float32, of ids (…)."""
        if self.frozen is None:
            return self.trainable.add_lookup(graph, ids)
        count = len(self.trainable.values)
        is_frozen = graph.add("GreaterOrEqual", ids, count)
        trainable = self.trainable.add_lookup(graph, graph.add("Where", is_frozen, 0, ids))
        frozen = self.frozen.add_lookup(graph, graph.add("Max", graph.add("Sub", ids, count), 0))
        return graph.add("Where", graph.add("Unsqueeze", is_frozen, axes(-1)), frozen, trainable)


def quantize_rows(weights: Array) -> tuple[Array, Array]:
    """Returns weights (N, D) as int8 multiples of one step per row, and the steps (N, 1)."""
    steps = (np.abs(weights).max(1, keepdims=True, initial=0.0) / np.float32(127)).clip(min=np.finfo(np.float32).tiny)
    return np.rint(weights / steps).astype(np.int8), steps


_ZERO = 128
"""What 0 is in unsigned integers. Products of signed ones overflow on processors without AVX-512 VNNI."""
_OPERATORS = ((nn.LSTM, "LSTM", (0, 3, 1, 2)), (nn.GRU, "GRU", (1, 0, 2)), (nn.RNN, "RNN", (0,)))
"""By cell, the operator and its gates by their number in torch."""


@dataclass(frozen=True)
class _RecurrentWeights:
    """The weights of a recurrent layer as an operator of ONNX reads them.

    Attributes:
        operator: LSTM, GRU or RNN.
        input_weights: (directions, G * H, D).
        recurrent_weights: (directions, G * H, H).
        biases: (directions, 2 * G * H), those of the inputs first.
    """

    operator: str
    input_weights: Array
    recurrent_weights: Array
    biases: Array

    @classmethod
    def from_layer(cls, layer: RecurrentLayer) -> "_RecurrentWeights":
        """Returns the weights of a layer, the forward direction first."""
        operator, gates = next((name, gates) for kind, name, gates in _OPERATORS if isinstance(layer.cells[0], kind))

        def stack(name: str) -> Array:
            parts = [to_array(getattr(cell, name)) for cell in layer.cells]
            split = [np.split(part, len(gates)) for part in parts]
            return np.stack([np.concatenate([part[gate] for gate in gates]) for part in split])

        biases = np.concatenate([stack("bias_ih_l0"), stack("bias_hh_l0")], 1)
        return cls(operator, stack("weight_ih_l0"), stack("weight_hh_l0"), biases)

    def quantized(self, lengths: str) -> list[str | Array]:
        """Returns the inputs of DynamicQuantizeLSTM after the first one."""
        (inputs, input_steps), (recurrent, recurrent_steps) = map(
            self._quantize, (self.input_weights, self.recurrent_weights)
        )
        zeros = np.full(input_steps.shape, _ZERO, np.uint8)
        empty = ("", "", "")  # initial states and peepholes
        return [
            *(inputs, recurrent, self.biases, lengths, *empty),
            *(input_steps, zeros, recurrent_steps, zeros),
        ]

    @staticmethod
    def _quantize(weights: Array) -> tuple[Array, Array]:
        """Returns weights (directions, N, D) as (directions, D, N) in uint8, and their steps (directions, N)."""
        parts = [quantize_rows(direction) for direction in weights]
        values = np.stack([values.T for values, _ in parts]).astype(np.int16) + _ZERO
        return values.astype(np.uint8), np.stack([steps[:, 0] for _, steps in parts])
