"""Measures a frozen transformer under the tagger: its first pass, tagging and training.

    python scripts/benchmark_transformer.py TRANSFORMER FILE [--sentences 300] [--rounds 3] [--only PART...]

TRANSFORMER is a directory with config.json, model.safetensors and a tokenizer; FILE holds tagged sentences in the
format of the recipe. The recipe's network is used with and without the transformer. Values are medians over the rounds:

    epoch    seconds of an epoch of training: with cached features, and without the transformer (`static`). The target
             of the ratio is at most 1.3. Each round takes `--steps` steps, without the evaluation at the end of an
             epoch. Then the size of the cache, and the peak of resident memory: in the first training without the
             transformer, and in all trainings
    states   tokens/s of the first pass, which splits tokens into subwords, computes hidden states and writes them to
             the cache: without context, and with the recipe's context in documents. The target of the ratio to the
             floor is at least 0.6
    tagging  tokens/s of tagging sentences in memory, without a cache of hidden states. The target of the ratio to a
             token-classification pipeline of transformers is at least 2 without context

The floor is the time of the transformer's matrix products for the same subwords, context and special tokens included.
Each product of a layer runs alone on all cores, in the fastest of all ways (torch or numpy, batch sizes, transposed
or not). Products of attention have the mean length of a window, weighted by subwords.

The pipeline uses the same transformer, gets each sentence as its tokens joined by spaces, and has a random classifier
without a CRF. Both systems use their best batch size. The measurements of a part run alternately, on all cores of this
process; `taskset` limits them.
"""

import argparse
import contextlib
import itertools
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from benchmark_rounds import measure_alternately, report_rows
from benchmark_systems import (
    MatrixProducts,
    Result,
    TokenClassification,
    count_cores,
    measure_seconds,
    speed,
)
from torch import nn

from tagger import config
from tagger.config import loader
from tagger.data.document_context import number_passages
from tagger.data.sentence import Sentence
from tagger.device import relaxed_garbage_collection, seed_generators, torch_threads
from tagger.model import TaggerModel, build_model, read_tables
from tagger.signals import StopRequest
from tagger.tagging import Tagger
from tagger.training import corpora
from tagger.training.events import StepEnd
from tagger.training.loop import Loop
from tagger.training.ranks import Ranks
from tagger.training.transformer_providers import open_provider
from tagger.transformer import library
from tagger.transformer.hidden_state_cache import CacheOptions, HiddenStateCache, open_cache
from tagger.transformer.providers import FrozenTransformer, HiddenStateProvider
from tagger.transformer.subwords import SubwordEncoder
from tagger.transformer.windows import Windows

PARTS = ("epoch", "states", "tagging")
WARM_UP = 10  # steps
DEV_SENTENCES = 32
TRIAL_SENTENCES = 100
CPU = torch.device("cpu")
BATCH_TOKENS, PIPELINE_BATCH_SIZES = (1024, 4096, 16384), (1, 8, 32, 128)
PRODUCT_BATCH_SIZES = (64, 256, 1024)

Shape = tuple[int, int]
"""Rows and columns of the right matrix of a product."""


class MeasuringDone(Exception):  # noqa: N818  # not an error
    """Ends a training when all its steps are measured."""


@dataclass(frozen=True)
class Bench:
    """The options and the data of a benchmark.

    Attributes:
        options: the options of the command line.
        settings: the recipe with the transformer.
        data: the corpus to train on and to tag.
        tokens: number of tokens in the whole file.
    """

    options: argparse.Namespace
    settings: config.Config
    data: corpora.Corpora
    tokens: int

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """The sentences that are used."""
        return tuple(self.data.train.sentences)

    @cached_property
    def transformer(self) -> library.Pretrained:
        """The transformer."""
        return library.load(str(self.options.transformer.resolve()))

    @property
    def contexts(self) -> tuple[int, ...]:
        """The sizes of context to measure: none, and that of the recipe."""
        return tuple(dict.fromkeys((0, self.settings.model.transformer.context)))

    def with_transformer(self, **changed: object) -> config.Config:
        """Returns the recipe with other settings of the transformer."""
        return loader.with_settings(self.settings, {"model": {"transformer": self._transformer_settings() | changed}})

    def without_transformer(self) -> config.Config:
        """Returns the recipe without the transformer."""
        return loader.with_settings(self.settings, {"model": {"transformer": {}}})

    def build(self, settings: config.Config) -> TaggerModel:
        """Returns a model with random weights; a transformer's tokenizer has no subwords cached."""
        transformer = None
        if settings.model.transformer.name:
            transformer = replace(self.transformer, subwords=SubwordEncoder(self.transformer.tokenizer))
        tables = read_tables(settings, self.sentences)
        with seed_generators(settings.training.seed, CPU):
            return build_model(settings, self.sentences, tables, transformer=transformer)

    def _transformer_settings(self) -> dict[str, Any]:
        return self.settings.model.transformer.model_dump(mode="json", exclude_unset=True)


