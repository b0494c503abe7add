"""Measures what part of a training step the CRF takes, its gradients included.

python scripts/benchmark_training.py RECIPE --data DIR [--vectors TABLE]... [--steps 300] [--json FILE]

RECIPE is trained for some steps; the other options are those of `tagger train`. At each step the CRF runs once more, on
the emissions of that step cut off from the network: its loss, the gradients of the emissions and of its parameters. A
step is the making of the batch, forward, backward, clipping, optimiser and moving average.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from tagger import build, config, runtime
from tagger.training import corpora
from tagger.training.events import StepEnd
from tagger.training.loop import Loop

WARM_UP = 20  # steps


class Enough(Exception):  # noqa: N818  # no fault
    """The steps to measure are done."""


class Clock:
    """Stands for a head's loss, and measures it by the way."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.loss, self.seconds = loop, loop.network.head.loss, 0.0

    def __call__(self, emissions: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
        """Returns the loss of the head."""
        begun = self._now()
        alone = emissions.detach().requires_grad_()
        weights = list(self.loop.network.head.parameters())
        torch.autograd.grad(self.loss(alone, gold, lengths), [alone, *weights])
        self.seconds += self._now() - begun
        return self.loss(emissions, gold, lengths)

    def _now(self) -> float:
        if self.loop.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True, help="directory of the corpus")
    parser.add_argument("--vectors", type=Path, action="append", default=[])
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    settings = config.load(options.recipe, overrides=options.overrides)
    parts: dict[str, Path | None] = dict.fromkeys(("train", "dev", "test"))
    settings = corpora.placed(settings, folder=options.data, parts=parts, vectors=options.vectors)
    device = runtime.device(options.device)
    data = corpora.load(settings)
    tables = build.tables(settings, data.train.sentences)
    with runtime.seeded(settings.training.seed, device), tempfile.TemporaryDirectory() as run:
        bundle = build.fresh(corpora.numbered(settings, data.train), data.train.sentences, tables)
        step, crf = measure(settings, bundle, data, Path(run), device, options.steps)
    rows = [{"part": "step", "seconds": step, "share": 1.0}, {"part": "crf", "seconds": crf, "share": crf / step}]
    for row in rows:
        print("{part:5} {seconds:.5f} s  {share:6.1%}".format(**row))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(
    settings: config.Config,
    bundle: build.Bundle,
    data: corpora.Corpora,
    run: Path,
    device: torch.device,
    count: int,
) -> tuple[float, float]:
    """Returns the mean seconds of so many steps, and of the CRF in them."""
    steps: list[float] = []
    crf: list[float] = []
    before = [0.0, 0.0]

    def listen(event: object) -> None:
        if isinstance(event, StepEnd):
            now = [loop.progress.tally.seconds, clock.seconds]
            crf.append(now[1] - before[1])
            # The tally begins anew with each epoch.
            steps.append(now[0] - (before[0] if event.step > 1 else 0.0) - crf[-1])
            before[:] = now
            if len(steps) == WARM_UP + count:
                raise Enough

    loop = Loop(settings, bundle, data, run, device, listen)
    clock = Clock(loop)
    loop.network.head.loss = clock
    with contextlib.suppress(Enough), runtime.StopRequest() as stop:
        loop.run(stop)
    return statistics.fmean(steps[WARM_UP:]), statistics.fmean(crf[WARM_UP:])


if __name__ == "__main__":
    main()
