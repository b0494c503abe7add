"""Tasks that ask for memory alone, and a single layer that learns them.

Shapes in this module: B sequences, T tokens of each, D numbers of a token, H width of the layer, K outputs.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tagger.nn.encoder import RecurrentLayer

_Given = TypeVar("_Given")
_Found = TypeVar("_Found")
WIDTH, SEQUENCES = 32, 32
SYMBOLS = 8
CELLS: dict[str, dict[str, Any]] = {
    "RNN": {"cell": "rnn"},
    "LSTM, forget bias 0": {"cell": "lstm", "forget_bias": 0.0},
    "LSTM, forget bias 1": {"cell": "lstm", "forget_bias": 1.0},
    "LSTM, forget bias 3": {"cell": "lstm", "forget_bias": 3.0},
    "LSTM of 1997": {"cell": "lstm1997"},
    "GRU": {"cell": "gru"},
}


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        name: of the task.
        inputs: D.
        outputs: K.
        draw: returns inputs (B, T, D) and gold answers (B,), for a lag and a generator; T is the lag and one.
        loss: of outputs (B, K).
        quality: of outputs, the higher the better.
        enough: the quality, as a mean over the last batches, by which it counts as learned.
    """

    name: str
    inputs: int
    outputs: int
    draw: Callable[[int, Generator], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]
    quality: Callable[[Tensor, Tensor], Tensor]
    enough: float


def _recall(lag: int, random: Generator) -> tuple[Tensor, Tensor]:
    gold = torch.randint(SYMBOLS, (SEQUENCES,), generator=random)
    others = SYMBOLS + torch.randint(SYMBOLS, (SEQUENCES, lag), generator=random)
    return F.one_hot(torch.cat([gold[:, None], others], 1), 2 * SYMBOLS).float(), gold


def _adding(lag: int, random: Generator) -> tuple[Tensor, Tensor]:
    values = torch.rand(SEQUENCES, lag + 1, generator=random)
    half, rows = (lag + 1) // 2, torch.arange(SEQUENCES)
    first = torch.randint(half, (SEQUENCES,), generator=random)
    second = half + torch.randint(lag + 1 - half, (SEQUENCES,), generator=random)
    marks = torch.zeros_like(values)
    marks[rows, first] = marks[rows, second] = 1.0
    return torch.stack([values, marks], 2), values[rows, first] + values[rows, second]


def _squared(outputs: Tensor, gold: Tensor) -> Tensor:
    return (outputs[:, 0] - gold).square().mean()


RECALL = Task(
    "recall",
    2 * SYMBOLS,
    SYMBOLS,
    _recall,
    F.cross_entropy,
    lambda outputs, gold: (outputs.argmax(1) == gold).float().mean(),
    0.98,
)
"""To name, after a lag of other symbols, which of eight came first (after Hochreiter and Schmidhuber, 1997)."""
ADDING = Task("adding", 2, 1, _adding, _squared, lambda outputs, gold: -_squared(outputs, gold), -0.015)
"""To add the two marked numbers, one in each half of the sequence (Hochreiter and Schmidhuber, 1997)."""
TASKS = {task.name: task for task in (RECALL, ADDING)}


class Reader(nn.Module):
    """A layer in one direction, and outputs from its last state."""

    def __init__(self, task: Task, cell: str) -> None:
        super().__init__()
        self.layer = RecurrentLayer(task.inputs, WIDTH, direction="forward", **CELLS[cell])
        self.head = nn.Linear(WIDTH, task.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the outputs (B, K) of inputs (B, T, D)."""
        outputs: Tensor = self.head(self.layer(inputs, whole(inputs))[:, -1])
        return outputs


def whole(inputs: Tensor) -> Tensor:
    """Returns the lengths (B,) of sequences (B, T, D) without padding."""
    return torch.full((len(inputs),), inputs.shape[1])


def steps(task: Task, reader: Reader, lag: int, random: Generator, limit: int) -> Iterator[tuple[int, float]]:
    """Trains by Adam, the gradient's norm clipped at 1; yields each step's number, from 1, and its quality."""
    optimizer = torch.optim.Adam(reader.parameters(), lr=0.01, fused=True)
    for step in range(1, limit + 1):
        inputs, gold = task.draw(lag, random)
        outputs = reader(inputs)
        optimizer.zero_grad()
        torch.autograd.backward(task.loss(outputs, gold))
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        yield step, task.quality(outputs, gold).item()


def spread(work: Callable[[_Given], _Found], given: Iterable[_Given]) -> Sequence[_Found]:
    """Returns the work done with each of what is given, in its order, by a process of one thread on each processor."""
    os.environ["PYTHONSAFEPATH"] = "1"  # else each process would first import from the current directory
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(pool.map(work, given))
