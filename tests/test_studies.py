"""The studies, at toy size, and that what is written of them is what they found."""

import importlib
import itertools
import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PROJECT = Path(__file__).parents[1]
STUDIES = PROJECT / "scripts" / "studies"
needs_pictures = pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra [plot]")
RESULTS = ["gradient_flow", "memory", "clipping", "directions", "whole/directions", "cells"]


def study(name: str, out: Path, *options: str) -> dict[str, Any]:
    """Runs a study and returns the JSON that it wrote beside its table and its picture."""
    command = [sys.executable, f"scripts/studies/{name}.py", "--out", str(out), *options]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    assert (out / f"{name}.md").read_text() == done.stdout
    assert done.stdout.endswith(f"\n\n{found['verdict']}\n")
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert_names_no_place(found)
    shown = tables(done.stdout)
    assert len(shown) == len(found["tables"])
    for rows, kept in zip(shown, found["tables"].values(), strict=True):
        assert_same(rows, kept)
    return found


def toy(folder: Path) -> list[str]:
    """Returns the options of a small study of trainings."""
    small = ["--set", "training.epochs=1", "--set", "model.encoder.hidden_size=8"]
    return ["--ner", "configs/sample", "--runs", str(folder / "runs"), "--seeds", "1", *small]


def tables(text: str) -> list[list[dict[str, str]]]:
    """Returns the rows of each table in Markdown, by the titles of its columns."""
    found = []
    for inside, lines in itertools.groupby(text.splitlines(), lambda line: line.startswith("|")):
        if inside:
            titles, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
            found.append([dict(zip(titles, row, strict=True)) for row in rows])
    return found


def assert_same(shown: list[dict[str, str]], kept: list[dict[str, Any]]) -> None:
    assert len(shown) == len(kept)
    for row, values in zip(shown, kept, strict=True):
        assert list(row) == list(values)
        for title, text in row.items():
            assert is_rounded(text, values[title]), f"{title}: {text} is not {values[title]}"


def assert_names_no_place(found: dict[str, Any]) -> None:
    command = found["command"]
    assert command.startswith(f"python scripts/studies/{found['study']}.py")
    assert not [word for word in command.split()[2:] if "/" in word]


def is_rounded(text: str, value: str | float | None) -> bool:
    """Tells whether a text is a value, rounded to as many places as it has."""
    if value is None:
        return text == "-"
    if not isinstance(value, float):
        return text == str(value)
    digits, _, power = text.partition("e")
    unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return abs(float(text) - value) <= unit * 0.5000001


@needs_pictures
def test_gradients_are_followed_by_cell_and_path(tmp_path: Path) -> None:
    found = study("gradient_flow", tmp_path, "--lag", "60", "--seeds", "1", "--steps", "10")
    flows = {(flow["cell"], flow["when"]): flow for flow in found["flows"]}
    assert len(flows) == 13
    for (cell, _), flow in flows.items():
        assert len(flow["total"]) == len(flow["memory"]) == len(flow["rest"]) == 61
        assert flow["rest"][0] < 1e-6 * flow["total"][0]  # the last input has no other way
        if cell == "RNN":
            assert not any(flow["memory"][1:])
    kept = flows["LSTM of 1997", "at the start"]["memory"]
    assert 0.3 < kept[50] / kept[10] < 3
    before, after = (flows["LSTM, forget bias 3, closed at 30", "at the start"]["memory"][k] for k in (30, 31))
    assert after < 1e-9 * before


@needs_pictures
def test_cells_are_asked_to_remember(tmp_path: Path) -> None:
    found = study("memory", tmp_path, "--lags", "1,3", "--seeds", "1", "--steps", "60")
    assert len(found["trials"]) == 2 * 5 * 2
    learned = [trial["steps"] for trial in found["trials"] if trial["task"] == "recall" and trial["lag"] == 1]
    assert all(steps is not None and 10 <= steps <= 60 for steps in learned)


@needs_pictures
def test_trainings_are_watched_with_clipping_and_without(tmp_path: Path) -> None:
    found = study("clipping", tmp_path, "--lag", "30", "--seeds", "1", "--steps", "20")
    (rows,) = found["tables"].values()
    broken = {(row["cell"], row["rate"], row["clipping"]): row["broken"] for row in rows}
    assert broken["RNN", 0.01, "none"] == "0 of 1"
    assert broken["RNN", 1.0, "none"] == "1 of 1"
    assert broken["LSTM, forget bias 1", 1.0, "norm 1"] == "0 of 1"


@needs_pictures
def test_encoders_are_compared_and_what_is_finished_is_not_trained_again(tmp_path: Path) -> None:
    options = toy(tmp_path)
    only = ["--features", "words only", "--only", "concat", "--only", "backward, as large"]
    found = study("directions", tmp_path, *options, *only, "--head", "softmax")
    scores, costs = found["tables"].values()
    assert [(row["features"], row["head"], row["encoder"]) for row in scores] == [
        ("words only", "softmax", "concat"),
        ("words only", "softmax", "backward, as large"),
    ]
    assert scores[1]["difference"] == pytest.approx(scores[1]["test"] - scores[0]["test"])
    weights = {row["encoder"]: row["weights"] for row in costs}
    assert 2 * weights["forward"] == 2 * weights["backward"] == weights["concat"] == weights["sum"] == weights["mean"]
    assert weights["forward, as large"] == weights["backward, as large"] == pytest.approx(weights["concat"], rel=0.03)
    assert not list(tmp_path.rglob("checkpoint-*"))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("counts.json")}
    assert len(written) == 2
    assert (
        study("directions", tmp_path, *options, *only, "--head", "softmax")["tables"].keys() == found["tables"].keys()
    )
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("counts.json")} == written


