"""Two tasks that need only memory, and a single-layer network that learns them.

Shapes in this module: B sequences, T tokens in each, D input width, H hidden size, K outputs.
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

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
HIDDEN_SIZE, BATCH_SIZE = 32, 32
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
    """A learning task.

    Attributes:
        name: the name in tables and plots.
        input_size: D.
        output_size: K.
        draw: returns random inputs (B, T, D) and gold values (B,) for a lag; T is the lag plus one.
        loss: of outputs (B, K) and gold values (B,).
        quality: of outputs (B, K) and gold values (B,); higher is better.
        target_quality: the task counts as learned when the mean quality of the last batches reaches this value.
    """

    name: str
    input_size: int
    output_size: int
    draw: Callable[[int, Generator], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]
    quality: Callable[[Tensor, Tensor], Tensor]
    target_quality: float


def _draw_recall(lag: int, random: Generator) -> tuple[Tensor, Tensor]:
    gold = torch.randint(SYMBOLS, (BATCH_SIZE,), generator=random)
    distractors = SYMBOLS + torch.randint(SYMBOLS, (BATCH_SIZE, lag), generator=random)
    return F.one_hot(torch.cat([gold[:, None], distractors], 1), 2 * SYMBOLS).float(), gold


def _draw_adding(lag: int, random: Generator) -> tuple[Tensor, Tensor]:
    values = torch.rand(BATCH_SIZE, lag + 1, generator=random)
    half, rows = (lag + 1) // 2, torch.arange(BATCH_SIZE)
    first = torch.randint(half, (BATCH_SIZE,), generator=random)
    second = half + torch.randint(lag + 1 - half, (BATCH_SIZE,), generator=random)
    marks = torch.zeros_like(values)
    marks[rows, first] = marks[rows, second] = 1.0
    return torch.stack([values, marks], 2), values[rows, first] + values[rows, second]


def _squared_error(outputs: Tensor, gold: Tensor) -> Tensor:
    return (outputs[:, 0] - gold).square().mean()


RECALL = Task(
    "recall",
    2 * SYMBOLS,
    SYMBOLS,
    _draw_recall,
    F.cross_entropy,
    lambda outputs, gold: (outputs.argmax(1) == gold).float().mean(),
    0.98,
)
"""Names the first of eight symbols after a lag of other symbols (after Hochreiter and Schmidhuber, 1997)."""
ADDING = Task(
    "adding", 2, 1, _draw_adding, _squared_error, lambda outputs, gold: -_squared_error(outputs, gold), -0.015
)
"""Adds the two marked numbers, one in each half of the sequence (Hochreiter and Schmidhuber, 1997)."""
TASKS = {task.name: task for task in (RECALL, ADDING)}


class TaskNetwork(nn.Module):
    """A recurrent layer in one direction, and a projection of its last hidden state."""

    def __init__(self, task: Task, cell: str) -> None:
        super().__init__()
        self.layer = RecurrentLayer(task.input_size, HIDDEN_SIZE, direction="forward", **CELLS[cell])
        self.head = nn.Linear(HIDDEN_SIZE, task.output_size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the outputs (B, K) of inputs (B, T, D)."""
        outputs: Tensor = self.head(self.layer(inputs, full_lengths(inputs))[:, -1])
        return outputs


def full_lengths(inputs: Tensor) -> Tensor:
    """Returns the lengths (B,) of sequences (B, T, D) without padding."""
    return torch.full((len(inputs),), inputs.shape[1])


def train_steps(
    task: Task, network: TaskNetwork, lag: int, random: Generator, limit: int
) -> Iterator[tuple[int, float]]:
    """Trains with Adam and a gradient norm clipped at 1; yields the number of each step, from 1, and its quality."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, fused=True)
    for step in range(1, limit + 1):
        inputs, gold = task.draw(lag, random)
        outputs = network(inputs)
        optimizer.zero_grad()
        torch.autograd.backward(task.loss(outputs, gold))
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        yield step, task.quality(outputs, gold).item()


def map_in_processes(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Sequence[_Result]:
    """Returns the result for each item, in order, from one single-threaded process per processor."""
    os.environ["PYTHONSAFEPATH"] = "1"  # else child processes import from the current directory first
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(pool.map(function, items))
