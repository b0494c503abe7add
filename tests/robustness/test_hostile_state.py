"""A state that its author made to harm is refused before a step is taken: it never crashes the process.

By default 15 states for each of five optimizers; TAGGER_TEST_SCALE=10 makes them 1000.
"""

import copy
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tagger import model_dir, training
from tagger.config import Config, load
from tagger.errors import ModelError, TrainingError
from tagger.model_dir import State
from tagger.training import corpora, state
from tagger.training.loop import Loop
from tagger.training.ranks import Ranks
from tagger.training.run_dir import COUNTS
from tests.robustness.runs import SCALE, changed, child, ended

OPTIMIZERS = {
    "adamw": ("training.optimizer={kind: adamw, learning_rate: 0.01}", "training.ema_decay=0.9"),
    "adam": ("training.optimizer={kind: adam, learning_rate: 0.01}", "model.encoder.cell=gru"),
    "sgd": ("training.optimizer={kind: sgd, learning_rate: 0.1}", "training.ema_decay=0.9"),
    "decayed": ("training.optimizer={kind: sgd, learning_rate: 0.1, weight_decay: 0.01}", "training.diagnostics=true"),
    "plain": ("training.optimizer={kind: sgd, learning_rate: 0.1, momentum: 0.0}", "model.head.kind=softmax"),
}
VALUES = (-1, 0, 1, 2, 3, 10**6, 2**31, 2**63, 10**19, 1e300, -0.5, 0.5, None, "", "x", [], {}, True, [1], {"a": 1})


