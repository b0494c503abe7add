"""Times batch tagging from file to file, against the floor and other systems; checks equal tags; watches memory.

    python scripts/benchmark_tagging.py MODEL --columns FILE... --raw FILE... [--flair PYTHON] [--spacy PYTHON]

The text is the column files, then the raw files, from the start again until there are enough tokens; if there are too
many, each file gives the same share. Tokens of column files, joined by spaces, are raw text too; tokens of raw files
are rows as wide as those of the first column file. The rows of the table, medians over the rounds:

    load                  a model, in a new process, seconds; importing torch is told apart
    columns               columns to columns, the loading of the model left out; nothing is remembered at first
    floor                 the products of the encoder's states with their weights (H, 4H) alone, each on all processors
                          at once, by torch or numpy, in threads or processes, batches of 32 to 256: the best of all
    flair, spacy          a BiLSTM-CRF of Flair and spaCy's CNN recogniser with their default sizes and random weights
    columns-probabilities columns to columns with exact probabilities
    text                  raw text to JSON lines; text-probabilities: with exact probabilities
    sentence              20 tokens at a time from Python, milliseconds: words as they come, and all remembered
    identical             lines that differ from those with the default options, by batch budget and workers; with
                          --engines, documents that differ from those of the local engine
    memory                resident size after 10 MB and after --gigabytes of text, in which new words keep coming

What is compared takes turns, each in a process of its own that has loaded before. In favour of the other systems they
are given tokens in memory, already split, and asked for tags only, with the best of a few batch sizes, on a part of the
text that takes them some 15 seconds.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

PARTS = (
    *("load", "columns", "floor", "flair", "spacy", "columns-probabilities", "text", "text-probabilities"),
    *("sentence", "identical", "memory"),
)
UNITS = {"load": "s", "sentence": "ms", "identical": "differ", "memory": "MB"}
RATIOS = (
    *(("columns", other) for other in ("floor", "flair", "spacy")),
    *((f"{name}-probabilities", name) for name in ("columns", "text")),
)
BATCHES = (32, 64, 128, 256)
FLAIR = [{"threads": threads, "mini_batch_size": size} for threads in (1, 2) for size in BATCHES]
SPACY = [{"n_process": processes, "batch_size": size} for processes in (1, 2) for size in (64, 256, 1024)]
BUDGETS, WORKERS = (1, 256, 4096, 32768), (1, 2)
WARM_TOKENS = 2000  # tagged before anything is timed, so that all is compiled
TRIAL_SECONDS, SECONDS = 2, 15  # of another system's turn
FLOOR_SECONDS = 0.2  # of each way to multiply
TYPES = ("PER", "ORG", "LOC", "MISC")

Answer = dict[str, Any]


# What runs in processes of their own: each class loads once; its methods answer turns.


class Ours:
    """Our tagger, loaded from a model directory."""

    def __init__(self, model: str, device: str) -> None:
        begun = time.perf_counter()
        import torch

        torch_there = time.perf_counter()
        from tagger import tagging
        from tagger.jobs.local import engine as local

        first = tagging.load(model, device=device)
        self.ready: Answer = {"value": time.perf_counter() - torch_there, "import_torch": torch_there - begun}
        weights = first.model.network.encoder.named_parameters()
        self.ready["shapes"] = [list(reversed(weight.shape)) for name, weight in weights if "weight_hh" in name]
        self.model, self.run = Path(model), local.run
        self.tagger = partial(tagging.Tagger, first.model, torch.device(first.device))

    def job(self, source: str, *, form: str, to: str, out: str, probabilities: bool = False, **limits: int) -> Answer:
        """Tags a file into a directory, nothing being remembered at first."""
        from tagger.device import relaxed_garbage_collection
        from tagger.jobs.job import Formats, Job
        from tagger.tagging import DecodingOptions

        tagger = self.tagger(**limits)
        job = Job(
            (Path(source),),
            self.model,
            Formats(form, to),
            DecodingOptions(probabilities),
            out=Path(out),
            overwrite=True,
        )  # type: ignore[arg-type]
        processors, begun = cpu_seconds(), time.perf_counter()
        with relaxed_garbage_collection():  # as the command does
            tokens = self.run(tagger, job, (sys.stdin.buffer, sys.stdout.buffer)).tokens
        answer = speed(tokens, time.perf_counter() - begun)
        return answer | {
            "cpu_us": 1e6 * (cpu_seconds() - processors) / tokens,
            "hit_rate": tagger.cache_hit_rate or 0.0,
        }

    def sentence(self, source: str, length: int = 20, count: int = 500) -> Answer:
        """Tags tokens of a file one piece at a time, then the same pieces again."""
        tokens = list(itertools.chain.from_iterable(sentences(source)))
        starts = range(0, len(tokens) - length, max(length, len(tokens) // count))
        pieces, tagger = [tokens[start : start + length] for start in starts], self.tagger()
        times = [[timed(partial(tagger.tag, [piece])) for piece in pieces] for _ in range(2)]
        first, again = (1000 * statistics.median(of_pass) for of_pass in times)
        return {"value": first, "p95": 1000 * statistics.quantiles(times[0], n=20)[-1], "remembered": again}


class Floor:
    """The recurrent products alone, each worker computing on one processor."""

    ready: Answer = {}  # noqa: RUF012

    def multiply(
        self, shapes: Sequence[Sequence[int]], *, library: str, batch: int, is_reversed: bool, threads: int
    ) -> Answer:
        """Multiplies states (B, H) with each matrix (H, G), which is `is_reversed` if it lies as (G, H)."""
        seconds = 0.0  # of a token
        for shape, same in itertools.groupby(sorted(shapes)):
            repeat = partial(repeated, partial(product, library, batch, *shape, is_reversed=is_reversed))
            with ThreadPoolExecutor(threads) as pool:
                rates = [future.result() for future in [pool.submit(repeat) for _ in range(threads)]]
            seconds += len(list(same)) / (batch * sum(rates))
        return {"value": 1 / seconds}


def product(library: str, batch: int, depth: int, width: int, *, is_reversed: bool) -> Callable[[], object]:
    """Returns how to multiply once."""
    if library == "numpy":
        import numpy as np

        states, weight = np.ones((batch, depth), np.float32), np.ones((depth, width), np.float32)
        weight = np.ascontiguousarray(weight.T).T if is_reversed else weight
        return partial(np.matmul, states, weight, out=np.empty((batch, width), np.float32))
    import torch

    torch.set_num_threads(1)
    given, matrix = torch.ones(batch, depth), torch.ones(depth, width)
    return partial(torch.mm, given, matrix.T.contiguous().T if is_reversed else matrix, out=torch.empty(batch, width))


def repeated(make: Callable[[], Callable[[], object]]) -> float:
    """Returns how often a second something can be done."""
    act = make()
    act()
    begun = time.perf_counter()
    count, taken = 0, 0.0
    while taken < FLOOR_SECONDS:
        act()
        count, taken = count + 1, time.perf_counter() - begun
    return count / taken


class Flair:
    """A BiLSTM-CRF over words and characters, with random weights that make tokens O: that takes it the least time."""

    ready: Answer = {}  # noqa: RUF012

    def __init__(self, source: str) -> None:
        import torch
        from flair.data import Dictionary
        from flair.embeddings import CharacterEmbeddings, StackedEmbeddings, WordEmbeddings
        from flair.models import SequenceTagger

        torch.manual_seed(1)
        self.sentences = list(sentences(source))
        tags, characters, words = Dictionary(add_unk=False), Dictionary(), {}
        tags.span_labels = True
        for name in TYPES:
            tags.add_item(name)
        for word in itertools.chain.from_iterable(self.sentences):
            words.setdefault(word, len(words))
        for character in sorted({character for word in words for character in word}):
            characters.add_item(character)
        known = WordEmbeddings(None, vocab=words, embedding_length=100, name="random")
        torch.nn.init.normal_(known.embedding.weight)
        embeddings = StackedEmbeddings([known, CharacterEmbeddings(characters)])
        self.model = SequenceTagger(embeddings, tags, "ner", hidden_size=200)
        with torch.no_grad():
            self.model.linear.bias[self.model.label_dictionary.get_idx_for_item("O")] += 1
            self.model.crf.transitions *= 0.1

    def tag(self, tokens: int, threads: int, mini_batch_size: int) -> Answer:
        """Tags so many tokens from all parts of the text."""
        import torch
        from flair.data import Sentence

        torch.set_num_threads(threads)
        made = [Sentence(words) for words in share(self.sentences, tokens)]
        seconds = timed(lambda: self.model.predict(made, mini_batch_size=mini_batch_size))
        inside = sum(len(span) for sentence in made for span in sentence.get_spans("ner"))
        answer = speed(sum(map(len, made)), seconds)
        setting = f"threads {threads}, mini_batch_size {mini_batch_size}"
        return answer | {"in_spans": inside / answer["tokens"], "setting": setting}


class SpaCy:
    """The convolutional recogniser of a blank pipeline, initialised on a few sentences."""

    ready: Answer = {}  # noqa: RUF012

    def __init__(self, source: str) -> None:
        import spacy
        from spacy.training import Example

        self.sentences = list(sentences(source))
        self.pipeline = spacy.blank("en")
        self.pipeline.add_pipe("ner")
        spans = [(4 * number, 4 * number + 3, name) for number, name in enumerate(TYPES)]
        text = self.pipeline.make_doc("Ann Ltd Rio Pop are here .")
        self.pipeline.initialize(lambda: [Example.from_dict(text, {"entities": spans})])

    def tag(self, tokens: int, n_process: int, batch_size: int) -> Answer:
        """Tags so many tokens from all parts of the text."""
        from spacy.tokens import Doc

        made = [Doc(self.pipeline.vocab, words=words) for words in share(self.sentences, tokens)]
        count = sum(map(len, made))
        tagged = self.pipeline.pipe(made, n_process=n_process, batch_size=batch_size)
        seconds = timed(lambda: sum(len(doc) for doc in tagged))
        return speed(count, seconds) | {"setting": f"n_process {n_process}, batch_size {batch_size}"}


SYSTEMS: dict[str, type] = {"ours": Ours, "floor": Floor, "flair": Flair, "spacy": SpaCy}


def serve(system: str, setup: str) -> None:
    """Loads a system, then answers turns, a line each; what else is printed goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    found = SYSTEMS[system](**json.loads(setup))
    print(json.dumps(found.ready), file=answers, flush=True)
    for line in sys.stdin:
        name, given, named = json.loads(line)
        print(json.dumps(getattr(found, name)(*given, **named)), file=answers, flush=True)


