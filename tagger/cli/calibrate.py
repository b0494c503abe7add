"""The command `tagger calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_report


def calibrate(
    model: options.NamedModel,
    data: Annotated[Path, typer.Argument(metavar="DEV", help="Tagged file that the model was not trained on.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory for a calibrated copy.", show_default="the model itself"),
    ] = None,
    precisions: Annotated[
        list[float] | None,
        typer.Option(
            "--precision",
            metavar="P",
            min=0,
            max=1,
            help=options.PRECISION_HELP,
            show_default="0.9, 0.95, 0.99",
        ),
    ] = None,
    input_format: options.TaggedFormat = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    tag_format: options.TagFormat = None,
    misaligned: options.Misaligned = None,
    as_json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Fit a model's probabilities to tagged data.

    Prints the calibration error, and for each type the lowest threshold with a precision (--precision is repeatable).
    The calibration is stored in the model, or with --out in a copy. `tagger tag --precision P` then writes only spans
    that are precise enough, for any P.

    A temperature of the model changes every probability. A temperature of a type changes probabilities of its spans,
    not those of alternatives (--nbest) or the uncertainties of `tagger select`: they belong to whole sentences.
    """
    from tagger.api import calibration

    result = calibration.calibrate(
        model,
        data,
        out=out,
        precisions=precisions or (0.9, 0.95, 0.99),
        input_format=input_format,
        token_column=options.parse_column(token_column),
        tag_column=options.parse_column(tag_column),
        tag_format=tag_format,
        misaligned=misaligned,
        device=device,
    )
    print_report(result, as_json=as_json)
