"""The systems that benchmarks compare, each in a process of its own that loads once and then answers calls.

`Process` starts this file with the Python of a system and exchanges one line of JSON for each call.
"""

import datetime
import itertools
import json
import math
import os
import platform
import select
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any

BATCH_SIZES = (32, 64, 128, 256)
PRODUCT_SECONDS = 0.2  # for each way to multiply
ENTITY_TYPES = ("PER", "ORG", "LOC", "MISC")
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Result = dict[str, Any]
"""A measurement; `value` is its main figure."""


class Toolkit:
    """A model of this toolkit, loaded from its directory."""

    def __init__(self, model: str, device: str) -> None:
        start = time.perf_counter()
        import torch

        imported = time.perf_counter()
        from tagger import tagging
        from tagger.jobs.local import engine

        loaded = tagging.load(model, device=device)
        self.ready: Result = {"value": time.perf_counter() - imported, "import_torch": imported - start}
        weights = loaded.model.network.members[0].encoder.named_parameters()
        self.ready["shapes"] = [list(reversed(weight.shape)) for name, weight in weights if "weight_hh" in name]
        self._model, self._run = Path(model), engine.run
        self._make_tagger = partial(tagging.Tagger, loaded.model, torch.device(loaded.device))

    def tag_file(
        self, source: str, out: str, *, formats: tuple[str, str], probabilities: bool = False, **limits: int
    ) -> Result:
        """Tags a file into a directory, with an empty word cache at the start."""
        from tagger.device import relaxed_garbage_collection
        from tagger.jobs.job import Formats, Job
        from tagger.tagging import DecodingOptions

        tagger, options = self._make_tagger(**limits), DecodingOptions(probabilities)
        job = Job((Path(source),), self._model, Formats(*formats), options, out=Path(out), overwrite=True)  # type: ignore[arg-type]
        cpu_start, own_start, start = cpu_seconds(), time.process_time(), time.perf_counter()
        with relaxed_garbage_collection():  # as `tagger tag` does
            tokens = self._run(tagger, job, (sys.stdin.buffer, sys.stdout.buffer)).tokens
        result = speed(tokens, time.perf_counter() - start)
        cpu_us = 1e6 * (cpu_seconds() - cpu_start) / tokens
        own_cpu_us = 1e6 * (time.process_time() - own_start) / tokens  # without worker processes
        return result | {
            "cpu_us": cpu_us,
            "own_cpu_us": own_cpu_us,
            "tokens": tokens,
            "hit_rate": tagger.cache_hit_rate or 0.0,
        }

    def tag_sentences(self, source: str, length: int = 20, count: int = 500) -> Result:
        """Tags sentences of `length` tokens one at a time, then again with all their words in the cache."""
        tokens = list(itertools.chain.from_iterable(read_sentences(source)))
        starts = range(0, len(tokens) - length, max(length, len(tokens) // count))
        batches, tagger = [[tokens[start : start + length]] for start in starts], self._make_tagger()
        passes = [[1000 * measure_seconds(partial(tagger.tag, batch)) for batch in batches] for _ in range(2)]
        first, cached = map(statistics.median, passes)
        return {"value": first, "p95": statistics.quantiles(passes[0], n=20)[-1], "cached": cached}


class MatrixProducts:
    """The recurrent matrix multiplications alone: the floor for the time of an LSTM."""

    ready: Result = {}  # noqa: RUF012

    def multiply(
        self,
        shapes: Sequence[Sequence[int]],
        *,
        library: str,
        batch_size: int,
        is_transposed: bool,
        threads: int,
        seconds: float = PRODUCT_SECONDS,
    ) -> Result:
        """Multiplies states (B, H) by each matrix (H, G) in each thread; a transposed one is stored as (G, H)."""
        seconds_per_token = 0.0
        for shape, group in itertools.groupby(sorted(shapes)):
            make = partial(make_product, library, batch_size, *shape, is_transposed=is_transposed)
            with ThreadPoolExecutor(threads) as pool:
                futures = [pool.submit(calls_per_second, make, seconds) for _ in range(threads)]
                rate = sum(future.result() for future in futures)
            seconds_per_token += len(list(group)) / (batch_size * rate)
        return {"value": 1 / seconds_per_token}


class Flair:
    """A BiLSTM-CRF over words and characters. Its random weights favour `O`, which costs Flair the least time."""

    ready: Result = {}  # noqa: RUF012

    def __init__(self, source: str) -> None:
        import torch
        from flair.data import Dictionary
        from flair.embeddings import CharacterEmbeddings, StackedEmbeddings, WordEmbeddings
        from flair.models import SequenceTagger

        torch.manual_seed(1)
        self._sentences = list(read_sentences(source))
        tags, characters = Dictionary(add_unk=False), Dictionary()
        tags.span_labels = True
        for name in ENTITY_TYPES:
            tags.add_item(name)
        vocab = {word: index for index, word in enumerate(dict.fromkeys(itertools.chain(*self._sentences)))}
        for character in sorted({character for word in vocab for character in word}):
            characters.add_item(character)
        words = WordEmbeddings(None, vocab=vocab, embedding_length=100, name="random")
        torch.nn.init.normal_(words.embedding.weight)
        embeddings = StackedEmbeddings([words, CharacterEmbeddings(characters)])
        self._model = SequenceTagger(embeddings, tags, "ner", hidden_size=200)
        with torch.no_grad():
            self._model.linear.bias[self._model.label_dictionary.get_idx_for_item("O")] += 1
            self._model.crf.transitions *= 0.1

    def tag(self, tokens: int, threads: int, mini_batch_size: int) -> Result:
        """Tags a sample of about `tokens` tokens."""
        import torch
        from flair.data import Sentence

        torch.set_num_threads(threads)
        sentences = [Sentence(words) for words in sample_evenly(self._sentences, tokens)]
        seconds = measure_seconds(lambda: self._model.predict(sentences, mini_batch_size=mini_batch_size))
        result = speed(sum(map(len, sentences)), seconds)
        in_spans = sum(len(span) for sentence in sentences for span in sentence.get_spans("ner"))
        setting = f"threads {threads}, mini_batch_size {mini_batch_size}"
        return result | {"in_spans": in_spans / result["tokens"], "setting": setting}


class SpaCy:
    """The convolutional entity recogniser of a blank pipeline, initialised on one sentence."""

    ready: Result = {}  # noqa: RUF012

    def __init__(self, source: str) -> None:
        import spacy
        from spacy.training import Example

        self._sentences = list(read_sentences(source))
        self._pipeline = spacy.blank("en")
        self._pipeline.add_pipe("ner")
        spans = [(4 * index, 4 * index + 3, name) for index, name in enumerate(ENTITY_TYPES)]
        doc = self._pipeline.make_doc("Ann Ltd Rio Pop are here .")
        self._pipeline.initialize(lambda: [Example.from_dict(doc, {"entities": spans})])

    def tag(self, tokens: int, n_process: int, batch_size: int) -> Result:
        """Tags a sample of about `tokens` tokens."""
        from spacy.tokens import Doc

        docs = [Doc(self._pipeline.vocab, words=words) for words in sample_evenly(self._sentences, tokens)]
        count = sum(map(len, docs))
        tagged = self._pipeline.pipe(docs, n_process=n_process, batch_size=batch_size)
        seconds = measure_seconds(lambda: sum(len(doc) for doc in tagged))
        return speed(count, seconds) | {"setting": f"n_process {n_process}, batch_size {batch_size}"}


class TokenClassification:
    """A token-classification pipeline of transformers. Its random weights favour `O`, which costs it the least time."""

    def __init__(self, folder: Path, sentences: Sequence[list[str]], *, tag_count: int, max_subwords: int) -> None:
        import torch
        from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        names = {number: f"B-{number}" if number else "O" for number in range(tag_count)}
        model = AutoModelForTokenClassification.from_pretrained(folder, id2label=names, num_labels=tag_count)
        with torch.no_grad():
            model.classifier.bias[0] += 10
        tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=max_subwords)
        self._pipeline: Any = pipeline(
            "token-classification", model=model.float(), tokenizer=tokenizer, aggregation_strategy="none", device="cpu"
        )
        self._sentences = sentences

    def tag(self, tokens: int, batch_size: int) -> Result:
        """Tags a sample of about `tokens` tokens, each sentence joined by spaces."""
        sample = sample_evenly(self._sentences, tokens)
        texts = [" ".join(sentence) for sentence in sample]
        seconds = measure_seconds(lambda: self._pipeline(texts, batch_size=batch_size))
        return speed(sum(map(len, sample)), seconds) | {"setting": f"batch_size {batch_size}"}


SYSTEMS: dict[str, type] = {"toolkit": Toolkit, "products": MatrixProducts, "flair": Flair, "spacy": SpaCy}


class Process:
    """A process that runs a system of a script; `ready` is the result of loading it."""

    def __init__(
        self,
        python: str,
        system: str,
        *,
        log: Path,
        script: Path = Path(__file__),
        one_thread: bool = False,
        **setup: str,
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in THREAD_LIMITS}
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [python, str(script), system, json.dumps(setup)],
                env=environment | (dict.fromkeys(THREAD_LIMITS, "1") if one_thread else {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.ready = self.receive()

    def call(self, method: str, *arguments: object, **options: object) -> Result:
        """Calls a method of the system and returns its result."""
        self.send(method, *arguments, **options)
        return self.receive()

    def send(self, method: str, *arguments: object, **options: object) -> None:
        """Calls a method without waiting for its result."""
        print(json.dumps([method, arguments, options]), file=self._pipe(self._process.stdin), flush=True)

    def receive(self, on_wait: Callable[[int], None] | None = None) -> Result:
        """Waits for a result; `on_wait` is called with the process id every 50 ms."""
        pipe = self._pipe(self._process.stdout)
        while on_wait and not select.select([pipe], [], [], 0.05)[0]:
            on_wait(self._process.pid)
        if line := pipe.readline():
            result: Result = json.loads(line)
            return result
        sys.exit(f"{self._process.args!r} failed:\n{self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        """Ends the process in the middle of a call."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends the process after its last result."""
        self._pipe(self._process.stdin).close()
        self._process.wait()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def fastest_products(processes: Sequence[Process], shapes: object) -> Result:
    """Returns the best rate of all ways to multiply: in one thread of each process, or in threads of one process."""
    best: Result = {"value": 0.0}
    for library, batch_size, is_transposed in itertools.product(("torch", "numpy"), BATCH_SIZES, (False, True)):
        way: dict[str, Any] = {"library": library, "batch_size": batch_size, "is_transposed": is_transposed}
        for process in processes:
            process.send("multiply", shapes, threads=1, **way)
        rates = {"processes": sum(process.receive()["value"] for process in processes)}
        rates["threads"] = processes[0].call("multiply", shapes, threads=len(processes), **way)["value"]
        for kind, rate in rates.items():
            if rate > best["value"]:
                best = {"value": rate, "setting": f"{library}, batch size {batch_size}, {kind}"}
    return best


def make_product(
    library: str, batch_size: int, depth: int, columns: int, *, is_transposed: bool
) -> Callable[[], object]:
    """Returns a function that multiplies (B, depth) by (depth, columns) once."""
    if library == "numpy":
        import numpy as np

        states, weight = np.ones((batch_size, depth), np.float32), np.ones((depth, columns), np.float32)
        weight = np.ascontiguousarray(weight.T).T if is_transposed else weight
        return partial(np.matmul, states, weight, out=np.empty((batch_size, columns), np.float32))
    import torch

    torch.set_num_threads(1)
    inputs, matrix = torch.ones(batch_size, depth), torch.ones(depth, columns)
    matrix = matrix.T.contiguous().T if is_transposed else matrix
    return partial(torch.mm, inputs, matrix, out=torch.empty(batch_size, columns))


def calls_per_second(make: Callable[[], Callable[[], object]], seconds: float) -> float:
    """Returns how many times per second the function that `make` returns can be called, measured for `seconds`."""
    function = make()
    function()
    start = time.perf_counter()
    count, elapsed = 0, 0.0
    while elapsed < seconds:
        function()
        count, elapsed = count + 1, time.perf_counter() - start
    return count / elapsed


def read_sentences(source: str) -> Iterator[list[str]]:
    """Yields the tokens of each sentence of a column file."""
    with Path(source).open(encoding="utf-8", newline="\n") as lines:
        for is_blank, rows in itertools.groupby(lines, lambda line: not line.strip(" \t\r\n")):
            if not is_blank and (tokens := [row.split(" ")[0] for row in rows if not row.startswith("-DOCSTART-")]):
                yield tokens


def sample_evenly(sentences: Sequence[list[str]], tokens: int) -> list[list[str]]:
    """Returns sentences at even distances that hold about `tokens` tokens."""
    count = max(1, math.ceil(len(sentences) * min(1.0, tokens / sum(map(len, sentences)))))
    return [sentences[index * len(sentences) // count] for index in range(count)]


def speed(tokens: int, seconds: float) -> Result:
    """Returns tokens per second, and both."""
    return {"value": tokens / seconds, "tokens": tokens, "seconds": seconds}


def measure_seconds(function: Callable[[], object]) -> float:
    """Returns the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def cpu_seconds() -> float:
    """Returns the CPU time of this process and of the children it has waited for."""
    return sum(os.times()[:4])


def count_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def describe_run(script: str) -> Result:
    """Returns the command, date, commit and machine of this run of a script in scripts/."""
    return {
        "command": shlex.join(["python", f"scripts/{script}", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": read_commit(Path(__file__).parent),
        "machine": f"{platform.machine()}, {count_cores()} cores",
    }


def read_commit(folder: Path) -> str:
    """Returns the short hash of the commit that a folder is checked out at, empty without one."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


def serve(systems: Mapping[str, type]) -> None:
    """Loads the system that the command line names, then answers calls, one line each. Other output goes to stderr."""
    system, setup = sys.argv[1:]
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    loaded = systems[system](**json.loads(setup))
    print(json.dumps(loaded.ready), file=results, flush=True)
    for line in sys.stdin:
        method, arguments, options = json.loads(line)
        print(json.dumps(getattr(loaded, method)(*arguments, **options)), file=results, flush=True)


if __name__ == "__main__":
    serve(SYSTEMS)
