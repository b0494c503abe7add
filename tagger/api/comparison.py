"""The Python API of `tagger compare`."""

from pathlib import Path

from tagger import experiments
from tagger.choices import Scored
from tagger.experiments import Comparison


def compare(
    first: str | Path, second: str | Path, *, on: Scored = "test", samples: int = 10_000, seed: int = 0
) -> Comparison:
    """Returns the difference between the scores of two runs by a paired bootstrap test, as `tagger compare` prints it.

    Args:
        first: the directory of a run, of one seed or of several.
        second: the directory of a run that was scored on the same data.
        on: the data whose scores to compare, test or dev.
        samples: the number of bootstrap samples, from 1 to 1,000,000.
        seed: the random seed of the samples.

    Raises:
        ConfigError: `samples` or `seed` is out of range.
        StorageError: a directory is missing.
        ModelError: a run is not finished, or the runs were scored on different data.
    """
    return experiments.compare(Path(first), Path(second), on=on, samples=samples, seed=seed)
