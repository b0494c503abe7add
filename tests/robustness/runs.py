"""Runs of the tiny recipe: alone, in a child process that may be killed, and what may be compared between them."""

import gzip
import hashlib
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from tagger import cli, model_dir, tagging, training
from tagger.config import Config, dump, parse
from tagger.errors import Stopped, TaggerError
from tagger.io import atomic, directories
from tagger.jobs import pools
from tagger.jobs.job import Formats, Job
from tagger.jobs.local import engine as local
from tagger.jobs.local import folder
from tagger.jobs.summary import Summary
from tagger.tagging import cached_scorer
from tagger.training import Event, StepEnd, records, run_dir
from tagger.training.distributed import ConnectedRanks
from tagger.training.loop import Loop

SCALE = int(os.environ.get("TAGGER_TEST_SCALE", "1"))
"""By how much samples are larger than the quick ones that run by default."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        *("tagger.training", "tagger.cli", "tagger.jobs.local", "tests.robustness.runs"),
        # A training imports these late, which takes longer than the training itself.
        *("torch._dynamo", "numba.np.arrayobj", "seqeval.metrics"),
    ]
)


def changed(config: Config, *overrides: str) -> Config:
    """Returns a config changed as --set would change it."""
    return parse(dump(config), "tiny.yaml", overrides=overrides)


def sha256(path: Path) -> str:
    """Returns a file's hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def results(run: Path) -> dict[str, Any]:
    """Returns what must be the same of two trainings: both weights' hashes and the metrics without times."""
    last = model_dir.find_newest_checkpoint(run)
    lines = (run / run_dir.METRICS).read_text().splitlines()
    return {
        "best": sha256(run / "model-best" / "weights.safetensors"),
        "last": (last.name, sha256(last / "weights.safetensors")),
        "metrics": [timeless(json.loads(line)) for line in lines],
    }


def timeless(value: Any) -> Any:
    """Returns what JSON holds, without times."""
    if isinstance(value, list):
        return list(map(timeless, value))
    if not isinstance(value, dict):
        return value
    return {key: timeless(inner) for key, inner in value.items() if "second" not in key}


def child(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Starts a function of this module in a process of its own, with torch loaded already."""
    process = _context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


class Broken(BaseException):
    """What a training cannot catch."""


def break_at(step: int) -> training.Callback:
    """Returns a callback that ends the training at a step, counted from 1 over all epochs."""
    left = step

    def callback(event: Event) -> None:
        nonlocal left
        left -= isinstance(event, StepEnd)
        if not left:
            raise Broken

    return callback


def ended(process: ForkServerProcess, seconds: float = 60) -> int:
    """Waits for a process and returns its exit code, which is negative for the signal that killed it."""
    process.join(seconds)
    assert process.exitcode is not None, f"still there after {seconds} s"
    return process.exitcode


def killed_after(process: ForkServerProcess, seconds: float) -> bool:
    """Kills a process -9 after a time; tells whether it was still there."""
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode == -9


def wait_for(path: Path, seconds: float = 60) -> None:
    """Waits until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.005)


def train(config: Config, run: Path) -> None:
    """Trains, or goes on if the run has begun."""
    _quiet()
    if (run / model_dir.LATEST).exists():
        training.resume(run, device="cpu")
    else:
        training.train(config, run, device="cpu")


def train_as_ranks(rank: int, count: int, port: int, jobs: list[tuple[Config, Path]]) -> None:
    """Trains, or resumes, one run after the other as a rank; writes a report of each beside its directory."""
    _quiet()
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in variables.items()}
    seed_step, draws = ConnectedRanks.seed_step, []

    @contextmanager
    def seed_and_draw(self: ConnectedRanks, seed: int, step: int) -> Iterator[None]:
        with seed_step(self, seed, step):
            draws.append(torch.rand(()).item())
            yield

    ConnectedRanks.seed_step = seed_and_draw  # type: ignore[method-assign]
    for config, run in jobs:
        events: list[object] = []
        report: dict[str, Any] = {}
        try:
            if (run / model_dir.LATEST).exists():
                result = training.resume(run, device="cpu", config=config, callback=events.append)
            else:
                result = training.train(config, run, device="cpu", callback=events.append)
            report["history"] = [record.to_json() for record in result.history]
        except TaggerError as error:
            report["faults"] = error.faults
        except Stopped as error:
            sys.exit(error.exit_code)
        report |= {"events": len(events), "draw": draws[-1:]}
        run.with_name(f"{run.name}.rank{rank}.json").write_text(json.dumps(report))


def train_until_renamed(config: Config, run: Path, number: int) -> None:
    """Trains and dies between the renaming of the checkpoint of a step and LATEST."""
    replace = atomic.replace

    def dying(path: Path, data: bytes) -> None:
        if path.name == model_dir.LATEST and data.decode().strip() == f"checkpoint-{number:06d}":
            os.kill(os.getpid(), 9)
        replace(path, data)

    atomic.replace = dying
    train(config, run)


def save_forever(model: Path, target: Path) -> None:
    """Saves the same model over and over, each time with another number in its metrics."""
    _quiet()
    loaded, _ = model_dir.load(model)
    for number in range(10**9):
        model_dir.save(loaded, target, {"number": number})


def command(arguments: list[str]) -> None:
    """Runs the command line."""
    _quiet()
    sys.argv = ["tagger", *arguments]
    cli.main()


