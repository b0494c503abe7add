"""The command `tagger info`."""

from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import options
from tagger.cli.output import print_result


def info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model directory.")],
    as_json: options.Json = False,
) -> None:
    """Describe a model: layers, tags, file size and scores."""
    from tagger.api import info as api
    from tagger.io import json_files

    card = api.info(model)
    print_result(
        json_files.dump(card).decode() if as_json else "\n".join(f"{key}: {_format(card[key])}" for key in card)
    )


def _format(value: object) -> str:
    """Returns a value as readable text, without entries of inner mappings that are None."""
    if isinstance(value, dict):
        return ", ".join(
            f"{key} ({_format(inner)})" if isinstance(inner, dict) else f"{key} {_format(inner)}"
            for key, inner in value.items()
            if inner is not None
        )
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
