"""Compares the speed of training by one process with several threads and by several processes with one thread each.

    python scripts/benchmark_distributed.py RECIPE --data DIR [--vectors TABLE]... [--processes 2] [--rounds 5]
        [--steps 100] [--json FILE]

Both train RECIPE from the same initial weights on the CPU; the other options are those of `tagger train`. Rounds of
`--steps` steps alternate between them, and one waits while the other trains. Values are seconds per epoch, medians over
the rounds, without the evaluation and saving at the end of an epoch. The last line shows the speed of the processes,
divided by that of the threads.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmark_systems import THREAD_LIMITS
from benchmark_training import WARM_UP, add_options, build, read_corpora

from tagger.device import seed_generators
from tagger.errors import Stopped
from tagger.signals import StopRequest
from tagger.training import distributed
from tagger.training.events import EpochEnd, StepEnd
from tagger.training.loop import Loop
from tagger.training.transformer_providers import open_hidden_state_cache


class Training:
    """A training in processes of its own, which waits after each round."""

    def __init__(self, launcher: list[str], arguments: list[str], threads: int) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in THREAD_LIMITS}
        self._process = subprocess.Popen(
            [sys.executable, *launcher, __file__, *arguments, "--worker"],
            env=environment | dict.fromkeys(THREAD_LIMITS, str(threads)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def measure(self) -> float:
        """Trains a round and returns its time, in seconds per epoch."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """Ends the training."""
        self._process.communicate()

    def _read(self) -> float:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            sys.exit("a training failed; its messages are above")
        return float(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument(
        "--processes", type=int, default=2, help="Number of processes, and of threads of the other [2]."
    )
    parser.add_argument("--json", type=Path, help="Write the rows as JSON.")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        train_in_rounds(options)
        return
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options.processes)]
    trainings = {
        "threads": Training([], sys.argv[1:], options.processes),
        "processes": Training(torchrun, sys.argv[1:], 1),
    }
    times: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(options.rounds):
        for name, training in trainings.items():
            times[name].append(training.measure())
    for training in trainings.values():
        training.close()
    rows = [
        {"system": f"{options.processes} {name}", "seconds": statistics.median(values), "rounds": values}
        for name, values in times.items()
    ]
    for row in rows:
        print("{system:14} {seconds:8.2f} s".format(**row))
    print(f"speed of processes by threads: {rows[0]['seconds'] / rows[1]['seconds']:.2f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def train_in_rounds(options: argparse.Namespace) -> None:
    """Trains; prints the seconds per epoch of each round and then waits for a line on stdin, to stop at its end."""
    distributed.STEP_TIMEOUT = distributed.FILE_TIMEOUT  # a waiting training does not fail
    count, start, previous = 0, 0.0, 0.0

    def callback(event: object) -> None:
        nonlocal count, start, previous
        now = time.perf_counter()
        if isinstance(event, EpochEnd):
            start += now - previous
        previous = now
        if not isinstance(event, StepEnd):
            return
        count += 1
        if count >= WARM_UP and (count - WARM_UP) % options.steps == 0:
            print((now - start) / options.steps * event.steps, flush=True)
            if not sys.stdin.readline():
                os.kill(os.getpid(), signal.SIGTERM)
            start = previous = time.perf_counter()

    settings, data = read_corpora(options)
    with (
        distributed.open_ranks("cpu") as ranks,
        seed_generators(settings.training.seed, ranks.device),
        tempfile.TemporaryDirectory() as run,
        open_hidden_state_cache(settings) as cache,
        StopRequest() as stop,
        suppress(Stopped),
    ):
        on_event = callback if ranks.is_first else lambda event: None
        Loop(settings, build(settings, data), data, Path(run), ranks, on_event, cache).run(stop)
        sys.exit("the training ended before the last round; set a lower number of steps or rounds")


if __name__ == "__main__":
    main()
