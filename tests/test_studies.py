"""Runs the studies at small size and compares the write-up with the committed results."""

import importlib
import itertools
import json
import os
import re
import runpy
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tagger
from tests.robustness.runs import child, command, ended
from tests.scripts_in_process import PROJECT, run_script, small_sample

STUDIES = PROJECT / "scripts" / "studies"
needs_plots = pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra [plot]")
RESULTS = ["gradient_flow", "memory", "clipping", "directions", "whole/directions", "cells"]


def run_study(name: str, out: Path, *options: str) -> dict[str, Any]:
    """Runs a study, checks its table and plot, and returns its JSON."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STUDIES)
        tasks = importlib.import_module("tasks")
        patch.setattr(tasks, "map_in_processes", lambda function, items: [*map(function, items)])
        done = run_script(f"scripts/studies/{name}.py", "--out", str(out), *options)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    assert (out / f"{name}.md").read_text() == done.stdout
    assert done.stdout.endswith(f"\n\n{results['verdict']}\n")
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert_has_no_path(results)
    printed = read_tables(done.stdout)
    assert len(printed) == len(results["tables"])
    for rows, values in zip(printed, results["tables"].values(), strict=True):
        assert_same(rows, values)
    return results


def small_options(folder: Path) -> list[str]:
    """Returns the options of a small study that trains on the first sentences of the sample corpus."""
    small = ["--set", "training.epochs=1", "--set", "model.encoder.hidden_size=8"]
    return ["--ner", str(small_sample(folder)), "--runs", str(folder / "runs"), "--seeds", "1", *small]


def read_tables(text: str) -> list[list[dict[str, str]]]:
    """Returns the rows of each Markdown table, by the titles of its columns."""
    tables = []
    for inside, lines in itertools.groupby(text.splitlines(), lambda line: line.startswith("|")):
        if inside:
            titles, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
            tables.append([dict(zip(titles, row, strict=True)) for row in rows])
    return tables


def assert_same(printed: list[dict[str, str]], expected: list[dict[str, Any]]) -> None:
    assert len(printed) == len(expected)
    for row, values in zip(printed, expected, strict=True):
        assert list(row) == list(values)
        for title, text in row.items():
            assert is_rounded(text, values[title]), f"{title}: {text} is not {values[title]}"


def assert_has_no_path(results: dict[str, Any]) -> None:
    command = results["command"]
    assert command.startswith(f"python scripts/studies/{results['study']}.py")
    assert not [word for word in command.split()[2:] if "/" in word]


def is_rounded(text: str, value: str | float | None) -> bool:
    """Returns whether a text is the value rounded to the digits of the text."""
    if value is None:
        return text == "-"
    if not isinstance(value, float):
        return text == str(value)
    digits, _, power = text.partition("e")
    unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return abs(float(text) - value) <= unit * 0.5000001


@needs_plots
@pytest.mark.parametrize("name", ["gradient_flow", "memory", "clipping"])
def test_a_process_of_a_study_can_import_its_main_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(STUDIES)
    study = runpy.run_path(str(STUDIES / f"{name}.py"), run_name="__mp_main__")
    assert study["map_in_processes"] is importlib.import_module("tasks").map_in_processes


@needs_plots
def test_items_are_mapped_in_order_by_processes_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(STUDIES)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    items = ["__import__('os').getpid()", "__import__('torch').get_num_threads()", "__import__('sys').flags.safe_path"]
    process, *results = importlib.import_module("tasks").map_in_processes(eval, items)
    assert process != os.getpid()
    assert results == [1, True]


@needs_plots
def test_gradients_are_measured_by_cell_and_path(tmp_path: Path) -> None:
    results = run_study("gradient_flow", tmp_path, "--lag", "60", "--seeds", "1", "--steps", "10")
    flows = {(flow["cell"], flow["stage"]): flow for flow in results["flows"]}
    assert len(flows) == 13
    for (cell, _), flow in flows.items():
        assert len(flow["total"]) == len(flow["cell_state"]) == len(flow["other_paths"]) == 61
        assert flow["other_paths"][0] < 1e-6 * flow["total"][0]  # the last input has no other path
        if cell == "RNN":
            assert not any(flow["cell_state"][1:])
    cell_state = flows["LSTM of 1997", "initial"]["cell_state"]
    assert 0.3 < cell_state[50] / cell_state[10] < 3
    before, after = (flows["LSTM, forget bias 3, closed at 30", "initial"]["cell_state"][k] for k in (30, 31))
    assert after < 1e-9 * before


@needs_plots
def test_each_cell_is_trained_on_each_task_and_lag(tmp_path: Path) -> None:
    results = run_study("memory", tmp_path, "--lags", "1,3", "--seeds", "1", "--steps", "60")
    assert len(results["trials"]) == 2 * 5 * 2
    learned = [trial["steps"] for trial in results["trials"] if trial["task"] == "recall" and trial["lag"] == 1]
    assert all(steps is not None and 10 <= steps <= 60 for steps in learned)


@needs_plots
def test_failed_trainings_are_counted_with_and_without_clipping(tmp_path: Path) -> None:
    results = run_study("clipping", tmp_path, "--lag", "30", "--seeds", "1", "--steps", "20")
    (rows,) = results["tables"].values()
    failed = {(row["cell"], row["learning rate"], row["clipping"]): row["failed"] for row in rows}
    assert failed["RNN", 0.01, "none"] == "0 of 1"
    assert failed["RNN", 1.0, "none"] == "1 of 1"
    assert failed["LSTM, forget bias 1", 1.0, "norm 1"] == "0 of 1"


def train_in_child(program: list[str], **_: Any) -> SimpleNamespace:
    """Runs a training of a study in a process with torch loaded already."""
    return SimpleNamespace(returncode=ended(child(command, program[program.index("train") :])), stderr="")


@pytest.fixture
def _trainings_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the processes that a study starts for its trainings."""
    monkeypatch.syspath_prepend(STUDIES)
    processes = SimpleNamespace(run=train_in_child, DEVNULL=subprocess.DEVNULL, PIPE=subprocess.PIPE)
    monkeypatch.setattr(importlib.import_module("grid"), "subprocess", processes)


