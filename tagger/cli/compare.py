"""The command `tagger compare`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger import choices
from tagger.cli import options
from tagger.cli.output import print_report


def compare(
    systems: Annotated[
        list[Path],
        typer.Argument(
            metavar="SYSTEM...",
            help="Run directories, files of evaluate --predictions, or tagged files with --gold; the first is the"
            " baseline.",
        ),
    ],
    baseline: Annotated[
        Path | None, typer.Option(metavar="SYSTEM", help="System to compare with.", show_default="the first")
    ] = None,
    on: Annotated[choices.Scored, typer.Option(help="Data whose scores to compare, for runs.")] = "test",
    gold: Annotated[Path | None, typer.Option(metavar="FILE", help="File with gold tags, for tagged files.")] = None,
    input_format: options.TaggedFormat = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    predicted_column: options.PredictedColumn = None,
    tag_format: options.TagFormatOfFiles = None,
    samples: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="Number of bootstrap samples and random exchanges.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Compare the scores of runs or of predictions with a baseline.

    Prints each difference with its 95 % confidence interval and the p-values of a paired bootstrap and of approximate
    randomisation, also corrected for the number of comparisons.
    """
    from tagger.api import comparison

    result = comparison.compare(
        *systems,
        baseline=baseline,
        on=on,
        gold=gold,
        input_format=input_format,
        token_column=options.parse_column(token_column),
        tag_column=options.parse_column(tag_column),
        predicted_column=options.parse_column(predicted_column),
        tag_format=tag_format,
        samples=samples,
        seed=seed,
    )
    print_report(result, as_json=as_json)
