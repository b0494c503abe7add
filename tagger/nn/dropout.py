"""Dropout, which on a CPU is drawn and applied in one pass."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tagger.choices import Dropout as DropoutKind
from tagger.nn.kernels.compiling import compiled, unit_wise
from tagger.nn.kernels.products import Floats

_MOST = 2**16  # 16 random bits decide on each number
_STEP, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)
_AT_ONCE = 1024
_ZERO = np.float32(0.0)


def drop(inputs: Tensor, rate: float) -> Tensor:
    """Returns inputs of any shape with a share of them set to 0 at random and the rest scaled up."""
    if not rate:
        return inputs
    if inputs.device.type != "cpu" or inputs.dtype != torch.float32:
        return F.dropout(inputs, rate)
    return _Dropped.apply(inputs, rate)  # type: ignore[no-any-return, no-untyped-call]


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor, rate: float) -> Tensor:
        limit = min(round(rate * _MOST), _MOST - 1)
        seed = torch.empty((), dtype=torch.int64).random_(-(2**63), None).item()
        context.drawn = np.uint64(seed % 2**64), np.uint16(limit), np.float32(_MOST / (_MOST - limit))
        return _applied(inputs, *context.drawn)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _applied(gradient, *context.drawn), None


def _applied(values: Tensor, seed: np.uint64, limit: np.uint16, scale: np.float32) -> Tensor:
    given = values.detach().contiguous()
    out = torch.empty_like(given)
    _scale_or_drop(given.view(-1).numpy(), seed, limit, scale, out.view(-1).numpy())
    return out


@compiled()
def _scale_or_drop(
    values: Floats, seed: np.uint64, limit: np.uint16, scale: np.float32, out: Floats
) -> None:  # pragma: no cover
    """Writes values (N,) times the scale, or times 0 where their 16 random bits are below the limit."""
    bits = np.empty(_AT_ONCE // 4, np.uint64)
    lanes = bits.view(np.uint16)
    for first in range(0, len(values), _AT_ONCE):
        _draw(seed + np.uint64(first), bits)
        stop = min(first + _AT_ONCE, len(values))
        _scale(values[first:stop], lanes, limit, scale, out[first:stop])


@unit_wise
def _draw(seed: np.uint64, bits: Any) -> None:  # pragma: no cover
    """Writes the numbers of SplitMix64 (Steele, Lea and Flood, 2014), each from its place by itself."""
    for place in range(len(bits)):
        number = (seed + np.uint64(place)) * _STEP
        number = (number ^ (number >> _30)) * _FIRST
        number = (number ^ (number >> _27)) * _SECOND
        bits[place] = number ^ (number >> _31)


@unit_wise
def _scale(values: Floats, bits: Any, limit: np.uint16, scale: np.float32, out: Floats) -> None:  # pragma: no cover
    for place in range(len(values)):
        out[place] = values[place] * (scale if bits[place] >= limit else _ZERO)


class Dropout(nn.Module):
    """Dropout for each element, or locked: one mask for all tokens of a sentence (Gal and Ghahramani, 2016)."""

    def __init__(self, kind: DropoutKind, rate: float) -> None:
        super().__init__()
        self.kind, self.rate = kind, rate

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns (B, T, D) with parts set to 0 and the rest scaled up, in training only."""
        if self.kind == "element" or not self.training:
            return drop(inputs, self.rate if self.training else 0.0)
        return inputs * drop(torch.ones_like(inputs[:, :1]), self.rate)
