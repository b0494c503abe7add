"""Dropout; on a CPU the mask is drawn and applied in one pass."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tagger.choices import Dropout as DropoutKind
from tagger.nn.kernels.compiling import compiled, elementwise
from tagger.nn.kernels.matmul import Floats

_LEVELS = 2**16  # 16 random bits decide whether an element is dropped
_STEP, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)
_CHUNK = 1024
_ZERO = np.float32(0.0)


def drop(inputs: Tensor, probability: float) -> Tensor:
    """Returns inputs of any shape with elements set to 0 at random and the others scaled to preserve the mean."""
    if not probability:
        return inputs
    if inputs.device.type != "cpu" or inputs.dtype != torch.float32:
        return F.dropout(inputs, probability)
    return _Drop.apply(inputs, probability)  # type: ignore[no-any-return, no-untyped-call]


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor, probability: float) -> Tensor:
        limit = min(round(probability * _LEVELS), _LEVELS - 1)
        seed = torch.empty((), dtype=torch.int64).random_(-(2**63), None).item()
        context.mask = np.uint64(seed % 2**64), np.uint16(limit), np.float32(_LEVELS / (_LEVELS - limit))
        return _apply_mask(inputs, *context.mask)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _apply_mask(gradient, *context.mask), None


def _apply_mask(values: Tensor, seed: np.uint64, limit: np.uint16, scale: np.float32) -> Tensor:
    values = values.detach().contiguous()
    out = torch.empty_like(values)
    _scale_or_drop(values.view(-1).numpy(), seed, limit, scale, out.view(-1).numpy())
    return out


@compiled()
def _scale_or_drop(
    values: Floats, seed: np.uint64, limit: np.uint16, scale: np.float32, out: Floats
) -> None:  # pragma: no cover
    """Writes values (N,) times `scale`, or times 0 where their 16 random bits are below `limit`."""
    bits = np.empty(_CHUNK // 4, np.uint64)
    lanes = bits.view(np.uint16)
    for first in range(0, len(values), _CHUNK):
        _draw(seed + np.uint64(first), bits)
        stop = min(first + _CHUNK, len(values))
        _scale(values[first:stop], lanes, limit, scale, out[first:stop])


@elementwise
def _draw(seed: np.uint64, bits: Any) -> None:  # pragma: no cover
    """Writes numbers of SplitMix64 (Steele, Lea and Flood, 2014); each depends on the seed and its index alone."""
    for index in range(len(bits)):
        number = (seed + np.uint64(index)) * _STEP
        number = (number ^ (number >> _30)) * _FIRST
        number = (number ^ (number >> _27)) * _SECOND
        bits[index] = number ^ (number >> _31)


@elementwise
def _scale(values: Floats, bits: Any, limit: np.uint16, scale: np.float32, out: Floats) -> None:  # pragma: no cover
    for index in range(len(values)):
        out[index] = values[index] * (scale if bits[index] >= limit else _ZERO)


class Dropout(nn.Module):
    """Dropout per element, or locked: one mask for all tokens of a sentence (Gal and Ghahramani, 2016)."""

    def __init__(self, kind: DropoutKind, probability: float) -> None:
        super().__init__()
        self.kind, self.probability = kind, probability

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns inputs (B, T, D), with dropout in training only."""
        if self.kind == "element" or not self.training:
            return drop(inputs, self.probability if self.training else 0.0)
        return inputs * drop(torch.ones_like(inputs[:, :1]), self.probability)