@needs_plots
@pytest.mark.usefixtures("_trainings_in_children")
def test_encoders_are_compared_and_finished_trainings_are_not_repeated(tmp_path: Path) -> None:
    options = small_options(tmp_path)
    only = ["--features", "words only", "--only", "concat", "--only", "backward, as many weights"]
    results = run_study("directions", tmp_path, *options, *only, "--head", "softmax")
    scores, costs = results["tables"].values()
    scores_title, costs_title = results["tables"]
    assert scores_title == "sample NER"
    assert costs_title.endswith(", as in sample NER")
    assert results["verdict"].startswith("On sample NER, ")
    assert (tmp_path / "runs" / "sample-ner-words-only-softmax-concat").is_dir()
    assert [(row["features"], row["head"], row["encoder"]) for row in scores] == [
        ("words only", "softmax", "concat"),
        ("words only", "softmax", "backward, as many weights"),
    ]
    assert scores[1]["difference"] == pytest.approx(scores[1]["test"] - scores[0]["test"])
    weights = {row["encoder"]: row["weights"] for row in costs}
    assert 2 * weights["forward"] == 2 * weights["backward"] == weights["concat"] == weights["sum"] == weights["mean"]
    assert (
        weights["forward, as many weights"]
        == weights["backward, as many weights"]
        == pytest.approx(weights["concat"], rel=0.03)
    )
    assert not list(tmp_path.rglob("checkpoint-*"))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("counts.json")}
    assert len(written) == 2
    assert (
        run_study("directions", tmp_path, *options, *only, "--head", "softmax")["tables"].keys()
        == results["tables"].keys()
    )
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("counts.json")} == written


