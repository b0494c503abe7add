"""How the gradient of the last output fades over the inputs before it: by cell, by path, at the start and trained.

    python scripts/studies/gradient_flow.py --out DIR [--lag 200] [--seeds 3] [--steps 300]

A layer of 32 units in one direction reads sequences of the recall task of `tasks.py`. It is looked at as it is drawn,
and after so many steps of training on recall at a lag of 10; the accuracy is that of the last ten of these. The norm at
k is that of the Jacobian of the last state with respect to the input k steps before: a root mean square over 32
sequences, each with a random combination of the state's numbers, by that at k = 0. A hundred tokens are read before:
at its beginning a cell is empty and passes on more. The last two columns are the norms of what the last 10 inputs, and
those 50 and more steps back, add to the gradient of the input weights, by the norm of it all; as they may point against
each other, they can be above 1. Each is the median over seeds, in float64.

Of an LSTM the memory path leads through additions and products of the cell state alone, its gates and candidates taken
as given; the rest is all other paths. CLOSED is such an LSTM whose forget gates are closed on purpose 30 steps before
the end.
"""

import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import arguments
import torch
import writing
from arguments import whole_number
from matplotlib.figure import Figure
from tasks import CELLS, RECALL, WIDTH, Reader, spread, steps, whole
from torch import Tensor
from torch.nn import functional as F
from writing import Row

from tagger.nn import reference_cells
from tagger.nn.encoder import RecurrentLayer

TRAINED_AT, NEAR, FAR, CLOSED_AT = 10, 10, 50, 30
OPEN, HALF_OPEN = "LSTM, forget bias 3", "LSTM, forget bias 1"
CLOSED = f"{OPEN}, closed at {CLOSED_AT}"
START, TRAINED = "at the start", "trained"
LEAD = 100  # tokens read before: at its beginning a cell is empty and passes on more
SHOWN = (10, 50, 100, 200)
WEIGHT = "weight_ih_l0"  # of the inputs, as torch calls it
FLOOR = 1e-20  # what is less is drawn there


class Flow(NamedTuple):
    """What flows back in a cell: norms by steps before the end, from 0, in all and by path; shares; accuracy."""

    total: list[float]
    memory: list[float]
    rest: list[float]
    near: float
    far: float
    accuracy: float | None = None


Key = tuple[str, str]
"""A cell, and whether it is at the start or trained."""


def flows(given: tuple[str, int, int, int]) -> dict[Key, Flow]:
    """Returns what flows in a cell, by its name, over so many steps, after so many of training, by a seed."""
    name, lag, limit, seed = given
    torch.manual_seed(seed)
    reader, random = Reader(RECALL, name), torch.Generator().manual_seed(seed)
    inputs, _ = RECALL.draw(LEAD + lag, torch.Generator().manual_seed(1000 + seed))
    found = {(name, START): flow(reader.layer, inputs)}
    if name == OPEN:
        closing = torch.zeros(*inputs.shape[:2], 1)
        closing[:, -1 - CLOSED_AT] = 1.0
        found[CLOSED, START] = flow(closable(reader.layer), torch.cat([inputs, closing], 2))
    last = deque((quality for _, quality in steps(RECALL, reader, TRAINED_AT, random, limit)), maxlen=10)
    return found | {(name, TRAINED): flow(reader.layer, inputs)._replace(accuracy=statistics.fmean(last))}


def flow(layer: RecurrentLayer, inputs: Tensor) -> Flow:
    """Returns what flows back over inputs (B, T, D), the first LEAD of which are only read."""
    layer, inputs = deepcopy(layer).double(), inputs.double().requires_grad_()
    combination = torch.randn(len(inputs), WIDTH, generator=torch.Generator().manual_seed(8)).double()
    every, memory = (
        reference_cells.trace(layer, inputs, whole(inputs), cell_state_only=alone)[0] for alone in (False, True)
    )
    of_inputs, of_given = torch.autograd.grad((every.hidden[:, -1] * combination).sum(), [inputs, every.projections])
    (of_memory,) = torch.autograd.grad((memory.hidden[:, -1] * combination).sum(), inputs)
    added = torch.einsum("btg,btd->tgd", of_given, inputs.detach())  # by each step to the gradient of the weights
    near, far, all_ = (part.sum(0).norm().item() for part in (added[-NEAR:], added[:-FAR], added))
    norms = torch.stack([_norms(part) for part in (of_inputs, of_memory, of_inputs - of_memory)])
    total, by_memory, by_rest = (norms / norms[0, 0]).tolist()
    return Flow(total, by_memory, by_rest, near=near / all_, far=far / all_)


def _norms(gradient: Tensor) -> Tensor:
    """Returns the root mean square over sequences of the norm of (B, T, D) at each step after LEAD, the last first."""
    gradient = gradient[:, LEAD:, : RECALL.inputs]  # without what closes gates
    found: Tensor = gradient.norm(dim=2).square().mean(0).sqrt().flip(0)
    return found


def closable(layer: RecurrentLayer) -> RecurrentLayer:
    """Returns an LSTM that reads one number more, by which its forget gates are closed."""
    (cell,) = layer.cells
    wider = RecurrentLayer(cell.input_size + 1, WIDTH, direction="forward")
    (copy,) = wider.cells
    with torch.no_grad():
        for name, weight in cell.named_parameters():
            copy.get_parameter(name).copy_(F.pad(weight, (0, 1)) if name == WEIGHT else weight)
        copy.get_parameter(WEIGHT)[WIDTH : 2 * WIDTH, -1] = -30.0
    return wider


