"""The directory of a training run: which names in it are ours, and how a training takes it over.

A run, and a run of several seeds, holds a marker. In a directory without the marker a training neither replaces nor
removes a file.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagger import model_dir
from tagger.errors import StorageError
from tagger.io import atomic, directories

BEST, CONFIG, SEEDS = "model-best", "config.yaml", "seeds.json"
METRICS, LOG, PLOT, COUNTS = "metrics.jsonl", "train.log", "training.png", "counts.json"
_FILES = {BEST, CONFIG, SEEDS, METRICS, LOG, PLOT, COUNTS, model_dir.LATEST}
_SEED = re.compile(r"seed-[0-9]{1,19}")


def is_ours(name: str) -> bool:
    """Returns whether a training run writes, replaces or removes a name in its directory.

    >>> [is_ours(name) for name in ("config.yaml", "checkpoint-000012", "seed-1", "notes.txt")]
    [True, True, True, False]
    """
    return name in _FILES or model_dir.is_checkpoint_name(name) or _SEED.fullmatch(name) is not None


def check_free(run: Path) -> None:
    """Checks that a new training may use a directory.

    Raises:
        StorageError: the directory holds a training, or files that a training would replace.
    """
    seeds = [path for path in run.glob("seed-*") if _SEED.fullmatch(path.name)]
    if any(map(model_dir.checkpoints, (run, *seeds))):
        raise StorageError(f"{run}: holds a training already; continue it with `resume=True`, or choose another `out`")
    directories.check_claim(run, is_ours)


def check_marked(run: Path) -> None:
    """Checks that a directory is that of a training run.

    Raises:
        StorageError: the directory holds no run, or was not made by a training.
    """
    if not (run / CONFIG).is_file():
        raise StorageError(f"{run}: no run here, there is no {CONFIG}; `resume` takes the directory of a run")
    with atomic.wrap_os_errors(run):
        marked = directories.is_marked(run)
    if not marked:
        raise StorageError(f"{run}: was not made by a training, there is no {directories.MARKER}; nothing is changed")


@contextmanager
def owned(run: Path) -> Iterator[None]:
    """Makes the directory of a run, marks it, and holds it for one writer, without what crashes left in it.

    Raises:
        StorageError: another process holds it, it cannot be written, or it holds files that are not ours.
    """
    with directories.claim(run, is_ours):
        yield
