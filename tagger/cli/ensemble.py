"""The command `tagger ensemble`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_report


def ensemble(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Models of one recipe with different seeds: directories, hub:USER/NAME, or a run of several seeds.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory of the new model.")],
    as_json: options.Json = False,
) -> None:
    """Build one model that averages the scores of several.

    The new model usually has a higher F1 than each of them. Its size and its time for tagging are at most the sums of
    theirs. For the models of a run of several seeds (`tagger train RECIPE --seeds 1,2,3 --out RUN`), give RUN.
    """
    from tagger.api import ensemble as api

    print_report(api.ensemble(models, out), as_json=as_json)
