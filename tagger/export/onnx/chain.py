"""Inference in a linear-chain CRF as nodes of an ONNX graph: Viterbi, and forward-backward with exact probabilities.

Shapes in this module: B sentences, T tokens in the longest one, K tags. Values per token are (T, B, …).

All sums are in float64, so no value needs to be shifted within range. Each loop runs over T positions after the first
token, the last of which is padding: a loop without iterations would lose the shape of its rows.
"""

from typing import NamedTuple

import numpy as np

from tagger.export.onnx import ports
from tagger.export.onnx.graph import Array, Graph
from tagger.export.onnx.network import axes, token_mask

_FLOOR = -1e30  # replaces −inf: it absorbs what is added to it


class ChainParameters(NamedTuple):
    """The scores of a chain, −inf where the scheme forbids.

    Attributes:
        transitions: (K, K) score of a tag (column) after another (row).
        start: (K,) score of the first tag.
        end: (K,) score of the last tag.
        temperature: divides all scores of probabilities.
    """

    transitions: Array
    start: Array
    end: Array
    temperature: float

    def to_float64(self, *, is_tempered: bool) -> tuple[Array, Array, Array]:
        """Returns transitions, start and end as finite numbers."""
        divisor = self.temperature if is_tempered else 1.0
        scores = (np.asarray(part, np.float64) / divisor for part in self[:3])
        transitions, start, end = (np.maximum(part, _FLOOR) for part in scores)
        return transitions, start, end


class SpanMasks(NamedTuple):
    """Which tags make a span.

    Attributes:
        same_type: (K, K) whether two tags belong to spans of one type.
        joins: (K, K) whether two consecutive tags are in one span.
    """

    same_type: Array
    joins: Array


