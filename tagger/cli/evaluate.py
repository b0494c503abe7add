"""The command `tagger evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_report


def evaluate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Tagged files.")],
    model: options.Model,
    input_format: options.TaggedFormat = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    tag_format: options.TagFormat = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if the file has invalid tag sequences.")] = False,
    misaligned: options.Misaligned = None,
    annotated_types: options.AnnotatedTypes = None,
    seen: options.Seen = None,
    report: options.Report = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write gold and predicted tags with probabilities as JSONL.")
    ] = None,
    as_json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Score a model on tagged files, and show where it errs.

    Spans and words of the data that --seen names are scored apart.
    """
    from tagger.api import evaluation

    result = evaluation.evaluate_files(
        model,
        files,
        report=report,
        predictions=predictions,
        seen=seen or None,
        input_format=input_format,
        token_column=options.parse_column(token_column),
        tag_column=options.parse_column(tag_column),
        tag_format=tag_format,
        strict=strict,
        misaligned=misaligned,
        annotated_types=options.parse_types(annotated_types),
        device=device,
    )
    print_report(result, as_json=as_json)
