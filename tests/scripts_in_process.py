"""Runs scripts in the process of the test: starting a process that imports torch takes seconds."""

import gc
import io
import os
import runpy
import sys
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import torch

PROJECT = Path(__file__).parents[1]


def small_sample(folder: Path, count: int = 80) -> Path:
    """Writes the first sentences of each part of the sample corpus into a directory named `sample`; returns it."""
    corpus = folder / "sample"
    corpus.mkdir(exist_ok=True)
    for name in ("train.txt", "valid.txt", "test.txt"):
        blocks = (PROJECT / "configs" / "sample" / name).read_text().split("\n\n")
        (corpus / name).write_text("\n\n".join(blocks[:count]) + "\n\n")
    return corpus


def run_script(script: str, *arguments: str) -> "CompletedProcess[str]":
    """Runs a script of the project as a command in the project's folder; returns its exit code and both outputs."""
    path = PROJECT / script
    before = sys.argv, [*sys.path], Path.cwd(), torch.get_num_threads(), dict(os.environ)
    output, errors = io.StringIO(), io.StringIO()
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(path.parent))
    os.chdir(PROJECT)
    try:
        with redirect_stdout(output), redirect_stderr(errors), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = _run(path)
            gc.collect()  # files that the end of a process would close
    finally:
        sys.argv, sys.path[:], cwd, threads, environment = before
        os.chdir(cwd)
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(environment)
    return CompletedProcess([script, *arguments], code, output.getvalue(), errors.getvalue())


def _run(path: Path) -> int:
    """Returns the exit code of a script, after the message of its exit or the traceback is written to stderr."""
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0
