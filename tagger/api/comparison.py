"""The Python API of `tagger compare`."""

from pathlib import Path

from tagger import experiments
from tagger.choices import Scored, TagFormat, TaggedFormat, check_choices
from tagger.data.tagged_files import FileOptions
from tagger.evaluation.system_files import SystemFiles
from tagger.experiments import ComparedFiles, Comparison


def compare(
    *systems: str | Path,
    baseline: str | Path | None = None,
    on: Scored = "test",
    gold: str | Path | None = None,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    predicted_column: int | str | None = None,
    tag_format: TagFormat | None = None,
    samples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Returns the differences between systems and a baseline, with tests, as `tagger compare` prints them.

    Args:
        systems: directories of runs, of one seed or of several; files of predictions that `tagger.evaluate` wrote; or
            tagged files together with `gold`. At least two, all of the same gold data.
        baseline: the system to compare with; None for the first.
        on: the data whose scores to compare, test or dev, for runs.
        gold: the file with gold tags; None if files have gold and predicted tags.
        input_format: the format of files; None for the format that each name and content show.
        token_column: the column of the token; in rows the field of tokens.
        tag_column: the column of the gold tag; in rows the field of tags or spans.
        predicted_column: the column of the predicted tag; None for that of the gold tag.
        tag_format: how tags encode spans, one of `tagger.choices.TagFormat`; None for the format that each file shows.
        samples: the number of bootstrap samples and of random exchanges, from 1 to 1,000,000.
        seed: the random seed of both.

    Raises:
        ConfigError: `samples` or `seed` is out of range, there is one system, or the baseline is none of them.
        StorageError: a directory is missing, or a run is not finished.
        ModelError: a run cannot be read, or runs were scored on different data.
        DataError: a file cannot be read, or has other tokens or gold tags.
    """
    check_choices(on=(on, Scored), input_format=(input_format, TaggedFormat), tag_format=(tag_format, TagFormat))
    files = SystemFiles(FileOptions(input_format, token_column, tag_column, tag_format), predicted_column)
    return experiments.compare(
        *map(Path, systems),
        baseline=None if baseline is None else Path(baseline),
        on=on,
        files=ComparedFiles(None if gold is None else Path(gold), files),
        samples=samples,
        seed=seed,
    )
