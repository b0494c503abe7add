"""The command `tagger check`."""

from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_report


def check(
    data: Annotated[list[str], typer.Argument(metavar="DATA", help="A folder, files or a recipe with annotated data.")],
    input_format: options.TaggedFormat = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    language: options.Language = None,
    unknown_tag: options.UnknownTag = None,
    settings: options.DataSettings = None,
    vectors: options.Vectors = None,
    report: options.Report = None,
    as_json: options.Json = False,
) -> None:
    """Check annotated data: figures of each part, errors and warnings.

    A file is training data unless its name says dev or test. The exit code is 1 if there are errors.
    """
    from tagger.api import check as api

    result = api.check(
        data,
        input_format=input_format,
        token_column=options.parse_column(token_column),
        tag_column=options.parse_column(tag_column),
        language=language,
        unknown_tag=unknown_tag,
        settings=settings or (),
        vectors=vectors or (),
        report=report,
    )
    print_report(result, as_json=as_json)
    if result.has_errors:
        raise typer.Exit(1)
