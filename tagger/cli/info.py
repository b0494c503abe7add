"""The command `tagger info`."""

from collections.abc import Iterator, Mapping
from typing import Any

from tagger.cli import options
from tagger.cli.output import print_result


def info(
    model: options.NamedModel,
    as_json: options.Json = False,
) -> None:
    """Describe a model: layers, tags, file size and scores."""
    from tagger.api import info as api
    from tagger.io import json_files

    card = api.info(model)
    print_result(json_files.dump(card).decode() if as_json else "\n".join(_lines(card)))


def _lines(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yields a line for each value, those of inner mappings indented, without values that are None."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _lines(value, f"{indent}  ")
        elif value is not None:
            yield f"{indent}{key}: {_format(value)}"


def _format(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
