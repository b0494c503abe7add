"""Where training breaks on long sequences, and what clipping saves: RNN and LSTM, by norm, by value and without.

    python scripts/studies/clipping.py --out DIR [--lag 200] [--seeds 3] [--steps 200]

The adding problem, a layer of 32 units in one direction, batches of 32 sequences, SGD with momentum 0.9. Norms are
those of the gradient before clipping. A training is broken when its loss is not finite any more or ends, as a mean over
its last ten steps, above 1.17, what always to answer 0 gives. Always to answer 1 gives 0.167.
"""

import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import arguments
import torch
import writing
from arguments import whole_number
from matplotlib.figure import Figure
from tasks import ADDING, Reader, spread
from torch import nn
from writing import Row

CELLS = ("RNN", "LSTM, forget bias 1")
CLIPPING = {"none": {}, "norm 1": {"norm": 1.0}, "value 0.1": {"value": 0.1}}
RATES = (0.01, 0.1, 1.0)
BROKEN, GUESSED = 1.17, 0.167


class Trial(NamedTuple):
    """A training to watch."""

    cell: str
    rate: float
    clipping: str
    seed: int
    lag: int
    steps: int


Arm = tuple[str, float, str]
"""A cell, a rate and a clipping."""


class Course(NamedTuple):
    """The norm and the loss of each step, as far as they are finite."""

    norms: list[float]
    losses: list[float]
    finite: bool

    @property
    def end(self) -> float:
        """The mean loss of the last ten steps."""
        return statistics.fmean(self.losses[-10:]) if self.losses else math.inf

    @property
    def broken(self) -> bool:
        """Whether the training came to nothing."""
        return not self.finite or self.end > BROKEN


def trained(trial: Trial) -> Course:
    """Returns the course of a training, which ends where it is not finite any more."""
    random = torch.Generator().manual_seed(trial.seed)
    torch.manual_seed(trial.seed)
    reader = Reader(ADDING, trial.cell)
    optimizer = torch.optim.SGD(reader.parameters(), lr=trial.rate, momentum=0.9)
    limits, course = CLIPPING[trial.clipping], Course([], [], finite=True)
    for _ in range(trial.steps):
        inputs, gold = ADDING.draw(trial.lag, random)
        loss = ADDING.loss(reader(inputs), gold)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.get_total_norm([weight.grad for weight in reader.parameters() if weight.grad is not None])
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            return course._replace(finite=False)
        course.norms.append(norm.item())
        course.losses.append(loss.item())
        if "norm" in limits:
            nn.utils.clip_grad_norm_(reader.parameters(), limits["norm"])
        if "value" in limits:
            nn.utils.clip_grad_value_(reader.parameters(), limits["value"])
        optimizer.step()
    return course


def main() -> None:
    parser = arguments.parser(__doc__)
    parser.add_argument("--lag", type=whole_number(1), default=200)
    parser.add_argument("--seeds", type=whole_number(1), default=3)
    parser.add_argument("--steps", type=whole_number(10), default=200)
    options = parser.parse_args()
    began, seeds = time.monotonic(), range(1, options.seeds + 1)
    trials = [
        Trial(cell, rate, clipping, seed, options.lag, options.steps)
        for cell in CELLS
        for rate in RATES
        for clipping in CLIPPING
        for seed in seeds
    ]
    found = dict(zip(trials, spread(trained, trials), strict=True))
    grouped: dict[Arm, list[Course]] = {}
    for trial, course in found.items():
        grouped.setdefault(trial[:3], []).append(course)
    writing.write(
        "clipping",
        options.out,
        tables={f"The adding problem over {options.lag + 1} tokens, {options.steps} steps": table(grouped)},
        figure=picture({trial: course for trial, course in found.items() if trial.seed == seeds[0]}),
        verdict=verdict(grouped),
        seconds=time.monotonic() - began,
        trials=[
            {**trial._asdict(), "broken": course.broken, "norms": [float(f"{norm:.3g}") for norm in course.norms]}
            for trial, course in found.items()
            if trial.seed == seeds[0]
        ],
    )


def table(grouped: Mapping[Arm, Sequence[Course]]) -> list[Row]:
    """Returns a row for each cell, rate and clipping, over its seeds."""
    return [
        {
            "cell": cell,
            "rate": rate,
            "clipping": clipping,
            "broken": f"{sum(course.broken for course in courses)} of {len(courses)}",
            "median norm": middle(norm for course in courses for norm in course.norms),
            "largest norm": max((norm for course in courses for norm in course.norms), default=None),
            "loss at the end": middle(course.end for course in courses if not course.broken),
        }
        for (cell, rate, clipping), courses in grouped.items()
    ]


def middle(values: Iterable[float]) -> float | None:
    """Returns the median, None if there are no values."""
    found = list(values)
    return statistics.median(found) if found else None


def verdict(grouped: Mapping[Arm, Sequence[Course]]) -> str:
    """Returns how many trainings broke with and without clipping, and whether any learned."""
    parts = []
    for cell in CELLS:
        said = []
        for clipping in CLIPPING:
            courses = [course for arm, found in grouped.items() if arm[::2] == (cell, clipping) for course in found]
            how = "without clipping" if clipping == "none" else f"clipped by {clipping}"
            said.append(f"{sum(course.broken for course in courses)} of {len(courses)} {how}")
        parts.append(f"of the {cell}: {', '.join(said)}")
    ends = [course.end for courses in grouped.values() for course in courses if not course.broken]
    if ends:
        parts.append(f"the best of the others came down to {min(ends):.3f}, where always to answer 1 gives {GUESSED}")
    return f"Trainings that broke, {'; '.join(parts)}."


def picture(found: dict[Trial, Course]) -> Figure:
    """Draws the norms of one seed's trainings."""
    figure = Figure(figsize=(4 * len(RATES), 3 * len(CELLS)), layout="constrained")
    for row, cell in enumerate(CELLS):
        for column, rate in enumerate(RATES):
            axes = figure.add_subplot(len(CELLS), len(RATES), row * len(RATES) + column + 1)
            for trial, course in found.items():
                if (trial.cell, trial.rate) == (cell, rate):
                    line = axes.plot(range(1, len(course.norms) + 1), course.norms, linewidth=0.8, label=trial.clipping)
                    if course.broken and course.norms:
                        axes.plot(len(course.norms), course.norms[-1], "x", color=line[0].get_color())
            axes.set_yscale("log")
            axes.set_title(f"{cell}, rate {rate}: gradient norm by step", fontsize=8)
            axes.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
