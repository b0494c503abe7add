"""How the gradient of the last output fades over the inputs before it: by cell, by path, at the start and trained.

    python scripts/studies/gradient_flow.py --out DIR [--lag 200] [--steps 300]

A layer of 32 units in one direction reads sequences of the recall task of `tasks.py`; it is looked at as it is drawn,
and after training on recall at a lag of 50. The norm at k is that of the Jacobian of the last state with respect to the
input k steps before: a root mean square over 32 sequences, each with a random combination of the state's numbers, by
that of the RNN at the last input. The whole is the norm of the gradient of the input weights, by that of the RNN at the
start, and the far share what inputs 50 and more steps before add to it, norm by norm. All of it in float64.

Of an LSTM the memory path leads through additions and products of the cell state alone, its gates and candidates taken
as given; the rest is all other paths. In the last row the forget gates of one are closed on purpose, 30 steps before
the end.
"""

import argparse
import os
import time
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
import writing
from matplotlib.figure import Figure
from tasks import CELLS, RECALL, WIDTH, Reader, spread, steps, whole
from torch import Tensor
from torch.nn import functional as F
from writing import Row

from tagger.nn import cells
from tagger.nn.encoder import RecurrentLayer

TRAINED_AT, FAR, CLOSED_AT = 50, 50, 30
CLOSED = "LSTM, forget bias 3, closed at 30"
STAGES = ("at the start", "trained")
FLOOR = 1e-20  # what is less is drawn there


class Flow(NamedTuple):
    """What flows back in a cell: norms by steps before the end, from 0, by path; the whole and its far share."""

    total: list[float]
    memory: list[float]
    rest: list[float]
    whole: float
    far: float


def flows(given: tuple[str, int, int]) -> dict[tuple[str, str], Flow]:
    """Returns what flows in a cell, by its name and the stage, over so many steps, after so many of training."""
    name, lag, limit = given
    torch.manual_seed(1)
    reader, random = Reader(RECALL, name), torch.Generator().manual_seed(1)
    inputs, _ = RECALL.draw(lag, torch.Generator().manual_seed(7))
    start, late = STAGES
    found = {(name, start): flow(reader.layer, inputs)}
    if name == CLOSED.removesuffix(", closed at 30"):
        reset = F.one_hot(torch.tensor(lag - CLOSED_AT), lag + 1).float()[None, :, None].expand(len(inputs), -1, 1)
        found[CLOSED, start] = flow(closing(reader.layer), torch.cat([inputs, reset], 2))
    for _ in steps(RECALL, reader, TRAINED_AT, random, limit):
        pass
    return found | {(name, late): flow(reader.layer, inputs)}


def flow(layer: RecurrentLayer, inputs: Tensor) -> Flow:
    """Returns what flows back over inputs (B, T, D)."""
    layer, inputs = deepcopy(layer).double(), inputs.double().requires_grad_()
    combination = torch.randn(len(inputs), WIDTH, generator=torch.Generator().manual_seed(8)).double()
    every, memory = (cells.trace(layer, inputs, whole(inputs), memory_alone=alone)[0] for alone in (False, True))
    of_inputs, of_given = torch.autograd.grad((every.states[:, -1] * combination).sum(), [inputs, every.given])
    (of_memory,) = torch.autograd.grad((memory.states[:, -1] * combination).sum(), inputs)
    added = torch.einsum("btg,btd->tgd", of_given, inputs.detach())  # by each step to the gradient of the weights
    far, all_ = added[: len(added) - FAR].sum(0).norm().item(), added.sum(0).norm().item()
    return Flow(*(_norms(part) for part in (of_inputs, of_memory, of_inputs - of_memory)), whole=all_, far=far / all_)


def _norms(gradient: Tensor) -> list[float]:
    """Returns the root mean square over sequences of the norm of (B, T, D) at each step, the last first."""
    gradient = gradient[:, :, : RECALL.inputs]  # without what closes gates
    return gradient.norm(dim=2).square().mean(0).sqrt().flip(0).tolist()  # type: ignore[no-any-return]


