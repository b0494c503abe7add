"""The benchmark of training, at toy size: that it still finds what it takes the time of."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


def benchmark(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "scripts/benchmark_training.py", "sample", "--data", "configs/sample", "--device", "cpu"]
    return subprocess.run([*command, *options], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)


def test_an_epoch_of_training_is_measured_by_its_parts(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    done = benchmark("--rounds", "2", "--steps", "7", "--json", str(out), "--set", "training.ema_decay=0.9")
    assert done.returncode == 0, done.stderr
    rows = {row["part"]: row["seconds"] for row in json.loads(out.read_text())}
    parts = ["batch", "embedding", "encoder", "projection", "crf", "clip", "update"]
    assert list(rows) == [*parts, "rest", "epoch", "floor"]
    assert all(rows[part] > 0 for part in [*parts, "floor"])
    assert sum(rows[part] for part in [*parts, "rest"]) == pytest.approx(rows["epoch"], rel=0.5)
    assert "times the floor" in done.stdout
    assert "memory: at most" in done.stdout


def test_a_training_too_short_for_a_round_is_told_in_a_line() -> None:
    done = benchmark("--steps", "10000", "--set", "training.epochs=1", "--set", "model.characters.kind=none")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("before a round was full; ask for fewer with --steps")
