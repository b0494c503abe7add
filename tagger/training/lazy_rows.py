"""Word vectors under SGD with momentum and a moving average, of which a step computes only the rows of its batch.

Between two steps that hold a word its vector goes on by momentum alone, and the average follows: by sums that depend on
the steps and not on the word. So a row is brought up to date before it is next read, and what comes out is what
computing all of them at each step gives, but for rounding.

Shapes in this module: W words, D width of a vector, U rows of a batch, S steps since all rows were up to date.
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
"""After which all rows are brought up to date: each step takes a sum over those before."""


class Rows:
    """The vectors and what moves them.

    Args:
        weight: (W, D) the vectors, which are changed in place.
        momentum: of SGD, as torch has it.
        nesterov: likewise.
        decay: of the moving average; None for none.

    Attributes:
        average: (W, D) the moving average.
    """

    def __init__(self, weight: nn.Parameter, *, momentum: float, nesterov: bool, decay: float | None) -> None:
        self.weight = weight
        self.average = None if decay is None else nn.Parameter(weight.detach().clone(), requires_grad=False)
        self._momentum, self._nesterov, self._decay = momentum, nesterov, 0.0 if decay is None else decay
        self._velocity = torch.zeros_like(weight.detach())
        self._seen = torch.zeros(len(weight), dtype=torch.long)  # the step after which a row was up to date, from 0
        self._ids, self._gradient = torch.zeros(0, dtype=torch.long), weight.new_zeros(0, weight.shape[1])
        # What a velocity of 1 after each step has moved a vector by since then, and the average.
        self._moved, self._followed = np.zeros(1), np.zeros(1)

    def bring(self, ids: Tensor) -> None:
        """Brings rows up to date, as the network must find them: those of word ids (U,), others than rows left out."""
        chosen = np.unique(ids.numpy())
        chosen = chosen[chosen < len(self.weight)]
        self._bring(self._tables(), chosen)
        self._seen.numpy()[chosen] = len(self._moved) - 1

    def gradient(self) -> Tensor:
        """Returns the gradient (U, D) of the rows that have one, which `step` then moves by it as it is by then."""
        if self.weight.grad is None:
            self._ids, self._gradient = self._ids[:0], self._gradient[:0]
        else:
            found = self.weight.grad.coalesce()
            self._ids, self._gradient = found.indices()[0], found.values()
            self.weight.grad = None
        return self._gradient

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Moves the rows that `gradient` returned.

        Raises:
            ValueError: since the last step `bring` has not brought one of them.
        """
        ids, tables = self._ids.numpy(), self._tables()
        if (self._seen.numpy()[ids] != len(self._moved) - 1).any():
            raise ValueError("a row has a gradient that was not brought up to date before it was read")
        with np.errstate(over="ignore"):
            factors = [np.float32(factor) for factor in (rate, self._momentum, 1 - self._decay)]
        _move(tables, ids, self._gradient.numpy(), *factors, self._nesterov)
        ages = np.arange(len(self._moved), 0, -1)
        self._moved += rate * self._momentum ** (ages + self._nesterov)
        self._followed += (1 - self._decay) * (self._moved - self._followed)
        self._moved, self._followed = np.append(self._moved, 0.0), np.append(self._followed, 0.0)
        self._seen[self._ids] = len(ages)
        if len(ages) == MAX_STEPS:
            self.settle()

    def _tables(self) -> tuple[Floats, ...]:
        """Returns what there is of each word (W, D): its vector, its velocity and, if there is one, its average."""
        tables = [self.weight, self._velocity] if self.average is None else [self.weight, self._velocity, self.average]
        return tuple(table.detach().numpy() for table in tables)

    def _bring(self, tables: tuple[Floats, ...], ids: Ids) -> None:
        """Brings rows of the tables up to date as they are after the last step."""
        seen = self._seen.numpy()[ids]
        ages = len(self._moved) - 1 - seen
        moved, kept = self._moved[seen], self._momentum**ages
        left, followed = self._decay**ages, self._followed[seen]
        with np.errstate(over="ignore"):  # of rates so high that weights are no numbers soon, which is told elsewhere
            factors = [factor.astype(np.float32) for factor in (moved, kept, left, followed)]
        _bring(tables, ids, *factors)

    @torch.no_grad()
    def settle(self) -> None:
        """Brings all rows up to date."""
        self._bring(self._tables(), np.arange(len(self.weight)))
        self._seen.zero_()
        self._moved, self._followed = np.zeros(1), np.zeros(1)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Shows all rows up to date within the block and leaves no trace, not even of rounding."""
        tables = tuple(map(np.copy, self._tables()))
        self._bring(tables, np.arange(len(self.weight)))
        parameters = [self.weight] if self.average is None else [self.weight, self.average]
        before = [parameter.data for parameter in parameters]
        for parameter, table in zip(parameters, (tables[0], *tables[2:]), strict=True):
            parameter.data = torch.from_numpy(table)
        try:
            yield
        finally:
            for parameter, values in zip(parameters, before, strict=True):
                parameter.data = values

    def tensors(self) -> dict[str, Tensor]:
        """Returns all that `restore` needs, by name; the average is for its network to keep."""
        sums = {"moved": torch.from_numpy(self._moved), "followed": torch.from_numpy(self._followed)}
        return {"weight": self.weight.detach(), "velocity": self._velocity, "seen": self._seen, **sums}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes up what `tensors` gave.

        Raises:
            KeyError, RuntimeError: it is of another shape.
        """
        for name, tensor in self.tensors().items():
            if name not in ("moved", "followed"):
                tensor.copy_(tensors[name])
        self._moved, self._followed = tensors["moved"].numpy().copy(), tensors["followed"].numpy().copy()


