"""Which cell learns to remember for how long: recall and the adding problem at growing lags.

    python scripts/studies/memory.py --out DIR [--lags 10,50,100,200] [--seeds 3] [--steps 500]

A layer of 32 units in one direction, batches of 32 sequences, Adam at 0.01, clipping at 1. A task counts as learned
when the mean over the last ten batches is an accuracy of 98 % or a squared error of 0.015 (always to answer 1 gives
0.167). A cell that has not learned it after `--steps` steps may learn it later.
"""

import statistics
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import arguments
import torch
import writing
from arguments import whole_number
from matplotlib.figure import Figure
from tasks import CELLS, TASKS, Reader, spread, steps
from writing import Row

KEPT = 10  # batches whose mean tells what is learned
CHOSEN = [cell for cell in CELLS if cell != "LSTM, forget bias 0"]

Taken = dict[tuple[str, str, int], list[int | None]]
"""What each seed took to learn a task, by cell and lag; None where it has not learned it."""


class Trial(NamedTuple):
    """A cell to teach a task at a lag."""

    task: str
    cell: str
    lag: int
    seed: int
    limit: int


def learned_after(trial: Trial) -> int | None:
    """Returns the steps after which a cell has learned a task, None if it has not within the limit."""
    task, random = TASKS[trial.task], torch.Generator().manual_seed(trial.seed)
    torch.manual_seed(trial.seed)
    last: deque[float] = deque(maxlen=KEPT)
    for step, quality in steps(task, Reader(task, trial.cell), trial.lag, random, trial.limit):
        last.append(quality)
        if len(last) == KEPT and statistics.fmean(last) >= task.enough:
            return step
    return None


def main() -> None:
    parser = arguments.parser(__doc__)
    parser.add_argument("--lags", type=numbers, default=[10, 50, 100, 200])
    parser.add_argument("--seeds", type=whole_number(1), default=3)
    parser.add_argument("--steps", type=whole_number(10), default=500)
    options = parser.parse_args()
    began, lags = time.monotonic(), options.lags
    trials = [
        Trial(task, cell, lag, seed, options.steps)
        for lag in reversed(lags)  # the longest first, so that no process waits for one at the end
        for task in TASKS
        for cell in CHOSEN
        for seed in range(1, options.seeds + 1)
    ]
    found = dict(zip(trials, spread(learned_after, trials), strict=True))
    taken: Taken = {}
    for trial, after in found.items():
        taken.setdefault(trial[:3], []).append(after)
    writing.write(
        "memory",
        options.out,
        tables={"Seeds that learned it, and the median of their steps": table(taken, lags)},
        figure=picture(taken, lags, options.steps),
        verdict=verdict(taken, lags),
        seconds=time.monotonic() - began,
        trials=[{**trial._asdict(), "steps": after} for trial, after in found.items()],
    )


def numbers(text: str) -> list[int]:
    """Returns the lags of a list."""
    return [*map(whole_number(1), text.split(","))]


def table(taken: Taken, lags: Sequence[int]) -> list[Row]:
    """Returns a row for each task and cell."""
    return [
        {"task": task, "cell": cell, **{f"lag {lag}": shown(taken[task, cell, lag]) for lag in lags}}
        for task in TASKS
        for cell in CHOSEN
    ]


def shown(taken: list[int | None]) -> str:
    """Returns how many seeds learned it, and in how many steps.

    >>> shown([40, None, 60])
    '2 of 3, 50'
    """
    learned = [after for after in taken if after is not None]
    return f"{len(learned)} of {len(taken)}" + (f", {statistics.median(learned):.0f}" if learned else "")


def verdict(taken: Taken, lags: list[int]) -> str:
    """Returns the longest lag that all seeds of each cell learned."""
    parts = []
    for task in TASKS:
        reached = {cell: max((lag for lag in lags if None not in taken[task, cell, lag]), default=0) for cell in CHOSEN}
        ranked = sorted(reached, key=reached.__getitem__, reverse=True)
        parts.append(f"in {task} " + ", ".join(f"{cell} ({reached[cell] or 'none'})" for cell in ranked))
    return f"The longest lag that every seed learned is {'; '.join(parts)}."


def picture(taken: Taken, lags: list[int], limit: int) -> Figure:
    """Draws the steps of each seed by lag; those that did not learn stand above the limit."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for place, task in enumerate(TASKS, 1):
        axes = figure.add_subplot(1, len(TASKS), place)
        for number, cell in enumerate(CHOSEN):
            points = [
                (
                    position + 0.13 * (number - (len(CHOSEN) - 1) / 2),
                    limit * 1.5 * 1.15**seed if after is None else after,  # side by side, so that they can be counted
                )
                for position, lag in enumerate(lags)
                for seed, after in enumerate(taken[task, cell, lag])
            ]
            axes.plot(*zip(*points, strict=True), ".", label=cell)
        axes.axhline(1.25 * limit, color="grey", linewidth=0.5)
        axes.set_yscale("log")
        axes.set_xticks(range(len(lags)), [str(lag) for lag in lags])
        axes.set_xlabel("lag")
        axes.set_title(f"{task}: steps until learned; above the line not learned", fontsize=9)
        axes.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