def sentences(source: str) -> Iterator[list[str]]:
    """Yields the tokens of each sentence of a column file."""
    with Path(source).open(encoding="utf-8", newline="\n") as lines:
        for blank, rows in itertools.groupby(lines, lambda line: not line.strip(" \t\r\n")):
            if not blank and (tokens := [row.split(" ")[0] for row in rows if not row.startswith("-DOCSTART-")]):
                yield tokens


def share(found: Sequence[list[str]], tokens: int) -> list[list[str]]:
    """Returns sentences of about so many tokens, taken at even distances."""
    count = max(1, math.ceil(len(found) * min(1.0, tokens / sum(map(len, found)))))
    return [found[number * len(found) // count] for number in range(count)]


def speed(tokens: int, seconds: float) -> Answer:
    return {"value": tokens / seconds, "tokens": tokens, "seconds": seconds}


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def cpu_seconds() -> float:
    """Returns what this process and those it has waited for took of processors."""
    return sum(os.times()[:4])


def processors() -> int:
    return len(os.sched_getaffinity(0))


# What asks them.


class Child:
    """A process that loads a system and answers turns; `ready` is what it says first."""

    def __init__(self, python: str, system: str, *, log: Path, one_thread: bool = False, **setup: str) -> None:
        bounds = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        kept = {name: value for name, value in os.environ.items() if name not in bounds}
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [python, __file__, "--child", system, json.dumps(setup)],
                env=kept | (dict.fromkeys(bounds, "1") if one_thread else {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.ready = self.answer()

    def ask(self, name: str, *given: object, **named: object) -> Answer:
        """Returns the answer to a turn."""
        self.begin(name, *given, **named)
        return self.answer()

    def begin(self, name: str, *given: object, **named: object) -> None:
        """Asks, without waiting for the answer."""
        print(json.dumps([name, given, named]), file=self._pipe(self._process.stdin), flush=True)

    def answer(self, meanwhile: Callable[[int], None] | None = None) -> Answer:
        """Waits for the answer; `meanwhile` is called with the process's id every 50 ms."""
        pipe = self._pipe(self._process.stdout)
        while meanwhile and not select.select([pipe], [], [], 0.05)[0]:
            meanwhile(self._process.pid)
        if line := pipe.readline():
            answer: Answer = json.loads(line)
            return answer
        sys.exit(f"{' '.join(map(str, self._process.args))} failed:\n{self._log.read_text()[-3000:]}")  # type: ignore[arg-type]

    def close(self) -> None:
        """Ends the process, which has answered all turns."""
        self._pipe(self._process.stdin).close()
        self._process.wait()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


class Unit(NamedTuple):
    """A sentence or a paragraph of the text: as plain text, as rows of columns, and its tokens."""

    text: str
    rows: str
    tokens: int


END = Unit("\n", "\n", 0)


def units(path: Path, form: str, width: int) -> Iterator[Unit]:
    """Yields the units of a file."""
    from tagger.data import reader
    from tagger.data.formats import Layout

    for record in reader.read_records(path, input_format=form, layout=Layout(0, None)):  # type: ignore[arg-type]
        tokens = sum(map(len, record.sentences))
        if form == "columns":
            (sentence,) = record.sentences
            yield Unit(" ".join(sentence.tokens) + "\n" if tokens else "", "".join(sentence.raw), tokens)
        else:
            rows = ("".join(token + " O" * (width - 1) + "\n" for token in each.tokens) for each in record.sentences)
            yield Unit(f"{record.text}\n", "\n".join(rows) + "\n", tokens)


def gathered(columns: Iterable[Path], raw: Iterable[Path], tokens: int) -> list[Unit]:
    """Returns the text: so many tokens of the files."""
    parts, width = [], 2
    for path in columns:
        parts.append([*units(path, "columns", width), END])
    if parts:
        first = next(unit for unit in parts[0] if unit.tokens)
        width = len(first.rows.split("\n")[0].split())
    parts += [[*units(path, "text", width), END] for path in raw]
    total = sum(unit.tokens for part in parts for unit in part)
    kept = [part[: math.ceil(len(part) * min(1, tokens / total))] for part in parts]
    print(f"text: {total:,} tokens in {len(parts)} files, of which {tokens:,} are made")
    return until(itertools.cycle(list(itertools.chain.from_iterable(kept))), tokens)


def until(text: Iterable[Unit], tokens: int) -> list[Unit]:
    """Returns the first units that hold so many tokens together, or all."""
    found, count = [], 0
    for unit in text:
        if count >= tokens:
            break
        found.append(unit)
        count += unit.tokens
    return found


class Bench:
    """What is needed to measure: the options, the text as files, and the processes."""

    def __init__(self, options: argparse.Namespace, folder: Path, stack: contextlib.ExitStack) -> None:
        self.options, self.folder, self._stack = options, folder, stack
        self.log = folder / "log"
        text = gathered(options.columns, options.raw, options.tokens)
        for name, made in (("text", text), ("warm", until(text, WARM_TOKENS))):
            (folder / f"{name}.conll").write_text("".join(unit.rows for unit in made), encoding="utf-8", newline="\n")
            (folder / f"{name}.txt").write_text("".join(unit.text for unit in made), encoding="utf-8", newline="\n")
        self.source = str(folder / "text.conll")

    def child(self, system: str, python: str = sys.executable, **setup: Any) -> Child:
        """Returns a process that ends when the measuring does."""
        child = Child(python, system, log=self.log, **setup)
        self._stack.callback(child.close)
        return child

    def ours(self) -> Child:
        """Returns a process of ours in which everything is compiled."""
        child = self.child("ours", model=str(self.options.model), device=self.options.device)
        self.job(child, "warm", "columns", probabilities=True)
        self.job(child, "warm", "text", probabilities=True)
        return child

    def job(self, child: Child, name: str, form: str, *, keep: Path | None = None, **named: object) -> Answer:
        """Returns the answer to a job; the output is removed unless it is to be kept at a path."""
        out = self.folder / "out"
        source = self.folder / f"{name}{'.conll' if form == 'columns' else '.txt'}"
        to = "columns" if form == "columns" else "jsonl"
        answer = child.ask("job", str(source), form=form, to=to, out=str(out), **named)
        if keep:
            next(path for path in out.iterdir() if path.is_file()).replace(keep)
        shutil.rmtree(out)
        return answer

    def load(self) -> Answer:
        """Returns how long a new process takes to load the model."""
        child = Child(sys.executable, "ours", log=self.log, model=str(self.options.model), device=self.options.device)
        child.close()
        return {key: child.ready[key] for key in ("value", "import_torch")}


def floor(children: Sequence[Child], shapes: object) -> Answer:
    """Returns the best rate of all ways to multiply, in a thread of each process, or in threads of one process."""
    best: Answer = {"value": 0.0}
    for library, batch, is_reversed in itertools.product(("torch", "numpy"), BATCHES, (False, True)):
        given: dict[str, Any] = {"library": library, "batch": batch, "is_reversed": is_reversed}
        for child in children:
            child.begin("multiply", shapes, threads=1, **given)
        apart = sum(child.answer()["value"] for child in children)
        together = children[0].ask("multiply", shapes, threads=len(children), **given)["value"]
        for kind, value in (("processes", apart), ("threads", together)):
            if value > best["value"]:
                best = {"value": value, "setting": f"{library}, batch {batch}, {kind}"}
    return best


def fitted(child: Child, settings: Sequence[dict[str, int]]) -> Callable[[], Answer]:
    """Returns the turn of another system: its best setting, on as much as it tags in some seconds."""
    rate = child.ask("tag", 2000, **settings[0])["value"]
    rates = [child.ask("tag", int(rate * TRIAL_SECONDS), **setting)["value"] for setting in settings]
    best = max(range(len(settings)), key=rates.__getitem__)
    return partial(child.ask, "tag", int(rates[best] * SECONDS), **settings[best])


def turns(bench: Bench, parts: Sequence[str]) -> dict[str, Callable[[], Answer]]:
    """Returns what takes turns, by the names of the rows."""
    found: dict[str, Callable[[], Answer]] = {}
    ours = bench.ours()
    for name in parts:
        form, _, probable = name.partition("-")
        if name == "load":
            found[name] = bench.load
        elif form in ("columns", "text"):
            found[name] = partial(bench.job, ours, "text", form, probabilities=bool(probable))
        elif name == "floor":
            workers = [bench.child("floor", one_thread=True) for _ in range(processors())]
            found[name] = partial(floor, workers, ours.ready["shapes"])
        elif name == "sentence":
            found[name] = partial(ours.ask, "sentence", bench.source)
        elif python := getattr(bench.options, name):
            child = bench.child(name, python, source=bench.source)
            found[name] = fitted(child, FLAIR if name == "flair" else SPACY)
    return found


def measured(bench: Bench, parts: Sequence[str]) -> Iterator[Answer]:
    """Yields the rows of what takes turns, then the ratios."""
    acts = turns(bench, parts)
    answers: dict[str, list[Answer]] = {name: [] for name in acts}
    for number in range(bench.options.rounds):
        for name, act in acts.items():
            answers[name].append(act())
            print(f"round {number + 1}, {name}: {answers[name][-1]['value']:,.2f}", file=sys.stderr)
    for name, given in answers.items():
        row = {key: middle([answer[key] for answer in given]) for key in given[0]}
        yield {"row": name, "unit": UNITS.get(name, "tokens/s")} | row | {"rounds": [one["value"] for one in given]}
    for name, other in RATIOS:
        if name in answers and other in answers:
            pairs = zip(answers[name], answers[other], strict=True)
            ratios = [one["value"] / another["value"] for one, another in pairs]
            yield {"row": f"{name} / {other}", "unit": "x", "value": statistics.median(ratios), "rounds": ratios}


def middle(values: list[Any]) -> Any:
    """Returns the median of numbers, the most frequent of other values."""
    return statistics.median(values) if isinstance(values[0], int | float) else statistics.mode(values)


def identical(bench: Bench) -> Iterator[Answer]:
    """Yields for each batch budget and number of workers the lines that are unlike those of the default."""
    ours, usual, other = bench.ours(), bench.folder / "usual", bench.folder / "other"
    bench.job(ours, "text", "columns", keep=usual)
    for budget, workers in itertools.product(BUDGETS, WORKERS):
        answer = bench.job(ours, "text", "columns", keep=other, batch_tokens=budget, workers=workers)
        with usual.open("rb") as one, other.open("rb") as another:
            lines = sum(a != b for a, b in itertools.zip_longest(one, another))
        row = {"row": f"identical, {budget} tokens, {workers} workers", "unit": UNITS["identical"], "value": lines}
        yield row | {"tokens_per_second": answer["value"]}
    if bench.options.engines:
        yield engines(bench)


def engines(bench: Bench) -> Answer:
    """Returns how many documents, a sentence each, other engines tag otherwise than the first."""
    from tagger import import_path

    source, found = bench.folder / "text.jsonl", []
    with source.open("w", encoding="utf-8") as rows:
        for number, tokens in enumerate(sentences(bench.source)):
            print(json.dumps({"id": f"s{number}", "tokens": tokens}), file=rows)
    for engine in bench.options.engines:
        out = bench.folder / engine
        command = [
            *import_path.command("from tagger.cli import main; main()"),
            "tag",
            str(source),
            "--model",
            str(bench.options.model),
        ]
        command += ["--from", "jsonl", "--to", "jsonl", "--engine", engine, "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        lines = (line for path in out.rglob("*.json*") for line in path.read_text(encoding="utf-8").split("\n") if line)
        found.append(sorted((row["document"], row["tags"]) for row in map(json.loads, lines)))
    pairs = [itertools.zip_longest(found[0], another) for another in found[1:]]
    differing = sum(one != another for pair in pairs for one, another in pair)
    row = {"row": f"identical, {' and '.join(bench.options.engines)}", "unit": UNITS["identical"], "value": differing}
    return row | {"documents": len(found[0])}


def memory(bench: Bench) -> Iterator[Answer]:
    """Yields the resident size that tagging raw text into a table of spans comes to, for each amount of text."""
    peaks = []
    for size in (10**7, int(bench.options.gigabytes * 10**9)):
        source, samples = endless(bench.folder, size), []
        child = bench.child("ours", model=str(bench.options.model), device=bench.options.device)
        out = bench.folder / "out"
        child.begin("job", str(source), form="text", to="tsv", out=str(out))
        answer = child.answer(lambda process: samples.append(resident(process)))  # noqa: B023
        shutil.rmtree(out)
        child.close()
        source.unlink()
        peaks.append(max(samples) / 1e6)
        row = {"row": f"memory, {size / 1e6:,.0f} MB of text", "unit": UNITS["memory"], "value": peaks[-1]}
        yield row | {"tokens": answer["tokens"], "tokens_per_second": answer["value"], "hit_rate": answer["hit_rate"]}
    yield {"row": "memory, difference", "unit": UNITS["memory"], "value": peaks[1] - peaks[0]}


def endless(folder: Path, size: int) -> Path:
    """Makes a file of so many characters of the text, with a word never seen before after every fourth line."""
    made, written = folder / "endless.txt", 0
    lines = (folder / "text.txt").read_text(encoding="utf-8").split("\n")
    with made.open("w", encoding="utf-8", newline="\n") as out:
        for number, line in enumerate(itertools.cycle(lines)):
            new = "".join(chr(97 + number // 26**place % 26) for place in range(7)) if number % 4 == 0 else ""
            written += out.write(f"{line} {new}\n")
            if written >= size:
                break
    return made


def resident(process: int) -> int:
    """Returns the bytes that a process and those it started have in memory; 0 for one that has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        below = [path.read_text().split() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(one)) for some in below for one in some)


def shown(row: Answer) -> str:
    """Returns a line of the table."""
    named = {key: value for key, value in row.items() if key not in ("row", "unit", "value", "rounds")}
    told = [f"{key} {value}" if isinstance(value, str) else f"{key} {value:,.4g}" for key, value in named.items()]
    return f"{row['row']:36} {row['value']:12,.2f} {row['unit']:9} {', '.join(told)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="directory of the model")
    parser.add_argument("--columns", type=Path, nargs="+", default=[], metavar="FILE", help="tokens in column 0")
    parser.add_argument("--raw", type=Path, nargs="+", default=[], metavar="FILE", help="plain text")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processors", type=int, default=2, help="that everything runs on")
    parser.add_argument("--device", default="cpu", help="that ours computes on")
    parser.add_argument("--flair", metavar="PYTHON", help="of an environment that has Flair; else it is left out")
    parser.add_argument("--spacy", metavar="PYTHON", help="of an environment that has spaCy; else it is left out")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="these rows only")
    parser.add_argument("--engines", nargs="+", default=[], metavar="ENGINE", help="compared by the part identical")
    parser.add_argument("--gigabytes", type=float, help="of text for the part memory; else it is left out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for the rows")
    options = parser.parse_args()
    if not options.columns + options.raw:
        parser.error("there is no text; give --columns or --raw")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.processors])
    rows = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for row in all_rows(Bench(options, Path(folder), stack)):
            print(shown(row), flush=True)
            rows.append(row)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1) + "\n")


def all_rows(bench: Bench) -> Iterator[Answer]:
    print(f"{processors()} processors")
    alternating = [part for part in bench.options.part if part not in ("identical", "memory")]
    if alternating:
        yield from measured(bench, alternating)
    if "identical" in bench.options.part:
        yield from identical(bench)
    if "memory" in bench.options.part and bench.options.gigabytes:
        yield from memory(bench)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        serve(*sys.argv[2:])
    else:
        main()
