"""Overrides of settings, from mappings of Python to the strings of the command line."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tagger.config.schema import Config

_SURROGATE_PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")


def list_overrides(
    settings: Mapping[str, object] | Sequence[str], named: Mapping[str, object] | None = None
) -> list[str]:
    """Returns overrides `a.b=value`.

    >>> list_overrides(["data.misaligned=drop"], {"data.language": "de", "data.unknown_tag": None})
    ['data.misaligned=drop', 'data.language="de"']

    Args:
        settings: such strings, or a mapping by dotted or nested names.
        named: further values by dotted name; None for those that are not set.
    """
    listed = list(_list(settings)) if isinstance(settings, Mapping) else list(settings)
    return listed + list(_list({name: value for name, value in (named or {}).items() if value is not None}))


def _list(settings: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yields `a.b=value`, the value in YAML, for each setting of a mapping whose sections may be nested.

    >>> list(_list({"training.epochs": 2, "model": {"encoder": {"cell": "gru"}}}))
    ['training.epochs=2', 'model.encoder.cell="gru"']
    """
    for name, value in settings.items():
        if isinstance(value, Mapping) and _is_section(f"{prefix}{name}"):
            yield from _list(value, f"{prefix}{name}.")
        else:
            text = json.dumps(value, default=str)  # JSON is YAML, except for surrogate pairs
            text = _SURROGATE_PAIR.sub(_escape_pair, text)
            yield f"{prefix}{name}={text}"


def _escape_pair(pair: re.Match[str]) -> str:
    r"""Returns YAML's escape of a character that JSON escapes as two surrogates.

    >>> next(_list({"a": chr(0x1F600)}))
    'a="\\U0001f600"'
    """
    return f"\\U{ord(json.loads(chr(34) + pair[0] + chr(34))):08x}"


def _is_section(name: str) -> bool:
    """Returns whether a dotted name is that of a section of a recipe, such as model.encoder."""
    section: Any = Config
    for part in name.split("."):
        field = getattr(section, "model_fields", {}).get(part)
        section = None if field is None else field.annotation
    return hasattr(section, "model_fields")
