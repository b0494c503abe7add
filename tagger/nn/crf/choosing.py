"""Which kernel works on a chain.

What fails as it is tried is told once, with its fault, and left out; the portable kernel does everything.
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
from tagger.nn.crf.chain import Chain
from tagger.nn.crf.kernels import torch_kernel, triton_cache
from tagger.nn.crf.kernels.torch_kernel import Messages

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What every kernel can do; see the portable one."""

    def negative_log_likelihood(self, chain: Chain, gold: Tensor | None = ..., weights: Tensor | None = ...) -> Tensor:
        """Returns (B,) in float64."""

    def messages(self, chain: Chain) -> Messages:
        """Returns what follows from the scores at each token."""

    def best_path(self, chain: Chain) -> tuple[Tensor, Tensor]:
        """Returns the best path (B, T) and its score (B,)."""

    def span_probabilities(
        self, chain: Chain, messages: Messages, spans: Tensor, members: Tensor, joins: Tensor
    ) -> Tensor:
        """Returns (N,) the probabilities of entities."""


def kernel(chain: Chain, name: Kernel | None = None) -> Engine:
    """Returns the kernel of a name, or the fastest for the device and dtype of a chain.

    Raises:
        ValueError: the kernel named failed here, or does not work on such a chain.
    """
    if name is not None and name not in options(Kernel):
        raise ValueError(f"kernel must be {listed(options(Kernel))}, got {name!r}")
    if name is None:
        return _triton(chain) or _numba(chain) or torch_kernel
    found = {"torch": lambda chain: torch_kernel, "numba": _numba, "triton": _triton}[name](chain)
    if found is None:
        raise ValueError(f"the {name} kernel does not work on {chain.emissions.dtype} on {chain.emissions.device} here")
    return found


def _numba(chain: Chain) -> Engine | None:
    return _load("numba") if chain.emissions.device.type == "cpu" else None


def _triton(chain: Chain) -> Engine | None:
    if chain.emissions.dtype != torch.float32 or chain.emissions.shape[2] > 128:
        return None
    return _load("triton") if chain.emissions.device.type == "cuda" else None


@functools.cache
def _load(name: Kernel) -> Engine | None:
    try:
        if name == "triton":
            triton_cache.check()
        engine: Engine = importlib.import_module(f"tagger.nn.crf.kernels.{name}_kernel")
        zeros = torch.zeros(1, 1, 1, device="cuda" if name == "triton" else "cpu")
        engine.best_path(Chain(zeros, zeros[0], zeros[0, 0], zeros[0, 0], torch.ones_like(zeros[0, 0]).long()))
        return engine
    except TaggerError:
        raise
    except Exception as error:  # of compilers and drivers, of any kind
        if is_out_of_memory(error):
            raise  # which says nothing of the kernel
        fault = f"{type(error).__name__}: {error}"
        log.warning("a slower CRF is used, since the %s one failed as it was tried: %s", name, fault)
        return None
