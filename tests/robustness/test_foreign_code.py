"""Nothing that lies in the current directory is imported or obeyed, by the process or its children."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import tiny_corpus
from tests.robustness.runs import COMMANDS

ROOT = Path(__file__).parents[2]
MODULES = (
    *("json.py", "typing.py", "numba.py", "yaml.py", "matplotlib.py", "sitecustomize.py", "usercustomize.py"),
    *("logging/__init__.py", "torch/__init__.py", "numpy/__init__.py"),
)


def proofs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("proof-*"))


def lay_decoys(folder: Path, *modules: str) -> None:
    """Writes modules that leave a proof when they are imported, and settings that spoil what obeys them."""
    for name in modules:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        proof = folder / f"proof-{name.replace('/', '-')}"
        path.write_text(f"open({str(proof)!r}, 'w').close()\nraise SystemExit('decoy')\n")
    (folder / "matplotlibrc").write_text("backend: none such\naxes.grid: what?\n\0\n")
    (folder / ".numba_config.yaml").write_text("disable_jit: 1\nbroken: [\n")


def run(folder: Path, *arguments: str, module: bool) -> "subprocess.CompletedProcess[str]":
    """Runs the command line in a folder, as the script that pip makes or as a module."""
    if module:
        return start(folder, "-m", "tagger", *arguments)
    script = folder.parent / "bin" / "tagger"
    script.parent.mkdir(exist_ok=True)
    script.write_text("import sys\nfrom tagger.__main__ import main\nsys.exit(main())\n")
    return start(folder, str(script), *arguments)


def start(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Starts Python in a folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "none such"} | variables,
        input="Ada lives\n",
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of decoys and of a corpus."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train.conll").write_text(tiny_corpus())
    return tmp_path / "work"


@pytest.mark.parametrize("module", [False, True])
def test_training_imports_no_module_and_reads_no_config_from_the_current_directory(
    folder: Path, model_path: Path, module: bool
) -> None:
    lay_decoys(folder, *MODULES, *(() if module else ("tagger/__init__.py",)))
    data = ["--set", f"data.train={folder}/train.conll", "--set", f"data.dev={folder}/train.conll"]
    seeds = ["--seed", "1"] if module else ["--seeds", "1", "--jobs", "2"]  # the latter trains in a child
    short = ["--set", "training.epochs=1", "--out", "run", "--device", "cpu"]
    done = run(folder, "train", str(model_path.parent / "config.yaml"), *data, *seeds, *short, module=module)
    assert (done.returncode, proofs(folder)) == (0, []), done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "run" / ("training.png" if module else "seed-1/training.png")).is_file()


@pytest.mark.parametrize("module", [False, True])
def test_tagging_and_scoring_import_nothing_from_the_current_directory(
    folder: Path, model_path: Path, module: bool
) -> None:
    lay_decoys(folder, *MODULES, *(() if module else ("tagger/__init__.py",)))
    command = ["evaluate", "train.conll"] if module else ["tag", "train.conll", "--out", "out"]
    done = run(folder, *command, "--model", str(model_path), "--device", "cpu", module=module)
    assert (done.returncode, proofs(folder)) == (0, []), done.stderr


def test_an_empty_entry_of_pythonpath_does_not_bring_the_current_directory_back(folder: Path) -> None:
    lay_decoys(folder, "yaml.py", "typer/__init__.py")
    script = "from tagger.__main__ import main; import sys; sys.argv = ['tagger', '--help']; main()"
    environment = os.environ | {"PYTHONPATH": f":{ROOT}"}
    done = subprocess.run([sys.executable, "-P", "-c", script], cwd=folder, env=environment, capture_output=True)
    assert (done.returncode, proofs(folder)) == (0, [])


def test_a_package_in_the_current_directory_is_found_there(tmp_path: Path) -> None:
    (tmp_path / "tagger").symlink_to(ROOT / "tagger")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "tagger", "--version"]
    assert subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout


def test_without_compilation_each_command_is_refused_in_one_line(folder: Path, model_path: Path) -> None:
    model = ["--model", str(model_path), "--device", "cpu"]
    commands = [
        ["tag", "-", *model],
        ["train", "sample", "--out", "run", "--set", "training.epochs=1", "--device", "cpu"],
        ["evaluate", "train.conll", *model],
    ]
    done = start(folder, "-P", "-c", COMMANDS.format(commands), NUMBA_DISABLE_JIT="1")
    assert done.returncode == 0, done.stderr
    *messages, after_the_last = done.stderr.split("exit code 2\n")
    assert (len(messages), after_the_last) == (3, "")
    for message in messages:
        line = "NUMBA_DISABLE_JIT is set, but the toolkit needs compiled functions; unset it"
        assert message.splitlines()[-1] == line
    assert "Traceback" not in done.stderr