@needs_pictures
def test_cells_are_compared_seeds_are_added_and_runs_of_other_settings_are_refused(tmp_path: Path) -> None:
    found = study("cells", tmp_path, *toy(tmp_path), "--only", "LSTM", "--only", "LSTM of 1997")
    (rows,) = found["tables"].values()
    assert [row["cell"] for row in rows] == ["LSTM", "LSTM of 1997"]
    assert 4 * rows[1]["weights"] == 3 * rows[0]["weights"]
    assert rows[0]["difference"] is None
    assert rows[1]["difference"] == pytest.approx(rows[1]["test"] - rows[0]["test"])
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("counts.json")}
    (rows,) = study("cells", tmp_path, *toy(tmp_path), "--only", "LSTM", "--seeds", "2")["tables"].values()
    assert [(row["seeds"], row["test sd"] is None) for row in rows] == [(2, False), (1, True)]
    assert {path: path.stat().st_mtime_ns for path in written} == written
    command = [sys.executable, "scripts/studies/cells.py", "--out", str(tmp_path), *toy(tmp_path), "--no-train"]
    other = ["--set", "training.epochs=2"]
    done = subprocess.run([*command, *other], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "was begun with other settings; take them, or another --runs" in done.stderr


def row(encoder: str, test: float, p: float | None, difference: float | None = None) -> dict[str, Any]:
    return {"features": "words", "head": "crf", "encoder": encoder, "test": test, "p": p, "difference": difference}


@needs_pictures
def test_what_two_directions_gain_is_counted_from_the_better_single_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(STUDIES)
    directions = importlib.import_module("directions")
    rows = [row("concat", 90.0, None), row("sum", 89.5, 0.01, -0.5), row("mean", 90.25, 0.5, 0.25)]
    rows += [row("forward", 84.0, 0.001, -6.0), row("backward", 83.0, 0.001, -7.0)]
    rows += [row("forward, as large", 88.0, 0.001, -2.0), row("backward, as large", 89.0, 0.001, -1.0)]
    assert directions.verdict({"CoNLL-2003 NER": rows}) == (
        "On CoNLL-2003 NER two directions score 6.00 at equal width and 1.00 at equal size above the better single "
        "one, so that the claim of 5 to 10 F1 fails, and sum and mean are within 0.50 of concat, 1 of 2 at p < .05."
    )
    assert "the claim of 5 to 10 F1 holds" in directions.verdict({"CoNLL-2003 NER": rows[:5]})
    assert "(not compared yet)" in directions.verdict({"CoNLL-2003 NER": rows[:4]})


@needs_pictures
def test_trainings_that_differ_in_one_thing_are_compared_once_both_are_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(STUDIES)
    directions, grid = (importlib.import_module(name) for name in ("directions", "grid"))
    monkeypatch.setattr(grid, "compared", lambda one, other: {"difference": one.score - other.score, "p": 0.5})

    def arm(head: str, name: str, score: float, *, finished: bool = True) -> Any:
        variation = SimpleNamespace(score=score, results=lambda: finished)
        return directions.Arm("words only", head, directions.Shape(name, (), 8), variation, 4)

    found = [arm("crf", "forward", 1.0), arm("softmax", "forward", 3.0), arm("softmax", "backward", 7.0)]
    found += [arm("crf", "backward", 5.0, finished=False), arm("crf", "forward, as large", 11.0)]
    assert [tuple(row.values())[1:4] for row in directions.pairs(found)] == [
        ("crf, forward", "softmax, forward", -2.0),
        ("softmax, backward", "softmax, forward", 4.0),
        ("crf, forward, as large", "crf, forward", 10.0),
    ]


def commands(text: str) -> list[list[str]]:
    """Returns the words of each command of the write-up, but for the files and folders that are given."""
    found = re.findall(r"```console\n\$ (.*?)\n```", text, re.DOTALL)
    return [without_places(shlex.split(command.replace("\\\n", ""))) for command in found]


def without_places(words: list[str]) -> list[str]:
    places = ("--ner", "--upos", "--vectors", "--runs", "--out")
    return [word for before, word in itertools.pairwise(["", *words]) if before not in places]


def test_the_write_up_has_the_tables_verdicts_and_commands_of_the_files_beside_it() -> None:
    text = (STUDIES / "README.md").read_text()
    kept = [json.loads((STUDIES / "results" / f"{name}.json").read_text()) for name in RESULTS]
    assert commands(text) == [without_places(shlex.split(found["command"])) for found in kept]
    shown, expected = tables(text), [rows for found in kept for rows in found["tables"].values()]
    assert len(shown) == len(expected)
    for rows, values in zip(shown, expected, strict=True):
        assert_same(rows, values)
    plain = re.sub(r"\s+", " ", text)
    for name, found in zip(RESULTS, kept, strict=True):
        assert found["study"] == Path(name).name
        assert found["seconds"] <= 300 or found["study"] in ("directions", "cells")
        assert found["verdict"] in plain
        assert f"results/{name}.png" in plain


@pytest.mark.parametrize("name", RESULTS)
def test_what_is_kept_is_small_and_names_no_place_of_a_machine(name: str) -> None:
    assert (STUDIES / "results" / f"{name}.png").stat().st_size <= 200_000
    assert_names_no_place(json.loads((STUDIES / "results" / f"{name}.json").read_text()))