class ChainNodes:
    """Adds the nodes of a chain to a graph.

    Args:
        graph: the graph.
        emissions: the name of the emissions (T, B, K), in float32.
        parameters: the other scores.
    """

    def __init__(self, graph: Graph, emissions: str, parameters: ChainParameters) -> None:
        self._graph, self._parameters = graph, parameters
        self._mask = graph.add("Unsqueeze", token_mask(graph, 1), axes(2))  # (T + 1, B, 1)
        self._longest = graph.add("Gather", graph.add("Shape", ports.INDEX), 1)  # T
        self._emissions = _add_step(graph, graph.cast(emissions, "float64"), 3)  # (T + 1, B, K)

    def add_best_path(self) -> tuple[str, str]:
        """Returns the names of the path (T, B) of highest score, 0 in padding, and of its score (B,).

        Of equal scores the lowest tag id wins, from the last token back (Viterbi, 1967).
        """
        graph = self._graph
        transitions, start, end = self._parameters.to_float64(is_tempered=False)
        identity = np.arange(len(start))[None]  # (1, K)

        def step(body: Graph, number: str, states: list[str]) -> tuple[list[str], list[str]]:
            token = body.add("Add", number, 1)
            mask = body.add("Gather", self._mask, token)
            extended = body.add("Add", body.add("Unsqueeze", states[0], axes(2)), transitions)  # (B, K, K)
            scores = body.add("ReduceMax", extended, axes=[1], keepdims=0)
            scores = body.add("Add", scores, body.add("Gather", self._emissions, token))
            pointers = body.add("ArgMax", extended, axis=1, keepdims=0)
            return [body.add("Where", mask, scores, states[0])], [body.add("Where", mask, pointers, identity)]

        first = graph.add("Add", graph.add("Gather", self._emissions, 0), start)
        (scores,), (pointers,) = graph.loop(self._longest, [first], step)
        scores = graph.add("Add", scores, end)
        score = graph.add("ReduceMax", scores, axes=[1], keepdims=0)
        return self._add_backtrace(pointers, graph.add("ArgMax", scores, axis=1, keepdims=1)), score

    def _add_backtrace(self, pointers: str, last: str) -> str:
        """Returns the path (T, B), given the best previous tags (T, B, K) and the last tags (B, 1)."""
        graph = self._graph
        final = graph.add("Sub", self._longest, 1)

        def step(body: Graph, number: str, states: list[str]) -> tuple[list[str], list[str]]:
            rows = body.add("Gather", pointers, body.add("Sub", final, number))
            tags = body.add("GatherElements", rows, states[0], axis=1)
            return [tags], [tags]

        _, (tags,) = graph.loop(self._longest, [last], step)  # (T, B, 1), from the last token back
        path = graph.add("Squeeze", _reverse(graph, tags), axes(2))
        return graph.add("Where", token_mask(graph, 0), path, 0)

    def add_probabilities(self, graph: Graph, path: str, masks: SpanMasks | None) -> list[str]:
        """Returns the names of the marginals (T, B, K) and, with span tags, of span probabilities (T, B).

        The last token of each span of the path has the probability of the span: the sum over all paths with exactly
        this span. Other tokens have arbitrary values. All values are float64; in padding they are arbitrary.

        Args:
            graph: the graph of the nodes, which may be a subgraph.
            path: the path (T, B).
            masks: which tags make a span; None for plain tags.
        """
        transitions, start, _ = self._parameters.to_float64(is_tempered=True)
        continuations = self._add_continuations(graph)  # (T + 1, B, 1, K)
        first = graph.add("Softmax", graph.add("Add", graph.add("Gather", continuations, 0), start), axis=-1)
        if masks is None:

            def step(body: Graph, number: str, states: list[str]) -> tuple[list[str], list[str]]:
                probs = _add_transition_probs(body, continuations, number, transitions)
                return [body.add("MatMul", states[0], probs)], states

            _, (marginals,) = graph.loop(self._longest, [first], step)
            return [graph.add("Squeeze", marginals, axes(2))]
        return self._add_spans(graph, continuations, first, _SpanRows.from_path(graph, path, masks))

    def _add_spans(self, graph: Graph, continuations: str, first: str, rows: "_SpanRows") -> list[str]:
        """Returns the marginals (T, B, K) and span probabilities (T, B), given the first marginals (B, 1, K).

        The second state is the probability (B, 1, K) of each tag at a token together with the span so far.
        """
        transitions, _, _ = self._parameters.to_float64(is_tempered=True)

        def step(body: Graph, number: str, states: list[str]) -> tuple[list[str], list[str]]:
            marginals, inside = states
            probs = _add_transition_probs(body, continuations, number, transitions)  # (B, K, K)
            apart = body.add("Mul", probs, 1.0 - rows.joins)
            entering = body.add("MatMul", marginals, apart)
            staying = body.add("MatMul", inside, body.add("Sub", probs, apart))
            leaving = body.add("ReduceSum", body.add("MatMul", inside, apart), axes(1, 2), keepdims=0)
            extended = body.add("Where", body.add("Gather", rows.is_joined, number), staying, entering)
            extended = body.add("Mul", extended, body.add("Gather", rows.members, body.add("Add", number, 1)))
            return [body.add("MatMul", marginals, probs), extended], [marginals, inside, leaving]

        inside = graph.add("Mul", first, graph.add("Gather", rows.members, 0))
        _, (marginals, totals, leaving) = graph.loop(self._longest, [first, inside], step)
        ending = graph.add("ReduceSum", totals, axes(2, 3), keepdims=0)  # (T, B), at the end of the sentence
        has_next = graph.add("Slice", token_mask(graph, 1), axes(1), axes(np.iinfo(np.int64).max), axes(0))
        return [graph.add("Squeeze", marginals, axes(2)), graph.add("Where", has_next, leaving, ending)]

    def _add_continuations(self, graph: Graph) -> str:
        """Returns (T + 1, B, 1, K) the log of the summed exp(score) of a tag and all that follows it."""
        transitions, _, end = self._parameters.to_float64(is_tempered=True)
        temperature = float(self._parameters.temperature)
        emissions = graph.add("Div", self._emissions, temperature) if temperature != 1 else self._emissions
        emissions = graph.add("Unsqueeze", emissions, axes(2))

        def step(body: Graph, number: str, states: list[str]) -> tuple[list[str], list[str]]:
            token = body.add("Sub", self._longest, number)
            following = body.add("Add", states[0], body.add("Gather", emissions, token))  # (B, 1, K)
            sums = body.add("ReduceLogSumExp", body.add("Add", following, transitions), axes=[2], keepdims=0)
            mask = body.add("Unsqueeze", body.add("Gather", self._mask, token), axes(1))
            beta = body.add("Where", mask, body.add("Unsqueeze", sums, axes(1)), states[0])
            return [beta], [beta]

        zeros = graph.add("Mul", graph.add("Gather", emissions, self._longest), 0.0)
        _, (betas,) = graph.loop(self._longest, [graph.add("Add", zeros, end)], step)
        return graph.add("Add", emissions, _add_step(graph, _reverse(graph, betas), 4))


