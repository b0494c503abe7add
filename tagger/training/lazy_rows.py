"""Lazy updates of word vectors: SGD with momentum and a moving average, computed only for the rows of a batch.

Between two batches that contain a word, momentum alone moves its vector, and the average follows. The sums of these
moves depend on the steps, not on the word. `catch_up` applies them to a row before it is next read. The result equals
that of updating every row at each step, except for rounding.

Shapes in this module: W words, D vector size, U rows of a batch, S steps since the last flush.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from tagger.nn.kernels.compiling import compiled, elementwise
from tagger.nn.kernels.matmul import Floats, Ids

_ONE = np.float32(1.0)
MAX_STEPS = 2000
"""Steps between two flushes: each step adds to the sums of all steps since the last one."""
SUMS = ("moved", "followed", "retained")
"""The tensors of the state that have a value for each step since the last flush."""


class LazyRows:
    """The word vectors and the state of their optimizer.

    Args:
        weight: (W, D) the vectors, updated in place.
        momentum: as of `torch.optim.SGD`.
        nesterov: as of `torch.optim.SGD`.
        averaged: whether to keep a moving average.

    Attributes:
        moving_average: (W, D) the moving average; None without one.
    """

    def __init__(self, weight: nn.Parameter, *, momentum: float, nesterov: bool, averaged: bool) -> None:
        self.weight = weight
        self.moving_average = nn.Parameter(weight.detach().clone(), requires_grad=False) if averaged else None
        self._momentum, self._nesterov = momentum, nesterov
        self._velocity = torch.zeros_like(weight.detach())
        self._seen = torch.zeros(len(weight), dtype=torch.long)  # the step up to which a row is up to date
        self._ids, self._gradient = torch.zeros(0, dtype=torch.long), weight.new_zeros(0, weight.shape[1])
        # By step: the distance that a velocity of 1 has moved a vector, and its average, since then.
        self._moved, self._followed = np.zeros(1), np.zeros(1)
        self._retained = np.ones(1)  # by step: the product of all decays since then

    def catch_up(self, ids: Tensor) -> None:
        """Brings rows (U,) up to date before the network reads them; ids beyond the last row are ignored."""
        chosen = np.unique(ids.numpy())
        chosen = chosen[chosen < len(self.weight)]
        self._catch_up(self._tables(), chosen)
        self._seen.numpy()[chosen] = len(self._moved) - 1

    def gradient(self) -> Tensor:
        """Returns the gradient (U, D) of the rows that have one; `step` uses it, changed in place or not."""
        if self.weight.grad is None:
            self._ids, self._gradient = self._ids[:0], self._gradient[:0]
        else:
            gradient = self.weight.grad.coalesce()
            self._ids, self._gradient = gradient.indices()[0], gradient.values()
            self.weight.grad = None
        return self._gradient

    @torch.no_grad()
    def step(self, learning_rate: float, decay: float = 0.0) -> None:
        """Updates the rows of the last `gradient`, and the moving average by a decay.

        Raises:
            ValueError: since the last step `catch_up` has not brought one of them.
        """
        ids, tables = self._ids.numpy(), self._tables()
        if (self._seen.numpy()[ids] != len(self._moved) - 1).any():
            raise ValueError("a row has a gradient but was not caught up before it was read")
        with np.errstate(over="ignore"):
            factors = [np.float32(factor) for factor in (learning_rate, self._momentum, 1 - decay)]
        _move(tables, ids, self._gradient.numpy(), *factors, self._nesterov)
        ages = np.arange(len(self._moved), 0, -1)
        self._moved += learning_rate * self._momentum ** (ages + self._nesterov)
        self._followed += (1 - decay) * (self._moved - self._followed)
        self._retained *= decay
        self._moved, self._followed = np.append(self._moved, 0.0), np.append(self._followed, 0.0)
        self._retained = np.append(self._retained, 1.0)
        self._seen[self._ids] = len(ages)
        if len(ages) == MAX_STEPS:
            self.flush()

    def _tables(self) -> tuple[Floats, ...]:
        """Returns the tables (W, D) of vectors, velocities and, if there is one, averages."""
        tables = (
            [self.weight, self._velocity]
            if self.moving_average is None
            else [self.weight, self._velocity, self.moving_average]
        )
        return tuple(table.detach().numpy() for table in tables)

    def _catch_up(self, tables: tuple[Floats, ...], ids: Ids) -> None:
        """Brings rows of the tables up to date with the last step."""
        seen = self._seen.numpy()[ids]
        ages = len(self._moved) - 1 - seen
        moved, velocity_factor = self._moved[seen], self._momentum**ages
        average_factor, followed = self._retained[seen], self._followed[seen]
        with np.errstate(
            over="ignore"
        ):  # a learning rate so high that the weights overflow, which the training loop reports
            factors = [factor.astype(np.float32) for factor in (moved, velocity_factor, average_factor, followed)]
        _catch_up(tables, ids, *factors)

    @torch.no_grad()
    def flush(self) -> None:
        """Brings all rows up to date."""
        self._catch_up(self._tables(), np.arange(len(self.weight)))
        self._seen.zero_()
        self._moved, self._followed, self._retained = np.zeros(1), np.zeros(1), np.ones(1)

    @contextmanager
    def flush_temporarily(self) -> Iterator[None]:
        """Brings all rows up to date within the block and restores the lazy state after it, bit by bit."""
        tables = tuple(map(np.copy, self._tables()))
        self._catch_up(tables, np.arange(len(self.weight)))
        parameters = [self.weight] if self.moving_average is None else [self.weight, self.moving_average]
        before = [parameter.data for parameter in parameters]
        for parameter, table in zip(parameters, (tables[0], *tables[2:]), strict=True):
            parameter.data = torch.from_numpy(table)
        try:
            yield
        finally:
            for parameter, values in zip(parameters, before, strict=True):
                parameter.data = values

    def tensors(self) -> dict[str, Tensor]:
        """Returns the state for `restore` by name; the average is part of the averaged network."""
        arrays = map(torch.from_numpy, (self._moved, self._followed, self._retained))
        sums = dict(zip(SUMS, arrays, strict=True))
        return {"weight": self.weight.detach(), "velocity": self._velocity, "seen": self._seen, **sums}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restores the state that `tensors` returned.

        Raises:
            KeyError, RuntimeError: a tensor is missing or has another shape.
        """
        for name, tensor in self.tensors().items():
            if name not in SUMS:
                tensor.copy_(tensors[name])
        self._moved, self._followed, self._retained = (tensors[name].numpy().copy() for name in SUMS)


