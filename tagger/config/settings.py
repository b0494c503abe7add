"""The list of all settings with their values, defaults and meaning, from the schema."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tagger.config import setting_names
from tagger.config.schema import Config
from tagger.errors import ConfigError

_TYPE_NAMES = {bool: "true, false", int: "integer", float: "number", str: "text", NoneType: "null"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: the dotted name.
        values: the values that it may have, in Markdown.
        default: the default, as YAML has it.
        meaning: what it does, in Markdown.
    """

    name: str
    values: str
    default: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.name}: {self.default}\n    {self.meaning} ({self.values})".replace("`", "")


@dataclass(frozen=True, slots=True)
class SettingsSection:
    """A section of settings: its dotted name, its summary and its own settings, without those of inner sections."""

    name: str
    summary: str
    settings: tuple[Setting, ...]


def list_sections(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[SettingsSection]:
    """Yields the sections of a tree of settings, the outer ones first."""
    fields = {f"{prefix}.{name}" if prefix else name: field for name, field in model.model_fields.items()}
    settings = tuple(
        Setting(
            name, describe_type(field.annotation, field.metadata), _describe_default(field), field.description or ""
        )
        for name, field in fields.items()
        if not _is_section(field.annotation)
    )
    yield SettingsSection(prefix, (model.__doc__ or "").strip().splitlines()[0], settings)
    for name, field in fields.items():
        if isinstance(field.annotation, type) and _is_section(field.annotation):
            yield from list_sections(field.annotation, name)


def list_settings() -> list[Setting]:
    """Returns all settings, in the order of the schema."""
    return [setting for section in list_sections() for setting in section.settings]


def find_settings(name: str) -> list[Setting]:
    """Returns the settings whose name has a part, such as that of a section, or those with a usual name.

    >>> [setting.name for setting in find_settings("lr")]
    ['training.optimizer.learning_rate']

    Raises:
        ConfigError: there is no such setting.
    """
    settings = list_settings()
    matches = [setting for setting in settings if f".{name.strip('.')}." in f".{setting.name}."]
    if not matches:
        names = setting_names.find(name)
        matches = [setting for setting in settings if setting.name in names]
    if not matches:
        raise ConfigError(f"no setting is called '{name}'{setting_names.suggest(name)}")
    return matches


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def describe_type(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """Returns the values that a type allows.

    >>> describe_type(Literal["sum", "mean"] | None), describe_type(dict[str, float])
    ('`sum`, `mean` or null', 'mapping of text to number')
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        is_field = isinstance(arguments[1], FieldInfo)
        text = describe_type(arguments[0], arguments[1].metadata if is_field else arguments[1:])
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
        text = _TYPE_NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
    bounds = [
        f"{sign} {getattr(bound, name):.12g}"
        for bound in metadata
        for name, sign in _BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return f"{text} {' and '.join(bounds)}" if bounds else text


def _describe_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return json.dumps(field.get_default(call_default_factory=True), ensure_ascii=False).replace('"', "")
