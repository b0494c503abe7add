"""Chains drawn at random, and what is true of them: by writing out every path, or by a recursion over logarithms.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from tagger.choices import Kernel
from tagger.nn.crf import functions

UNKNOWN = -100
Path = tuple[int, ...]


class Backend(NamedTuple):
    """A kernel and where it works."""

    kernel: Kernel
    device: str

    @property
    def dtype(self) -> torch.dtype:
        """The widest that the kernel takes."""
        return torch.float32 if self.kernel == "triton" else torch.float64

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """Those that the kernel takes."""
        return (torch.float32,) if self.kernel == "triton" else (torch.float32, torch.float64)


TORCH, NUMBA = Backend("torch", "cpu"), Backend("numba", "cpu")
needs_gpu = pytest.mark.gpu
ON_CPU = [pytest.param(backend, id=backend.kernel) for backend in (TORCH, NUMBA)]
ON_GPU = [pytest.param(Backend(kernel, "cuda"), id=f"{kernel}-cuda", marks=needs_gpu) for kernel in ("torch", "triton")]
each_backend = pytest.mark.parametrize("backend", [*ON_CPU, *ON_GPU])
each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])


class Chains(NamedTuple):
    """The scores of B sentences: what every function begins with."""

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    lengths: Tensor

    @property
    def padding(self) -> Tensor:
        """(B, T)."""
        return torch.arange(self.emissions.shape[1], device=self.lengths.device) >= self.lengths[:, None]

    def sentence(self, number: int) -> "Chains":
        """Returns one sentence without padding, as a batch of one."""
        length = int(self.lengths[number])
        rows = slice(number, number + 1)
        return self._replace(emissions=self.emissions[rows, :length], lengths=self.lengths[rows])

    def on(self, device: str, dtype: torch.dtype) -> "Chains":
        return Chains(*(scores.to(device, dtype) for scores in self[:4]), self.lengths.to(device))

    def with_gradients(self) -> "Chains":
        return Chains(*(scores.detach().clone().requires_grad_() for scores in self[:4]), self.lengths)

    def gradients(self) -> list[Tensor]:
        found = [scores.grad for scores in self[:4]]
        assert all(gradient is not None for gradient in found)
        return found  # type: ignore[return-value]


def draw(lengths: Sequence[int], tags: int, *, seed: int = 0, spread: float = 1.0, backend: Backend = TORCH) -> Chains:
    """Returns normally distributed scores."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (len(lengths), max(lengths), tags), (tags, tags), (tags,), (tags,)
    scores = [spread * torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return Chains(*scores, torch.tensor(lengths)).on(backend.device, backend.dtype)


class Case(NamedTuple):
    """Chains few and short enough to write out all of their paths."""

    lengths: tuple[int, ...]
    tags: int
    seed: int
    forbidding: bool = False

    def on(self, backend: Backend) -> Chains:
        chains = draw(self.lengths, self.tags, seed=self.seed, backend=backend)
        if self.forbidding:  # of each kind one
            chains.transitions[0, 1] = chains.start[1] = chains.end[0] = -math.inf
            chains.emissions[:, 1:2, 2] = -math.inf
        return chains


CASES = [
    Case((1,), 1, 0),
    Case((3, 1), 1, 1),
    Case((1, 2), 2, 2),
    Case((5, 3, 1, 4), 3, 3),
    Case((1, 5, 2), 4, 4),
    Case((5, 3, 1, 4), 3, 5, forbidding=True),
    Case((2, 1, 5), 4, 6, forbidding=True),
]
each_case = pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.tags}-tags{'-forbidding' * case.forbidding}-{case.seed}") for case in CASES]
)


def enumerate_paths(chains: Chains) -> list[dict[Path, float]]:
    """Returns for each sentence the score of every path, added up number by number."""
    emissions, transitions, start, end, lengths = (tensor.tolist() for tensor in chains)
    every = []
    for rows, length in zip(emissions, lengths, strict=True):
        scores = {}
        for path in product(range(len(start)), repeat=length):
            score = start[path[0]] + end[path[-1]]
            score += sum(rows[token][tag] for token, tag in enumerate(path))
            score += sum(transitions[left][right] for left, right in pairwise(path))
            scores[path] = score
        every.append(scores)
    return every


