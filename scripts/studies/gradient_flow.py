"""The gradient of the last hidden state with respect to earlier inputs: by cell and path, before and after training.

    python scripts/studies/gradient_flow.py --out DIR [--lag 200] [--seeds 3] [--steps 300]

Layers of 32 units in one direction read sequences of the recall task of `tasks.py`. They are measured after random
initialisation, and after `--steps` steps of training on recall with a lag of 10; "accuracy" is that of the last ten of
these steps.

The norm at k is that of the Jacobian of the last state with respect to the input k steps before: a root mean square
over 32 sequences, each with a random combination of the state's units, divided by the norm at k = 0. A hundred tokens
precede the measured steps, since a cell in its initial state passes on more. The last two columns are the norms of the
contributions of the last 10 inputs, and of the inputs 50 and more steps back, to the gradient of the input weights,
divided by the norm of the whole gradient. Contributions can point in opposite directions, so a ratio can exceed 1.
Values are medians over seeds, in float64.

The cell-state path of an LSTM consists of the additions and products of the cell state, with gates and candidates as
constants; all other paths are the difference to the total. CLOSED is an LSTM whose forget gates are set near 0 at 30
steps before the end.
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
from arguments import integer_type
from matplotlib.figure import Figure
from tasks import CELLS, HIDDEN_SIZE, RECALL, TaskNetwork, full_lengths, map_in_processes, train_steps
from torch import Tensor
from torch.nn import functional as F
from writing import Row

from tagger.nn import reference_cells
from tagger.nn.encoder import RecurrentLayer

TRAINING_LAG, NEAR, FAR, CLOSED_AT = 10, 10, 50, 30
OPEN, HALF_OPEN = "LSTM, forget bias 3", "LSTM, forget bias 1"
CLOSED = f"{OPEN}, closed at {CLOSED_AT}"
INITIAL, TRAINED = "initial", "trained"
LEAD = 100  # tokens before the measured steps
TABLE_LAGS = (10, 50, 100, 200)
INPUT_WEIGHT = "weight_ih_l0"  # torch's name
SMALLEST_NORM = 1e-20  # of the plot


class Flow(NamedTuple):
    """The gradient in one cell.

    Attributes:
        total: norms by steps before the end, from 0.
        cell_state: the same through the cell state.
        other_paths: the same through all other paths.
        near: the ratio of the contribution of the last inputs to the gradient of the input weights.
        far: the ratio of the contribution of distant inputs.
        accuracy: of the recall task, None before training.
    """

    total: list[float]
    cell_state: list[float]
    other_paths: list[float]
    near: float
    far: float
    accuracy: float | None = None


class Trial(NamedTuple):
    """A cell to measure over `lag` steps, before and after training."""

    cell: str
    lag: int
    steps: int
    seed: int


Key = tuple[str, str]
"""A cell and a stage, `INITIAL` or `TRAINED`."""
Flows = Mapping[Key, Flow]


def measure(trial: Trial) -> dict[Key, Flow]:
    """Returns the flows of a cell before and after training."""
    cell, lag, limit, seed = trial
    torch.manual_seed(seed)
    network, random = TaskNetwork(RECALL, cell), torch.Generator().manual_seed(seed)
    inputs, _ = RECALL.draw(LEAD + lag, torch.Generator().manual_seed(1000 + seed))
    flows = {(cell, INITIAL): measure_layer(network.layer, inputs)}
    if cell == OPEN:
        closing = torch.zeros(*inputs.shape[:2], 1)
        closing[:, -1 - CLOSED_AT] = 1.0
        flows[CLOSED, INITIAL] = measure_layer(add_closing_input(network.layer), torch.cat([inputs, closing], 2))
    steps = train_steps(RECALL, network, TRAINING_LAG, random, limit)
    last = deque((quality for _, quality in steps), maxlen=10)
    return flows | {(cell, TRAINED): measure_layer(network.layer, inputs)._replace(accuracy=statistics.fmean(last))}


def measure_layer(layer: RecurrentLayer, inputs: Tensor) -> Flow:
    """Returns the flow over inputs (B, T, D), without the first LEAD tokens."""
    layer, inputs = deepcopy(layer).double(), inputs.double().requires_grad_()
    combination = torch.randn(len(inputs), HIDDEN_SIZE, generator=torch.Generator().manual_seed(8)).double()
    lengths = full_lengths(inputs)
    (all_paths,) = reference_cells.trace(layer, inputs, lengths)
    (restricted,) = reference_cells.trace(layer, inputs, lengths, cell_state_only=True)
    input_grad, projection_grad = torch.autograd.grad(
        (all_paths.hidden[:, -1] * combination).sum(), [inputs, all_paths.projections]
    )
    (cell_state_grad,) = torch.autograd.grad((restricted.hidden[:, -1] * combination).sum(), inputs)
    contributions = torch.einsum("btg,btd->tgd", projection_grad, inputs.detach())  # to the weight gradient, by step
    parts = (contributions[-NEAR:], contributions[:-FAR], contributions)
    near, far, whole = (part.sum(0).norm().item() for part in parts)
    norms = torch.stack([_compute_norms(grad) for grad in (input_grad, cell_state_grad, input_grad - cell_state_grad)])
    total, cell_state, other_paths = (norms / norms[0, 0]).tolist()
    return Flow(total, cell_state, other_paths, near=near / whole, far=far / whole)


def _compute_norms(gradient: Tensor) -> Tensor:
    """Returns the root mean square over sequences of the norm of (B, T, D) at each step after LEAD, the last first."""
    gradient = gradient[:, LEAD:, : RECALL.input_size]  # without the input that closes the gates
    norms: Tensor = gradient.norm(dim=2).square().mean(0).sqrt().flip(0)
    return norms


def add_closing_input(layer: RecurrentLayer) -> RecurrentLayer:
    """Returns a copy of an LSTM with an additional input that closes its forget gates."""
    (cell,) = layer.cells
    extended = RecurrentLayer(cell.input_size + 1, HIDDEN_SIZE, direction="forward")
    (copy,) = extended.cells
    with torch.no_grad():
        for name, weight in cell.named_parameters():
            copy.get_parameter(name).copy_(F.pad(weight, (0, 1)) if name == INPUT_WEIGHT else weight)
        copy.get_parameter(INPUT_WEIGHT)[HIDDEN_SIZE : 2 * HIDDEN_SIZE, -1] = -30.0
    return extended


def compute_medians(flows_by_trial: Sequence[Flows]) -> dict[Key, Flow]:
    """Returns the medians over all trials of the same cell and stage."""
    by_key: dict[Key, list[Flow]] = {}
    for flows in flows_by_trial:
        for key, flow in flows.items():
            by_key.setdefault(key, []).append(flow)
    return {key: Flow(*map(_compute_median, zip(*flows, strict=True))) for key, flows in by_key.items()}


def _compute_median(values: Sequence[Any]) -> Any:
    """Returns the median of numbers, or the elementwise median of lists; None for None."""
    if isinstance(values[0], list):
        return [statistics.median(column) for column in zip(*values, strict=True)]
    return None if values[0] is None else statistics.median(values)


def main() -> None:
    parser = arguments.create_parser(__doc__)
    parser.add_argument("--lag", type=integer_type(FAR), default=200, help=f"Measured steps, at least {FAR} [200].")
    parser.add_argument("--seeds", type=integer_type(1), default=3, help="Number of seeds [3].")
    parser.add_argument("--steps", type=integer_type(10), default=300, help="Training steps [300].")
    options = parser.parse_args()
    start = time.monotonic()
    trials = [Trial(cell, options.lag, options.steps, seed) for cell in CELLS for seed in range(1, options.seeds + 1)]
    flows = compute_medians(map_in_processes(measure, trials))
    lags = [lag for lag in TABLE_LAGS if lag <= options.lag]
    writing.write_study(
        "gradient_flow",
        options.out,
        tables={
            "Norm of the gradient k steps before the end": list_totals(flows, lags),
            "LSTMs by path, relative to the norm of all paths at k = 0": list_paths(flows, lags),
        },
        figure=draw(flows),
        verdict=make_verdict(flows, options.lag),
        seconds=time.monotonic() - start,
        flows=[
            {"cell": cell, "stage": stage} | {key: _round(value) for key, value in flow._asdict().items()}
            for (cell, stage), flow in flows.items()
        ],
    )


def list_totals(flows: Flows, lags: Sequence[int]) -> list[Row]:
    """Returns a row for each cell and stage."""
    return [
        {"cell": cell, "stage": stage, "accuracy": flow.accuracy, **{f"k = {lag}": flow.total[lag] for lag in lags}}
        | {f"last {NEAR} / all": flow.near, f"{FAR} and more / all": flow.far}
        for (cell, stage), flow in flows.items()
    ]


def list_paths(flows: Flows, lags: Sequence[int]) -> list[Row]:
    """Returns a row for each LSTM, stage and path."""
    return [
        {"cell": cell, "stage": stage, "path": path, **{f"k = {lag}": norms[lag] for lag in lags}}
        for (cell, stage), flow in flows.items()
        if cell.startswith("LSTM")
        for path, norms in (("cell state", flow.cell_state), ("other", flow.other_paths))
    ]


def _round(value: Any) -> Any:
    """Returns numbers with three significant digits."""
    if isinstance(value, list):
        return [_round(item) for item in value]
    return None if value is None else float(f"{value:.3g}")


def make_verdict(flows: Flows, lag: int) -> str:
    """Returns the figures that confirm or refute the textbook claims."""
    initial, trained, closed = flows["RNN", INITIAL], flows["RNN", TRAINED], flows[CLOSED, INITIAL]
    bias_3, bias_1 = flows[OPEN, INITIAL], flows[HALF_OPEN, INITIAL]
    return (
        f"Inputs {FAR} and more steps back make up {initial.far:.2g} of the gradient of an RNN's weights over "
        f"{lag + LEAD} steps at initialisation, and the last {NEAR} inputs {initial.near:.2g}; after training to "
        f"recall over {TRAINING_LAG} steps with an accuracy of {trained.accuracy:.2f}, {trained.far:.2g} and "
        f"{trained.near:.2g}. Over {lag} steps of an LSTM at initialisation, the cell-state path retains "
        f"{bias_3.cell_state[lag]:.1e} of the norm with forget bias 3 and {bias_1.cell_state[lag]:.1e} with 1; the "
        f"other paths retain {bias_3.other_paths[lag]:.1e} and {bias_1.other_paths[lag]:.1e}. Closed forget gates "
        f"leave {closed.cell_state[lag]:.1e} in the cell-state path and {closed.other_paths[lag]:.1e} in the other "
        f"paths, which bypass them."
    )


def draw(flows: Flows) -> Figure:
    """Draws the norms by steps before the end: in total, and by path for LSTMs."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    for column, stage in enumerate((INITIAL, TRAINED)):
        for row, path in enumerate(("total", "cell_state")):
            axes = figure.add_subplot(2, 2, 2 * row + column + 1)
            for (cell, flow_stage), flow in flows.items():
                if flow_stage != stage or (path == "cell_state" and not cell.startswith("LSTM")):
                    continue
                style: dict[str, Any] = {"linewidth": 1, "color": f"C{[*CELLS, CLOSED].index(cell)}"}
                axes.plot([max(norm, SMALLEST_NORM) for norm in getattr(flow, path)], label=cell, **style)
                if path == "cell_state":
                    axes.plot([max(norm, SMALLEST_NORM) for norm in flow.other_paths], "--", **style)
            axes.set_yscale("log")
            axes.set_xlabel("steps before the end", fontsize=8)
            subject = "gradient" if path == "total" else "through the cell state (line) and other paths (dashed)"
            axes.set_title(f"{stage}: {subject}", fontsize=9)
            axes.legend(fontsize=7)
            axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    main()
