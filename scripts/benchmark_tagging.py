"""Measures batch tagging from file to file, compared with matrix multiplication alone, spaCy and Flair.

    python scripts/benchmark_tagging.py MODEL --columns FILE... --raw FILE... [--flair PYTHON] [--spacy PYTHON]

The text is taken from the column files and the raw files, in equal fractions, and repeated up to `--tokens`. The tokens
of column files, joined by spaces, serve as raw text too. Values are medians over the rounds:

    load                   seconds to load a model in a new process; importing torch is listed separately
    columns                columns to columns, without loading the model, with an empty word cache at the start
    floor                  the recurrent matrix products (H, 4H) alone, on all cores: the fastest of torch and numpy, of
                           threads and processes, of batch sizes 32 to 256
    flair, spacy           a BiLSTM-CRF of Flair and the CNN recogniser of spaCy, default sizes, random weights
    columns-probabilities  columns to columns with exact probabilities
    text                   raw text to JSON lines
    text-probabilities     raw text to JSON lines with exact probabilities
    workers                columns to columns with 1, 2 and 3 workers, of which 3 are processes. Then the speed
                           on more cores that a model of the pipeline predicts from their CPU times
    sentence               milliseconds for 20 tokens from Python, one sentence at a time; also with all words cached
    identical              number of output lines that differ from the default for other batch sizes and workers
    memory                 resident memory after 10 MB and after --gigabytes of text with ever new words

All systems run alternately, each in a process that has loaded before. In favour of the other systems, they get tokens
in memory, return tags only, use their best batch size, and tag a sample that takes them about 15 seconds.
"""

import argparse
import contextlib
import itertools
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_rounds import measure_alternately, report_rows
from benchmark_systems import BATCH_SIZES, Process, Result, count_cores, fastest_products

PARTS = (
    *("load", "columns", "floor", "flair", "spacy", "columns-probabilities", "text", "text-probabilities"),
    *("workers", "sentence", "identical", "memory"),
)
UNITS = {"load": "s", "sentence": "ms", "identical": "differ", "memory": "MB"}
RATIOS = (
    *(("columns", name) for name in ("floor", "flair", "spacy")),
    *((f"{name}-probabilities", name) for name in ("columns", "text")),
    *((f"workers-{number}", "workers-1") for number in (2, 3)),
)
SETTINGS = {
    "flair": [{"threads": threads, "mini_batch_size": size} for threads in (1, 2) for size in BATCH_SIZES],
    "spacy": [{"n_process": processes, "batch_size": size} for processes in (1, 2) for size in (64, 256, 1024)],
}
BATCH_TOKENS, WORKERS = (1, 256, 4096, 32768), (1, 2, 3)
PREDICTED_CORES = (2, 4, 8, 16, 32)
WARM_UP_TOKENS = 2000  # tagged first, so that all kernels are compiled
TRIAL_SECONDS, SECONDS = 2, 15  # of another system


class Unit(NamedTuple):
    """A sentence or a paragraph: as raw text, as rows of a column file, and its number of tokens."""

    text: str
    rows: str
    tokens: int


END_OF_FILE = Unit("\n", "\n", 0)


def read_units(path: Path, input_format: str, columns: int) -> Iterator[Unit]:
    """Yields the units of a file; rows from raw text have `columns` columns."""
    from tagger.data import reader
    from tagger.data.formats import Layout

    for record in reader.read_records(path, input_format=input_format, layout=Layout(0, None)):  # type: ignore[arg-type]
        tokens = sum(map(len, record.sentences))
        if input_format == "columns":
            (sentence,) = record.sentences
            yield Unit(" ".join(sentence.tokens) + "\n" if tokens else "", "".join(sentence.raw), tokens)
        else:
            tags = " O" * (columns - 1)
            blocks = ("".join(f"{token}{tags}\n" for token in sentence.tokens) for sentence in record.sentences)
            yield Unit(f"{record.text}\n", "\n".join(blocks) + "\n", tokens)


def read_text(column_files: Iterable[Path], raw_files: Iterable[Path], tokens: int) -> list[Unit]:
    """Returns `tokens` tokens of the files: the same fraction of each, repeated if there are too few."""
    files = [[*read_units(path, "columns", 2), END_OF_FILE] for path in column_files]
    columns = len(next(unit for unit in files[0] if unit.tokens).rows.split("\n")[0].split()) if files else 2
    files += [[*read_units(path, "text", columns), END_OF_FILE] for path in raw_files]
    total = sum(unit.tokens for units in files for unit in units)
    print(f"text: {total:,} tokens in {len(files)} files, {tokens:,} tokens used")
    fraction = min(1, tokens / total)
    samples = [units[: math.ceil(len(units) * fraction)] for units in files]
    return take_tokens(itertools.cycle(list(itertools.chain.from_iterable(samples))), tokens)