def read_bench(options: argparse.Namespace) -> Bench:
    """Returns the benchmark that the options describe."""
    chosen = (f"model.transformer.name={options.transformer.resolve()}", "model.transformer.include_weights=false")
    settings = config.load(options.recipe, overrides=[*chosen, *options.overrides])
    parts = {"train": options.file, "dev": options.file, "test": None}
    settings = corpora.with_paths(settings, folder=None, parts=parts, vectors=options.vectors)
    data = corpora.load(settings)
    sentences = data.train.sentences[: options.sentences]
    train, dev = (replace(data.train, sentences=sentences[:size]) for size in (None, DEV_SENTENCES))
    settings = corpora.with_resolved_columns(settings, data.train)
    return Bench(options, settings, replace(data, train=train, dev=dev), data.train.tokens)


def measure_epoch(bench: Bench) -> Iterator[Result]:
    """Yields seconds of an epoch with and without cached features, then the size of the cache, and memory."""
    with tempfile.TemporaryDirectory() as folder:
        cache_folder, run = Path(folder) / "features", Path(folder) / "run"
        run.mkdir()
        plain_memory: list[float] = []

        def measure_plain() -> Result:
            result = train(bench, bench.without_transformer(), run, None)
            plain_memory.append(peak_bytes())
            return result

        with open_cache(CacheOptions(cache_folder)) as cache:
            measurements = {
                "epoch, static": measure_plain,
                "epoch, cached features": partial(train, bench, bench.with_transformer(), run, cache),
            }
            ratios, units = [("epoch, cached features", "epoch, static")], dict.fromkeys(measurements, "s")
            yield from measure_alternately(measurements, bench.options.rounds, ratios=ratios, units=units)
        yield from measure_cache(bench)
    yield {"row": "memory, static", "unit": "MB", "value": plain_memory[0] / 1e6}
    yield {"row": "memory, cached features", "unit": "MB", "value": peak_bytes() / 1e6}


