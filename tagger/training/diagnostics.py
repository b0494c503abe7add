"""What goes on in the encoder under training: how far its gates are open, and how far back its gradients reach.

It is the weights in training that are looked at, not their moving average, which is what is scored.

Shapes in this module: B sentences, T tokens in the longest one, D width of a layer's inputs, H encoder width.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from tagger.data.batching import Batch, EncodedCorpus, WordEncoder
from tagger.data.document_context import number_passages
from tagger.data.sentence import Sentence
from tagger.model import TaggerModel
from tagger.nn import reference_cells
from tagger.nn.encoder import RecurrentLayer
from tagger.nn.reference_cells import Trace

FAR = 20  # tokens between near and far
_SENTENCES, _LONGEST = 32, 30
_CLOSED, _OPEN = 0.1, 0.9


def batch(model: TaggerModel, sentences: Sequence[Sentence]) -> Batch:
    """Returns what to look at: the longest 32 sentences of 21 to 30 tokens.

    Where there are none, those of at most 30 that are at least half as long as the longest of these, else the shortest.
    """
    ordered = sorted(range(len(sentences)), key=lambda place: len(sentences[place]))
    short = [place for place in ordered if len(sentences[place]) <= _LONGEST]
    long = [place for place in short if len(sentences[place]) > FAR]
    half = [place for place in short if 2 * len(sentences[place]) >= len(sentences[short[-1]])]
    chosen = (long or half)[-_SENTENCES:] or ordered[:1]
    numbers = number_passages(sentences) if model.config.model.document_context.output_dim else None
    return EncodedCorpus(sentences, WordEncoder(model.known_words, model.characters), passages=numbers).batch(chosen)


def look(model: TaggerModel, chosen: Batch) -> dict[str, Any]:
    """Returns what each direction of each layer does with a batch, dropout left out; nothing is changed by it.

    Returns:
        `gates`: for each direction of each layer, such as `1 forward`, and each of its gates the shares of its values
        that are `closed`, below 0.1, and `open`, above 0.9. `reach`: for each direction the gradient of the output that
        it reads last, at the input `far` tokens before, by that at the last input; null where that cannot be told. Both
        are mean norms over the sentences, of a random combination of the output's numbers, the same each time. What a
        layer reads is its input, of upper layers the states below.
        `far`: 20, or as many tokens as the shortest sentence has less one.
    """
    far = min(FAR, int(chosen.lengths.min()) - 1)
    gates, reach = {}, {}
    for number, (layer, inputs) in enumerate(_inputs(model, chosen), 1):
        inputs = inputs.requires_grad_()
        with torch.enable_grad():
            traces = reference_cells.trace(layer, inputs, chosen.lengths)
        for found, is_reversed in zip(traces, layer.is_reversed, strict=True):
            name = f"{number} {'backward' if is_reversed else 'forward'}"
            gates[name] = _shares(found, chosen.lengths)
            reach[name] = _reach(found, inputs, chosen.lengths, far, is_reversed=is_reversed)
    return {"gates": gates, "reach": reach, "far": far}


def _inputs(model: TaggerModel, chosen: Batch) -> list[tuple[RecurrentLayer, Tensor]]:
    """Returns each layer with what it reads (B, T, D)."""
    network, seen = model.network, []

    def note(layer: RecurrentLayer, given: tuple[Tensor, ...]) -> None:
        seen.append((layer, given[0]))

    training = network.training
    with ExitStack() as stack, torch.no_grad():
        for layer in network.encoder.layers:
            stack.callback(layer.register_forward_pre_hook(note).remove)
        network.eval()
        try:
            network(*chosen.inputs)
        finally:
            network.train(training)
    return seen


def _shares(found: Trace, lengths: Tensor) -> dict[str, dict[str, float]]:
    tokens = torch.arange(found.states.shape[1], device=lengths.device) < lengths[:, None]
    return {
        name: {
            "closed": float((gate[tokens] < _CLOSED).float().mean()),
            "open": float((gate[tokens] > _OPEN).float().mean()),
        }
        for name, gate in found.gates.items()
    }


def _reach(found: Trace, inputs: Tensor, lengths: Tensor, far: int, *, is_reversed: bool) -> float | None:
    sentences, last = torch.arange(len(lengths), device=lengths.device), lengths - 1
    near_place = torch.zeros_like(last) if is_reversed else last
    far_place = near_place + far if is_reversed else near_place - far
    combination = torch.randn(found.states.shape[2], generator=torch.Generator().manual_seed(0)).to(inputs.device)
    (gradient,) = torch.autograd.grad((found.states[sentences, near_place] @ combination).sum(), inputs)
    of_near, of_far = (gradient[sentences, place].norm(dim=1).mean().item() for place in (near_place, far_place))
    return of_far / of_near if far and of_near > 0 else None
