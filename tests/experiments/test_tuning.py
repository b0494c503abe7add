"""A search for settings: sampling, pruning, failures, several seeds, and what remains of an interrupted one."""

import json
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tagger import choices, model_dir
from tagger.cli import app
from tagger.config import Config, loader, search_space
from tagger.config.search_space import SearchSpace
from tagger.errors import ConfigError, ModelError, StorageError, TrainingError
from tagger.evaluation import Scores
from tagger.experiments import processes, study, tuning, tuning_picture
from tagger.experiments.processes import Task, load_config
from tagger.experiments.study import Study
from tagger.experiments.trials import TuningResult
from tagger.experiments.tuning import TuningOptions
from tagger.training import Callback, EpochEnd, EpochRecord, Inputs, records, run_dir
from tests.conftest import parse_tiny_recipe, tiny_corpus

if find_spec("optuna") is None:  # tests/test_not_run.py reports it
    pytest.skip("needs the extra [tune]", allow_module_level=True)

LEARNING_RATE, SIZE = "training.optimizer.learning_rate", "model.encoder.hidden_size"
SPACE = search_space.parse(
    {
        LEARNING_RATE: {"low": 0.001, "high": 0.1, "log": True},
        SIZE: {"low": 8, "high": 64},
        "model.encoder.cell": ["lstm", "gru"],
    }
)
EPOCHS = 5


class Interruption(BaseException):
    """An interruption that a search cannot catch."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("data")
    (folder / "train.conll").write_text(tiny_corpus())
    return parse_tiny_recipe(folder / "train.conll", f"training.epochs={EPOCHS}")


def score(settings: Config, epoch: int) -> float:
    """Returns a made-up dev score that rises towards a level, which depends on the settings and the seed."""
    size, seed = settings.model.encoder.hidden_size, settings.training.seed
    level = 90 - abs(size - 40) / 4 - 300 * abs(settings.training.optimizer.learning_rate - 0.02) + seed / 10
    return level - 40 / (epoch + (size % 7) / 7)


def record(epoch: int, value: float) -> EpochRecord:
    scores = Scores(value, "f1", value, value, value, value, value, "f1")
    return EpochRecord(epoch, epoch, 1.0, 1.0, 0.0, 0, 0.1, scores, best=True, seconds=2.0, dev_seconds=1.0)


@pytest.fixture
def fake_training(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replaces trainings by made-up ones, which resume like real ones; returns the epochs that are trained."""
    trained = []

    def run_task(task: Task, *, callback: Callback, inputs: Inputs | None = None) -> None:
        settings, path = load_config(task), Path(task.run_dir)
        with run_dir.lock_run_dir(path):
            history = records.read_metrics(path)[0] if (path / run_dir.METRICS).exists() else []
            (path / run_dir.CONFIG).write_text(loader.dump(settings))
            for epoch in range(len(history) + 1, settings.training.epochs + 1):
                trained.append((path.parent.name, epoch))
                history.append(record(epoch, score(settings, epoch)))
                records.write_metrics(path, history)
                callback(EpochEnd(history[-1], settings.training.epochs, 0.0))
            shutil.copytree(model_path, path / "model-best", dirs_exist_ok=True)
            (path / run_dir.COUNTS).write_text("{}")

    monkeypatch.setattr("tagger.experiments.processes.run_task", run_task)
    return trained


def search(
    recipe: Config,
    out: Path,
    *,
    space: SearchSpace = SPACE,
    resume: bool = False,
    callback: Callback = lambda _: None,
    **options: Any,
) -> TuningResult:
    chosen = TuningOptions(**{"trials": 8} | options)
    return tuning.tune(recipe, space, out, chosen, device="cpu", resume=resume, callback=callback)