def command_with_streams(arguments: list[str], directory: Path, streams: tuple[str, str, str]) -> None:
    """Runs the command line in a directory and a session of its own.

    Its standard streams are files, or closed where the path is empty.
    """
    torch.set_num_threads(1)
    os.setsid()
    os.chdir(directory)
    for number, (name, path) in enumerate(zip(("stdin", "stdout", "stderr"), streams, strict=True)):
        setattr(sys, name, None)
        with suppress(OSError):
            os.close(number)
        if path:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY)
            if handle != number:  # a stream before is closed
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    sys.argv = ["tagger", *arguments]
    try:
        cli.main()
    except SystemExit:
        sys.stderr = None  # it may be full, and the end of this process would flush it
        raise


# A program that runs commands one after the other and ends the messages of each with its exit code.
COMMANDS = """
import sys
from tagger.__main__ import main
for arguments in {!r}:
    sys.argv = ["tagger", *arguments]
    try:
        main()
    except SystemExit as end:
        print("exit code", end.code, file=sys.stderr)
"""


def tag_command(arguments: list[str]) -> None:
    """Runs the command line with small pools, each of them committed."""
    pools.POOL_TOKENS = 1024
    folder.COMMIT_SECONDS, folder._COMMIT_INTERVAL_RATIO = 0, 0
    command(arguments)


def tag_measured(source: Path, model: Path, out: Path, first: int, remembered: int, report: Path) -> None:
    """Tags lines into a directory; reports by how many bytes its resident size grew after the first so many tokens.

    Words are remembered in so many bytes.
    """
    _quiet()
    cached_scorer.CACHE_BYTES = remembered
    sizes = {False: 0, True: 0}

    def callback(done: Summary, *_: int) -> None:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        sizes[done.tokens > first] = max(sizes[done.tokens > first], resident)

    job = Job((source,), model, Formats("lines", "jsonl"), out=out)
    local.run(tagging.load(model, device="cpu"), job, (BytesIO(), BytesIO()), callback=callback)
    report.write_text(str(sizes[True] - sizes[False]))


def call_measured(model: Path, cache_bytes: int, calls: int, report: Path) -> None:
    """Tags new words in each of many calls; reports by how many bytes the resident size grew after the first 50."""
    _quiet()
    tagger = tagging.load(model, device="cpu", cache_bytes=cache_bytes)
    sizes = []
    for first in range(calls + 50):
        tagger.tag([[f"word{first}x{place}" for place in range(200)]])
        if first in (50, calls + 49):
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"))
    report.write_text(str(sizes[1] - sizes[0]))


def slow_tag_command(arguments: list[str]) -> None:
    """Tags with the command line and, asked to stop, takes a minute to leave."""
    folder.OutputFolder.suspend = lambda _: time.sleep(60)  # type: ignore[method-assign]
    leisurely_tag_command(arguments)


def leisurely_tag_command(arguments: list[str]) -> None:
    """Tags with the command line, but takes a fifth of a second more for each pool and commits after each."""
    write = folder.OutputFolder.write

    def slowly(self: folder.OutputFolder, pool: pools.Pool) -> bool:
        time.sleep(0.2)
        write(self, pool)
        return True

    folder.OutputFolder.write = slowly  # type: ignore[method-assign]
    tag_command(arguments)


def tree(directory: Path) -> dict[str, bytes]:
    """Returns the content of each file in a directory, hidden ones too, by its path in it."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def corpus(directory: Path, *, sentences: int, files: int, seed: int = 0) -> Path:
    """Returns a directory, filled with lines to tag: a large file, small ones in a folder, and files with faults."""
    source = random.Random(seed)
    words = ["Ada", "Grace", "Alan", "lives", "works", "in", "New", "York", "Paris", "Oslo", ".", "שלום", "😀"]

    def text(count: int) -> bytes:
        return "".join(" ".join(source.choices(words, k=source.randint(0, 25))) + "\n" for _ in range(count)).encode()

    (directory / "small").mkdir(parents=True)
    for number in range(files):
        (directory / "small" / f"{number:03}.txt").write_bytes(text(source.randint(0, 3)))
    lines = text(sentences).splitlines(keepends=True)
    for place in range(0, sentences, 50):
        lines[place] = b"no UTF-8: \xff\n"
    (directory / "large.txt").write_bytes(b"".join(lines))
    (directory / "packed.txt.gz").write_bytes(gzip.compress(text(sentences // 4)))
    (directory / "spoilt.txt.gz").write_bytes(gzip.compress(text(sentences // 2))[:-20])
    return directory


def slow_command(arguments: list[str]) -> None:
    """Runs the command line with a training that, asked to stop, takes a minute to save."""
    Loop._stop = lambda *_, **__: time.sleep(60)  # type: ignore[method-assign]
    command(arguments)


def _quiet() -> None:
    torch.set_num_threads(1)
    records.plot = lambda *_: None
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  # for as long as the process lives


def spread(count: int, seed: int, upto: float) -> list[float]:
    """Returns `count` random times."""
    source = random.Random(seed)
    return [source.uniform(0, upto) for _ in range(count)]


def hold(directory: Path) -> None:
    """Is the sole writer of a directory until it is killed."""
    with directories.lock(directory):
        (directory / "held").touch()
        time.sleep(600)
