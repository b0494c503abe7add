"""Differences between two configs."""

from collections.abc import Iterator
from typing import Any

from tagger.config.schema import Config


def changed_settings(before: Config, after: Config) -> list[str]:
    """Returns a text for each setting that differs, except for names and paths of data.

    >>> changed_settings(Config(), Config.model_validate({"training": {"epochs": 3}}))
    ['training.epochs was 30, now 3']
    """
    old, new = (config.without_paths().model_dump(mode="json") for config in (before, after))
    return list(_differences(old, new, ""))


def fixed_changes(changes: list[str]) -> list[str]:
    """Returns the changes that a training cannot resume with: all but the number of epochs.

    >>> fixed_changes(["training.epochs was 30, now 3", "training.batch_size was 10, now 20"])
    ['training.batch_size was 10, now 20']
    """
    return [change for change in changes if not change.startswith("training.epochs ")]


def _differences(before: Any, after: Any, key: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _differences(before.get(name), after.get(name), f"{key}.{name}" if key else name)
    elif before != after:
        yield f"{key} was {before!r}, now {after!r}"
