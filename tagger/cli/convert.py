"""The command `tagger convert`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger import choices, streams
from tagger.cli import options


def convert(
    paths: Annotated[list[Path], typer.Argument(metavar="IN... OUT", help="Tagged files or folders, and the output.")],
    input_format: Annotated[
        choices.TaggedFormat | None,
        typer.Option("--from", help="Format of the inputs.", show_default="by name and content"),
    ] = None,
    output_format: Annotated[
        choices.OutputFormat | None,
        typer.Option("--to", help="Format of the output.", show_default="by the name of OUT"),
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Convert only files that match, such as '*.conll'.")
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Rename types (PER=PERSON), drop types (MISC=), or keep only these (PER,LOC)."
        ),
    ] = None,
    scheme: Annotated[
        choices.Scheme | None, typer.Option(help="Scheme of the output tags.", show_default="as in the inputs")
    ] = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    tag_format: Annotated[
        choices.TagFormat, typer.Option(help="How tags encode spans: B-PER, PER-B, PER, B, (PER* or not.")
    ] = "auto",
    outside_tag: Annotated[str, typer.Option(metavar="TAG", help="Tag of tokens outside spans in the inputs.")] = "O",
    language: Annotated[
        str, typer.Option(metavar="CODE", help="Language of texts with spans, an ISO 639 code.")
    ] = "en",
    misaligned: Annotated[
        choices.Misaligned,
        typer.Option(help="Expand or contract annotated spans that end within a token, drop them, or stop."),
    ] = "expand",
) -> None:
    """Convert tagged files to another format.

    OUT is a file for all inputs together, or an existing folder for one file per input. A format with texts gets tokens
    joined by one space, or as SpaceAfter=No in CoNLL-U says.
    """
    from tagger.api import conversion
    from tagger.errors import ConfigError

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
        language=language,
        misaligned=misaligned,
    )
    for line in str(summary).splitlines():
        streams.print_error(line)