@pytest.fixture(scope="module", params=OPTIMIZERS)
def run(request: pytest.FixtureRequest, model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, with a checkpoint in the middle of the second."""
    settings = load(str(model_path.parent / "config.yaml"))
    overrides = ("training.epochs=2", "training.checkpoint_steps=7", "training.keep_checkpoints=9")
    run = tmp_path_factory.mktemp(request.param) / "run"
    training.train(changed(settings, *overrides, *OPTIMIZERS[request.param]), run, device="cpu")
    return run


def middle(run: Path) -> Path:
    """Returns a checkpoint of the middle of an epoch, after which steps are left."""
    return run / "checkpoint-000014"


def loop_of(run: Path) -> Loop:
    """Returns a training that goes on from the checkpoint, whose state it does not have yet."""
    settings = load(str(run / "config.yaml"))
    model, _ = model_dir.load(middle(run))
    return Loop(settings, model, corpora.load(settings), run, Ranks(torch.device("cpu")), lambda event: None)


def go_on(loop: Loop, saved: State) -> None:
    """Restores a state and takes two steps, as a training does."""
    loop.restore(saved)
    loop._batches = loop._shuffle_batches(loop.progress.epoch)
    built = loop._build_batches(loop._batches[loop.progress.step :])
    for _ in range(2):
        if loop.progress.step < len(loop._batches):
            loop._take_step(built)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the place of each value within JSON."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths(value[key], (*path, key))


def with_changed_number(progress: dict[str, Any], source: random.Random) -> dict[str, Any]:
    """Returns the numbers of a state with one value replaced, removed or added."""
    progress = copy.deepcopy(progress)
    path = source.choice(list(paths(progress))[1:])
    inner: Any = progress
    for key in path[:-1]:
        inner = inner[key]
    match source.randrange(4):
        case 0 if isinstance(inner, dict):
            del inner[path[-1]]
        case 1 if isinstance(inner, dict):
            inner[source.choice(("more", "epoch", ""))] = source.choice(VALUES)
        case _:
            inner[path[-1]] = source.choice(VALUES)
    return progress


def _resized(tensor: Tensor, source: random.Random) -> Tensor:
    return torch.zeros(source.choice((0, 1, 2, 7, tensor.numel() + 1, 10**5)), dtype=tensor.dtype)


def _reshaped(tensor: Tensor, source: random.Random) -> Tensor:
    return tensor.reshape(source.choice(((-1,), (1, -1), (-1, 1), (1, *tensor.shape), tuple(tensor.shape[::-1]))))


def _cast(tensor: Tensor, source: random.Random) -> Tensor:
    return tensor.to(source.choice((torch.float64, torch.float32, torch.float16, torch.int64, torch.uint8)))


def _filled(tensor: Tensor, source: random.Random) -> Tensor:
    numbers = (-1, 0, 1, 255, 10**6, 2**31, 2**62, -(2**63))
    value: float = source.choice(numbers)
    if tensor.is_floating_point():
        largest = torch.finfo(tensor.dtype).max
        value = source.choice((float("nan"), float("inf"), -1.0, 0.0, largest, -largest, 1e-45))
    elif tensor.dtype == torch.uint8:
        value = source.randrange(256)
    tensor = tensor.clone()
    if tensor.numel() and source.random() < 0.5:
        tensor.view(-1)[source.randrange(tensor.numel())] = value
        return tensor
    return tensor.fill_(value)


CHANGES: tuple[Callable[[Tensor, random.Random], Tensor], ...] = (_resized, _reshaped, _cast, _filled)


def with_changed_tensor(tensors: dict[str, Tensor], source: random.Random) -> dict[str, Tensor]:
    """Returns the tensors of a state with one changed, removed, added or put in another's place."""
    tensors, name = dict(tensors), source.choice(list(tensors))
    match source.randrange(7):
        case 0:
            del tensors[name]
        case 1:
            tensors[source.choice((f"{name}.0", "optimizer.99.exp_avg", "rows.more", "x", "optimizer.x"))] = tensors[
                name
            ]
        case 2:
            tensors[name] = tensors[source.choice(list(tensors))]
        case _:
            tensors[name] = source.choice(CHANGES)(tensors[name], source)
    return tensors


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Tells whether tensors have the same names, shapes and types."""
    kinds = [{name: (value.shape, value.dtype) for name, value in each.items()} for each in (one, other)]
    return kinds[0] == kinds[1]


def try_states(run: Path, count: int, report: Path) -> None:
    """Tries so many changed states; the report tells how many were refused and what went wrong."""
    torch.set_num_threads(1)
    whole = model_dir.load_state(middle(run))
    wrong, refused, source = [], 0, random.Random(f"{run.parent.name}")
    loop = loop_of(run)
    for number in range(count):
        report.write_text(json.dumps([refused, [f"the process died at state {number}"]]))
        if number % 2:
            tried = State(with_changed_number(whole.progress, source), whole.tensors)
        else:
            tried = State(whole.progress, with_changed_tensor(whole.tensors, source))
        try:
            go_on(loop, tried)
        except ModelError as error:
            refused += 1
            wrong += [f"{number}: {error}"] * ("\n" in str(error))
        except TrainingError:  # values that are in range may still diverge
            loop = loop_of(run)
        except Exception as error:  # each is a finding
            wrong.append(f"{number}: {error!r}")
            loop = loop_of(run)
        else:
            wrong += [f"{number}: taken with other tensors"] * (not same(tried.tensors, whole.tensors))
    report.write_text(json.dumps([refused, wrong]))


def test_no_changed_state_crashes_the_process(run: Path, tmp_path: Path) -> None:
    count = 15 if SCALE == 1 else 100 * SCALE
    process = child(try_states, run, count, tmp_path / "report")
    code = ended(process, 60 * SCALE)
    refused, wrong = json.loads((tmp_path / "report").read_text())
    assert (code, wrong) == (0, [])
    assert refused > count // 2


def test_the_unchanged_state_is_accepted(run: Path) -> None:
    go_on(loop_of(run), model_dir.load_state(middle(run)))


@pytest.fixture(scope="module")
def finished(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch."""
    settings = changed(load(str(model_path.parent / "config.yaml")), "training.epochs=1", *OPTIMIZERS["sgd"])
    run = tmp_path_factory.mktemp("finished") / "run"
    training.train(settings, run, device="cpu")
    return run


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Callable[..., Path]:
    """Returns a copy of a run whose newest checkpoint has another state."""

    def copy_with(change: Callable[[dict[str, Any], dict[str, Tensor]], Any]) -> Path:
        target = Path(shutil.copytree(finished, tmp_path / "copy"))
        newest = model_dir.find_newest_checkpoint(target)
        saved = model_dir.load_state(newest)
        change(saved.progress, saved.tensors)
        model, metrics = model_dir.load(newest)
        model_dir.save(model, newest, metrics, saved)
        (target / COUNTS).unlink()  # the result of a finished training is returned without its state
        return target

    return copy_with


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda numbers, _: numbers.pop("epoch"), "epoch: field required"),
        (lambda numbers, _: numbers.update(more=1), "'more': unknown field"),
        (lambda numbers, _: numbers["stats"].pop("steps"), "stats.steps: field required"),
        (lambda numbers, _: numbers.update(step=10**6), "steps: they are not the sum"),
        (lambda numbers, _: numbers.update(epoch=0), "epoch: it is 0, but there are 1 records"),
        (lambda numbers, _: numbers["history"][0].pop("dev"), r"history\[0\]\.dev: field required"),
        (lambda numbers, _: numbers.update(scaler={"scale": 1.0}), "scaler: expected the fields"),
        (lambda numbers, _: numbers["data"].pop("dev"), "data: expected the parts train, dev"),
        (lambda _, tensors: tensors.pop("optimizer.0.momentum_buffer"), r"optimizer\.0\.momentum_buffer is missing"),
        (lambda _, tensors: tensors.update(a=torch.zeros(1)), "a is not expected"),
        (lambda _, tensors: tensors["rows.seen"].fill_(10**9), r"rows\.seen holds a step outside of \[0, 0\]"),
        (lambda _, tensors: tensors["rows.seen"].fill_(-1), r"rows\.seen holds a step outside"),
        (lambda _, tensors: tensors.update({"rows.moved": torch.zeros(0)}), r"rows\.moved is missing, or has a length"),
        (
            lambda _, tensors: tensors["rows.followed"].fill_(float("nan")),
            r"rows\.followed has a value that is not fin",
        ),
        (lambda _, tensors: tensors.update({"random.cpu": torch.zeros(9, dtype=torch.uint8)}), r"random\.cpu has "),
        (lambda _, tensors: tensors["random.cpu"].fill_(1), r"random\.cpu is not the state of a generator"),
        (
            lambda _, tensors: tensors["average.embedding.words.frozen"].resize_(1, 16),
            r"average\.embedding\.words\.frozen ",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_with_its_fault(
    copied: Callable[..., Path], change: Callable[[dict[str, Any], dict[str, Tensor]], Any], message: str
) -> None:
    with pytest.raises(ModelError, match=rf"the state of the training is refused: .*{message}"):
        training.resume(copied(change), device="cpu")


def test_a_state_file_larger_than_the_training_needs_is_not_read(
    copied: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    def more(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        tensors["more"] = torch.zeros(1 << 20)

    training.resume(copied(more), device="cpu")  # from the checkpoint before
    assert re.search(r"state\.safetensors is refused: it has \d+ bytes, expected at most", caplog.text)


def test_a_restored_generator_reads_only_within_its_state(copied: Callable[..., Path]) -> None:
    def beyond(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        tensors["random.cpu"][8:12] = torch.tensor([624], dtype=torch.int32).view(torch.uint8)  # numbers left
        tensors["random.cpu"][16:24] = torch.tensor([624]).view(torch.uint8)  # the index of the next

    with pytest.raises(ModelError, match=r"random\.cpu is not the state of a generator$"):
        training.resume(copied(beyond), device="cpu")


@pytest.mark.parametrize("drawn", [0, 1, 623, 624, 625, 700])
def test_every_valid_generator_state_is_accepted(drawn: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(drawn):
        torch.randint(10, (1,), generator=generator)
    state._check_random(generator.get_state())


@pytest.fixture
def small(tiny_config: Config) -> Config:
    """The tiny recipe for one epoch."""
    return changed(tiny_config, "training.epochs=1")


@pytest.mark.parametrize("metrics", [{}, {"epoch": 1}, {"epoch": "x", "dev": {"score": 1}}, {"epoch": 1, "dev": []}])
def test_a_best_model_without_the_metrics_of_an_epoch_is_refused(
    small: Config, tmp_path: Path, metrics: dict[str, Any]
) -> None:
    best = training.train(small, tmp_path / "run", device="cpu").model_dir
    model_dir.save(model_dir.load(best)[0], best, metrics)
    (tmp_path / "run" / COUNTS).unlink()
    with pytest.raises(ModelError, match=r"model-best/metrics\.json: .*: (expected|field required)"):
        training.resume(tmp_path / "run", device="cpu")
