"""The Triton kernels agree with the torch kernel: run by Triton's interpreter on CPU tensors, where there is no GPU."""

import math

import pytest
import torch
from torch import Tensor

from tagger.nn.crf import kernel_choice
from tests.nn.chains import DIFFERENTIABLE, QUANTITIES, Backend, Chains, close, draw, gradients_of

pytest.importorskip("triton", reason="the Triton kernels are not tested: triton is not installed")
pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU here runs these kernels compiled"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # the logarithm of 0 is -inf, as it must be
]
LENGTHS = [4, 1, 2]
TRITON = Backend("triton", "cpu")


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the Triton kernels take CPU tensors; `tests/conftest.py` has Triton interpret them."""
    from tagger.nn.crf.kernels import triton_kernel

    monkeypatch.setattr(kernel_choice, "_triton", lambda _: triton_kernel)


def chains(tags: int, *, forbidding: bool) -> Chains:
    """Returns random scores in float32; of each kind one may be forbidden."""
    scores = draw(LENGTHS, tags, seed=tags, spread=1.5, backend=TRITON)
    if forbidding:
        scores.transitions[0, 1] = scores.start[1] = scores.end[0] = -math.inf
    return scores


def gold(tags: int) -> Tensor:
    """Returns paths that no forbidden score meets."""
    return torch.full((len(LENGTHS), max(LENGTHS)), tags - 1)


@pytest.mark.parametrize(
    ("tags", "forbidding"), [(1, False), (2, False), (5, False), (5, True), (17, True), (33, False)]
)
@pytest.mark.parametrize(
    "quantity", ["log_partition", "loss", "loss of weighted tags", "loss of partial gold", "marginals", "best_path"]
)
def test_the_interpreted_kernel_equals_the_torch_kernel(quantity: str, tags: int, forbidding: bool) -> None:
    scores = chains(tags, forbidding=forbidding)
    reference = scores.on("cpu", torch.float64)
    for found, expected in zip(
        QUANTITIES[quantity](scores, gold(tags), "triton"),
        QUANTITIES[quantity](reference, gold(tags), "torch"),
        strict=True,
    ):
        close(found, expected)
    if quantity in DIFFERENTIABLE:
        for found, expected in zip(
            gradients_of(quantity, scores, gold(tags), "triton"),
            gradients_of(quantity, reference, gold(tags), "torch"),
            strict=True,
        ):
            close(found, expected)