@compiled()
def _catch_up(
    tables: tuple[Floats, ...],
    ids: Ids,
    moved: Floats,
    velocity_factor: Floats,
    average_factor: Floats,
    followed: Floats,
) -> None:  # pragma: no cover
    """Applies the steps that rows have missed.

    Args:
        tables: vectors, velocities and, if there is one, averages, (W, D) each; updated in place.
        ids: (U,) the rows, each once.
        moved: (U,) the distance that a vector has moved, in units of its velocity.
        velocity_factor: (U,) of the velocity.
        average_factor: (U,) of the average.
        followed: (U,) the distance that the average has moved, in units of the velocity.
    """
    for index, row in enumerate(ids):
        weight, velocity = tables[0][row], tables[1][row]
        if len(tables) > 2:
            _mix(tables[2][row], weight, velocity, average_factor[index], followed[index])
        _drift(weight, velocity, moved[index], velocity_factor[index])


@elementwise
def _mix(
    averages: Floats, weight: Floats, velocity: Floats, factor: np.float32, followed: np.float32
) -> None:  # pragma: no cover
    for unit in range(len(averages)):
        averages[unit] = averages[unit] * factor + weight[unit] * (_ONE - factor) - velocity[unit] * followed


@elementwise
def _drift(weight: Floats, velocity: Floats, moved: np.float32, factor: np.float32) -> None:  # pragma: no cover
    for unit in range(len(weight)):
        weight[unit] -= velocity[unit] * moved
        velocity[unit] *= factor


@compiled()
def _move(
    tables: tuple[Floats, ...],
    ids: Ids,
    gradient: Floats,
    learning_rate: np.float32,
    momentum: np.float32,
    fraction: np.float32,
    nesterov: bool,
) -> None:  # pragma: no cover
    """Updates rows by their gradients (U, D) and moves the average a fraction of the way to the vectors."""
    for index, row in enumerate(ids):
        weight, velocity = tables[0][row], tables[1][row]
        _accelerate(weight, velocity, gradient[index], learning_rate, momentum, nesterov)
        if len(tables) > 2:
            _approach(tables[2][row], weight, fraction)


@elementwise
def _accelerate(
    weight: Floats, velocity: Floats, gradient: Floats, learning_rate: np.float32, momentum: np.float32, nesterov: bool
) -> None:  # pragma: no cover
    for unit in range(len(weight)):
        velocity[unit] = velocity[unit] * momentum + gradient[unit]
        weight[unit] -= learning_rate * (gradient[unit] + momentum * velocity[unit] if nesterov else velocity[unit])


@elementwise
def _approach(averages: Floats, weight: Floats, fraction: np.float32) -> None:  # pragma: no cover
    for unit in range(len(averages)):
        averages[unit] += fraction * (weight[unit] - averages[unit])
