"""Runs the scripts at small size: benchmarks, code measures, figures and the table of settings."""

import io
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tagger.cli import app
from tests.conftest import tiny_corpus
from tests.scripts_in_process import PROJECT, run_script, small_sample
from tests.transformer.tiny import write_transformer


def benchmark_training(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    data = ["sample", "--data", str(small_sample(folder)), "--device", "cpu"]
    return run_script("scripts/benchmark_training.py", *data, *options)


def test_training_time_is_measured_by_part(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    settings = ["--set=training.ema_decay=0.9", "--set=training.batch_size=2", "--set=model.encoder.hidden_size=8"]
    done = benchmark_training(tmp_path, "--rounds", "2", "--steps", "7", "--json", str(out), *settings)
    assert done.returncode == 0, done.stderr
    rows = {row["part"]: row["seconds"] for row in json.loads(out.read_text())}
    parts = ["batch", "embedding", "encoder", "projection", "crf", "clip", "update"]
    assert list(rows) == [*parts, "rest", "epoch", "floor"]
    assert all(rows[part] > 0 for part in [*parts, "floor"])
    assert sum(rows[part] for part in [*parts, "rest"]) == pytest.approx(rows["epoch"], rel=0.5)
    assert "times the floor" in done.stdout
    assert "peak memory:" in done.stdout


def test_training_that_ends_before_the_first_round_is_an_error_of_one_line(tmp_path: Path) -> None:
    options = ["--steps", "10000", "--set", "training.epochs=1", "--set", "model.characters.kind=none"]
    done = benchmark_training(tmp_path, *options)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("before the first round was complete; lower --steps")


def test_a_training_in_rounds_waits_after_each_and_stops_at_the_end_of_its_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    options = ["--steps", "7", "--set", "training.batch_size=2", "--set", "model.characters.kind=none", "--worker"]
    done = run_script("scripts/benchmark_distributed.py", "sample", "--data", str(small_sample(tmp_path)), *options)
    assert done.returncode == 0, done.stderr
    assert len([float(line) for line in done.stdout.splitlines()]) == 2


def test_a_training_on_a_large_corpus_is_measured(tmp_path: Path) -> None:
    data, out = small_sample(tmp_path), tmp_path / "figures.json"
    names = {"data": "", "train": "train.txt", "run": "../run", "result": f"../{out.name}"}
    job = {name: str(data / each) for name, each in names.items()}
    overrides = [f"training.corpus_cache={tmp_path / 'cache'}", "training.batch_size=2"]
    job |= {"recipe": "sample", "overrides": overrides, "vectors": [], "steps": 3}  # type: ignore[dict-item]
    done = run_script("scripts/benchmark_large_corpus.py", "measure", json.dumps(job))
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    lines = [line for line in (data / "train.txt").read_text().splitlines() if line and "-DOCSTART-" not in line]
    assert figures["tokens"] == len(lines)
    assert len(figures["losses"]) == 3
    assert figures["step"] > 0 < figures["start"]


def test_a_transformer_is_measured_by_part(tmp_path: Path) -> None:
    out, transformer = tmp_path / "rows.json", write_transformer(tmp_path / "bert")
    source = small_sample(tmp_path) / "valid.txt"
    options = ["--sentences", "20", "--rounds", "1", "--steps", "2", "--product-seconds", "0.0001", "--json", str(out)]
    recipe = ["--recipe", "sample", "--set", "model.transformer.context=6", "--set", "training.batch_size=2"]
    done = run_script("scripts/benchmark_transformer.py", str(transformer), str(source), *recipe, *options)
    assert done.returncode == 0, done.stderr
    rows = {row["row"]: row for row in json.loads(out.read_text())["rows"]}
    systems = [("epoch, cached features", "epoch, static"), ("tagger, context 0", "pipeline")]
    systems += [(f"states, context {context}", f"floor, context {context}") for context in (0, 6)]
    for name, reference in systems:
        ratio = rows[name]["value"] / rows[reference]["value"]
        assert rows[f"{name} / {reference}"]["value"] == pytest.approx(ratio)
    assert "tagger, context 6 / pipeline" in rows
    assert 96 < rows["cache, each token"]["value"] < 110  # 3 layers of 16 values of 2 bytes, and headers
    lines = [line for line in source.read_text().splitlines() if line and not line.startswith("-DOCSTART-")]
    assert rows["cache, whole file"]["tokens"] == len(lines) > rows["cache, used sentences"]["tokens"]
    floor, wider = (rows[f"floor, context {context}"] for context in (0, 6))
    assert floor["subwords"] < wider["subwords"]
    length, remainder = divmod(floor["multiply_adds"] - 2 * (4 * 16 * 16 + 2 * 16 * 24), 2 * 2 * 16)
    assert remainder == 0 < length <= 66
    assert rows["memory, static"]["value"] <= rows["memory, cached features"]["value"]


def test_two_checkouts_start_alternately_and_their_startup_times_are_compared(model_path: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "rows.json"
    text.write_text("Ada visits Paris .\n")
    systems = []
    for name, seconds in (("one", 0.2), ("two", 0)):  # each only pretends to import torch and to tag
        python = tmp_path / name
        python.write_text(f"""#!/bin/sh
            echo {name} "$@" >> {tmp_path}/log
            case "$*" in
                *"import torch"*) echo ;;
                *" tag "*) sleep {seconds}; echo Ada ;;
                *) exec {sys.executable} "$@" ;;
            esac""")
        python.chmod(0o755)
        systems += ["--python", str(python), "--model", str(model_path)]
    command = ["scripts/benchmark_startup.py", str(text), *systems, "--rounds", "1", "--json", str(out)]
    done = run_script(*command)
    assert done.returncode == 0, done.stderr
    started = [line.split() for line in (tmp_path / "log").read_text().splitlines() if " tag " in line]
    assert [words[0] for words in started] == ["one", "two"] * 2  # the first of each fills the caches
    assert started[0][1:4] == ["-P", "-m", "tagger"]
    assert CliRunner().invoke(app, started[0][4:]).stdout.startswith("Ada S-PER\n")
    first, second, ratio = json.loads(out.read_text())["rows"]
    assert first["value"] == pytest.approx(first["first_line"] - first["import_torch"])
    assert first["first_line"] >= 0.2
    assert ratio["row"] == "startup 2 / startup 1"
    assert ratio["value"] == pytest.approx(second["value"] / first["value"])
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.skipif(find_spec("onnx") is None or find_spec("onnxruntime") is None, reason="needs the extra [onnx]")
def test_an_exported_model_is_measured(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "test.conll").write_text(tiny_corpus())
    command = ["scripts/benchmark_onnx.py", str(tmp_path / "test.conll"), "--model", str(model_path)]
    done = run_script(*command, "--rounds", "1", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stderr
    rows = {row["row"]: row["value"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert rows["differ onnx"] == 0
    assert rows["f1 onnx"] == rows["f1 pytorch"] > 90
    assert rows["size onnx-int8"] < rows["size onnx"]
    assert rows["onnx / kernels"] == pytest.approx(rows["sentence onnx"] / rows["sentence kernels"])


def test_each_checkout_needs_a_model(tmp_path: Path) -> None:
    command = ["scripts/benchmark_startup.py", "text", "--model", str(tmp_path), "--python", "a"]
    done = run_script(*command, "--python", "b")
    assert done.returncode == 2
    assert done.stderr.endswith("1 --model for 2 --python; pass one --model per --python\n")


def test_trainings_on_partial_annotation_are_measured(tmp_path: Path) -> None:
    table, out = tmp_path / "table.txt", tmp_path / "scores.json"
    table.write_text("said 0.1 0.2 0.3 0.4\nthe 0.4 0.3 0.2 0.1\n")
    options = [str(small_sample(tmp_path)), "--vectors", str(table), "--epochs", "1"]
    runs = ["--only", "first,continued,unknown", "--out", str(tmp_path / "runs"), "--json", str(out)]
    done = run_script("scripts/measure_partial.py", *options, *runs)
    assert done.returncode == 0, done.stderr
    scores = json.loads(out.read_text())
    assert list(scores) == ["first", "continued", "unknown"]
    assert scores["first"]["MISC"] == 0
    files = {name: (tmp_path / "runs" / f"{name}.conll").read_text() for name in ("full", "first", "continued")}
    assert files["first"].count("MISC") == 0 < files["continued"].count("MISC") < files["full"].count("MISC")
    assert {line.split()[1] for line in files["continued"].splitlines() if line} == {"B-MISC", "I-MISC", "O"}
    assert files["full"].count("\n") == (tmp_path / "runs" / "unknown.conll").read_text().count("\n")


def test_rates_of_significant_differences_between_equal_systems_are_measured(tmp_path: Path) -> None:
    options = ["--pairs", "40", "--sentences", "20", "--samples", "30", "--json", str(tmp_path / "rates.json")]
    done = run_script("scripts/measure_significance.py", *options)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rates.json").read_text())
    assert len(done.stdout.splitlines()) == len(rows) + 1 == 14
    rates = {(row["seeds"], row["luck"]): row for row in rows}
    assert rates[2, "larger"]["randomisation"] == 0  # of 6 exchanges
    assert rates[10, "larger"]["sentences"] > 0.1 >= rates[1, "none"]["randomisation"]


def test_code_is_measured_from_syntax_trees(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "first.py").write_text(
        "from package import second\n"
        "LIMIT = 3\n"
        "_HIDDEN = 4\n"
        "def choose(a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> int:\n"
        '    """Chooses."""\n'
        "    if a:\n"
        "        for _ in range(b):\n"
        "            while c:\n"
        "                return d\n"
        "    elif e:\n"
        "        return f\n"
        "    return g\n"
    )
    (package / "second.py").write_text(
        "def late():\n    import package.third\nimport package.first\nclass Part:\n    def show(self, x): return x\n"
    )
    (package / "third.py").write_text("from . import second\n")
    command = ["scripts/measure_code.py", str(package), str(package)]
    done = run_script(*command, "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert first == second
    assert first | {"package": ""} == {
        "package": "",
        "modules": 4,
        "lines": 18,
        "lines_per_module": 4.5,
        "longest_module": 12,
        "functions": 3,
        "function_length_p90": 8,
        "function_length_max": 8,
        "public_names_per_module": 1.0,
        "functions_with_many_parameters": 1,
        "deepest_nesting": 3,
        "typed_percent": round(100 * 8 / 11, 1),
        "documented_percent": 25.0,
        "import_cycles": 1,
    }
    assert "| import cycles | 1 | 1 |" in run_script(*command).stdout


def test_the_settings_in_the_readme_match_the_schema() -> None:
    done = run_script("scripts/describe_settings.py", "--check")
    assert done.returncode == 0, done.stderr


def test_figures_are_drawn_from_the_committed_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures are not tested: matplotlib is not installed")
    done = run_script("scripts/figures.py", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    names = {"architecture.svg", "peers.svg", "speed.svg"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_text().startswith("<?xml")
        assert (PROJECT / "scripts" / "figures" / name).exists()


@pytest.mark.skipif(find_spec("optuna") is None, reason="needs the extra [tune]")
def test_the_replay_of_pruning_equals_a_search_with_pruning(tmp_path: Path) -> None:
    data, space, out = small_sample(tmp_path), tmp_path / "space.yaml", tmp_path / "rows.json"
    space.write_text("training.optimizer.learning_rate: {low: 1.0e-5, high: 0.05, log: true}\n")
    options = ["--recipe", "sample", "--space", str(space), "--trials", "4", "--epochs", "2"]
    files = [str(data / "train.txt"), str(data / "valid.txt")]
    done = run_script("scripts/benchmark_tuning.py", *files, *options, "--pruned", "--json", str(out))
    assert done.returncode == 0, done.stderr
    rows = {row["row"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows["without pruning"]["epochs"] == 8 > rows["with pruning"]["epochs"]
    assert rows["with pruning, run"]["same"] == "True"
    ratio = rows["with pruning"]["value"] / rows["without pruning"]["value"]
    assert rows["pruned / whole"]["value"] == pytest.approx(ratio)
