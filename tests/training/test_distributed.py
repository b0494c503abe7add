"""Trainings by two processes that exchange gradients, as torchrun launches them, compared with one process.

Without dropout, two processes end like one process that takes their parts of each batch one after the other: bit for
bit. One process that takes a batch as a whole rounds differently. After two epochs of the tiny recipe, each weight
matrix differs by at most 1e-5 of its norm.
"""

import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tagger import model_dir, training
from tagger.config import Config
from tagger.training import records
from tagger.training.loop import Loop
from tagger.training.update import StepBatch
from tests.conftest import parse_tiny_recipe, tiny_corpus
from tests.robustness.runs import SCALE, child, ended, timeless, train_as_ranks, wait_for

BOUND = 1e-5
STILL = ("model.dropout={input: 0, output: 0}", "model.characters.dropout=0", "model.words.dropout=0")
SGD = ("training.optimizer={kind: sgd, learning_rate: 0.05}", "training.ema_decay=0.9")
CONTEXT = ("model.document_context={output_dim: 4, dropout: 0}",)
# 36 sentences make 7 batches of 5 and a batch of 1, for which the second rank has no sentence.
RECIPES = {
    "rows": (*STILL, *SGD, *CONTEXT, "training.accumulation_steps=2", "training.max_batch_tokens=200"),
    "all": (*STILL, *CONTEXT, "training.optimizer.weight_decay=0.01"),
    "dropout": SGD,
}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _recipe(folder: Path, name: str, *overrides: str, epochs: int = 1) -> Config:
    path = folder / "train.conll"
    path.write_text(tiny_corpus())
    fixed = (f"training.epochs={epochs}", "training.batch_size=5", "training.diagnostics=true")
    return parse_tiny_recipe(path, *RECIPES[name], *fixed, *overrides)


