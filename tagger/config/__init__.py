"""Recipes: the tree of settings, and the one reader of the YAML files that fill it."""

from tagger.config.changes import changed_settings, fixed_changes
from tagger.config.loader import dump, load, parse, recipe_path, recipes
from tagger.config.schema import Config

__all__ = ["Config", "changed_settings", "dump", "fixed_changes", "load", "parse", "recipe_path", "recipes"]
