"""Recipes and overrides of their settings, as the functions of the Python API take them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tagger import config as recipes
from tagger.config import Config

_SURROGATE_PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")


def load(recipe: str | Path | Config, settings: Mapping[str, object] | Sequence[str]) -> Config:
    """Returns the config of a recipe with overrides.

    Args:
        recipe: the name of a shipped recipe, a YAML file or a config.
        settings: overrides by dotted name or nested, or as strings `KEY=VALUE`.

    Raises:
        ConfigError: the recipe or a setting is invalid, with a line for each fault.
    """
    overrides = list(_overrides(settings)) if isinstance(settings, Mapping) else list(settings)
    if isinstance(recipe, Config):
        return recipes.parse(recipes.dump(recipe), "recipe", overrides=overrides)
    return recipes.load(str(recipe), overrides)


def _overrides(settings: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yields `a.b=value`, the value in YAML, for each setting of a mapping whose sections may be nested.

    >>> list(_overrides({"training.epochs": 2, "model": {"encoder": {"cell": "gru"}}}))
    ['training.epochs=2', 'model.encoder.cell="gru"']
    """
    for name, value in settings.items():
        if isinstance(value, Mapping) and _is_section(f"{prefix}{name}"):
            yield from _overrides(value, f"{prefix}{name}.")
        else:
            text = json.dumps(value, default=str)  # JSON is YAML, except for surrogate pairs
            text = _SURROGATE_PAIR.sub(_escape_pair, text)
            yield f"{prefix}{name}={text}"


def _escape_pair(pair: re.Match[str]) -> str:
    r"""Returns YAML's escape of a character that JSON escapes as two surrogates.

    >>> next(_overrides({"a": chr(0x1F600)}))
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
