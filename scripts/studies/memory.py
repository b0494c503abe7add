"""The longest lags over which each cell learns to remember, in the recall and the adding task.

    python scripts/studies/memory.py --out DIR [--lags 10,50,100,200] [--seeds 3] [--steps 500]

Layers have 32 units in one direction. Training uses batches of 32 sequences, Adam with a learning rate of 0.01 and a
gradient norm clipped at 1. A task counts as learned when the last ten batches have a mean accuracy of 98 % or a mean
squared error of 0.015. (The constant answer 1 has an error of 0.167.) A cell that has not learned a task after
`--steps` steps may learn it later.
"""

import statistics
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import arguments
import torch
import writing
from arguments import integer_type
from matplotlib.figure import Figure
from tasks import CELLS, TASKS, TaskNetwork, map_in_processes, train_steps
from writing import Row

WINDOW = 10  # batches of the mean quality
STUDIED_CELLS = [cell for cell in CELLS if cell != "LSTM, forget bias 0"]

StepCounts = dict[tuple[str, str, int], list[int | None]]
"""By task, cell and lag, the steps that each seed took to learn the task; None if it did not."""


class Trial(NamedTuple):
    """A training of one cell on a task with a lag."""

    task: str
    cell: str
    lag: int
    seed: int
    limit: int


def count_steps(trial: Trial) -> int | None:
    """Returns the number of steps until the task is learned, None if the limit is reached before."""
    task, random = TASKS[trial.task], torch.Generator().manual_seed(trial.seed)
    torch.manual_seed(trial.seed)
    last: deque[float] = deque(maxlen=WINDOW)
    for step, quality in train_steps(task, TaskNetwork(task, trial.cell), trial.lag, random, trial.limit):
        last.append(quality)
        if len(last) == WINDOW and statistics.fmean(last) >= task.target_quality:
            return step
    return None


def main() -> None:
    parser = arguments.create_parser(__doc__)
    parser.add_argument("--lags", type=parse_lags, default=[10, 50, 100, 200], help="Lags [10,50,100,200].")
    parser.add_argument("--seeds", type=integer_type(1), default=3, help="Number of seeds [3].")
    parser.add_argument("--steps", type=integer_type(WINDOW), default=500, help="Maximum number of steps [500].")
    options = parser.parse_args()
    start, lags = time.monotonic(), options.lags
    trials = [
        Trial(task, cell, lag, seed, options.steps)
        for lag in reversed(lags)  # the longest first, so that no process has a long trial at the end
        for task in TASKS
        for cell in STUDIED_CELLS
        for seed in range(1, options.seeds + 1)
    ]
    steps = dict(zip(trials, map_in_processes(count_steps, trials), strict=True))
    counts: StepCounts = {}
    for trial, count in steps.items():
        counts.setdefault(trial[:3], []).append(count)
    writing.write_study(
        "memory",
        options.out,
        tables={"Seeds that learned the task, and their median number of steps": make_table(counts, lags)},
        figure=draw(counts, lags, options.steps),
        verdict=make_verdict(counts, lags),
        seconds=time.monotonic() - start,
        trials=[{**trial._asdict(), "steps": count} for trial, count in steps.items()],
    )


def parse_lags(text: str) -> list[int]:
    """Returns the lags of a comma-separated list."""
    return [*map(integer_type(1), text.split(","))]


def make_table(counts: StepCounts, lags: Sequence[int]) -> list[Row]:
    """Returns a row for each task and cell."""
    return [
        {"task": task, "cell": cell, **{f"lag {lag}": format_counts(counts[task, cell, lag]) for lag in lags}}
        for task in TASKS
        for cell in STUDIED_CELLS
    ]


def format_counts(counts: list[int | None]) -> str:
    """Returns the number of seeds that learned the task and their median number of steps.

    >>> format_counts([40, None, 60])
    '2 of 3, 50'
    """
    learned = [count for count in counts if count is not None]
    return f"{len(learned)} of {len(counts)}" + (f", {statistics.median(learned):.0f}" if learned else "")


def make_verdict(counts: StepCounts, lags: list[int]) -> str:
    """Returns the longest lag that all seeds of each cell learned."""
    parts = []
    for task in TASKS:
        longest = {
            cell: max((lag for lag in lags if None not in counts[task, cell, lag]), default=0) for cell in STUDIED_CELLS
        }
        ranked = sorted(longest, key=longest.__getitem__, reverse=True)
        parts.append(f"in {task}: " + ", ".join(f"{cell} ({longest[cell] or 'none'})" for cell in ranked))
    return f"Longest lag that every seed learned {'; '.join(parts)}."


def draw(counts: StepCounts, lags: list[int], limit: int) -> Figure:
    """Draws the steps of each seed by lag; seeds that did not learn the task are above the limit."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for panel, task in enumerate(TASKS, 1):
        axes = figure.add_subplot(1, len(TASKS), panel)
        for index, cell in enumerate(STUDIED_CELLS):
            points = [
                (
                    position + 0.13 * (index - (len(STUDIED_CELLS) - 1) / 2),
                    limit * 1.5 * 1.15**seed
                    if count is None
                    else count,  # each seed at another height, to be countable
                )
                for position, lag in enumerate(lags)
                for seed, count in enumerate(counts[task, cell, lag])
            ]
            axes.plot(*zip(*points, strict=True), ".", label=cell)
        axes.axhline(1.25 * limit, color="grey", linewidth=0.5)
        axes.set_yscale("log")
        axes.set_xticks(range(len(lags)), [str(lag) for lag in lags])
        axes.set_xlabel("lag")
        axes.set_title(f"{task}: steps until learned (above the line: not learned)", fontsize=9)
        axes.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
