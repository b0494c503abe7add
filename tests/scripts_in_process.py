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


def run_script(script: str, *arguments: str) -> "CompletedProcess[str]":
    """Runs a script of the project as a command in the project's folder; returns its exit code and both outputs."""
    path, code = PROJECT / script, 0
    before = sys.argv, [*sys.path], Path.cwd(), torch.get_num_threads(), dict(os.environ)
    output, errors = io.StringIO(), io.StringIO()
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(path.parent))
    os.chdir(PROJECT)
    try:
        with redirect_stdout(output), redirect_stderr(errors), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                runpy.run_path(str(path), run_name="__main__")
            finally:
                gc.collect()  # files that the end of a process would close
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        errors.write(f"{error.code}\n" if isinstance(error.code, str) else "")
    except Exception:
        code = 1
        errors.write(traceback.format_exc())
    finally:
        sys.argv, sys.path[:], cwd, threads, environment = before
        os.chdir(cwd)
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(environment)
    return CompletedProcess([script, *arguments], code, output.getvalue(), errors.getvalue())