def _start(jobs: list[list[tuple[Config, Path]]]) -> list[Any]:
    """Starts a process for each rank, which runs its jobs one after the other."""
    port = _free_port()
    return [child(train_as_ranks, rank, len(jobs), port, its) for rank, its in enumerate(jobs)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of one process, `one-NAME`, and of two, `two-NAME`."""
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "plot", lambda *_: None)
        for name in ("rows", "all"):
            training.train(_recipe(folder, name), folder / f"from-one-{name}", device="cpu")
            training.train(_recipe(folder, name, epochs=2), folder / f"one-{name}", device="cpu")
        other = folder / "other.conll"
        jobs = [(_recipe(folder, name), folder / f"from-two-{name}") for name in RECIPES]
        jobs += [(_recipe(folder, name, epochs=2), folder / f"two-{name}") for name in RECIPES]
        jobs += [(_recipe(folder, name, epochs=2), folder / f"from-one-{name}") for name in ("rows", "all")]
        jobs += [(_recipe(folder, "dropout", epochs=2), folder / "from-two-dropout")]
        jobs += [(_recipe(folder, "rows"), folder / "two-rows")]  # is refused: it has fewer epochs
        other.write_text(tiny_corpus().replace("Ada", "Eva"))
        unequal = [_recipe(folder, "rows"), _recipe(folder, "rows", f"data.train={other}")]
        each = [[*jobs, (config, folder / "unequal")] for config in unequal]
        for process in _start(each):
            assert ended(process, 300) == 0
        for name in ("rows", "all"):
            shutil.copytree(folder / f"from-two-{name}", folder / f"then-one-{name}")
            training.resume(folder / f"then-one-{name}", device="cpu", config=_recipe(folder, name, epochs=2))
    return folder


def _last(run: Path) -> Path:
    return model_dir.find_newest_checkpoint(run)


def _difference(left: Path, right: Path) -> float:
    """Returns the largest distance of a weight matrix of two models, as a fraction of its norm."""
    one, two = (model_dir.load(path)[0].network.state_dict() for path in (left, right))
    return max(
        float((one[name].double() - two[name].double()).norm() / one[name].double().norm().clamp_min(1e-9))
        for name in one
    )


def _reports(folder: Path, run: str) -> list[Any]:
    """Returns what each rank reported of its last training in a run."""
    return [json.loads((folder / f"{run}.rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", ["rows", "all"])
def test_two_processes_train_the_weights_of_one(folder: Path, name: str) -> None:
    assert 0 < _difference(_last(folder / f"one-{name}"), _last(folder / f"two-{name}")) < BOUND
    assert _difference(folder / f"one-{name}/model-best", folder / f"two-{name}/model-best") < BOUND
    one, two = (records.read_metrics(folder / f"{kind}-{name}")[0] for kind in ("one", "two"))
    for expected, record in zip(one, two, strict=True):
        assert record.dev == expected.dev
        assert (record.steps, record.best, record.skipped) == (expected.steps, expected.best, expected.skipped)
        assert record.loss == pytest.approx(expected.loss, rel=BOUND)
        assert record.gradient_norm == pytest.approx(expected.gradient_norm, rel=BOUND)
        assert record.diagnostics is not None


def test_two_processes_end_like_one_that_takes_their_parts_one_after_the_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_batch(loop: Loop, positions: list[int]) -> StepBatch:
        lengths = loop._encoded.lengths
        longest_first = sorted(positions, key=lambda position: -lengths[position])
        groups: list[list[int]] = [[], []]
        for position in longest_first:
            sizes = [sum(lengths[each] for each in group) for group in groups]
            groups[int(sizes[1] < sizes[0])].append(position)
        parts = [sorted(group, key=positions.index) for group in groups if group]
        return StepBatch(
            [loop._encoded.batch(part) for part in parts], len(positions), *loop._encoded.word_ids(positions)
        )

    monkeypatch.setattr(Loop, "_build_batch", build_batch)
    training.train(_recipe(folder, "all", epochs=2), folder / "parts-all", device="cpu")
    parts, two = (_last(folder / f"{kind}-all") / "weights.safetensors" for kind in ("parts", "two"))
    assert parts.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("name", ["rows", "all"])
@pytest.mark.parametrize("run", ["from-one", "then-one"])
def test_a_training_resumes_with_another_number_of_processes(folder: Path, name: str, run: str) -> None:
    assert _last(folder / f"{run}-{name}").name == _last(folder / f"one-{name}").name
    assert _difference(_last(folder / f"one-{name}"), _last(folder / f"{run}-{name}")) < BOUND


def test_a_training_resumes_exactly_with_the_same_number_of_processes(folder: Path) -> None:
    whole, resumed = (_last(folder / run) for run in ("two-dropout", "from-two-dropout"))
    for name in ("weights.safetensors", "state.safetensors"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()


def test_every_rank_returns_the_result_and_only_the_first_one_reports_events(folder: Path) -> None:
    first, second = _reports(folder, "two-all")
    assert timeless(first["history"]) == timeless(second["history"])
    assert (first["events"], second["events"]) == (1 + 16 + 2, 0)


def test_ranks_draw_other_masks(folder: Path) -> None:
    first, second = _reports(folder, "two-dropout")
    assert first["draw"] != second["draw"]


def test_different_data_are_refused_on_every_rank(folder: Path) -> None:
    fault = (
        "rank 1 and rank 0 differ in their train data; all ranks need the same version, device type, recipe and data"
    )
    assert [each["faults"] for each in _reports(folder, "unequal")] == [[fault], [f"rank 1: {fault}"]]
    assert not (folder / "unequal").exists()


def test_a_fault_of_one_rank_is_named_by_the_others(folder: Path) -> None:
    first, second = (each["faults"][0] for each in _reports(folder, "two-rows"))
    assert "training.epochs must be at least 2" in first
    assert second == f"rank 1: stopped after the fault of rank 0: {first}"


def _endless(folder: Path, epochs: int = 1000) -> Config:
    return _recipe(folder, "rows", "training.checkpoint_steps=5", "training.diagnostics=false", epochs=epochs)


@pytest.fixture
def endless(tmp_path: Path) -> tuple[list[Any], Path]:
    """Two processes in a long training, and the directory of the run."""
    return _start([[(_endless(tmp_path), tmp_path / "run")]] * 2), tmp_path / "run"


def _wait_for_epoch(run: Path) -> None:
    wait_for(run / "metrics.jsonl")


@pytest.mark.parametrize("victim", [0, 1] * ((SCALE + 1) // 2))
def test_a_rank_that_is_killed_ends_the_others_with_one_line(
    endless: tuple[list[Any], Path], tmp_path: Path, victim: int
) -> None:
    processes, run = endless
    _wait_for_epoch(run)
    started = time.monotonic()
    os.kill(processes[victim].pid, signal.SIGKILL)
    assert ended(processes[1 - victim], 60) == 0
    assert time.monotonic() - started < 60
    (fault,) = json.loads((tmp_path / f"run.rank{1 - victim}.json").read_text())["faults"]
    assert "another process of the training has ended" in fault
    assert "continue with `resume=True`" in fault
    epochs = len(records.read_metrics(run)[0])
    config = _endless(tmp_path, epochs + 2)
    assert len(training.resume(run, device="cpu", config=config).history) == epochs + 2


def test_a_signal_to_one_rank_stops_all_of_them_in_the_middle_of_an_epoch_after_a_checkpoint(tmp_path: Path) -> None:
    long, run = tmp_path / "long.conll", tmp_path / "run"
    long.write_text(tiny_corpus() * 300)
    config = _recipe(
        tmp_path, "rows", f"data.train={long}", "training.checkpoint_steps=5", "training.keep_checkpoints=99"
    )
    processes = _start([[(config, run)]] * 2)
    wait_for(run / "checkpoint-000005")
    os.kill(processes[1].pid, signal.SIGTERM)
    assert [ended(process) for process in processes] == [143, 143]
    progress = model_dir.load_state(_last(run)).progress
    assert (progress["epoch"], progress["steps"]) == (0, int(_last(run).name.rpartition("-")[2]))
    assert torch.isfinite(model_dir.load(_last(run))[0].network.projection.weight).all()