def take_tokens(units: Iterable[Unit], tokens: int) -> list[Unit]:
    """Returns the first units that hold `tokens` tokens together, or all."""
    taken: list[Unit] = []
    count = 0
    for unit in units:
        if count >= tokens:
            break
        taken.append(unit)
        count += unit.tokens
    return taken


class Bench:
    """The options, the text as files, and the processes of a benchmark."""

    def __init__(self, options: argparse.Namespace, folder: Path, stack: contextlib.ExitStack) -> None:
        self.options, self.folder, self._stack = options, folder, stack
        self._log = folder / "log"
        text = read_text(options.columns, options.raw, options.tokens)
        for name, units in (("text", text), ("warm-up", take_tokens(text, WARM_UP_TOKENS))):
            for suffix, parts in ((".conll", (unit.rows for unit in units)), (".txt", (unit.text for unit in units))):
                (folder / f"{name}{suffix}").write_text("".join(parts), encoding="utf-8", newline="\n")
        self.source = str(folder / "text.conll")

    def start(self, system: str, python: str = sys.executable, **setup: Any) -> Process:
        """Starts a process that ends with the benchmark."""
        process = Process(python, system, log=self._log, **setup)
        self._stack.callback(process.close)
        return process

    def start_toolkit(self) -> Process:
        """Starts a process of this toolkit in which all kernels are compiled."""
        process = self.start("toolkit", model=str(self.options.model), device=self.options.device)
        for input_format in ("columns", "text"):
            self.tag_file(process, "warm-up", input_format, probabilities=True)
        return process

    def tag_file(self, process: Process, name: str, input_format: str, **options: Any) -> Result:
        """Tags a file; its output stays in `output` until the next file."""
        source = self.folder / f"{name}{'.conll' if input_format == 'columns' else '.txt'}"
        formats = (input_format, "columns" if input_format == "columns" else "jsonl")
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        return process.call("tag_file", str(source), str(self.folder / "out"), formats=formats, **options)

    def output(self) -> Path:
        """Returns the output of the last file."""
        return next(path for path in (self.folder / "out").iterdir() if path.is_file())

    def load(self) -> Result:
        """Measures loading the model in a new process."""
        setup = {"model": str(self.options.model), "device": self.options.device}
        process = Process(sys.executable, "toolkit", log=self._log, **setup)
        process.close()
        return {key: process.ready[key] for key in ("value", "import_torch")}


def choose_setting(process: Process, settings: Sequence[dict[str, int]]) -> Callable[[], Result]:
    """Returns a function that tags with the fastest setting of another system, for about `SECONDS`."""
    rate = process.call("tag", 2000, **settings[0])["value"]
    rates = [process.call("tag", int(rate * TRIAL_SECONDS), **setting)["value"] for setting in settings]
    best = max(range(len(settings)), key=rates.__getitem__)
    return partial(process.call, "tag", int(rates[best] * SECONDS), **settings[best])


def make_measurements(bench: Bench, parts: Sequence[str]) -> dict[str, Callable[[], Result]]:
    """Returns the functions that measure alternately, by the names of their rows."""
    measurements: dict[str, Callable[[], Result]] = {}
    toolkit = bench.start_toolkit()
    for name in parts:
        input_format, _, suffix = name.partition("-")
        if name == "load":
            measurements[name] = bench.load
        elif input_format in ("columns", "text"):
            measurements[name] = partial(bench.tag_file, toolkit, "text", input_format, probabilities=bool(suffix))
        elif name == "floor":
            processes = [bench.start("products", one_thread=True) for _ in range(count_cores())]
            measurements[name] = partial(fastest_products, processes, toolkit.ready["shapes"])
        elif name == "workers":
            for workers in WORKERS:
                measure_workers = partial(bench.tag_file, toolkit, "text", "columns", workers=workers)
                measurements[f"{name}-{workers}"] = measure_workers
        elif name == "sentence":
            measurements[name] = partial(toolkit.call, "tag_sentences", bench.source)
        elif python := getattr(bench.options, name):
            measurements[name] = choose_setting(bench.start(name, python, source=bench.source), SETTINGS[name])
    return measurements


def predict_speeds(one: Result, processes: Result) -> Iterator[Result]:
    """Yields the predicted tokens per second by number of cores, with one worker process for each.

    The first process reads, sends and writes each token; the workers do the rest. The slower of the two limits the
    speed: the first process alone, or all cores together.

    Args:
        one: the row of one worker.
        processes: the row of worker processes. Its first process has tagged the first tokens itself.
    """
    from tagger.jobs.local.engine import TOKENS_BEFORE_PROCESSES

    tokens = processes["tokens"]
    own = processes["own_cpu_us"] * tokens - one["cpu_us"] * TOKENS_BEFORE_PROCESSES
    first_us = own / (tokens - TOKENS_BEFORE_PROCESSES)
    worker_us = (processes["cpu_us"] - processes["own_cpu_us"]) * tokens / (tokens - TOKENS_BEFORE_PROCESSES)
    for cores in PREDICTED_CORES:
        value = 1e6 / max(first_us, (first_us + worker_us) / cores)
        row = {"row": f"workers, predicted for {cores} cores", "unit": "tokens/s", "value": value}
        yield row | {"first_process_us": first_us, "worker_us": worker_us}


