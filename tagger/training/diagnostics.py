"""Diagnostics of the encoder in training: how far its gates are open, and how far back its gradients reach.

They measure the trained weights, not their moving average, which is evaluated.

Shapes in this module: B sentences, T tokens in the longest one, D input width of a layer, H hidden size.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from tagger.data.batching import Batch, TransformerProvider
from tagger.data.sentence import Sentence
from tagger.model import TaggerModel
from tagger.nn import reference_cells
from tagger.nn.encoder import RecurrentLayer
from tagger.nn.reference_cells import Trace

FAR = 20  # tokens between the two inputs whose gradients are compared
_SENTENCES, _LONGEST = 32, 30
_CLOSED, _OPEN = 0.1, 0.9


@dataclass(frozen=True)
class Activity:
    """Gate activations and gradient reach of an encoder; the fields as in `EpochRecord.diagnostics`."""

    gates: dict[str, dict[str, dict[str, float]]]
    reach: dict[str, float | None]
    far: int


def select_batch(
    model: TaggerModel, sentences: Sequence[Sentence], transformer: TransformerProvider | None = None
) -> Batch:
    """Returns the batch to measure: the 32 longest of the sentences with 21 to 30 tokens.

    If there are none, those of at most 30 tokens that are at least half as long as the longest of these; else the
    shortest sentence.
    """
    ordered = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    short = [index for index in ordered if len(sentences[index]) <= _LONGEST]
    long = [index for index in short if len(sentences[index]) > FAR]
    half = [index for index in short if 2 * len(sentences[index]) >= len(sentences[short[-1]])]
    chosen = (long or half)[-_SENTENCES:] or ordered[:1]
    return model.encode(sentences, transformer=transformer).batch(chosen)


def measure(model: TaggerModel, batch: Batch) -> Activity:
    """Returns the gate activations and gradient reach of each layer and direction on a batch, without dropout.

    The network is unchanged. Reach is measured on the last output that a direction computes: the gradients of a random
    combination of its units, the same at each call, at two of the layer's inputs; norms are means over the sentences.
    It is None if it is undefined. `far` is 20, or one less than the tokens of the shortest sentence.
    """
    far = min(FAR, int(batch.lengths.min()) - 1)
    gates, reach = {}, {}
    for number, (layer, inputs) in enumerate(_record_inputs(model, batch), 1):
        inputs = inputs.requires_grad_()
        with torch.enable_grad():
            traces = reference_cells.trace(layer, inputs, batch.lengths)
        for trace, is_reversed in zip(traces, layer.is_reversed, strict=True):
            direction = f"{number} {'backward' if is_reversed else 'forward'}"
            gates[direction] = _gate_fractions(trace, batch.lengths)
            reach[direction] = _reach(trace, inputs, batch.lengths, far, is_reversed=is_reversed)
    return Activity(gates, reach, far)


def _record_inputs(model: TaggerModel, batch: Batch) -> list[tuple[RecurrentLayer, Tensor]]:
    """Returns each layer with its input (B, T, D)."""
    network, recorded = model.single_network, []

    def record(layer: RecurrentLayer, arguments: tuple[Tensor, ...]) -> None:
        recorded.append((layer, arguments[0]))

    training = network.training
    with ExitStack() as stack, torch.no_grad():
        for layer in network.encoder.layers:
            stack.callback(layer.register_forward_pre_hook(record).remove)
        network.eval()
        try:
            network(batch)
        finally:
            network.train(training)
    return recorded


def _gate_fractions(trace: Trace, lengths: Tensor) -> dict[str, dict[str, float]]:
    """Returns by gate the fractions of activations that are closed and open."""
    is_token = torch.arange(trace.hidden.shape[1], device=lengths.device) < lengths[:, None]
    return {
        name: {
            "closed": float((gate[is_token] < _CLOSED).float().mean()),
            "open": float((gate[is_token] > _OPEN).float().mean()),
        }
        for name, gate in trace.gates.items()
    }


def _reach(trace: Trace, inputs: Tensor, lengths: Tensor, far: int, *, is_reversed: bool) -> float | None:
    """Returns the gradient norm at the input `far` tokens before the last one read, divided by that at the last one."""
    sentences, last = torch.arange(len(lengths), device=lengths.device), lengths - 1
    near_index = torch.zeros_like(last) if is_reversed else last
    far_index = near_index + far if is_reversed else near_index - far
    combination = torch.randn(trace.hidden.shape[2], generator=torch.Generator().manual_seed(0)).to(inputs.device)
    (gradient,) = torch.autograd.grad((trace.hidden[sentences, near_index] @ combination).sum(), inputs)
    near_norm, far_norm = (gradient[sentences, index].norm(dim=1).mean().item() for index in (near_index, far_index))
    return far_norm / near_norm if far and near_norm > 0 else None