def closing(layer: RecurrentLayer) -> RecurrentLayer:
    """Returns an LSTM that reads one number more, by which its forget gates are closed."""
    assert layer.forward_cell is not None
    wider = RecurrentLayer(layer.forward_cell.input_size + 1, WIDTH, directions=1)
    assert wider.forward_cell is not None
    with torch.no_grad():
        for name, weight in layer.forward_cell.named_parameters():
            padded = F.pad(weight, (0, 1)) if name == "weight_ih_l0" else weight
            wider.forward_cell.get_parameter(name).copy_(padded)
        wider.forward_cell.weight_ih_l0[WIDTH : 2 * WIDTH, -1] = -30.0
    return wider


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--lag", type=int, default=200, help="steps to look back, 50 or more")
    parser.add_argument("--steps", type=int, default=300, help="of training")
    options = parser.parse_args()
    began = time.monotonic()
    given = [(name, options.lag, options.steps) for name in CELLS]
    found = {key: each for part in spread(flows, given, os.cpu_count() or 1) for key, each in part.items()}
    shown = [lag for lag in (0, 10, 50, 100, 200) if lag <= options.lag]
    unit, *_, whole_, _ = found["RNN", STAGES[0]]
    found = {
        key: Flow(*([norm / unit[0] for norm in part] for part in each[:3]), each.whole / whole_, each.far)
        for key, each in found.items()
    }
    totals: list[Row] = [
        {"cell": name, "when": stage, **{f"k = {lag}": each.total[lag] for lag in shown}}
        | {"whole": each.whole, "far share": each.far}
        for (name, stage), each in found.items()
    ]
    paths: list[Row] = [
        {"cell": name, "when": stage, "path": path, **{f"k = {lag}": getattr(each, path)[lag] for lag in shown}}
        for (name, stage), each in found.items()
        if name.startswith("LSTM")
        for path in ("memory", "rest")
    ]
    writing.write(
        "gradient_flow",
        options.out,
        tables={"Norm of the gradient k steps before the end": totals, "LSTMs by path": paths},
        figure=picture(found),
        verdict=verdict(found, shown[2]),
        seconds=time.monotonic() - began,
        flows=[
            {"cell": name, "when": stage} | {key: _short(value) for key, value in each._asdict().items()}
            for (name, stage), each in found.items()
        ],
    )


def _short(value: Any) -> Any:
    """Returns numbers to three digits."""
    return [_short(each) for each in value] if isinstance(value, list) else float(f"{value:.3g}")


def verdict(found: dict[tuple[str, str], Flow], lag: int) -> str:
    """Returns what becomes of the textbooks' claims at a lag."""
    start, late = STAGES
    rnn, cut = found["RNN", late], found[CLOSED, start]
    kept = {bias: found[f"LSTM, forget bias {bias}", late].memory for bias in (1, 3)}
    rest = found["LSTM, forget bias 3", late].rest
    return (
        f"The gradient of a trained RNN is {rnn.whole:.2f} of what it was at the start, so that it has not vanished, "
        f"but inputs {FAR} and more steps back add {rnn.far:.1e} of it; over {lag} steps the memory path of a trained "
        f"LSTM keeps {kept[3][lag] / kept[3][0]:.1e} of its norm with forget bias 3 and "
        f"{kept[1][lag] / kept[1][0]:.1e} with 1, and its other paths carry {rest[lag] / kept[3][lag]:.1f} times what "
        f"the memory carries with 3; forget gates closed on purpose leave {cut.memory[lag]:.1e} to the memory path "
        f"but {cut.rest[lag]:.1e} to the others, which lead round it."
    )


def picture(found: dict[tuple[str, str], Flow]) -> Figure:
    """Draws norms by steps before the end: in all, and of LSTMs by path."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    for column, stage in enumerate(STAGES):
        for row, path in enumerate(("total", "memory")):
            axes = figure.add_subplot(2, 2, 2 * row + column + 1)
            drawn = [(name, each) for (name, its), each in found.items() if its == stage]
            if path == "memory":
                drawn = [(name, each) for name, each in drawn if name.startswith("LSTM")]
            for name, each in drawn:
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
