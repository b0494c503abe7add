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


def start_script(folder: Path, *commands: list[str]) -> "subprocess.CompletedProcess[str]":
    """Runs commands in a folder, one after the other, in a script like that which pip makes."""
    script = folder.parent / "bin" / "tagger"
    script.parent.mkdir()
    script.write_text(COMMANDS.format(commands))
    return start(folder, str(script))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of decoys and of a corpus."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train.conll").write_text(tiny_corpus())
    return tmp_path / "work"


def training(folder: Path, model_path: Path, out: str) -> list[str]:
    """Returns the arguments of a training of one epoch."""
    data = [f"--set=data.train={folder}/train.conll", f"--set=data.dev={folder}/train.conll"]
    recipe = str(model_path.parent / "config.yaml")
    return ["train", recipe, *data, "--set=training.epochs=1", "--out", out, "--device", "cpu"]


def test_the_module_imports_and_reads_nothing_from_the_current_directory(folder: Path, model_path: Path) -> None:
    """`python -m tagger` starts with the current directory in its search path."""
    lay_decoys(folder, *MODULES)
    done = start(folder, "-m", "tagger", *training(folder, model_path, "run"))
    assert (done.returncode, proofs(folder)) == (0, []), done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "run" / "training.png").is_file()


def test_the_command_and_its_children_import_and_read_nothing_from_the_current_directory(
    folder: Path, model_path: Path
) -> None:
    lay_decoys(folder, *MODULES, "tagger/__init__.py")
    model = ["--model", str(model_path), "--device", "cpu"]
    done = start_script(
        folder,
        [*training(folder, model_path, "runs"), "--seeds", "1", "--jobs", "2"],  # trains in a child
        ["tag", "train.conll", "--out", "out", *model],
        ["evaluate", "train.conll", *model],
    )
    assert (done.returncode, proofs(folder)) == (0, []), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("exit code 0\n") == 3, done.stderr
    assert (folder / "runs" / "seed-1" / "training.png").is_file()
    assert (folder / "out" / "train.conll").is_file()


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
