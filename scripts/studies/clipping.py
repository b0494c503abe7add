"""Gradient explosion on long sequences: an RNN and an LSTM, with clipping by norm, by value and without clipping.

    python scripts/studies/clipping.py --out DIR [--lag 200] [--seeds 3] [--steps 200]

The task is the adding problem. Layers have 32 units in one direction; training uses batches of 32 sequences and SGD
with momentum 0.9. Norms are those of the gradient before clipping. A training counts as failed when its loss or norm is
not finite, or when the mean loss of its last ten steps is above 1.17, the loss of the constant answer 0. The constant
answer 1 has a loss of 0.167.
"""

import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import arguments
import torch
import writing
from arguments import integer_type
from matplotlib.figure import Figure
from tasks import ADDING, TaskNetwork, map_in_processes
from torch import nn
from writing import Row

CELLS = ("RNN", "LSTM, forget bias 1")
CLIPPING = {"none": {}, "norm 1": {"norm": 1.0}, "value 0.1": {"value": 0.1}}
LEARNING_RATES = (0.01, 0.1, 1.0)
FAILURE_LOSS, CONSTANT_LOSS = 1.17, 0.167
LAST_STEPS = 10


class Trial(NamedTuple):
    """A training of one cell."""

    cell: str
    learning_rate: float
    clipping: str
    seed: int
    lag: int
    steps: int


Setting = tuple[str, float, str]
"""A cell, a learning rate and a kind of clipping."""


class Curve(NamedTuple):
    """The gradient norm and the loss of each step, up to the first step at which one is not finite."""

    norms: list[float]
    losses: list[float]
    is_finite: bool

    @property
    def final_loss(self) -> float:
        """The mean loss of the last steps."""
        return statistics.fmean(self.losses[-LAST_STEPS:]) if self.losses else math.inf

    @property
    def is_failed(self) -> bool:
        """Whether the training diverged."""
        return not self.is_finite or self.final_loss > FAILURE_LOSS


def train(trial: Trial) -> Curve:
    """Returns the curve of a training, which ends at the first step that is not finite."""
    random = torch.Generator().manual_seed(trial.seed)
    torch.manual_seed(trial.seed)
    network = TaskNetwork(ADDING, trial.cell)
    optimizer = torch.optim.SGD(network.parameters(), lr=trial.learning_rate, momentum=0.9)
    limits, curve = CLIPPING[trial.clipping], Curve([], [], is_finite=True)
    for _ in range(trial.steps):
        inputs, gold = ADDING.draw(trial.lag, random)
        loss = ADDING.loss(network(inputs), gold)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.get_total_norm([weight.grad for weight in network.parameters() if weight.grad is not None])
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            return curve._replace(is_finite=False)
        curve.norms.append(norm.item())
        curve.losses.append(loss.item())
        if "norm" in limits:
            nn.utils.clip_grad_norm_(network.parameters(), limits["norm"])
        if "value" in limits:
            nn.utils.clip_grad_value_(network.parameters(), limits["value"])
        optimizer.step()
    return curve


def main() -> None:
    parser = arguments.create_parser(__doc__)
    parser.add_argument("--lag", type=integer_type(1), default=200, help="Tokens before the last one [200].")
    parser.add_argument("--seeds", type=integer_type(1), default=3, help="Number of seeds [3].")
    parser.add_argument("--steps", type=integer_type(LAST_STEPS), default=200, help="Number of steps [200].")
    options = parser.parse_args()
    start, seeds = time.monotonic(), range(1, options.seeds + 1)
    trials = [
        Trial(cell, learning_rate, clipping, seed, options.lag, options.steps)
        for cell in CELLS
        for learning_rate in LEARNING_RATES
        for clipping in CLIPPING
        for seed in seeds
    ]
    curves = dict(zip(trials, map_in_processes(train, trials), strict=True))
    by_setting: dict[Setting, list[Curve]] = {}
    for trial, curve in curves.items():
        by_setting.setdefault(trial[:3], []).append(curve)
    first_seed = {trial: curve for trial, curve in curves.items() if trial.seed == seeds[0]}
    writing.write_study(
        "clipping",
        options.out,
        tables={f"The adding problem over {options.lag + 1} tokens, {options.steps} steps": make_table(by_setting)},
        figure=draw(first_seed),
        verdict=make_verdict(by_setting),
        seconds=time.monotonic() - start,
        trials=[
            {**trial._asdict(), "failed": curve.is_failed, "norms": [float(f"{norm:.3g}") for norm in curve.norms]}
            for trial, curve in first_seed.items()
        ],
    )


def make_table(by_setting: Mapping[Setting, Sequence[Curve]]) -> list[Row]:
    """Returns a row for each setting, over its seeds."""
    return [
        {
            "cell": cell,
            "learning rate": learning_rate,
            "clipping": clipping,
            "failed": f"{sum(curve.is_failed for curve in curves)} of {len(curves)}",
            "median norm": compute_median(norm for curve in curves for norm in curve.norms),
            "largest norm": max((norm for curve in curves for norm in curve.norms), default=None),
            "final loss": compute_median(curve.final_loss for curve in curves if not curve.is_failed),
        }
        for (cell, learning_rate, clipping), curves in by_setting.items()
    ]


def compute_median(values: Iterable[float]) -> float | None:
    """Returns the median, None if there are no values."""
    items = list(values)
    return statistics.median(items) if items else None


def make_verdict(by_setting: Mapping[Setting, Sequence[Curve]]) -> str:
    """Returns the number of failed trainings with and without clipping, and the lowest loss of the others."""
    parts = []
    for cell in CELLS:
        counts = []
        for clipping in CLIPPING:
            curves = [curve for key, items in by_setting.items() if key[::2] == (cell, clipping) for curve in items]
            description = "without clipping" if clipping == "none" else f"clipped by {clipping}"
            counts.append(f"{sum(curve.is_failed for curve in curves)} of {len(curves)} {description}")
        parts.append(f"{cell}: {', '.join(counts)}")
    verdict = f"Failed trainings of the {'; of the '.join(parts)}."
    losses = [curve.final_loss for curves in by_setting.values() for curve in curves if not curve.is_failed]
    if losses:
        verdict += f" The lowest final loss is {min(losses):.3f}; the constant answer 1 has a loss of {CONSTANT_LOSS}."
    return verdict


def draw(curves: Mapping[Trial, Curve]) -> Figure:
    """Draws the gradient norms of trainings; a cross marks the last step of a failed one."""
    figure = Figure(figsize=(4 * len(LEARNING_RATES), 3 * len(CELLS)), layout="constrained")
    for row, cell in enumerate(CELLS):
        for column, learning_rate in enumerate(LEARNING_RATES):
            axes = figure.add_subplot(len(CELLS), len(LEARNING_RATES), row * len(LEARNING_RATES) + column + 1)
            for trial, curve in curves.items():
                if (trial.cell, trial.learning_rate) == (cell, learning_rate):
                    steps = range(1, len(curve.norms) + 1)
                    (line,) = axes.plot(steps, curve.norms, linewidth=0.8, label=trial.clipping)
                    if curve.is_failed and curve.norms:
                        axes.plot(len(curve.norms), curve.norms[-1], "x", color=line.get_color())
            axes.set_yscale("log")
            axes.set_title(f"{cell}, learning rate {learning_rate}: gradient norm", fontsize=8)
            axes.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
