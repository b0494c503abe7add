"""Word vectors under SGD with momentum and a moving average, of which a step computes only the rows of its batch.

Between two steps that hold a word its vector goes on by momentum alone, and the average follows: by sums that depend on
the steps and not on the word. So a row is brought up to date when it is next needed, and what comes out is what
computing all of them at each step gives, but for rounding.

Shapes in this module: W words, D width of a vector, U rows of a batch, S steps since all rows were up to date.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_MOST_STEPS = 2000  # after which all rows are brought up to date: each step takes a sum over those before


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
        """Moves the rows that `gradient` returned."""
        ids, gradient = self._ids, self._gradient
        weight, velocity, *average = self._current(ids)
        velocity.mul_(self._momentum).add_(gradient)
        weight -= rate * (gradient + self._momentum * velocity if self._nesterov else velocity)
        for values in average:
            values.lerp_(weight, 1 - self._decay)
        for table, values in zip(self._tables(), (weight, velocity, *average), strict=True):
            table[ids] = values
        ages = np.arange(len(self._moved), 0, -1)
        self._moved += rate * self._momentum ** (ages + self._nesterov)
        self._followed += (1 - self._decay) * (self._moved - self._followed)
        self._moved, self._followed = np.append(self._moved, 0.0), np.append(self._followed, 0.0)
        self._seen[ids] = len(ages)
        if len(ages) == _MOST_STEPS:
            self.settle()

    def _tables(self) -> list[Tensor]:
        """Returns what there is of each word (W, D): its vector, its velocity and, if there are any, its average."""
        tables = [self.weight.detach(), self._velocity]
        return tables if self.average is None else [*tables, self.average.detach()]

    def _current(self, ids: Tensor | slice) -> list[Tensor]:
        """Returns rows (U, D) of the tables as they are after the last step."""
        seen = self._seen[ids].numpy()
        ages = len(self._moved) - 1 - seen
        weight, velocity, *average = (table[ids] for table in self._tables())
        left = self._decay**ages
        followed = [
            _times(values, left) + _times(weight, 1 - left) - _times(velocity, self._followed[seen])
            for values in average
        ]
        return [weight - _times(velocity, self._moved[seen]), _times(velocity, self._momentum**ages), *followed]

    @torch.no_grad()
    def settle(self) -> None:
        """Brings all rows up to date."""
        for table, values in zip(self._tables(), self._current(slice(None)), strict=True):
            table.copy_(values)
        self._seen.zero_()
        self._moved, self._followed = np.zeros(1), np.zeros(1)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Shows all rows up to date within the block and leaves no trace, not even of rounding."""
        weight, _, *average = self._current(slice(None))
        parameters = [self.weight] if self.average is None else [self.weight, self.average]
        before = [parameter.data for parameter in parameters]
        for parameter, values in zip(parameters, (weight, *average), strict=True):
            parameter.data = values
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


def _times(rows: Tensor, factors: NDArray[np.float64]) -> Tensor:
    """Returns rows (U, D), each multiplied by its factor (U,)."""
    return rows * torch.from_numpy(factors.astype(np.float32))[:, None]
