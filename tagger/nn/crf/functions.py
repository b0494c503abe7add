"""The methods of `LinearChain` as plain functions.

Each function takes the arguments of `LinearChain` (emissions, transitions, start, end, lengths, kernel), then those of
the method of its name, whose result it returns. `LinearChain` documents shapes, units and errors. Use the class to ask
for several results: its methods share their forward-backward messages.
"""

import torch
from torch import Tensor

from tagger.choices import Kernel, Reduction
from tagger.nn.crf.linear_chain import LinearChain


def log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> Tensor:
    """Returns `LinearChain.log_partition`."""
    return LinearChain(emissions, transitions, start, end, lengths, kernel=kernel).log_partition()


def path_score(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, path: Tensor
) -> Tensor:
    """Returns `LinearChain.path_score`."""
    return LinearChain(emissions, transitions, start, end, lengths).path_score(path)


def negative_log_likelihood(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    gold: Tensor,
    *,
    weights: Tensor | None = None,
    reduction: Reduction = "sentence",
    kernel: Kernel | None = None,
) -> Tensor:
    """Returns `LinearChain.negative_log_likelihood`."""
    return LinearChain(emissions, transitions, start, end, lengths, kernel=kernel).negative_log_likelihood(
        gold, weights=weights, reduction=reduction
    )


def best_path(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> tuple[Tensor, Tensor]:
    """Returns `LinearChain.best_path`."""
    return LinearChain(emissions, transitions, start, end, lengths, kernel=kernel).best_path()


def best_paths(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, count: int
) -> tuple[Tensor, Tensor]:
    """Returns `LinearChain.best_paths`."""
    return LinearChain(emissions, transitions, start, end, lengths).best_paths(count)


def marginals(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> Tensor:
    """Returns `LinearChain.marginals`."""
    return LinearChain(emissions, transitions, start, end, lengths, kernel=kernel).marginals()


def pairwise_marginals(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> Tensor:
    """Returns `LinearChain.pairwise_marginals`."""
    return LinearChain(emissions, transitions, start, end, lengths, kernel=kernel).pairwise_marginals()


def entropy(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> Tensor:
    """Returns `LinearChain.entropy`."""
    return LinearChain(emissions, transitions, start, end, lengths, kernel=kernel).entropy()


def span_probabilities(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    spans: Tensor,
    members: Tensor,
    joins: Tensor,
    *,
    kernel: Kernel | None = None,
) -> Tensor:
    """Returns `LinearChain.span_probabilities`."""
    return LinearChain(emissions, transitions, start, end, lengths, kernel=kernel).span_probabilities(
        spans, members, joins
    )


def run_probabilities(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    runs: Tensor,
    tag: int,
    *,
    kernel: Kernel | None = None,
) -> Tensor:
    """Returns `LinearChain.run_probabilities`."""
    return LinearChain(emissions, transitions, start, end, lengths, kernel=kernel).run_probabilities(runs, tag)


def sample(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    *,
    count: int = 1,
    generator: torch.Generator | None = None,
    kernel: Kernel | None = None,
) -> Tensor:
    """Returns `LinearChain.sample`."""
    return LinearChain(emissions, transitions, start, end, lengths, kernel=kernel).sample(count, generator=generator)
