"""Writes the table of all settings into configs/README.md, between its two marker comments, from the schema.

python scripts/describe_settings.py [--check]
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tagger.config import Config

README = Path(__file__).parents[1] / "configs" / "README.md"
START = "<!-- settings: written by scripts/describe_settings.py -->"
END = "<!-- end of settings -->"
TYPE_NAMES = {bool: "true, false", int: "integer", float: "number", str: "text", NoneType: "null"}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def main() -> int:
    """Writes the README, or with `--check` returns 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="Write nothing; fail if the README is out of date.")
    options = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    updated = replace_settings(text, describe(Config))
    if not options.check:
        README.write_text(updated, encoding="utf-8")
    elif updated != text:
        print(f"{README} is out of date: run `python scripts/describe_settings.py`", file=sys.stderr)
        return 1
    return 0


def replace_settings(text: str, settings: str) -> str:
    """Returns a text with the settings between the two marker comments replaced."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{README}: expected the lines {START!r} and {END!r}")
    return f"{before}{START}\n\n{settings}\n{END}{after}"


def describe(model: type[BaseModel]) -> str:
    """Returns a heading and a table in Markdown for each section of a tree of settings."""
    blocks = []
    for prefix, section in sections(model):
        rows = [
            f"| `{name}` | {describe_type(field.annotation, field.metadata)} | {describe_default(field)} "
            f"| {escape(field.description or '')} |"
            for name, field in section.model_fields.items()
            if not is_section(field.annotation)
        ]
        if rows:
            summary = (section.__doc__ or "").strip().splitlines()[0]
            table = ["| setting | values | default | meaning |", "|---|---|---|---|", *rows]
            blocks.append(f"### `{prefix}`\n\n{summary}\n\n" + "\n".join(table) + "\n")
    return "\n".join(blocks)


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yields the dotted name and the class of each section of a tree, the outer ones first."""
    yield prefix, model
    for name, field in model.model_fields.items():
        if is_section(field.annotation):
            yield from sections(field.annotation, f"{prefix}.{name}" if prefix else name)


def is_section(annotation: Any) -> bool:
    """Returns whether a type is a section of settings."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def describe_type(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """Returns the values that a type allows.

    >>> describe_type(Literal["sum", "mean"] | None), describe_type(dict[str, float])
    ('`sum`, `mean` or null', 'mapping of text to number')
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        text = describe_type(arguments[0], arguments[1].metadata if _has_metadata(arguments[1]) else arguments[1:])
    elif origin is Literal:
        text = ", ".join(f"`{value}`" for value in arguments)
    elif origin in (Union, UnionType):
        text = " or ".join(describe_type(argument) for argument in arguments)
    elif origin is tuple:
        kinds = list(dict.fromkeys(describe_type(argument) for argument in arguments if argument is not Ellipsis))
        text = f"list of {' and '.join(kinds)}" if Ellipsis in arguments else f"{len(arguments)} values, {kinds[0]}"
    elif origin is dict:
        text = f"mapping of {describe_type(arguments[0])} to {describe_type(arguments[1])}"
    else:
        text = TYPE_NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
    bounds = [
        f"{sign} {getattr(bound, name):.12g}"
        for bound in metadata
        for name, sign in BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return f"{text} {' and '.join(bounds)}" if bounds else text


def describe_default(field: FieldInfo) -> str:
    """Returns the default of a setting, as YAML has it."""
    if field.is_required():
        return "required"
    return f"`{json.dumps(field.get_default(call_default_factory=True), ensure_ascii=False)}`".replace('"', "")


def escape(text: str) -> str:
    """Returns a text as a cell of a Markdown table."""
    return text.replace("|", r"\|")


def _has_metadata(value: object) -> bool:
    return isinstance(value, FieldInfo)


if __name__ == "__main__":
    sys.exit(main())
