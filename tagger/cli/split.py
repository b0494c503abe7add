"""The command `tagger split`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_report
from tagger.errors import ConfigError


def split(
    data: Annotated[list[str], typer.Argument(metavar="DATA", help="An annotated file, perhaps after its recipe.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the train, dev and test files.")],
    fractions: Annotated[
        str, typer.Option(metavar="LIST", help="Fractions of train, dev and test, or of train and dev.")
    ] = "80,10,10",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed.")] = 1,
    input_format: options.TaggedFormat = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    language: options.Language = None,
    unknown_tag: options.UnknownTag = None,
    settings: options.DataSettings = None,
    as_json: options.Json = False,
) -> None:
    """Split an annotated file into training, dev and test files.

    Documents are not split if there are several, and every type is in every part if possible.
    """
    from tagger.api import split as api

    try:
        numbers = [float(number) for number in fractions.split(",")]
    except ValueError:
        raise ConfigError(f"`fractions` must be numbers such as 80,10,10, got {fractions!r}") from None
    result = api.split(
        data,
        out=out,
        fractions=numbers,
        seed=seed,
        input_format=input_format,
        token_column=options.parse_column(token_column),
        tag_column=options.parse_column(tag_column),
        language=language,
        unknown_tag=unknown_tag,
        settings=settings or (),
    )
    print_report(result, as_json=as_json)