def log_sum(scores: Sequence[float]) -> float:
    top = max(scores)
    return top + math.log(sum(math.exp(score - top) for score in scores))


def probabilities(chains: Chains) -> list[dict[Path, float]]:
    """Returns for each sentence the probability of every path."""
    every = []
    for scores in enumerate_paths(chains):
        partition = log_sum(list(scores.values()))
        every.append({path: math.exp(score - partition) for path, score in scores.items()})
    return every


def possible_gold(chains: Chains, seed: int = 0) -> Tensor:
    """Returns (B, T) for each sentence a path of a finite score, and no tag at all in padding."""
    gold = torch.full(chains.emissions.shape[:2], UNKNOWN)
    for sentence, scores in enumerate(enumerate_paths(chains)):
        path = random.Random(seed + sentence).choice([path for path, score in scores.items() if score > -math.inf])
        gold[sentence, : len(path)] = torch.tensor(path)
    return gold.to(chains.emissions.device)


def any_gold(chains: Chains) -> Tensor:
    """Returns (B, T) tags, the same of any sentence at a token."""
    sentences, tokens, tags = chains.emissions.shape
    return (torch.arange(tokens, device=chains.emissions.device) % tags).repeat(sentences, 1)


class Expected(NamedTuple):
    """What a recursion finds: (B,), (B, T, K), and (K, K) how often a tag is expected to follow another."""

    log_partition: Tensor
    marginals: Tensor
    counts: Tensor

    @property
    def gradients(self) -> list[Tensor]:
        """Those of the sum of the log-partitions, for chains all of whose sentences are of full length."""
        return [self.marginals, self.counts, self.marginals[:, 0].sum(0), self.marginals[:, -1].sum(0)]


def expected_by_recursion(chains: Chains) -> Expected:
    """Returns forward and backward sums, in float64 and numpy, each number as its logarithm."""
    emissions, transitions, start, end, lengths = (tensor.detach().cpu().numpy() for tensor in chains)
    emissions, transitions = emissions.astype(float), transitions.astype(float)
    partitions, marginals, counts = [], np.zeros(emissions.shape), np.zeros(transitions.shape)
    for sentence, length in enumerate(lengths):
        rows = emissions[sentence, :length]
        forward, backward = np.empty(rows.shape), np.empty(rows.shape)
        forward[0] = start + rows[0]
        for token in range(1, length):
            forward[token] = rows[token] + np.logaddexp.reduce(forward[token - 1][:, None] + transitions, 0)
        backward[-1] = end
        for token in range(length - 2, -1, -1):
            backward[token] = np.logaddexp.reduce(transitions + rows[token + 1] + backward[token + 1], 1)
        partition = np.logaddexp.reduce(forward[-1] + end)
        marginals[sentence, :length] = np.exp(forward + backward - partition)
        after = rows[1:] + backward[1:] - partition
        counts += np.exp(forward[:-1, :, None] + transitions + after[:, None]).sum(0)
        partitions.append(partition)
    return Expected(torch.tensor(partitions), torch.from_numpy(marginals), torch.from_numpy(counts))


def close(found: Tensor, expected: object, *, within: float | None = None) -> None:
    """Asserts that numbers are those expected, as far as their dtype holds them."""
    tolerance = within or (1e-9 if found.dtype == torch.float64 else 2e-4)
    values = torch.as_tensor(expected, dtype=torch.float64).detach().cpu()
    torch.testing.assert_close(found.detach().cpu().double(), values, atol=tolerance, rtol=tolerance)


def _partial_gold(gold: Tensor) -> Tensor:
    return torch.where(torch.arange(gold.shape[1], device=gold.device) % 3 == 1, UNKNOWN, gold)


def _tag_sets(chains: Chains, gold: Tensor) -> Tensor:
    ids = torch.arange(len(chains.start), device=gold.device)
    return (gold[:, :, None] == ids) | ((gold[:, :, None] + 1) % len(ids) == ids)


