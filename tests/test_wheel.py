"""The wheel and the sdist hold what a user needs: installed into an empty environment, the commands work."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "import sys, hatchling.build as build; print(build.build_wheel(sys.argv[1]), build.build_sdist(sys.argv[1]))"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(zip(("wheel", "sdist"), (folder / name for name in done.stdout.split()[-2:]), strict=True))


@pytest.fixture(scope="module")
def python(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel, and the dependencies of this one without this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(built["wheel"]) as wheel:
        wheel.extractall(site)
    for path in (ROOT / "tagger").rglob("*.nb[ci]"):  # compiled kernels: to compile them again takes most of a minute
        target = site / path.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    # The paths of a .pth file are added as they are; the .pth files in them, an editable install's too, are not read.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *filter(_is_site, sys.path)}
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
    return python


def _is_site(path: str) -> bool:
    return path.endswith(("site-packages", "dist-packages"))


def run(python: Path, directory: Path, *arguments: str) -> str:
    """Returns what a command of the installed wheel prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-P", *arguments], cwd=directory, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_wheel_is_what_runs(python: Path, tmp_path: Path) -> None:
    assert str(python.parents[1]) in run(python, tmp_path, "-c", "import tagger; print(tagger.__file__)")


def test_the_wheel_holds_the_page_of_the_server(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = {name.rpartition("/")[2] for name in wheel.namelist() if name.startswith("tagger/serving/page/")}
    assert names == {"index.html", "page.css", "page.js", "icon.svg"}


def test_help_a_recipe_by_name_and_a_doctest_work_from_the_wheel(python: Path, tmp_path: Path) -> None:
    assert "train" in run(python, tmp_path, "-m", "tagger", "--help")
    settings = ["--set=training.epochs=1", "--set=training.batch_size=64", "--set=model.encoder.hidden_size=4"]
    assert "model: " in run(python, tmp_path, "-m", "tagger", "train", "sample", "--out", "run", *settings)
    program = "import doctest, tagger.data.vocab as module; print(doctest.testmod(module, raise_on_error=True))"
    assert "failed=0" in run(python, tmp_path, "-c", program)


def test_the_sdist_holds_the_sources_the_recipes_and_the_tests(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "tagger/cli/train.py",
        "configs/sample.yaml",
        "configs/sample/train.txt",
        "tests/test_wheel.py",
        "LICENSE",
    } <= names
