"""Shared fixtures: a tiny corpus, a recipe that learns it in a second, and a model trained on it."""

import atexit
import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest
import torch

from tagger import plotting, training
from tagger.config import Config, parse

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported: its own functions are wrapped then

TINY_RECIPE = """
data: {{columns: [token, ner], token: token, tag: ner, train: {train}, dev: {dev}}}
model:
  words: {{embedding_dim: 16}}
  characters: {{embedding_dim: 8, output_dim: 8, dropout: 0.1}}
  encoder: {{hidden_size: 16}}
  dropout: {{input: 0.1, output: 0.1}}
training:
  epochs: 3
  batch_size: 4
  optimizer: {{kind: adamw, learning_rate: 0.01}}
"""

_NAMES = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald")
_PLACES = ("Paris", "Oslo", "Lima", "New York", "Cairo", "Quito")


GPU_CASES = pytest.StashKey[int]()
"""The number of collected cases that need a GPU, where there is none."""

SLOW = (
    "robustness",  # processes that are killed, damaged files, hostile models
    "experiments/test_seeds.py",
    "jobs/test_ray.py",  # starts Ray
    "nn/kernels/test_compiling.py",  # compiles in new processes
    "nn/test_triton_interpreted.py",
    "tagging/test_cache_size.py",
    "tagging/test_fork.py",
    "test_benchmarks.py",
    "test_readme.py",
    "test_sample.py",
    "test_studies.py",
    "test_wheel.py",
    "training/test_diagnostics.py",
    "training/test_distributed.py",
)
"""Files and folders whose tests all take long. `scripts/check --fast` leaves out every test marked `slow`."""

_SLOW_NODES = tuple(f"tests/{name}" for name in SLOW)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks the tests of slow files and folders."""
    if item.nodeid.startswith(_SLOW_NODES):
        item.add_marker("slow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the cases that need a GPU where there is none; `tests/test_not_run.py` reports their number."""
    has_gpu = torch.cuda.is_available()
    runnable = [item for item in items if has_gpu or not item.get_closest_marker("gpu")]
    config.stash[GPU_CASES] = len(items) - len(runnable)
    items[:] = runnable


def pytest_collection_finish() -> None:
    """Lets the garbage collector ignore the imported modules and the collected tests: each run would visit them all."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # otherwise libraries report their objects as leaks at the end of the process


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Reports the slowest files below the slowest tests of `--durations`."""
    count, seconds = terminalreporter.config.getoption("durations"), Counter[str]()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    if count:
        terminalreporter.section(f"slowest {count} files")
        for path, total in seconds.most_common(count):
            terminalreporter.write_line(f"{total:.2f}s {path}")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Limits tests and the processes they start to one thread, so that they do not compete for cores."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _no_fsync() -> Iterator[None]:
    """Keeps this process from waiting for the disk, as a tiny training does for a third of its time.

    Tests in which a process is killed or a call fails need no disk: the operating system keeps what was written.
    """
    fsync = os.fsync
    os.fsync = lambda handle: None
    yield
    os.fsync = fsync


@pytest.fixture(scope="session", autouse=True)
def _empty_plots() -> Iterator[Callable[..., bytes]]:
    """Makes trainings in this process draw empty pictures: drawing takes longer than a tiny training."""
    draw = plotting.draw_png
    plotting.draw_png = lambda *_, **__: b"\x89PNG"
    yield draw
    plotting.draw_png = draw


@pytest.fixture
def real_plots(_empty_plots: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the trainings of a test draw."""
    monkeypatch.setattr(plotting, "draw_png", _empty_plots)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Sets the number of torch threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tiny_corpus() -> str:
    """Returns 36 sentences in two columns, three documents, IOB2."""
    blocks = []
    for number, name in enumerate(_NAMES):
        if number % 2 == 0:
            blocks.append("-DOCSTART- O\n")
        for place in _PLACES:
            tokens = [f"{name} B-PER", "lives O", "in O"]
            tokens += [f"{word} {'I' if inner else 'B'}-LOC" for inner, word in enumerate(place.split())]
            blocks.append("\n".join([*tokens, ". O"]) + "\n")
    return "\n".join(blocks) + "\n"


def parse_tiny_recipe(train: Path, *overrides: str, dev: Path | None = None) -> Config:
    """Returns the recipe of the tiny corpus; without a file of development data, the training data serves as such."""
    return parse(TINY_RECIPE.format(train=train, dev=dev or train), "tiny.yaml", overrides=overrides)


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    """A file of the tiny corpus."""
    path = tmp_path / "train.conll"
    path.write_text(tiny_corpus())
    return path


@pytest.fixture
def tiny_config(corpus_file: Path) -> Config:
    """A recipe that trains and develops on the tiny corpus."""
    return parse_tiny_recipe(corpus_file)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model that has learned the tiny corpus; read it, never write into it."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "train.conll").write_text(tiny_corpus())
    config = parse_tiny_recipe(folder / "train.conll", "training.epochs=12")
    return training.train(config, folder / "run", device="cpu").model_dir