def _loss(chains: Chains, gold: Tensor, kernel: Kernel | None, **options: Any) -> Tensor:
    return functions.negative_log_likelihood(*chains, gold, reduction="none", kernel=kernel, **options)


def _spans(chains: Chains, kernel: Kernel | None) -> Tensor:
    """Returns the probabilities of the last token and of the first two at most, as entities that any two tags join."""
    tags = len(chains.start)
    lengths = chains.lengths.clamp(1, chains.emissions.shape[1]).tolist()
    spans = [(number, length - 1, length, 0) for number, length in enumerate(lengths)]
    spans += [(number, 0, min(2, length), 1) for number, length in enumerate(lengths)]
    device = chains.emissions.device
    members = torch.arange(2 * tags, device=device).view(2, tags) % 3 > 0
    joins = torch.arange(tags * tags, device=device).view(tags, tags) % 2 > 0
    return functions.span_probabilities(*chains, torch.tensor(spans, device=device), members, joins, kernel=kernel)


Quantity = Callable[[Chains, Tensor, Kernel | None], tuple[Tensor, ...]]

# What is asked of chains, with gold tags (B, T); each answer is of (B, …), or of (2 B,) for the spans.
DIFFERENTIABLE: dict[str, Quantity] = {
    "log_partition": lambda chains, gold, kernel: (functions.log_partition(*chains, kernel=kernel),),
    "path_score": lambda chains, gold, kernel: (functions.path_score(*chains, gold),),
    "loss": lambda chains, gold, kernel: (_loss(chains, gold, kernel),),
    "loss of weighted tags": lambda chains, gold, kernel: (
        _loss(chains, gold, kernel, weights=torch.arange(1.0, len(chains.start) + 1, device=gold.device)),
    ),
    "loss of partial gold": lambda chains, gold, kernel: (_loss(chains, _partial_gold(gold), kernel),),
    "loss of sets of tags": lambda chains, gold, kernel: (_loss(chains, _tag_sets(chains, gold), kernel),),
}
MESSAGE_QUANTITIES: dict[str, Quantity] = {  # differentiable by the torch kernel alone
    "marginals": lambda chains, gold, kernel: (functions.marginals(*chains, kernel=kernel),),
    "pairwise_marginals": lambda chains, gold, kernel: (functions.pairwise_marginals(*chains, kernel=kernel),),
    "entropy": lambda chains, gold, kernel: (functions.entropy(*chains, kernel=kernel),),
    "span_probabilities": lambda chains, gold, kernel: (_spans(chains, kernel),),
}
QUANTITIES: dict[str, Quantity] = {
    **DIFFERENTIABLE,
    **MESSAGE_QUANTITIES,
    "best_path": lambda chains, gold, kernel: functions.best_path(*chains, kernel=kernel),
    "best_paths": lambda chains, gold, kernel: functions.best_paths(*chains, count=3),
}
each_quantity = pytest.mark.parametrize("quantity", QUANTITIES)


def differentiable(quantity: str, backend: Backend) -> bool:
    return quantity in DIFFERENTIABLE or (quantity in MESSAGE_QUANTITIES and backend.kernel == "torch")


def gradients_of(quantity: str, chains: Chains, gold: Tensor, kernel: Kernel | None) -> list[Tensor]:
    """Returns the gradients of a weighted sum of the answers."""
    chains = chains.with_gradients()
    (answer,) = QUANTITIES[quantity](chains, gold, kernel)
    with torch.autocast(answer.device.type, enabled=False):  # PyTorch asks for the way back to be outside of it
        return _gradients_of(answer, chains)


def _gradients_of(answer: Tensor, chains: Chains) -> list[Tensor]:
    weights = torch.linspace(1, 2, answer.numel(), device=answer.device, dtype=answer.dtype).view_as(answer)
    found = torch.autograd.grad((weights * answer).sum(), chains[:4], allow_unused=True)
    return [torch.zeros_like(scores) if one is None else one for scores, one in zip(chains, found, strict=False)]
