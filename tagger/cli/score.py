"""The command `tagger score`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger import choices
from tagger.cli import options
from tagger.cli.output import print_report


def score(
    gold: Annotated[Path, typer.Argument(metavar="GOLD", help="File with gold tags.")],
    predicted: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PREDICTED", help="Files with predicted tags of the same sentences."),
    ] = None,
    predicted_column: options.PredictedColumn = None,
    repair: Annotated[
        choices.Repair,
        typer.Option(help="Read invalid tag sequences as conlleval does, discard their spans, or fail (none)."),
    ] = "conlleval",
    tag_scheme: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEME",
            help="Scheme of all tags: IOB1, IOB2 (BIO) or IOBES (BIOES).",
            show_default="as the tags show",
        ),
    ] = None,
    input_format: options.TaggedFormat = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    tag_format: options.TagFormatOfFiles = None,
    outside_tag: Annotated[str, typer.Option(metavar="TAG", help="Tag of tokens outside spans in the inputs.")] = "O",
    unknown_tag: options.UnknownTag = None,
    misaligned: options.Misaligned = None,
    annotated_types: options.AnnotatedTypes = None,
    language: Annotated[str, typer.Option(metavar="CODE", help="Language of raw text.")] = "en",
    as_json: options.Json = False,
) -> None:
    """Score the output of any system.

    Prints precision, recall and F1 of spans as conlleval does, with a 95 % bootstrap interval, or the accuracy of plain
    tags. All files hold the same tokens in the same sentences.
    """
    from tagger.api import scoring

    result = scoring.score(
        gold,
        predicted or None,
        predicted_column=options.parse_column(predicted_column),
        repair=repair,
        tag_scheme=tag_scheme,
        input_format=input_format,
        token_column=options.parse_column(token_column),
        tag_column=options.parse_column(tag_column),
        tag_format=tag_format,
        outside_tag=outside_tag,
        unknown_tag=unknown_tag,
        misaligned=misaligned,
        annotated_types=options.parse_types(annotated_types),
        language=language,
    )
    print_report(result, as_json=as_json)
