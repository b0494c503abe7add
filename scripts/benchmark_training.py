"""Measures an epoch of training, what its parts take, and the floor: the products of the encoder's layers alone.

    python scripts/benchmark_training.py RECIPE --data DIR [--vectors TABLE]... [--rounds 5] [--steps 100] [--json FILE]

RECIPE is trained for some rounds of steps; the other options are those of `tagger train`. Before each round comes the
floor: the products of every token with each direction's input and state weights and, twice as many, their gradients, at
the best rate that those shapes reach on all processors (as in benchmark_tagging.py). Seconds are those of an epoch,
medians over the rounds; development and saving at its end are left out.

    batch        words to tensors, as far as the step waits for it
    embedding    vectors and characters of words and dropout, forward and back; word vectors brought up to date before
    encoder      forward and back
    projection   and dropout, forward and back
    crf          its loss and gradients
    clip         gradients gathered and clipped
    update       optimiser and moving average
    rest         what is none of these
    epoch        all of it
    floor        the products alone

The largest size of the process in memory is printed last.
"""

import argparse
import contextlib
import json
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmark_tagging import Child, floor, processors
from torch import Tensor, nn

from tagger import config
from tagger.data.batching import Batch
from tagger.device import seed_generators, select_device
from tagger.model import TaggerModel, build_model, read_tables
from tagger.signals import StopRequest
from tagger.training import corpora, optimizers
from tagger.training.events import EpochEnd, StepEnd
from tagger.training.loop import Loop

WARM_UP = 20  # steps
PARTS = ("batch", "embedding", "encoder", "projection", "crf", "clip", "update")


class Enough(Exception):  # noqa: N818  # no fault
    """The rounds to measure are done."""


class Laps:
    """Gives the time since the last lap to a part of a step: of its forward pass, then of the way back."""

    def __init__(self, loop: Loop) -> None:
        self.seconds: Counter[str] = Counter()
        self._device, self._last = loop.device, 0.0
        network, self._loss = loop.network, loop.network.head.loss
        network.dropout_in.register_forward_hook(lambda *_: self.end("embedding"))
        network.encoder.register_forward_hook(lambda *_: self.end("encoder"))
        network.encoder.register_full_backward_pre_hook(lambda *_: self.end("projection"))
        network.encoder.register_full_backward_hook(lambda *_: self.end("encoder"))
        network.head.loss = self.loss
        self._before(loop.scaler, "unscale_", "embedding")
        self._after(optimizers, "clip", "clip")

    def begin(self) -> None:
        """Begins a step."""
        self._last = self._now()

    def end(self, part: str) -> None:
        """Ends a lap of a part."""
        now = self._now()
        self.seconds[part] += now - self._last
        self._last = now

    def skip(self) -> float:
        """Leaves out the time since the last lap; returns it, in seconds."""
        before, self._last = self._last, self._now()
        return self._last - before

    def loss(self, emissions: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
        """Returns the loss of the head."""
        self.end("projection")
        emissions.register_hook(lambda _: self.end("crf"))
        loss = self._loss(emissions, gold, lengths)
        self.end("crf")
        return loss

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _after(self, owner: Any, name: str, part: str) -> None:
        act: Callable[..., Any] = getattr(owner, name)

        def timed(*given: Any) -> Any:
            done = act(*given)
            self.end(part)
            return done

        setattr(owner, name, timed)

    def _before(self, owner: Any, name: str, part: str) -> None:
        act: Callable[..., Any] = getattr(owner, name)

        def timed(*given: Any) -> Any:
            self.end(part)
            return act(*given)

        setattr(owner, name, timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True, help="directory of the corpus")
    parser.add_argument("--vectors", type=Path, action="append", default=[])
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="steps of a round")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    settings = config.load(options.recipe, overrides=options.overrides)
    parts: dict[str, Path | None] = dict.fromkeys(("train", "dev", "test"))
    settings = corpora.with_paths(settings, folder=options.data, parts=parts, vectors=options.vectors)
    device = select_device(options.device)
    data = corpora.load(settings)
    tables = read_tables(settings, data.train.sentences)
    with seed_generators(settings.training.seed, device), tempfile.TemporaryDirectory() as run:
        model = build_model(corpora.numbered(settings, data.train), data.train.sentences, tables)
        rows = measured(settings, model, data, Path(run), device, options.rounds, options.steps)
    for row in rows:
        print("{part:10} {seconds:8.2f} s  {share:6.1%}".format(**row))
    times = {row["part"]: row["seconds"] for row in rows}
    if "floor" in times:
        print(f"an epoch takes {times['epoch'] / times['floor']:.2f} times the floor")
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory: at most {size:,.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measured(
    settings: config.Config,
    model: TaggerModel,
    data: corpora.Corpora,
    run: Path,
    device: torch.device,
    rounds: int,
    steps: int,
) -> list[dict[str, Any]]:
    """Returns the rows: seconds of an epoch and, of each part, its share of them."""
    times: dict[str, list[float]] = {name: [] for name in (*PARTS, "rest", "epoch", "floor")}
    count, tokens, begun = 0, sum(map(len, data.train.sentences)), 0.0

    def callback(event: object) -> None:
        nonlocal count, begun
        if isinstance(event, EpochEnd):
            begun += laps.skip()
        if not isinstance(event, StepEnd):
            return
        count += 1
        of_round = count - WARM_UP
        if of_round > 0 and of_round % steps == 0:
            epoch = (time.perf_counter() - begun) / steps * event.steps
            found = {name: laps.seconds[name] / steps * event.steps for name in PARTS}
            found |= {"epoch": epoch, "rest": epoch - sum(found.values())}
            for name, seconds in found.items():
                times[name].append(seconds)
        if of_round == rounds * steps:
            raise Enough
        if of_round >= 0 and of_round % steps == 0:
            if workers:
                times["floor"].append(3 * tokens / floor(workers, shapes(model.network.encoder))["value"])
            laps.seconds.clear()
            begun = time.perf_counter()
        laps.begin()

    loop = Loop(settings, model, data, run, device, callback)
    laps = Laps(loop)
    update = loop._update

    def timed(positions: list[int], batch: Batch) -> Any:
        laps.end("batch")
        done = update(positions, batch)
        laps.end("update")
        return done

    loop._update = timed
    log = run / "floor.log"
    children = processors() if device.type == "cpu" else 0
    workers = [Child(sys.executable, "floor", log=log, one_thread=True) for _ in range(children)]
    try:
        with contextlib.suppress(Enough), StopRequest() as stop:
            loop.run(stop)
    finally:
        for worker in workers:
            worker.close()
    if not times["epoch"]:
        raise SystemExit(f"the training ended after {count} steps, before a round was full; ask for fewer with --steps")
    medians = {name: statistics.median(found) for name, found in times.items() if found}
    return [
        {"part": name, "seconds": seconds, "share": seconds / medians["epoch"]} for name, seconds in medians.items()
    ]


def shapes(encoder: nn.Module) -> list[tuple[int, int]]:
    """Returns the depth and width of the product that each direction of each layer has with a token."""
    cells = [module for module in encoder.modules() if isinstance(module, nn.RNNBase)]
    return [(cell.input_size + cell.hidden_size, len(cell.weight_hh_l0)) for cell in cells]


if __name__ == "__main__":
    main()