def medians(found: Sequence[dict[Key, Flow]]) -> dict[Key, Flow]:
    """Returns the medians over seeds of what each found, of the same cells or of others."""
    gathered: dict[Key, list[Flow]] = {}
    for of_seed in found:
        for key, each in of_seed.items():
            gathered.setdefault(key, []).append(each)
    return {key: Flow(*map(_median, zip(*each, strict=True))) for key, each in gathered.items()}


def _median(values: Sequence[Any]) -> Any:
    """Returns the median of numbers, or of lists place by place; None for None."""
    if isinstance(values[0], list):
        return [statistics.median(each) for each in zip(*values, strict=True)]
    return None if values[0] is None else statistics.median(values)


def main() -> None:
    parser = arguments.parser(__doc__)
    parser.add_argument("--lag", type=whole_number(FAR), default=200, help=f"steps to look back, at least {FAR}")
    parser.add_argument("--seeds", type=whole_number(1), default=3)
    parser.add_argument("--steps", type=whole_number(10), default=300, help="of training")
    options = parser.parse_args()
    began = time.monotonic()
    given = [(name, options.lag, options.steps, seed) for name in CELLS for seed in range(1, options.seeds + 1)]
    found = medians(spread(flows, given))
    shown = [lag for lag in SHOWN if lag <= options.lag]
    writing.write(
        "gradient_flow",
        options.out,
        tables={
            "Norm of the gradient k steps before the end": totals(found, shown),
            "LSTMs by path, by the norm of all paths at k = 0": paths(found, shown),
        },
        figure=picture(found),
        verdict=verdict(found, options.lag),
        seconds=time.monotonic() - began,
        flows=[
            {"cell": name, "when": when} | {key: _short(value) for key, value in each._asdict().items()}
            for (name, when), each in found.items()
        ],
    )


def totals(found: Mapping[Key, Flow], shown: Sequence[int]) -> list[Row]:
    """Returns a row for each cell and stage."""
    return [
        {"cell": name, "when": when, "accuracy": each.accuracy, **{f"k = {lag}": each.total[lag] for lag in shown}}
        | {f"last {NEAR} of all": each.near, f"from {FAR} of all": each.far}
        for (name, when), each in found.items()
    ]


def paths(found: Mapping[Key, Flow], shown: Sequence[int]) -> list[Row]:
    """Returns a row for each LSTM, stage and path."""
    return [
        {"cell": name, "when": when, "path": path, **{f"k = {lag}": norms[lag] for lag in shown}}
        for (name, when), each in found.items()
        if name.startswith("LSTM")
        for path, norms in (("memory", each.memory), ("rest", each.rest))
    ]


def _short(value: Any) -> Any:
    """Returns numbers to three digits."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    return None if value is None else float(f"{value:.3g}")


def verdict(found: Mapping[Key, Flow], lag: int) -> str:
    """Returns what becomes of the textbooks' claims at a lag."""
    start, trained, cut = found["RNN", START], found["RNN", TRAINED], found[CLOSED, START]
    open_, half_open = found[OPEN, START], found[HALF_OPEN, START]
    return (
        f"Inputs {FAR} and more steps back make {start.far:.2g} of the gradient of an RNN's weights over {lag + LEAD} "
        f"steps at the start and the last {NEAR} inputs {start.near:.2g}, but {trained.far:.2g} and "
        f"{trained.near:.2g} once it recalls over {TRAINED_AT} with an accuracy of {trained.accuracy:.2f}; over {lag} "
        f"steps the memory path of an LSTM at the start keeps {open_.memory[lag]:.1e} of the norm with forget bias 3 "
        f"and {half_open.memory[lag]:.1e} with 1, its other paths {open_.rest[lag]:.1e} and {half_open.rest[lag]:.1e}; "
        f"forget gates closed on purpose leave {cut.memory[lag]:.1e} to the memory path but {cut.rest[lag]:.1e} to the "
        f"others, which lead round it."
    )


def picture(found: Mapping[Key, Flow]) -> Figure:
    """Draws norms by steps before the end: in all, and of LSTMs by path."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    for column, stage in enumerate((START, TRAINED)):
        for row, path in enumerate(("total", "memory")):
            axes = figure.add_subplot(2, 2, 2 * row + column + 1)
            for (name, when), each in found.items():
                if when != stage or (path == "memory" and not name.startswith("LSTM")):
                    continue
                look: dict[str, Any] = {"linewidth": 1, "color": f"C{[*CELLS, CLOSED].index(name)}"}
                axes.plot([max(norm, FLOOR) for norm in getattr(each, path)], label=name, **look)
                if path == "memory":
                    axes.plot([max(norm, FLOOR) for norm in each.rest], "--", **look)
            axes.set_yscale("log")
            axes.set_xlabel("steps before the end", fontsize=8)
            what = "gradient" if path == "total" else "through the memory (line) and other paths (dashes)"
            axes.set_title(f"{stage}: {what}", fontsize=9)
            axes.legend(fontsize=7)
            axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    main()
