"""The command `tagger convert`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger import choices, streams
from tagger.cli import options
from tagger.cli.output import print_result


def convert(
    paths: Annotated[list[Path], typer.Argument(metavar="IN... OUT", help="Tagged files or folders, and the output.")],
    input_format: options.TaggedFormat = None,
    output_format: Annotated[
        choices.OutputFormat | None,
        typer.Option("--to", help="Output format.", show_default="by the name of OUT"),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(metavar="GLOB", help="Files to read in a folder.", show_default="all that are not hidden"),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Rename types (PER=PERSON), drop types (MISC=), or keep only these (PER,LOC)."
        ),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(metavar="SCHEME", help=options.SCHEME_HELP, show_default="as in the inputs"),
    ] = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    tag_format: Annotated[choices.TagFormat, typer.Option(help=options.TAG_FORMAT_HELP)] = "auto",
    outside_tag: Annotated[str, typer.Option(metavar="TAG", help="Tag of tokens outside spans in the inputs.")] = "O",
    unknown_tag: options.UnknownTag = None,
    language: Annotated[str, typer.Option(metavar="CODE", help="Language of raw text.")] = "en",
    misaligned: Annotated[
        choices.Misaligned,
        typer.Option(
            help="Expand or contract annotated spans that end within a token, drop them, or stop."
            " Of overlapping spans the longest remains."
        ),
    ] = "expand",
    decisions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Make the changes that the page of an audit saved (audit-decisions.json)."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Convert tagged files to another format.

    OUT is a file for all inputs together, or an existing folder for one file per input; for brat it is a new folder.
    A format with texts gets tokens joined by one space, or as SpaceAfter=No in CoNLL-U says.
    """
    from tagger.api import conversion
    from tagger.errors import ConfigError
    from tagger.io import json_files

    if len(paths) < 2:
        raise ConfigError("expected inputs and an output, such as train.jsonl train.conll")
    summary = conversion.convert(
        paths[:-1],
        paths[-1],
        input_format=input_format,
        output_format=output_format,
        pattern=pattern,
        types=types,
        scheme=scheme,
        token_column=options.parse_column(token_column),
        tag_column=options.parse_column(tag_column),
        tag_format=tag_format,
        outside_tag=outside_tag,
        unknown_tag=unknown_tag,
        language=language,
        misaligned=misaligned,
        decisions=decisions,
    )
    if as_json:
        print_result(json_files.dump(summary.to_json()).decode())
        return
    for line in str(summary).splitlines():
        streams.print_error(line)