def train(bench: Bench, settings: config.Config, run: Path, cache: HiddenStateCache | None) -> Result:
    """Returns seconds of an epoch of training, measured over some steps."""
    steps, batches = bench.options.steps, -(-len(bench.sentences) // settings.training.batch_size)
    epochs = -(-(WARM_UP + steps) // batches)
    training = settings.training.model_copy(update={"epochs": epochs, "patience": None})
    settings = settings.model_copy(update={"training": training})
    seconds, count, previous = 0.0, 0, 0.0

    def callback(event: object) -> None:
        nonlocal seconds, count, previous
        if not isinstance(event, StepEnd):
            return
        count += 1
        before = 0.0 if event.step == 1 else previous
        previous = loop.progress.stats.seconds
        if count > WARM_UP:
            seconds += previous - before
        if count == WARM_UP + steps:
            raise MeasuringDone

    loop = Loop(settings, bench.build(settings), bench.data, run, Ranks(CPU), callback, cache)
    with contextlib.suppress(MeasuringDone), StopRequest() as stop:
        loop.run(stop)
    return {"value": seconds / steps * batches, "steps": batches}


def measure_cache(bench: Bench) -> Iterator[Result]:
    """Yields the bytes per token in the cache, and in total for the used sentences and for the whole file."""
    with tempfile.TemporaryDirectory() as folder, open_cache(CacheOptions(Path(folder) / "features")) as cache:
        open_provider(bench.build(bench.with_transformer()), bench.sentences, cache, CPU)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.states"))
    tokens = bench.data.train.tokens
    yield {"row": "cache, each token", "unit": "bytes", "value": size / tokens}
    yield {"row": "cache, used sentences", "unit": "MB", "value": size / 1e6, "tokens": tokens}
    yield {
        "row": "cache, whole file",
        "unit": "MB",
        "value": size / tokens * bench.tokens / 1e6,
        "tokens": bench.tokens,
    }


def peak_bytes() -> float:
    """Returns the peak of resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def measure_first_pass(bench: Bench) -> Iterator[Result]:
    """Yields the speed of the first pass, that of the floor, and ratios, for each size of context."""
    measurements: dict[str, Callable[[], Result]] = {}
    ratios = []
    for context in bench.contexts:
        name, floor = f"states, context {context}", f"floor, context {context}"
        measurements[name] = partial(compute_first_pass, bench, context)
        measurements[floor] = partial(measure_floor, bench, context)
        ratios.append((name, floor))
    yield from measure_alternately(measurements, bench.options.rounds, ratios=ratios, units={})


def compute_first_pass(bench: Bench, context: int) -> Result:
    """Measures the first pass over the corpus."""
    frozen = freeze(bench, context)
    sentences, passages = read_tokens(bench.sentences), number_passages(bench.sentences)
    with open_cache(CacheOptions(is_enabled=False)) as cache:
        hidden_states = HiddenStateProvider(sentences, passages, frozen, cache)
        seconds = measure_seconds(hidden_states.fill)
    return speed(sum(map(len, sentences)), seconds)


def measure_floor(bench: Bench, context: int) -> Result:
    """Measures the matrix products that the first pass needs, alone."""
    frozen = freeze(bench, context)
    windows = frozen.lay_out(read_tokens(bench.sentences), number_passages(bench.sentences))
    subwords = sum(map(len, windows.ids))
    shapes = count_products(bench.transformer.encoder, windows)
    with torch_threads(1):  # in each of several threads
        seconds = sum(count * product_seconds(shape, bench.options.product_seconds) for shape, count in shapes.items())
    operations = sum(count * rows * columns for (rows, columns), count in shapes.items())
    result = speed(len(windows.windows), subwords * seconds)
    return result | {"subwords": subwords, "multiply_adds": operations, "gflops": 2e-9 * operations / seconds}


def freeze(bench: Bench, context: int) -> FrozenTransformer:
    """Returns the frozen transformer of a new model."""
    model = bench.build(bench.with_transformer(context=context))
    assert model.transformer is not None
    assert model.hidden_state_reader is not None
    return model.sentence_computer(model.transformer, model.hidden_state_reader, CPU)


def count_products(encoder: Any, windows: Windows) -> Mapping[Shape, int]:
    """Returns how often a subword is multiplied by matrices of each shape."""
    shapes: Counter[Shape] = Counter()
    ids = torch.from_numpy(max(windows.ids, key=len))[None]

    def count(module: nn.Linear, inputs: tuple[torch.Tensor, ...], _: object) -> None:
        if inputs[0].numel() == ids.numel() * module.in_features:  # not a product of position embeddings
            shapes[module.in_features, module.out_features] += 1

    linear = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_hook(count) for module in linear]
    with torch.inference_mode():
        encoder(input_ids=ids)
    for hook in hooks:
        hook.remove()
    lengths = list(map(len, windows.ids))
    length = round(sum(length * length for length in lengths) / sum(lengths))
    heads, layers = encoder.config.num_attention_heads, encoder.config.num_hidden_layers
    head_size = encoder.config.hidden_size // heads
    for shape in ((head_size, length), (length, head_size)):
        shapes[shape] += heads * layers
    return shapes


def product_seconds(shape: Shape, seconds: float) -> float:
    """Returns the seconds of a product of one row with a matrix on all cores, by the fastest way to multiply."""
    ways = itertools.product(("torch", "numpy"), PRODUCT_BATCH_SIZES, (False, True))
    rates = [
        MatrixProducts().multiply(
            [shape],
            library=name,
            batch_size=batch_size,
            is_transposed=is_transposed,
            threads=count_cores(),
            seconds=seconds,
        )["value"]
        for name, batch_size, is_transposed in ways
    ]
    return 1 / float(max(rates))


def measure_tagging(bench: Bench) -> Iterator[Result]:
    """Yields the speed of the tagger for each size of context, that of the pipeline, and ratios."""
    sentences, measurements = read_tokens(bench.sentences), dict[str, Callable[[], Result]]()
    for context in bench.contexts:
        settings = bench.with_transformer(context=context)
        measurements[f"tagger, context {context}"] = choose_batch_tokens(bench, settings)
    tag_count = len({tag for sentence in bench.sentences for tag in sentence.tags})
    pipeline = TokenClassification(
        bench.options.transformer, sentences, tag_count=tag_count, max_subwords=bench.transformer.max_subwords
    )
    trial, total = sum(map(len, sentences[:TRIAL_SENTENCES])), sum(map(len, sentences))
    rates = {size: pipeline.tag(trial, size)["value"] for size in PIPELINE_BATCH_SIZES}
    measurements["pipeline"] = partial(pipeline.tag, total, max(rates, key=rates.__getitem__))
    ratios = [(name, "pipeline") for name in measurements if name != "pipeline"]
    yield from measure_alternately(measurements, bench.options.rounds, ratios=ratios, units={})


def choose_batch_tokens(bench: Bench, settings: config.Config) -> Callable[[], Result]:
    """Returns a function that tags the corpus in batches of the size that is fastest for its first sentences."""
    trial = bench.sentences[:TRIAL_SENTENCES]
    tag_sentences(bench, settings, trial, BATCH_TOKENS[0])  # compiles all kernels
    rates = {size: tag_sentences(bench, settings, trial, size)["value"] for size in BATCH_TOKENS}
    return partial(tag_sentences, bench, settings, bench.sentences, max(rates, key=rates.__getitem__))


def tag_sentences(bench: Bench, settings: config.Config, sentences: Sequence[Sentence], batch_tokens: int) -> Result:
    """Measures tagging with a new tagger, which has no words cached."""
    tagger = Tagger(bench.build(settings), CPU, batch_tokens=batch_tokens)
    with relaxed_garbage_collection():  # as `tagger tag` does
        seconds = measure_seconds(lambda: tagger.tag(sentences))
    return speed(sum(map(len, sentences)), seconds) | {"setting": f"batch_tokens {batch_tokens}"}


def read_tokens(sentences: Sequence[Sentence]) -> list[list[str]]:
    """Returns the tokens of each sentence."""
    return [list(sentence.tokens) for sentence in sentences]


MEASUREMENTS = {"epoch": measure_epoch, "states": measure_first_pass, "tagging": measure_tagging}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transformer", type=Path, help="Directory of the transformer.")
    parser.add_argument("file", type=Path, help="Tagged sentences.")
    parser.add_argument(
        "--recipe", default="ner-conll2003-transformer", help="Recipe name or YAML file [ner-conll2003-transformer]."
    )
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="Override a setting."
    )
    parser.add_argument("--vectors", type=Path, action="append", default=[], help="Table of word vectors (repeatable).")
    parser.add_argument("--sentences", type=int, help="Number of sentences to use [all].")
    parser.add_argument("--rounds", type=int, default=3, help="Number of rounds [3].")
    parser.add_argument("--steps", type=int, default=200, help="Number of training steps in a round [200].")
    parser.add_argument(
        "--product-seconds", type=float, default=0.1, metavar="SECONDS", help="Seconds for each way to multiply [0.1]."
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="Measure these parts only.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the results as JSON.")
    options = parser.parse_args()
    torch.set_num_threads(count_cores())
    bench = read_bench(options)
    print(f"{count_cores()} cores, {len(bench.sentences)} sentences, {bench.data.train.tokens:,} tokens")
    rows = itertools.chain.from_iterable(MEASUREMENTS[part](bench) for part in PARTS if part in options.only)
    report_rows(rows, "benchmark_transformer.py", options.json)


if __name__ == "__main__":
    main()