@pytest.mark.usefixtures("fake_training")
def test_the_best_trial_has_a_recipe_a_model_and_a_row_in_each_table(
    recipe: Config, tmp_path: Path, model_path: Path
) -> None:
    out = tmp_path / "out"
    result = search(recipe, out, prune=False, seeds=(1, 2))
    finals = {
        trial.number: [
            max(
                score(loader.with_values(recipe, {**trial.settings, "training.seed": seed}), epoch)
                for epoch in range(1, EPOCHS + 1)
            )
            for seed in (1, 2)
        ]
        for trial in result.trials
    }
    means = {number: sum(values) / 2 for number, values in finals.items()}
    assert result.best is not None
    assert result.best.number == max(means, key=lambda number: means[number])
    assert {trial.number: trial.score for trial in result.trials} == pytest.approx(means)
    best = loader.load(str(out / "best.yaml"))
    assert best == loader.with_values(recipe, result.best.settings)
    assert (
        (out / "best.yaml")
        .read_text()
        .startswith(
            f"# dev F1 {means[result.best.number]:.2f}, mean of the seeds 1, 2: trial {result.best.number} of 8\n"
        )
    )
    assert model_dir.compute_digest(result.model_dir) == model_dir.compute_digest(model_path)
    assert not list(out.glob("trial-*"))
    rows = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    assert [row["score"] for row in rows] == pytest.approx(list(means.values()))
    assert rows[0]["curve"] == pytest.approx(
        [score(loader.with_values(recipe, rows[0]["settings"]), epoch) for epoch in range(1, EPOCHS + 1)]
    )
    first, _, *table = (out / "trials.md").read_text().splitlines()
    assert first == "| trial | dev F1 | sd | epochs | seconds | state | learning_rate | hidden_size | cell |"
    assert [int(row.split("|")[1]) for row in table] == sorted(means, key=lambda number: -means[number])
    assert str(result).splitlines()[-4:] == [
        "8 trials: 8 finished; 80 epochs, 240 s",
        f"best: trial {result.best.number}, dev F1 {means[result.best.number]:.2f}",
        f"recipe: {out}/best.yaml",
        f"model: {out}/model-best",
    ]


