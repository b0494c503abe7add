"""The command `tagger settings`."""

from dataclasses import asdict
from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_result


def settings(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Setting, section or part of a name, such as lr.", show_default="all"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the settings of recipes with defaults and meaning."""
    from tagger.api import settings as api
    from tagger.io import json_files

    entries = api.settings(name)
    if as_json:
        print_result(json_files.dump([asdict(entry) for entry in entries]).decode())
    else:
        print_result("\n".join(map(str, entries)))
