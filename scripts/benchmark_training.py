"""Measures an epoch of training, its parts, and the floor: the matrix products of the encoder's layers alone.

    python scripts/benchmark_training.py RECIPE --data DIR [--vectors TABLE]... [--rounds 5] [--steps 100] [--json FILE]

The benchmark trains RECIPE for `--rounds` rounds of `--steps` steps; the other options are those of `tagger train`.
Before each round, it measures the floor: the matrix products of each token with the input and recurrent weights of each
direction, and their gradients at twice the cost. Their speed is the best of all ways to multiply matrices of these
shapes on all cores (see benchmark_tagging.py). Values are seconds per epoch, medians over the rounds, without the
evaluation and saving at the end of an epoch.

    batch        waiting for the next batch of tensors
    embedding    word vectors, character features and dropout, forward and backward, with lazy updates of rows
    encoder      forward and backward
    projection   projection to tags and dropout, forward and backward
    crf          loss and gradients of the CRF
    clip         collecting and clipping gradients
    update       optimizer and moving average
    rest         everything else
    epoch        the sum of all parts
    floor        the matrix products alone

The last line shows the peak of resident memory.
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
from benchmark_systems import Process, count_cores, fastest_products
from torch import Tensor, nn

from tagger import config
from tagger.device import seed_generators, select_device
from tagger.model import TaggerModel, build_model, read_tables
from tagger.signals import StopRequest
from tagger.training import corpora, optimizers
from tagger.training.events import EpochEnd, StepEnd
from tagger.training.loop import Loop
from tagger.training.ranks import Ranks
from tagger.training.transformer_providers import open_hidden_state_cache
from tagger.training.update import StepBatch
from tagger.transformer import library

WARM_UP = 20  # steps
PARTS = ("batch", "embedding", "encoder", "projection", "crf", "clip", "update")


class MeasuringDone(Exception):  # noqa: N818  # not an error
    """Ends the training when all rounds are measured."""


class PartTimer:
    """Adds the time since the last part of a step to the part that ends, in the forward and in the backward pass."""

    def __init__(self, loop: Loop) -> None:
        self.seconds: Counter[str] = Counter()
        self._device, self._last = loop.device, 0.0
        network, self._loss = loop.model.network, loop.model.network.head.loss
        network.dropout_in.register_forward_hook(lambda *_: self.end("embedding"))
        network.encoder.register_forward_hook(lambda *_: self.end("encoder"))
        network.encoder.register_full_backward_pre_hook(lambda *_: self.end("projection"))
        network.encoder.register_full_backward_hook(lambda *_: self.end("encoder"))
        network.head.loss = self.loss
        self._end_before(loop.updater.scaler, "unscale_", "embedding")
        self._end_after(optimizers, "clip_gradients", "clip")

    def start(self) -> None:
        """Starts a step."""
        self._last = self._now()

    def end(self, part: str) -> None:
        """Ends a part: adds the time since the last end to it."""
        now = self._now()
        self.seconds[part] += now - self._last
        self._last = now

    def skip(self) -> float:
        """Leaves out the time since the last end and returns it, in seconds."""
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

    def _end_after(self, owner: Any, name: str, part: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any) -> Any:
            result = function(*arguments)
            self.end(part)
            return result

        setattr(owner, name, timed)

    def _end_before(self, owner: Any, name: str, part: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any) -> Any:
            self.end(part)
            return function(*arguments)

        setattr(owner, name, timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--device", default="auto", help="Device [auto].")
    parser.add_argument("--json", type=Path, help="Write the rows as JSON.")
    options = parser.parse_args()
    settings, data = read_corpora(options)
    device = select_device(options.device)
    with seed_generators(settings.training.seed, device), tempfile.TemporaryDirectory() as run:
        model = build(settings, data)
        rows = measure_epoch(settings, model, data, Path(run), device, options.rounds, options.steps)
    for row in rows:
        print("{part:10} {seconds:8.2f} s  {fraction:6.1%}".format(**row))
    times = {row["part"]: row["seconds"] for row in rows}
    if "floor" in times:
        print(f"an epoch takes {times['epoch'] / times['floor']:.2f} times the floor")
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {size:,.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the trainings that are measured."""
    parser.add_argument("recipe", help="Recipe name or YAML file.")
    parser.add_argument("--data", type=Path, required=True, help="Directory of the corpus.")
    parser.add_argument("--vectors", type=Path, action="append", default=[], help="Table of word vectors (repeatable).")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="Override a setting."
    )
    parser.add_argument("--rounds", type=int, default=5, help="Number of rounds [5].")
    parser.add_argument("--steps", type=int, default=100, help="Number of steps in a round [100].")


