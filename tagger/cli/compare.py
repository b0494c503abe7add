"""The command `tagger compare`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger import choices
from tagger.cli import options
from tagger.cli.output import print_result


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN1", help="Run directory, of one seed or of several.")],
    second: Annotated[Path, typer.Argument(metavar="RUN2", help="Run directory, scored on the same data.")],
    on: Annotated[choices.Scored, typer.Option(help="Data whose scores to compare.")] = "test",
    samples: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="Number of bootstrap samples.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Compare the scores of two runs by a paired bootstrap test.

    Prints the mean score of RUN2 minus that of RUN1, its 95 % confidence interval and the p-value.
    """
    from tagger.api import comparison
    from tagger.io import json_files

    result = comparison.compare(first, second, on=on, samples=samples, seed=seed)
    print_result(json_files.dump(result.to_json()).decode() if as_json else str(result))