class _SpanRows(NamedTuple):
    """Names of what the spans of a path need at each token, and a constant.

    Attributes:
        members: (T + 1, B, 1, K) 1 for the tags that belong to the type of the path's tag, else 0.
        is_joined: (T, B, 1, 1) whether the next token continues the span of the path.
        joins: (K, K) as in `SpanMasks`, as numbers.
    """

    members: str
    is_joined: str
    joins: Array

    @classmethod
    def from_path(cls, graph: Graph, path: str, masks: SpanMasks) -> "_SpanRows":
        """Adds the nodes for a path (T, B)."""
        padded = _add_step(graph, path, 2)
        members = graph.add("Unsqueeze", graph.add("Gather", masks.same_type.astype(np.float64), padded), axes(2))
        following = graph.add("Slice", padded, axes(1), axes(np.iinfo(np.int64).max), axes(0))
        pairs = graph.add("Add", graph.add("Mul", path, len(masks.joins)), following)
        is_joined = graph.add("Gather", masks.joins.reshape(-1), pairs)
        return cls(members, graph.add("Unsqueeze", is_joined, axes(2, 3)), masks.joins.astype(np.float64))


def _add_transition_probs(body: Graph, continuations: str, number: str, transitions: Array) -> str:
    """Returns (B, K, K) the probability of a tag (column) at the next token, given the tag (row)."""
    following = body.add("Gather", continuations, body.add("Add", number, 1))
    return body.add("Softmax", body.add("Add", following, transitions), axis=-1)


def _add_step(graph: Graph, values: str, rank: int) -> str:
    """Returns (T + 1, …) values (T, …) followed by a row of zeros."""
    return graph.add("Pad", values, axes(*[0] * rank, 1, *[0] * (rank - 1)))


def _reverse(graph: Graph, values: str) -> str:
    """Returns values (T, …) from the last one to the first."""
    return graph.add("Slice", values, axes(-1), axes(np.iinfo(np.int64).min), axes(0), axes(-1))


class IndependentNodes:
    """Adds the nodes of independent tags to a graph, as `ChainNodes`: there are no other scores than emissions.

    Args:
        graph: the graph.
        emissions: the name of the emissions (T, B, K), in float32.
        temperature: divides the scores of probabilities.
    """

    def __init__(self, graph: Graph, emissions: str, temperature: float) -> None:
        self._graph, self._temperature = graph, temperature
        self._emissions = graph.cast(emissions, "float64")

    def add_best_path(self) -> tuple[str, str]:
        """Returns the names of the path (T, B), 0 in padding, and of its score (B,)."""
        graph, mask = self._graph, token_mask(self._graph, 0)
        path = graph.add("ArgMax", self._emissions, axis=2, keepdims=0)
        highest = graph.add("ReduceMax", self._emissions, axes=[2], keepdims=0)
        score = graph.add("ReduceSum", graph.add("Where", mask, highest, 0.0), axes(0), keepdims=0)
        return graph.add("Where", mask, path, 0), score

    def add_probabilities(self, graph: Graph, path: str, masks: SpanMasks | None) -> list[str]:
        """Returns the name of the marginals (T, B, K), in float64."""
        return [graph.add("Softmax", graph.add("Div", self._emissions, float(self._temperature)), axis=-1)]