def read_corpora(options: argparse.Namespace) -> tuple[config.Config, corpora.Corpora]:
    """Returns the recipe that the options name, and its data."""
    settings = config.load(options.recipe, overrides=options.overrides)
    parts: dict[str, Path | None] = dict.fromkeys(("train", "dev", "test"))
    settings = corpora.with_paths(settings, folder=options.data, parts=parts, vectors=options.vectors)
    return settings, corpora.load(settings)


def build(settings: config.Config, data: corpora.Corpora) -> TaggerModel:
    """Returns the model of a recipe before training."""
    tables, chosen = read_tables(settings, data.train.sentences), settings.model.transformer
    transformer = library.load(chosen.name, chosen.revision) if chosen.name else None
    resolved = corpora.with_resolved_columns(settings, data.train)
    return build_model(resolved, data.train.sentences, tables, transformer=transformer)


def measure_epoch(
    settings: config.Config,
    model: TaggerModel,
    data: corpora.Corpora,
    run: Path,
    device: torch.device,
    rounds: int,
    steps: int,
) -> list[dict[str, Any]]:
    """Returns the rows: seconds of an epoch and of its parts, and each as a fraction of the epoch."""
    times: dict[str, list[float]] = {name: [] for name in (*PARTS, "rest", "epoch", "floor")}
    count, tokens, start = 0, sum(map(len, data.train.sentences)), 0.0

    def callback(event: object) -> None:
        nonlocal count, start
        if isinstance(event, EpochEnd):
            start += timer.skip()
        if not isinstance(event, StepEnd):
            return
        count += 1
        step = count - WARM_UP
        if step > 0 and step % steps == 0:
            epoch = (time.perf_counter() - start) / steps * event.steps
            seconds = {name: timer.seconds[name] / steps * event.steps for name in PARTS}
            seconds |= {"epoch": epoch, "rest": epoch - sum(seconds.values())}
            for name, value in seconds.items():
                times[name].append(value)
        if step == rounds * steps:
            raise MeasuringDone
        if step >= 0 and step % steps == 0:
            if workers:
                times["floor"].append(
                    3 * tokens / fastest_products(workers, product_shapes(model.network.encoder))["value"]
                )
            timer.seconds.clear()
            start = time.perf_counter()
        timer.start()

    stack = contextlib.ExitStack()
    cache = stack.enter_context(open_hidden_state_cache(settings))
    loop = Loop(settings, model, data, run, Ranks(device), callback, cache)
    timer = PartTimer(loop)
    update = loop.updater.update

    def timed(batch: StepBatch, factor: float) -> Any:
        timer.end("batch")
        result = update(batch, factor)
        timer.end("update")
        return result

    loop.updater.update = timed
    log = run / "floor.log"
    cores = count_cores() if device.type == "cpu" else 0
    workers = [Process(sys.executable, "products", log=log, one_thread=True) for _ in range(cores)]
    try:
        with contextlib.suppress(MeasuringDone), StopRequest() as stop:
            loop.run(stop)
    finally:
        stack.close()
        for worker in workers:
            worker.close()
    if not times["epoch"]:
        raise SystemExit(f"the training ended after {count} steps, before the first round was complete; lower --steps")
    medians = {name: statistics.median(values) for name, values in times.items() if values}
    return [
        {"part": name, "seconds": seconds, "fraction": seconds / medians["epoch"]} for name, seconds in medians.items()
    ]


def product_shapes(encoder: nn.Module) -> list[tuple[int, int]]:
    """Returns, for each direction of each layer, the shape of the input and recurrent weights together."""
    cells = [module for module in encoder.modules() if isinstance(module, nn.RNNBase)]
    return [(cell.input_size + cell.hidden_size, len(cell.weight_hh_l0)) for cell in cells]


if __name__ == "__main__":
    main()