@needs_plots
def test_the_command_of_a_training_starts_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(STUDIES)
    grid = importlib.import_module("grid")
    command = grid.Variation(grid.Corpus(tmp_path, grid.NER, "sample"), (), tmp_path)._command([1, 2])
    start, arguments = command[: command.index("train")], command[command.index("train") :]
    assert arguments[-6:] == ["--seeds", "1,2", "--out", str(tmp_path), "--device", "cpu"]
    done = subprocess.run([*start, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == tagger.__version__


@needs_plots
@pytest.mark.usefixtures("_trainings_in_children")
def test_cells_are_compared_seeds_can_be_added_and_runs_with_other_settings_are_refused(tmp_path: Path) -> None:
    results = run_study("cells", tmp_path, *small_options(tmp_path), "--only", "LSTM", "--only", "LSTM of 1997")
    (rows,) = results["tables"].values()
    assert [row["cell"] for row in rows] == ["LSTM", "LSTM of 1997"]
    assert 4 * rows[1]["weights"] == 3 * rows[0]["weights"]
    assert rows[0]["difference"] is None
    assert rows[1]["difference"] == pytest.approx(rows[1]["test"] - rows[0]["test"])
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("counts.json")}
    (rows,) = run_study("cells", tmp_path, *small_options(tmp_path), "--only", "LSTM", "--seeds", "2")[
        "tables"
    ].values()
    assert [(row["seeds"], row["test sd"] is None) for row in rows] == [(2, False), (1, True)]
    assert {path: path.stat().st_mtime_ns for path in written} == written
    options = [*small_options(tmp_path), "--no-train", "--set", "training.epochs=2"]
    done = run_script("scripts/studies/cells.py", "--out", str(tmp_path), *options)
    assert done.returncode == 2
    assert "the run was started with other settings; use those or another --runs" in done.stderr


def row(encoder: str, test: float, p: float | None, difference: float | None = None) -> dict[str, Any]:
    return {"features": "words", "head": "crf", "encoder": encoder, "test": test, "p": p, "difference": difference}


@needs_plots
def test_the_gain_of_two_directions_is_relative_to_the_better_single_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(STUDIES)
    directions = importlib.import_module("directions")
    rows = [row("concat", 90.0, None), row("sum", 89.5, 0.01, -0.5), row("mean", 90.25, 0.5, 0.25)]
    rows += [row("forward", 84.0, 0.001, -6.0), row("backward", 83.0, 0.001, -7.0)]
    rows += [row("forward, as many weights", 88.0, 0.001, -2.0), row("backward, as many weights", 89.0, 0.001, -1.0)]
    assert directions.make_verdict({"news NER": rows}) == (
        "On news NER, two directions score above the better single one by 6.00 at equal hidden size and 1.00 with as "
        "many weights; the claimed gain of 5 to 10 F1 is not reached; sum and mean differ from concat by at most 0.50 "
        "(1 of 2 differences with p < .05)."
    )
    assert "the claimed gain of 5 to 10 F1 is reached" in directions.make_verdict({"news NER": rows[:5]})
    assert "claimed gain" not in directions.make_verdict({"news UPOS": rows})
    assert "are not compared with single ones yet" in directions.make_verdict({"news NER": rows[:4]})


@needs_plots
def test_trainings_that_differ_in_one_setting_are_compared_when_both_are_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(STUDIES)
    directions, grid = (importlib.import_module(name) for name in ("directions", "grid"))
    monkeypatch.setattr(grid, "compare", lambda first, second: {"difference": first.score - second.score, "p": 0.5})

    def arm(head: str, name: str, score: float, *, finished: bool = True) -> Any:
        variation = SimpleNamespace(score=score, results=lambda: finished)
        return directions.Arm("words only", head, directions.Shape(name, (), 8), variation, 4)

    arms = [arm("crf", "forward", 1.0), arm("softmax", "forward", 3.0), arm("softmax", "backward", 7.0)]
    arms += [arm("crf", "backward", 5.0, finished=False), arm("crf", "forward, as many weights", 11.0)]
    assert [tuple(row.values())[1:4] for row in directions.compare_pairs(arms)] == [
        ("crf, forward", "softmax, forward", -2.0),
        ("softmax, backward", "softmax, forward", 4.0),
        ("crf, forward, as many weights", "crf, forward", 10.0),
    ]


def read_commands(text: str) -> list[list[str]]:
    """Returns the words of each command of the write-up, without paths."""
    commands = re.findall(r"```console\n\$ (.*?)\n```", text, re.DOTALL)
    return [drop_paths(shlex.split(command.replace("\\\n", ""))) for command in commands]


def drop_paths(words: list[str]) -> list[str]:
    path_options = ("--ner", "--upos", "--vectors", "--runs", "--out")
    return [word for before, word in itertools.pairwise(["", *words]) if before not in path_options]


def test_the_write_up_matches_the_committed_results() -> None:
    text = (STUDIES / "README.md").read_text()
    committed = [json.loads((STUDIES / "results" / f"{name}.json").read_text()) for name in RESULTS]
    assert read_commands(text) == [drop_paths(shlex.split(results["command"])) for results in committed]
    printed, expected = read_tables(text), [rows for results in committed for rows in results["tables"].values()]
    assert len(printed) == len(expected)
    for rows, values in zip(printed, expected, strict=True):
        assert_same(rows, values)
    plain = re.sub(r"\s+", " ", text)
    for name, results in zip(RESULTS, committed, strict=True):
        assert results["study"] == Path(name).name
        assert results["seconds"] <= 300 or results["study"] in ("directions", "cells")
        assert results["verdict"] in plain
        assert f"results/{name}.png" in plain


@pytest.mark.parametrize("name", RESULTS)
def test_committed_results_are_small_and_contain_no_local_path(name: str) -> None:
    assert (STUDIES / "results" / f"{name}.png").stat().st_size <= 200_000
    assert_has_no_path(json.loads((STUDIES / "results" / f"{name}.json").read_text()))