def test_pruning_ends_the_trials_that_an_earlier_rung_ranks_low(
    recipe: Config, tmp_path: Path, fake_training: list[tuple[str, int]]
) -> None:
    whole = search(recipe, tmp_path / "whole", prune=False, sampler="random", trials=16)
    assert len(fake_training) == 16 * EPOCHS
    fake_training.clear()
    pruned = search(recipe, tmp_path / "pruned", sampler="random", trials=16)
    assert [trial.settings for trial in pruned.trials] == [trial.settings for trial in whole.trials]
    expected: list[int] = []  # epochs of each trial, from the curves of the search without pruning
    for number, trial in enumerate(whole.trials):
        epochs = EPOCHS
        for rung in (3, 1):
            reached = [
                max(other.curve[:rung]) for other, count in zip(whole.trials, expected, strict=False) if count >= rung
            ]
            better = sum(value > max(trial.curve[:rung]) for value in reached)
            if better >= max(1, (len(reached) + 1) // 4):
                epochs = rung
        expected.append(epochs)
        assert pruned.trials[number].state == ("finished" if epochs == EPOCHS else "pruned")
    assert [trial.epochs for trial in pruned.trials] == expected
    assert {1, 3, 5} == set(expected)
    assert len(fake_training) == sum(expected) < 16 * EPOCHS / 2
    survivors = [trial for trial, epochs in zip(whole.trials, expected, strict=True) if epochs == EPOCHS]
    assert pruned.best == max(survivors, key=lambda trial: trial.score or 0.0)


@pytest.mark.usefixtures("fake_training")
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_interrupted_after_any_epoch_ends_like_an_uninterrupted_one(
    recipe: Config, tmp_path: Path, sampler: choices.Sampler
) -> None:
    whole = search(recipe, tmp_path / "whole", sampler=sampler, trials=8)
    assert {trial.state for trial in whole.trials} == {"finished", "pruned"}
    out, interruptions, seen = tmp_path / "out", 0, 0

    def interrupt(_: object) -> None:  # each run finishes an epoch, and is interrupted after the next
        nonlocal seen
        seen += 1
        if seen % 2 == 0:
            raise Interruption

    while True:
        try:
            result = search(recipe, out, sampler=sampler, trials=8, resume=True, callback=interrupt)
            break
        except Interruption:
            interruptions += 1
    assert interruptions > 5
    assert result.trials == whole.trials
    assert (out / "best.yaml").read_bytes() == (tmp_path / "whole" / "best.yaml").read_bytes()


def test_only_trials_that_are_not_pruned_are_trained_with_the_other_seeds(
    recipe: Config, tmp_path: Path, fake_training: list[tuple[str, int]]
) -> None:
    result = search(recipe, tmp_path / "out", seeds=(3, 1, 2), trials=12)
    assert {trial.state for trial in result.trials} == {"finished", "pruned"}
    for trial in result.trials:
        assert [each.seed for each in trial.seeds] == ([3, 1, 2] if trial.state == "finished" else [])
        trained = [epoch for name, epoch in fake_training if name == f"trial-{trial.number:04}"]
        assert len(trained) == trial.epochs
        first = loader.with_values(recipe, {**trial.settings, "training.seed": 3})
        assert list(trial.curve) == [score(first, epoch) for epoch in range(1, len(trial.curve) + 1)]


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_a_failed_trial_is_reported_and_resumes_with_its_number(
    recipe: Config,
    tmp_path: Path,
    fake_training: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    seeds: tuple[int, ...],
) -> None:
    whole = search(recipe, tmp_path / "whole", prune=False, sampler="random", trials=4, seeds=seeds)
    train = processes.run_task

    def failing(task: Task, **options: Any) -> None:
        if "trial-0002" in task.run_dir and task.seed == seeds[-1]:
            raise TrainingError("the loss is not finite")
        train(task, **options)

    monkeypatch.setattr(processes, "run_task", failing)
    result = search(recipe, tmp_path / "out", prune=False, sampler="random", trials=4, seeds=seeds)
    assert [trial.state for trial in result.trials] == ["finished", "failed", "finished", "finished"]
    fault = "the loss is not finite" if len(seeds) == 1 else "seed 2: the loss is not finite"
    assert result.trials[1].faults == (fault,)
    assert f"trial 2 failed: {fault}" in str(result).splitlines()
    monkeypatch.setattr(processes, "run_task", train)
    fake_training.clear()
    resumed = search(recipe, tmp_path / "out", prune=False, sampler="random", trials=4, seeds=seeds, resume=True)
    assert resumed.trials == whole.trials
    assert fake_training == [("trial-0002", epoch) for epoch in range(1, EPOCHS + 1)]


@pytest.mark.usefixtures("fake_training")
def test_settings_that_cannot_be_combined_are_refused_and_the_search_continues(recipe: Config, tmp_path: Path) -> None:
    space = search_space.parse({SIZE: [16, 17], "model.encoder.attention_heads": [0, 3, 4]})
    result = search(recipe, tmp_path / "out", space=space, sampler="grid", prune=False)
    assert [trial.state for trial in result.trials].count("refused") == 3
    assert [trial.state for trial in result.trials].count("finished") == 3
    refused = next(trial for trial in result.trials if trial.state == "refused")
    heads, size = refused.settings["model.encoder.attention_heads"], 2 * refused.settings[SIZE]
    assert refused.faults == (
        f"the settings: model.encoder: attention_heads must divide the merged size {size}, got {heads}",
    )
    hopeless = search_space.parse({"model.encoder.attention_heads": [3, 5]})
    result = search(recipe, tmp_path / "hopeless", space=hopeless, trials=2)
    assert {trial.state for trial in result.trials} == {"refused"}
    assert result.best is None
    assert str(result).endswith("no trial is finished")


@pytest.mark.usefixtures("fake_training")
def test_a_grid_tries_each_combination_once(recipe: Config, tmp_path: Path) -> None:
    space = search_space.parse({SIZE: {"low": 8, "high": 24, "step": 8}, "model.encoder.cell": ["lstm", "gru"]})
    result = search(recipe, tmp_path / "out", space=space, sampler="grid", trials=20)
    tried = [(trial.settings[SIZE], trial.settings["model.encoder.cell"]) for trial in result.trials]
    assert sorted(tried) == [(size, cell) for size in (8, 16, 24) for cell in ("gru", "lstm")]
    with pytest.raises(ConfigError, match=f"{LEARNING_RATE} has a continuous range; a grid needs a list of choices"):
        search(recipe, tmp_path / "none", sampler="grid")
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("fake_training")
def test_a_setting_without_effect_is_left_out_of_a_trial_and_of_the_recipe(recipe: Config, tmp_path: Path) -> None:
    space = search_space.parse(
        {"training.optimizer.kind": ["adamw"], "training.optimizer.momentum": [0.5, 0.6], SIZE: [8, 9]}
    )
    result = search(recipe, tmp_path / "out", space=space, trials=1)
    assert result.trials[0].settings.keys() == {"training.optimizer.kind", SIZE}
    assert "momentum" not in result.recipe.read_text()


@pytest.mark.usefixtures("fake_training")
def test_a_journal_whose_last_line_was_truncated_by_a_crash_is_repaired(
    recipe: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = search(recipe, tmp_path / "whole", trials=6)
    data = (tmp_path / "whole" / tuning.JOURNAL).read_bytes()
    for number, size in enumerate(range(len(data) - 400, len(data), 57)):
        out = tmp_path / f"out{number}"
        shutil.copytree(tmp_path / "whole", out)
        (out / tuning.JOURNAL).write_bytes(data[:size])
        assert search(recipe, out, trials=6, resume=True).trials == whole.trials
        assert (out / tuning.JOURNAL).read_bytes().endswith(b"\n")
    assert "the last line is incomplete, because the search was interrupted; it is removed" in caplog.text


HOSTILE = [
    b"no JSON",
    b"[]",
    b"{}",
    b'{"op_code": 99}',
    b'{"op_code": 4, "worker_id": "a", "study_id": 0, "datetime_start": "never"}',
    b'{"op_code": 4, "worker_id": "a", "study_id": 0, "datetime_start": null}',
    b'{"op_code": 7, "worker_id": "a", "trial_id": 2, "step": 7, "intermediate_value": 1}',
    b'{"op_code": 8, "worker_id": "a", "trial_id": 2, "user_attr": {"faults": 3}}',
    b'{"op_code": 8, "worker_id": "a", "trial_id": 2, "user_attr": {"seeds": [{"seed": "x"}]}}',
    b'{"op_code": 6, "worker_id": "a", "trial_id": 2, "state": 1, "values": [1], "datetime_complete": "2026-01-01"}',
    b"[" * 100_000,
]


@pytest.mark.usefixtures("fake_training")
def test_a_damaged_journal_is_an_error_of_one_line(recipe: Config, tmp_path: Path) -> None:
    search(recipe, tmp_path, trials=2)
    data = (tmp_path / tuning.JOURNAL).read_bytes()
    space, path = SPACE, tmp_path / tuning.JOURNAL
    study = Study(path, space, "tpe", 1, parallel=False)
    study.start_trial()
    data = path.read_bytes()
    for line in HOSTILE:
        path.write_bytes(data + line + b"\n")
        with pytest.raises(ModelError, match=r"study\.journal: is not the journal of this search: ") as raised:
            search(recipe, tmp_path, trials=2, resume=True)
        assert len(raised.value.faults[0]) < 400
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"study\.journal: cannot be written"):
        search(recipe, tmp_path, trials=2, resume=True)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("fake_training")
def test_a_resumed_search_takes_the_same_options_and_may_have_more_trials(
    recipe: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    notice = f"{tmp_path}: nothing to resume; the search starts from the beginning"
    for _ in range(2):
        search(recipe, tmp_path, trials=2, resume=True)
        assert caplog.messages.count(notice) == 1  # of the first time
    with pytest.raises(StorageError, match="already holds a search; pass `resume=True` or choose another `out`"):
        search(recipe, tmp_path, trials=2)
    for changed, fault in (
        ({"seed": 2}, "`seed` was 1, now 2"),
        ({"sampler": "random"}, "`sampler` was tpe, now random"),
        ({"prune": False}, "`prune` was True, now False"),
    ):
        with pytest.raises(StorageError, match=f"{fault}; resume the search without this change"):
            search(recipe, tmp_path, trials=2, resume=True, **changed)
    other = search_space.parse({SIZE: [1, 2]})
    with pytest.raises(StorageError, match=f"`space` has changed in model.encoder.cell, {SIZE}, {LEARNING_RATE}"):
        search(recipe, tmp_path, space=other, resume=True)
    with pytest.raises(ConfigError, match=r"training\.epochs was 5, now 4; resume the search without this change"):
        search(loader.with_values(recipe, {"training.epochs": 4}), tmp_path, resume=True)
    assert len(search(recipe, tmp_path, trials=5, resume=True).trials) == 5
    assert len(search(recipe, tmp_path, trials=1, resume=True).trials) == 5


@pytest.mark.usefixtures("fake_training")
def test_files_of_others_remain(recipe: Config, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("trial-0001", "trial-0002"):  # left by a crash, with a note
        with run_dir.lock_run_dir(tmp_path / "out" / name / "seed-1"):
            (tmp_path / "out" / name / "seed-1" / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="holds trial-0001 and 1 more names and was not made by a training"):
        search(recipe, tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    search(recipe, tmp_path / "out", trials=2, keep_models=True)
    (tmp_path / "out" / "trial-0001" / "seed-1" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "trial-0002" / "mine").mkdir()
    search(recipe, tmp_path / "out", trials=2, resume=True)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*")) if "trial-" in str(path)] == [
        "out/trial-0001",
        "out/trial-0001/seed-1",
        "out/trial-0001/seed-1/notes.txt",
        "out/trial-0002",
        "out/trial-0002/mine",
    ]


@pytest.mark.usefixtures("fake_training")
def test_the_picture_has_all_curves_and_a_panel_for_each_setting(recipe: Config, tmp_path: Path) -> None:
    result = search(recipe, tmp_path / "out", trials=9)
    curves, *settings = tuning_picture.list_panels(result, SPACE)
    assert sorted(tuple(line.y) for line in curves.series) == sorted(trial.curve for trial in result.trials)
    assert [line.style for line in curves.series].count("bold") == 1
    assert {len(line.y) for line in curves.series if line.style == "faint"} <= {1, 3}
    assert [(panel.x_label, panel.x_logarithmic, panel.x_ticks) for panel in settings] == [
        (LEARNING_RATE, True, []),
        (SIZE, False, []),
        ("model.encoder.cell", False, ["lstm", "gru"]),
    ]
    finished = settings[1].series[1]
    assert dict(zip(finished.x, finished.y, strict=True)) == {
        trial.settings[SIZE]: trial.score for trial in result.trials if trial.state == "finished"
    }


def test_a_monitor_ends_a_process_after_an_epoch_without_a_fault(
    recipe: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text(loader.dump(recipe))
    tasks = [Task(name, str(tmp_path / name), 1, str(tmp_path / "recipe.yaml"), "cpu", None, 1) for name in "ab"]
    lines = [json.dumps(record(epoch, float(epoch)).to_json()) + "\n" for epoch in (1, 2)]
    program = (
        "import json, os, pathlib, sys, time; run = pathlib.Path(json.loads(sys.stdin.readline())['run_dir']);"
        f" run.mkdir(); (run / 'new').write_text({''.join(lines)!r}); os.rename(run / 'new', run / 'metrics.jsonl');"
        " time.sleep(600 if run.name == 'a' else 0); sys.exit(3)"
    )
    monkeypatch.setattr(processes, "_PROGRAM", program)
    seen = []

    def monitor(task: Task, epoch: EpochRecord) -> bool:
        seen.append((task.name, epoch.epoch))
        return task.name == "b"

    ended = dict(processes.run_tasks(partial(next, iter(tasks), None), jobs=2, monitor=monitor))
    assert ended == {tasks[0]: (), tasks[1]: ("ended with exit code 3: ",)}
    assert sorted(seen) == [("a", 1), ("b", 1), ("b", 2)]


def test_the_command_tunes_a_recipe_and_says_how_to_install_optuna(
    recipe: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text(loader.dump(recipe))
    (tmp_path / "space.yaml").write_text(f"{LEARNING_RATE}: [0.02, 1e-6]\n")
    command = ["tune", str(tmp_path / "recipe.yaml"), "--space", str(tmp_path / "space.yaml"), "--sampler", "grid"]
    command += ["--out", str(tmp_path / "out"), "--set", "training.epochs=2", "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["settings"] == {LEARNING_RATE: 0.02}
    trials = {trial["settings"][LEARNING_RATE]: trial for trial in result["trials"]}
    assert trials[0.02]["state"] == "finished"
    assert trials[1e-6]["curve"][0] < result["score"] == max(trials[0.02]["curve"])
    assert model_dir.load(Path(result["model"]))[1]["dev"]["score"] == result["score"]
    assert loader.load(result["recipe"]).training.epochs == 2
    monkeypatch.setattr(study, "find_spec", lambda _: None)
    done = CliRunner().invoke(app, [*command, "--resume"])
    assert done.exit_code == 2
    assert done.stderr == "a search for settings needs Optuna: pip install 'bilstm-crf-tagger[tune]'\n"


def test_numbers_out_of_range_are_refused() -> None:
    for options, fault in (
        ({"trials": 0}, "`trials` must be from 1"),
        ({"seeds": ()}, "`seeds` is empty"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"sampler": "best"}, "`sampler` must be tpe, random or grid"),
    ):
        with pytest.raises(ConfigError, match=fault):
            TuningOptions(**options)  # type: ignore[arg-type]