def compare_outputs(bench: Bench) -> Iterator[Result]:
    """Yields the number of lines that differ from the default, for each batch size and number of workers."""
    toolkit, reference = bench.start_toolkit(), bench.folder / "reference"
    bench.tag_file(toolkit, "text", "columns")
    bench.output().replace(reference)
    for tokens, workers in itertools.product(BATCH_TOKENS, WORKERS):
        result = bench.tag_file(toolkit, "text", "columns", batch_tokens=tokens, workers=workers)
        with reference.open("rb") as expected, bench.output().open("rb") as lines:
            differing = sum(a != b for a, b in itertools.zip_longest(expected, lines))
        row = {"row": f"identical, {tokens} tokens, {workers} workers", "unit": UNITS["identical"], "value": differing}
        yield row | {"tokens_per_second": result["value"]}


def measure_memory(bench: Bench) -> Iterator[Result]:
    """Yields the peak of resident memory when raw text is tagged into a table of spans, by amount of text."""
    peaks = []
    for size in (10**7, int(bench.options.gigabytes * 10**9)):
        source, samples = write_endless_text(bench.folder, size), []
        process = bench.start("toolkit", model=str(bench.options.model), device=bench.options.device)
        process.send("tag_file", str(source), str(bench.folder / "out"), formats=("text", "tsv"))
        result = process.receive(lambda process_id: samples.append(resident_bytes(process_id)))  # noqa: B023
        shutil.rmtree(bench.folder / "out")
        process.close()
        source.unlink()
        peaks.append(max(samples) / 1e6)
        row = {"row": f"memory, {size / 1e6:,.0f} MB of text", "unit": UNITS["memory"], "value": peaks[-1]}
        yield row | {"tokens": result["tokens"], "tokens_per_second": result["value"], "hit_rate": result["hit_rate"]}
    yield {"row": "memory, difference", "unit": UNITS["memory"], "value": peaks[1] - peaks[0]}


def write_endless_text(folder: Path, size: int) -> Path:
    """Writes `size` characters of the text, with a new word on every fourth line."""
    path, written = folder / "endless.txt", 0
    lines = (folder / "text.txt").read_text(encoding="utf-8").split("\n")
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for number, line in enumerate(itertools.cycle(lines)):
            word = "".join(chr(97 + number // 26**power % 26) for power in range(7)) if number % 4 == 0 else ""
            written += out.write(f"{line} {word}\n")
            if written >= size:
                break
    return path


def resident_bytes(process: int) -> int:
    """Returns the resident memory of a process and its children; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        children = [path.read_text().split() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident_bytes(int(child)) for ids in children for child in ids)


def measure(bench: Bench) -> Iterator[Result]:
    """Yields the rows of all parts that the options name."""
    alternating = [part for part in bench.options.part if part not in ("identical", "memory")]
    if alternating:
        measurements = make_measurements(bench, alternating)
        rows = list(measure_alternately(measurements, bench.options.rounds, ratios=RATIOS, units=UNITS))
        yield from rows
        by_name = {row["row"]: row for row in rows}
        if "workers-3" in by_name:
            yield from predict_speeds(by_name["workers-1"], by_name["workers-3"])
    if "identical" in bench.options.part:
        yield from compare_outputs(bench)
    if "memory" in bench.options.part and bench.options.gigabytes:
        yield from measure_memory(bench)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="Model directory.")
    parser.add_argument("--columns", type=Path, nargs="+", default=[], metavar="FILE", help="Tokens in column 0.")
    parser.add_argument("--raw", type=Path, nargs="+", default=[], metavar="FILE", help="Plain text.")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="Number of tokens [1000000].")
    parser.add_argument("--rounds", type=int, default=3, help="Number of rounds [3].")
    parser.add_argument("--cores", type=int, default=2, help="Number of cores for all systems [2].")
    parser.add_argument("--device", default="cpu", help="Device of this toolkit [cpu].")
    parser.add_argument("--flair", metavar="PYTHON", help="Python of an environment with Flair [left out].")
    parser.add_argument("--spacy", metavar="PYTHON", help="Python of an environment with spaCy [left out].")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="Measure these rows only.")
    parser.add_argument("--gigabytes", type=float, help="Amount of text for the part memory [left out].")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the results as JSON.")
    options = parser.parse_args()
    if not options.columns + options.raw:
        parser.error("no text was given; pass --columns or --raw")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    print(f"{count_cores()} cores")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        report_rows(measure(Bench(options, Path(folder), stack)), "benchmark_tagging.py", options.json)


if __name__ == "__main__":
    main()
