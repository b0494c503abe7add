"""The Python API of `tagger settings`."""

from tagger.config.settings import Setting, find_settings, list_settings


def settings(name: str | None = None) -> list[Setting]:
    """Returns settings with their values, defaults and meaning, as `tagger settings` lists them.

    >>> [setting.default for setting in settings("training.epochs")]
    ['30']

    Args:
        name: the dotted name of a setting or a section, its last part, or its usual name in other toolkits; None for
            all settings.

    Raises:
        ConfigError: there is no such setting.
    """
    return list_settings() if name is None else find_settings(name)
