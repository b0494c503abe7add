"""The directory of a training run: the names that belong to the toolkit, and the checks before writing.

Each run directory holds a marker file. Without it a training neither replaces nor removes a file.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagger import model_dir
from tagger.errors import StorageError
from tagger.io import atomic, directories

BEST, INITIAL, CONFIG, SEEDS = "model-best", "model-initial", "config.yaml", "seeds.json"
METRICS, LOG, PLOT, COUNTS = "metrics.jsonl", "train.log", "training.png", "counts.json"
_FILES = {BEST, INITIAL, CONFIG, SEEDS, METRICS, LOG, PLOT, COUNTS, model_dir.LATEST}
_SEED = re.compile(r"seed-[0-9]{1,19}")


def is_ours(name: str) -> bool:
    """Returns whether a training run writes, replaces or removes a name in its directory.

    >>> [is_ours(name) for name in ("config.yaml", "checkpoint-000012", "seed-1", "notes.txt")]
    [True, True, True, False]
    """
    return name in _FILES or model_dir.is_checkpoint_name(name) or _SEED.fullmatch(name) is not None


def check_free(run_dir: Path) -> None:
    """Checks that a new training may use a directory.

    Raises:
        StorageError: the directory holds a training, or files that a training would replace.
    """
    seeds = [path for path in run_dir.glob("seed-*") if _SEED.fullmatch(path.name)]
    if any(map(model_dir.list_checkpoints, (run_dir, *seeds))):
        raise StorageError(f"{run_dir}: already holds a training; pass `resume=True` or choose another `out`")
    directories.check_claim(run_dir, is_ours)


def check_is_run(run_dir: Path) -> None:
    """Checks that a directory is a training run.

    Raises:
        StorageError: the directory does not exist or was not created by a training.
    """
    if not (run_dir / CONFIG).is_file():
        raise StorageError(f"{run_dir}: found no {CONFIG}; expected the directory of a training run")
    with atomic.wrap_os_errors(run_dir):
        marked = directories.is_marked(run_dir)
    if not marked:
        raise StorageError(
            f"{run_dir}: found no {directories.MARKER}, so that it was not created by a training; nothing is changed"
        )


@contextmanager
def lock_run_dir(run_dir: Path) -> Iterator[None]:
    """Creates and marks the directory of a run, locks it for one writer and removes the remains of crashes.

    Raises:
        StorageError: another process has locked it, it cannot be written, or it holds files of others.
    """
    with directories.claim(run_dir, is_ours):
        yield
