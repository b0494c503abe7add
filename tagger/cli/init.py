"""The command `tagger init`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_result


def init(
    data: Annotated[list[str], typer.Argument(metavar="DATA", help="A folder or files with annotated data.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Recipe to write, such as mine.yaml.", show_default="stdout")
    ] = None,
    input_format: options.TaggedFormat = None,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    language: options.Language = None,
    unknown_tag: options.UnknownTag = None,
    settings: options.DataSettings = None,
    vectors: options.Vectors = None,
    init_from: options.InitFrom = None,
    as_json: options.Json = False,
) -> None:
    """Draft a recipe that suits annotated data.

    A file is training data unless its name says dev or test.
    """
    from tagger.api import init as api
    from tagger.io import json_files

    draft = api.init(
        data,
        out=out,
        input_format=input_format,
        token_column=options.parse_column(token_column),
        tag_column=options.parse_column(tag_column),
        language=language,
        unknown_tag=unknown_tag,
        settings=settings or (),
        vectors=vectors or (),
        init_from=init_from,
    )
    if as_json:
        print_result(json_files.dump(draft.config.model_dump(mode="json", exclude_unset=True)).decode())
    else:
        print_result(draft.text.rstrip("\n"))
