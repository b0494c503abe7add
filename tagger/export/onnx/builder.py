"""Builds the ONNX graph of a model: from ids to the best path, its score and exact probabilities.

Shapes in this module: U distinct words, C characters in the longest one, B sentences, T tokens in the longest one, K
tags, R pairs of a document and a word, M occurrences of those words at most, F casing features.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tagger.data.document_context import CASING_FEATURES
from tagger.export.onnx import ports
from tagger.export.onnx.chain import ChainNodes, ChainParameters, IndependentNodes, SpanMasks
from tagger.export.onnx.graph import Graph, Port
from tagger.export.onnx.network import NetworkNodes, axes, to_array, token_mask
from tagger.model import TaggerModel
from tagger.nn.embeddings import TokenEmbedding
from tagger.tagging.span_tags import SpanTags


def build_graph(model: TaggerModel, *, quantize: bool = False) -> bytes:
    """Returns an ONNX file of a model, which computes what the model's network and head compute.

    Args:
        model: a model without a transformer.
        quantize: whether word vectors and the weights of LSTMs over tokens are stored as int8.

    Raises:
        ConfigError: the onnx library is not installed.
    """
    graph = Graph()
    emissions = NetworkNodes(graph, model.single_network, quantize=quantize).add_emissions()
    parameters = _read_parameters(model)
    nodes: ChainNodes | IndependentNodes
    if any(part.any() for part in parameters[:3]):
        nodes = ChainNodes(graph, emissions, parameters)
    else:
        nodes = IndependentNodes(graph, emissions, parameters.temperature)
    path, score = nodes.add_best_path()
    masks = _find_masks(model) if model.scheme else None

    def add_probabilities(branch: Graph) -> list[str]:
        marginals, *spans = nodes.add_probabilities(branch, path, masks)
        mask = branch.add("Unsqueeze", token_mask(branch, 0), axes(2))
        marginals = branch.cast(branch.add("Where", mask, marginals, 0.0), "float32")
        spans = [branch.add("Transpose", branch.cast(values, "float32"), perm=[1, 0]) for values in spans]
        return [branch.add("Transpose", marginals, perm=[1, 0, 2]), *spans]

    def add_nothing(branch: Graph) -> list[str]:
        empty = [np.zeros((0, 0, 0), np.float32), np.zeros((0, 0), np.float32)]
        return [branch.constant(array) for array in empty[: 1 if masks is None else 2]]

    marginals, *spans = graph.branch(ports.PROBABILITIES, add_probabilities, add_nothing)
    values = [graph.add("Transpose", path, perm=[1, 0]), graph.cast(score, "float32"), marginals, *spans]
    outputs = dict(zip(_list_outputs(model), values, strict=True))
    return graph.to_bytes(_list_inputs(model.network.embedding), outputs)


def list_input_names(model: TaggerModel) -> tuple[str, ...]:
    """Returns the names of the inputs that the graph of a model has."""
    return tuple(port.name for port in _list_inputs(model.network.embedding))


def _read_parameters(model: TaggerModel) -> ChainParameters:
    """Returns the scores of a model's head, with those that the scheme forbids."""
    with torch.inference_mode():
        chain = model.network.head.chain(torch.zeros(1, 1, len(model.tags)), torch.ones(1, dtype=torch.long))
    transitions, start, end = map(to_array, chain.scores[1:4])
    return ChainParameters(transitions, start, end, model.calibration.temperature)


def _find_masks(model: TaggerModel) -> SpanMasks:
    span_tags = SpanTags(model.tags.items)
    members = to_array(span_tags.members)  # (types, K)
    return SpanMasks(members.T @ members, to_array(span_tags.joins))


def _list_inputs(embedding: TokenEmbedding) -> list[Port]:
    """Returns the inputs that a network reads."""
    is_read = {
        ports.WORDS: embedding.words is not None,
        ports.CHARACTERS: embedding.characters is not None,
        ports.CASING: embedding.casing is not None,
    }
    context = (ports.CONTEXT_INDEX, ports.CONTEXT_NEIGHBOURS, ports.CONTEXT_CASING)
    is_read |= dict.fromkeys(context, embedding.document_context is not None)
    return [port for port in _INPUTS if is_read.get(port.name, True)]


def _list_outputs(model: TaggerModel) -> Sequence[Port]:
    outputs = [
        Port(ports.PATH, "int64", ("B", "T")),
        Port(ports.SCORE, "float32", ("B",)),
        Port(ports.MARGINALS, "float32", ("B or 0", "T or 0", "K or 0")),
        Port(ports.SPAN_PROBABILITIES, "float32", ("B or 0", "T or 0")),
    ]
    return outputs if model.scheme else outputs[:3]


_INPUTS = (
    Port(ports.WORDS, "int64", ("U",)),
    Port(ports.CHARACTERS, "int64", ("U", "C")),
    Port(ports.CASING, "int64", ("U",)),
    Port(ports.INDEX, "int64", ("B", "T")),
    Port(ports.LENGTHS, "int64", ("B",)),
    Port(ports.CONTEXT_INDEX, "int64", ("B", "T")),
    Port(ports.CONTEXT_NEIGHBOURS, "int64", ("R", "M", 2)),
    Port(ports.CONTEXT_CASING, "float32", ("R", CASING_FEATURES)),
    Port(ports.PROBABILITIES, "bool", ()),
)
