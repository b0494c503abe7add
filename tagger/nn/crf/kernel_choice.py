"""The choice of a CRF kernel: Triton on CUDA, numba on the CPU, torch everywhere.

A kernel that fails its first call is reported once and not used again; the torch kernel supports every case.
"""

import functools
import importlib
import logging
from typing import Protocol

import torch
from torch import Tensor

from tagger.choices import Kernel, listed, options
from tagger.device import is_out_of_memory
from tagger.errors import TaggerError
from tagger.nn.crf.chain_scores import ChainScores
from tagger.nn.crf.kernels import torch_kernel, triton_cache
from tagger.nn.crf.kernels.torch_kernel import Messages

log = logging.getLogger(__name__)
_MAX_TRITON_TAGS = 128


class KernelModule(Protocol):
    """The functions of a kernel; `torch_kernel` documents them."""

    def negative_log_likelihood(
        self, scores: ChainScores, gold: Tensor | None = ..., weights: Tensor | None = ...
    ) -> Tensor:
        """Returns (B,) in float64."""

    def messages(self, scores: ChainScores) -> Messages:
        """Returns the forward-backward messages."""

    def best_path(self, scores: ChainScores) -> tuple[Tensor, Tensor]:
        """Returns the best path (B, T) and its score (B,)."""

    def span_probabilities(
        self, scores: ChainScores, messages: Messages, spans: Tensor, members: Tensor, joins: Tensor
    ) -> Tensor:
        """Returns (N,) probabilities of spans."""


def choose_kernel(scores: ChainScores, name: Kernel | None = None) -> KernelModule:
    """Returns the kernel of a name, or the fastest for the device and dtype of the scores.

    Raises:
        ValueError: there is no such kernel, or it does not support the scores here.
    """
    if name is not None and name not in options(Kernel):
        raise ValueError(f"kernel must be {listed(options(Kernel))}, got {name!r}")
    if name is None:
        return _triton(scores) or _numba(scores) or torch_kernel
    kernel = {"torch": lambda scores: torch_kernel, "numba": _numba, "triton": _triton}[name](scores)
    if kernel is None:
        dtype, device = scores.emissions.dtype, scores.emissions.device
        raise ValueError(f"the {name} kernel does not support {dtype} on {device} here")
    return kernel


def _numba(scores: ChainScores) -> KernelModule | None:
    return _load("numba") if scores.emissions.device.type == "cpu" else None


def _triton(scores: ChainScores) -> KernelModule | None:
    if scores.emissions.dtype != torch.float32 or scores.emissions.shape[2] > _MAX_TRITON_TAGS:
        return None
    return _load("triton") if scores.emissions.device.type == "cuda" else None


@functools.cache
def _load(name: Kernel) -> KernelModule | None:
    """Returns a kernel after a first call, None if it fails."""
    try:
        if name == "triton":
            triton_cache.check()
        kernel: KernelModule = importlib.import_module(f"tagger.nn.crf.kernels.{name}_kernel")
        zeros = torch.zeros(1, 1, 1, device="cuda" if name == "triton" else "cpu")
        kernel.best_path(ChainScores(zeros, zeros[0], zeros[0, 0], zeros[0, 0], torch.ones_like(zeros[0, 0]).long()))
        return kernel
    except TaggerError:
        raise
    except Exception as error:  # compilers and drivers raise errors of any class
        if is_out_of_memory(error):
            raise  # may succeed later
        log.warning("using a slower CRF kernel, since the %s kernel failed: %s: %s", name, type(error).__name__, error)
        return None
