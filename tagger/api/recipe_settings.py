"""Recipes and overrides of their settings, as the functions of the Python API take them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tagger import config as recipes
from tagger.config import Config
from tagger.config.overrides import list_overrides


def load(recipe: str | Path | Config, settings: Mapping[str, object] | Sequence[str]) -> Config:
    """Returns the config of a recipe with overrides.

    Args:
        recipe: the name of a shipped recipe, a YAML file or a config.
        settings: overrides by dotted name or nested, or as strings `KEY=VALUE`.

    Raises:
        ConfigError: the recipe or a setting is invalid, with a line for each fault.
    """
    overrides = list_overrides(settings)
    if isinstance(recipe, Config):
        return recipes.parse(recipes.dump(recipe), "recipe", overrides=overrides)
    return recipes.load(str(recipe), overrides)