@compiled()
def _bring(
    tables: tuple[Floats, ...], ids: Ids, moved: Floats, kept: Floats, left: Floats, followed: Floats
) -> None:  # pragma: no cover
    """Takes rows to where the steps since they were up to date have led them.

    Args:
        tables: vectors, velocities and, if there are any, averages, (W, D) each, are written.
        ids: (U,) the rows, each once.
        moved: (U,) by how many times its velocity a vector has moved.
        kept: (U,) what is left of the velocity.
        left: (U,) what is left of the average.
        followed: (U,) what `moved` is to the average.
    """
    for place, row in enumerate(ids):
        weight, velocity = tables[0][row], tables[1][row]
        if len(tables) > 2:
            _mix(tables[2][row], weight, velocity, left[place], followed[place])
        _drift(weight, velocity, moved[place], kept[place])


@elementwise
def _mix(
    average: Floats, weight: Floats, velocity: Floats, left: np.float32, followed: np.float32
) -> None:  # pragma: no cover
    for unit in range(len(average)):
        average[unit] = average[unit] * left + weight[unit] * (_ONE - left) - velocity[unit] * followed


@elementwise
def _drift(weight: Floats, velocity: Floats, moved: np.float32, kept: np.float32) -> None:  # pragma: no cover
    for unit in range(len(weight)):
        weight[unit] -= velocity[unit] * moved
        velocity[unit] *= kept


@compiled()
def _move(
    tables: tuple[Floats, ...],
    ids: Ids,
    gradient: Floats,
    rate: np.float32,
    momentum: np.float32,
    share: np.float32,
    nesterov: bool,
) -> None:  # pragma: no cover
    """Takes one step of rows that are up to date by their gradients (U, D); the average goes a share of its way."""
    for place, row in enumerate(ids):
        weight, velocity, given = tables[0][row], tables[1][row], gradient[place]
        _accelerate(weight, velocity, given, rate, momentum, nesterov)
        if len(tables) > 2:
            _approach(tables[2][row], weight, share)


@elementwise
def _accelerate(
    weight: Floats, velocity: Floats, given: Floats, rate: np.float32, momentum: np.float32, nesterov: bool
) -> None:  # pragma: no cover
    for unit in range(len(weight)):
        velocity[unit] = velocity[unit] * momentum + given[unit]
        weight[unit] -= rate * (given[unit] + momentum * velocity[unit] if nesterov else velocity[unit])


@elementwise
def _approach(average: Floats, weight: Floats, share: np.float32) -> None:  # pragma: no cover
    for unit in range(len(average)):
        average[unit] += share * (weight[unit] - average[unit])
