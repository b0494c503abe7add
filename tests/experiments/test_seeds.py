"""Several seeds: each equals a single training, results are summarized, and interrupted runs resume."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagger import experiments, model_dir, training
from tagger.config import Config
from tagger.errors import ConfigError, ModelError, Stopped, StorageError, TaggerError
from tagger.experiments import ExperimentResult, processes, runs, seeds
from tagger.training import Event, StepEnd, records
from tagger.training.update import Updater
from tests.conftest import parse_tiny_recipe, tiny_corpus
from tests.robustness.runs import changed, results, timeless, tree

SEEDS = (2, 3, 1)  # the first is not the best
FILES = {"config.yaml", "seeds.json", "model-best", "seed-1", "seed-2", "seed-3", ".tagger.lock", ".tagger-run"}


class Interruption(BaseException):
    """An interruption that a training cannot catch."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("data")
    (folder / "train.conll").write_text(tiny_corpus())
    # With this learning rate the scores of the seeds differ.
    overrides = ["training.epochs=2", "training.optimizer.learning_rate=0.009", f"data.test={folder / 'train.conll'}"]
    return parse_tiny_recipe(folder / "train.conll", *overrides)


@pytest.fixture(scope="module")
def whole(settings: Config, tmp_path_factory: pytest.TempPathFactory) -> ExperimentResult:
    """The result of an uninterrupted run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return experiments.train(settings, SEEDS, run, device="cpu")


def assert_same(run: Path, whole: ExperimentResult) -> None:
    """Asserts that a run equals `whole` except for times."""
    assert {path.name for path in run.iterdir()} == FILES
    for seed in SEEDS:
        assert results(run / f"seed-{seed}") == results(whole.run_dir / f"seed-{seed}")
    assert whole.best is not None
    assert_copied(run / "model-best", run / f"seed-{whole.best.seed}" / "model-best")
    assert summary(run) == summary(whole.run_dir)


def assert_copied(copy: Path, original: Path) -> None:
    """Asserts that a model is the copy of another; its card also has the scores of all seeds."""
    assert (copy / "README.md").read_text() != (original / "README.md").read_text()
    assert tree(copy) | {"README.md": b""} == tree(original) | {"README.md": b""}


def summary(run: Path) -> Any:
    return timeless(json.loads((run / "seeds.json").read_text()))


def test_a_seed_of_several_equals_the_seed_trained_alone(
    settings: Config, whole: ExperimentResult, tmp_path: Path
) -> None:
    for seed in SEEDS:
        alone = tmp_path / str(seed)
        training.train(changed(settings, f"training.seed={seed}"), alone, device="cpu")
        together = whole.run_dir / f"seed-{seed}"
        assert results(together) == results(alone)
        for name in ("config.yaml", "counts.json"):
            assert (together / name).read_bytes() == (alone / name).read_bytes()
        assert {path.name for path in together.iterdir()} == {path.name for path in alone.iterdir()}
        assert "36 sentences" in (together / "train.log").read_text()


def test_the_summary_has_each_score_with_mean_and_sample_standard_deviation(whole: ExperimentResult) -> None:
    summary = json.loads((whole.run_dir / "seeds.json").read_text())
    assert summary["seeds"] == [result["seed"] for result in summary["results"]] == list(SEEDS)
    for part in ("dev", "test"):
        scores = []
        for result in summary["results"]:
            *epochs, last = map(
                json.loads, (whole.run_dir / f"seed-{result['seed']}/metrics.jsonl").read_text().splitlines()
            )
            best = max(epochs, key=lambda epoch: epoch["dev"]["score"])
            scored = best["dev"] if part == "dev" else last["test"]
            assert result[part] == {key: scored[key] for key in result[part]}
            assert (result["epoch"], result["epochs"]) == (best["epoch"], 2)
            assert result["seconds"] == pytest.approx(
                sum(record["seconds"] + record["dev_seconds"] for record in epochs)
            )
            scores.append(scored["f1"])
        assert len(set(scores)) == 3
        assert summary[part]["mean"] == pytest.approx(np.mean(scores))
        assert summary[part]["sd"] == pytest.approx(np.std(scores, ddof=1))
        score = f"f1={np.mean(scores):.2f}±{np.std(scores, ddof=1):.2f} | seeds=2,3,1 | "
        assert summary[part]["signature"] == score + scored["signature"].partition(" | ")[2]
        assert summary[part]["signature"] in str(whole)


def test_the_best_model_on_dev_is_copied(whole: ExperimentResult) -> None:
    scores = {result.seed: result.dev.score for result in whole.results}
    best = max(scores, key=lambda seed: scores[seed])
    assert best != SEEDS[0]
    assert whole.best is not None
    assert json.loads((whole.run_dir / "seeds.json").read_text())["best"] == whole.best.seed == best
    assert_copied(whole.model_dir, whole.run_dir / f"seed-{best}" / "model-best")
    assert model_dir.load(whole.model_dir)[0].config.training.seed == best


def interrupt_at(seed_number: int, step: int) -> Callable[[Event], None]:
    """Returns a callback that interrupts a seed, counted from 0, at a step of its second epoch."""
    seen = 0

    def callback(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, StepEnd) and (event.epoch, event.step) == (1, step)
        if seen > seed_number:
            raise Interruption

    return callback


@pytest.mark.parametrize("seed_number", [0, 1, 2])
def test_a_run_interrupted_within_a_seed_ends_like_an_uninterrupted_one(
    settings: Config, whole: ExperimentResult, tmp_path: Path, seed_number: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interruption):
        experiments.train(settings, SEEDS, run, device="cpu", callback=interrupt_at(seed_number, 3))
    assert len(json.loads((run / "seeds.json").read_text())["results"]) == seed_number
    experiments.resume(run, device="cpu")
    assert_same(run, whole)


@pytest.mark.parametrize("saved", [0, 1, 2, 3])
def test_a_run_interrupted_between_seeds_ends_like_an_uninterrupted_one(
    settings: Config, whole: ExperimentResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: int
) -> None:
    honest, calls = runs.write_results, 0

    def save(result: ExperimentResult) -> None:
        nonlocal calls
        calls += 1
        if calls > saved:
            raise Interruption
        honest(result)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_results", save)
        with pytest.raises(Interruption):
            experiments.train(settings, SEEDS, run, device="cpu")
    experiments.train(settings, SEEDS, run, device="cpu", resume=True)
    assert_same(run, whole)


def test_resuming_finished_seeds_reads_no_data(
    settings: Config, whole: ExperimentResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(whole.run_dir, tmp_path / "run"))
    shutil.rmtree(run / "model-best")
    before = tree(run)
    monkeypatch.setattr(processes, "run_task", None)
    monkeypatch.setattr(training, "read_inputs", None)
    assert experiments.resume(run, device="cpu").to_json() == whole.to_json()
    after = tree(run)
    assert before.items() <= after.items()
    assert tree(run / "model-best") == tree(whole.model_dir)


def test_data_and_vectors_are_read_once_for_all_seeds(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vectors.txt").write_text("oslo 0.5 0.25\n")
    settings = changed(settings, f"model.words.vectors=[{tmp_path / 'vectors.txt'}]", "training.epochs=1")
    honest, calls = training.read_inputs, []

    def read(*arguments: Any, **options: Any) -> training.Inputs:
        calls.append(options)
        return honest(*arguments, **options)

    monkeypatch.setattr(training, "read_inputs", read)
    monkeypatch.setattr(import_module("tagger.training.train"), "read_inputs", read)
    experiments.train(settings, (1, 2), tmp_path / "run", device="cpu")
    assert calls == [{"is_new": True}]
    monkeypatch.undo()
    monkeypatch.setattr(records, "plot", lambda *_: None)
    training.train(changed(settings, "training.seed=2"), tmp_path / "alone", device="cpu")
    assert results(tmp_path / "run" / "seed-2") == results(tmp_path / "alone")


def test_without_dev_data_each_seed_splits_off_its_dev_data_with_a_warning(
    settings: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = changed(settings, "data.dev=null", "training.epochs=1")
    experiment = experiments.train(settings, (1, 5), tmp_path / "run", device="cpu")
    assert "each seed splits off other sentences" in caplog.text
    assert experiment.dev is not None
    assert experiment.dev.signature is None
    training.train(changed(settings, "training.seed=5"), tmp_path / "alone", device="cpu")
    assert results(tmp_path / "run" / "seed-5") == results(tmp_path / "alone")
    with pytest.raises(ModelError, match="its seeds were scored on different dev data"):
        experiments.compare(tmp_path / "run", tmp_path / "run", on="dev")


def test_a_failed_seed_is_reported_and_the_others_continue(
    settings: Config, whole: ExperimentResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Updater._loss

    def loss(self: Updater, batch: Any) -> Any:
        return honest(self, batch) * (float("nan") if self.settings.seed == 1 else 1)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Updater, "_loss", loss)
        experiment = experiments.train(settings, SEEDS, run, device="cpu")
    assert [result.seed for result in experiment.results] == [2, 3]
    assert list(experiment.failures) == [1]
    assert "epoch 1, step 1: loss nan" in experiment.failures[1][0]
    assert json.loads((run / "seeds.json").read_text())["failed"]["1"] == list(experiment.failures[1])
    assert experiments.resume(run, device="cpu").failures == {}
    assert_same(run, whole)


def test_a_signal_stops_all_seeds_of_one_process(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def run_task(task: processes.Task, **_: object) -> None:
        started.append(task.seed)
        raise Stopped(15)

    monkeypatch.setattr(processes, "run_task", run_task)
    with pytest.raises(Stopped):
        experiments.train(settings, SEEDS, tmp_path / "run", device="cpu")
    assert started == [SEEDS[0]]


@pytest.mark.parametrize("chosen", [3, SEEDS])
def test_resuming_in_an_empty_directory_starts_with_a_log_line(
    settings: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    chosen: int | tuple[int, ...],
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped(15)

    monkeypatch.setattr(processes, "run_task", stop)
    monkeypatch.setattr("tagger.training.train", stop)
    run, notice = tmp_path / "run", f"{tmp_path / 'run'}: nothing to resume; the run starts from the beginning"
    caplog.set_level("INFO")
    for resume in (True, False):
        with pytest.raises(Stopped):
            experiments.train(settings, chosen, run, device="cpu", resume=resume)
        assert caplog.messages.count(notice) == resume
        shutil.rmtree(run, ignore_errors=True)
        caplog.clear()


def test_seeds_can_be_added_but_not_removed(settings: Config, whole: ExperimentResult, tmp_path: Path) -> None:
    run = tmp_path / "run"
    experiments.train(settings, SEEDS[:1], run, device="cpu")
    (mtime,) = [(run / "seed-2/counts.json").stat().st_mtime_ns]
    experiments.train(settings, SEEDS, run, device="cpu", resume=True)
    assert (run / "seed-2/counts.json").stat().st_mtime_ns == mtime
    assert_same(run, whole)
    with pytest.raises(StorageError, match="started with seeds that `seeds` lacks: 2, 3"):
        experiments.train(settings, (1,), run, device="cpu", resume=True)


def test_other_settings_are_refused(settings: Config, whole: ExperimentResult) -> None:
    before = tree(whole.run_dir)
    with pytest.raises(
        ConfigError, match=r"training\.clip_norm was 5\.0, now 1\.0; resume the run without this change"
    ):
        experiments.train(changed(settings, "training.clip_norm=1"), SEEDS, whole.run_dir, device="cpu", resume=True)
    with pytest.raises(StorageError, match="was started from no model, now "):
        experiments.train(settings, SEEDS, whole.run_dir, device="cpu", resume=True, init_from=whole.model_dir)
    assert tree(whole.run_dir) == before


def test_seeds_resumed_for_more_epochs_equal_one_longer_run(
    settings: Config, whole: ExperimentResult, tmp_path: Path
) -> None:
    longer = changed(settings, "training.epochs=3")
    at_once = experiments.train(longer, SEEDS[:2], tmp_path / "at once", device="cpu")
    experiments.train(settings, SEEDS[:2], tmp_path / "run", device="cpu")
    experiment = experiments.resume(tmp_path / "run", device="cpu", config=longer)
    assert [len(result.history) for result in experiment.results] == [3, 3]
    assert [result.dev for result in experiment.results] == [result.dev for result in at_once.results]
    assert experiments.resume(tmp_path / "run", device="cpu").results == experiment.results


def test_a_directory_that_holds_a_training_is_refused(settings: Config, whole: ExperimentResult) -> None:
    before = tree(whole.run_dir)
    for run in (whole.run_dir, whole.run_dir / "seed-1"):
        with pytest.raises(StorageError, match="already holds a training"):
            experiments.train(settings, SEEDS, run, device="cpu")
    with pytest.raises(StorageError, match="already holds a training"):
        training.train(settings, whole.run_dir, device="cpu")
    with pytest.raises(StorageError, match="seed-1: holds a run of one seed, to which none can be added; choose anoth"):
        experiments.train(settings, SEEDS, whole.run_dir / "seed-1", device="cpu", resume=True)
    assert tree(whole.run_dir) == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_invalid_input_leaves_no_directory(settings: Config, tmp_path: Path, jobs: int) -> None:
    with pytest.raises(TaggerError, match="no-such-file"):
        experiments.train(changed(settings, "data.dev=no-such-file"), SEEDS, tmp_path / "run", jobs=jobs, device="cpu")
    with pytest.raises(ConfigError, match="brings its own word vectors"):
        experiments.train(
            changed(settings, "model.words.vectors=[x]"), SEEDS, tmp_path / "run", init_from=tmp_path, jobs=jobs
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("seeds_argument", "message"),
    [
        ((), "`seeds` is empty"),
        ((1, 2, 1, 2), "`seeds` repeats 1, 2"),
        ((1, -1), "got -1"),
        ((2**63,), "must be at least 0 and below"),
    ],
)
def test_seeds_that_cannot_be_trained_are_refused(
    settings: Config, tmp_path: Path, seeds_argument: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        experiments.train(settings, seeds_argument, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "expected"), [("1,2,3", (1, 2, 3)), ("1-5", (1, 2, 3, 4, 5)), ("7, 1-2", (7, 1, 2)), ("4-4", (4,))]
)
def test_lists_and_ranges_of_seeds_are_parsed(text: str, expected: tuple[int, ...]) -> None:
    assert seeds.parse_seeds(text) == expected


@pytest.mark.parametrize(
    "text", ["", ",", "1,", "a", "-1", "1-", "1.5", "5-1", "1-1001", "0-999,1", "1--2", "9" * 20, "١"]
)
def test_an_invalid_list_of_seeds_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="`seeds` ") as caught:
        seeds.parse_seeds(text)
    assert len(caught.value.faults) == 1


def test_a_damaged_summary_is_refused_in_one_line(whole: ExperimentResult, tmp_path: Path) -> None:
    for text in ("", "[]", '{"seeds": [1]}', '{"seeds": ["a"], "init_from": null}', "[" * 10_000):
        (whole.run_dir / "seeds.json").rename(whole.run_dir / "aside")
        (whole.run_dir / "seeds.json").write_text(text)
        with pytest.raises(ModelError, match=r"seeds\.json: cannot be read"):
            experiments.resume(whole.run_dir, device="cpu")
        (whole.run_dir / "aside").rename(whole.run_dir / "seeds.json")
    run = Path(shutil.copytree(whole.run_dir, tmp_path / "run"))
    for text, message in (("{", "cannot be read"), ('{"epoch": 1}\n', "record 1: steps: field required")):
        (run / "seed-1" / "metrics.jsonl").write_text(text)
        with pytest.raises(ModelError, match=message):
            experiments.resume(run, device="cpu")
