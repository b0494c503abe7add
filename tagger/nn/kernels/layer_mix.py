"""Weighted sums of the normalized layers of a transformer; on a CPU in one pass over the hidden states.

Shapes in this module: N tokens, L layers, D size of a token's hidden states.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tagger.nn.kernels.compiling import compiled, elementwise
from tagger.nn.kernels.matmul import Floats

_EPSILON = np.float32(1e-5)  # that of torch's `layer_norm`
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


def mix_normalized(hidden_states: Tensor, weights: Tensor) -> Tensor:
    """Returns (N, D) the sum of the layers of each token, each normalized and multiplied by its weight.

    Args:
        hidden_states: (N, L, D).
        weights: (L,) factors of the layers.
    """
    if hidden_states.device.type == "cpu" and hidden_states.dtype == torch.float32 and not hidden_states.requires_grad:
        return _Mix.apply(hidden_states.contiguous(), weights)  # type: ignore[no-any-return, no-untyped-call]
    return torch.einsum("nld,l->nd", F.layer_norm(hidden_states, hidden_states.shape[2:]), weights)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, hidden_states: Tensor, weights: Tensor) -> Tensor:
        moments = hidden_states.new_empty(*hidden_states.shape[:2], 2)
        out = hidden_states.new_zeros(hidden_states.shape[0], hidden_states.shape[2])
        _mix(hidden_states.numpy(), weights.detach().numpy(), moments.numpy(), out.numpy())
        context.hidden_states, context.moments = hidden_states, moments
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[None, Tensor]:
        products = torch.empty(context.moments.shape[:2])
        _multiply_normalized(
            context.hidden_states.numpy(), context.moments.numpy(), gradient.contiguous().numpy(), products.numpy()
        )
        return None, products.sum(0)


@compiled()
def _mix(hidden_states: Floats, weights: Floats, moments: Floats, out: Floats) -> None:  # pragma: no cover
    """Adds the weighted normalized layers to `out`; writes the mean and the inverse deviation of each layer."""
    size = hidden_states.shape[2]
    for token in range(len(hidden_states)):
        offset = _ZERO
        for layer in range(hidden_states.shape[1]):
            row = hidden_states[token, layer]
            mean = _sum(row) / np.float32(size)
            scale = _ONE / np.sqrt(_sum_squares(row, mean) / np.float32(size) + _EPSILON)
            moments[token, layer, 0], moments[token, layer, 1] = mean, scale
            _add_multiple(out[token], row, weights[layer] * scale)
            offset += weights[layer] * scale * mean
        _subtract(out[token], offset)


@compiled()
def _multiply_normalized(
    hidden_states: Floats, moments: Floats, gradient: Floats, products: Floats
) -> None:  # pragma: no cover
    """Writes the products (N, L) of each token's gradient (N, D) with its normalized layers."""
    for token in range(len(hidden_states)):
        for layer in range(hidden_states.shape[1]):
            mean, scale = moments[token, layer]
            products[token, layer] = scale * _multiply_centred(hidden_states[token, layer], mean, gradient[token])


# Sums may be computed in any order, so that LLVM computes eight units at a time.
_reduction = compiled(fastmath={"contract", "reassoc"}, error_model="numpy")


@_reduction
def _sum(row: Floats) -> np.float32:  # pragma: no cover
    total = _ZERO
    for unit in range(len(row)):
        total += row[unit]
    return total


@_reduction
def _sum_squares(row: Floats, mean: np.float32) -> np.float32:  # pragma: no cover
    """Returns the sum of squared differences from the mean."""
    total = _ZERO
    for unit in range(len(row)):
        difference = row[unit] - mean
        total += difference * difference
    return total


@_reduction
def _multiply_centred(row: Floats, mean: np.float32, gradient: Floats) -> np.float32:  # pragma: no cover
    total = _ZERO
    for unit in range(len(row)):
        total += (row[unit] - mean) * gradient[unit]
    return total


@elementwise
def _add_multiple(target: Floats, row: Floats, factor: np.float32) -> None:  # pragma: no cover
    for unit in range(len(row)):
        target[unit] += factor * row[unit]


@elementwise
def _subtract(target: Floats, offset: np.float32) -> None:  # pragma: no cover
    for unit in range(len(target)):
        target[unit] -= offset
