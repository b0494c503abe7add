"""The command `tagger ensemble`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger.cli.output import print_result


def ensemble(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Models of one recipe with different seeds: directories, hub:USER/NAME, or a run of several seeds.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory of the new model.")],
) -> None:
    """Build a model whose scores are the means of those of several models.

    Its F1 is higher than that of its models; its size and its time for tagging are the sums of theirs. A run of
    several seeds (`tagger train RECIPE --seeds 1,2,3 --out RUN`) stands for the best model of each seed.
    """
    from tagger import streams
    from tagger.api import ensemble as api

    print_result(f"model: {streams.escape_line(str(api.ensemble(models, out)))}")
