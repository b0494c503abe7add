"""Reads recipes: YAML to Config. All faults are reported together, each with its position and a suggestion."""

import difflib
import json
import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tagger import choices
from tagger.config import setting_names
from tagger.config.schema import Config, UnusedSettingsError
from tagger.errors import ConfigError

log = logging.getLogger(__name__)

_MAX_BYTES = 10_000  # PyYAML reads some 100 kB a second
_MAX_DEPTH = 20
_END = "...\n"  # after a scalar that is a document of its own
_PATHS = (
    "data.train",
    "data.dev",
    "data.test",
    "model.words.vectors",
    "training.sentence_weights",
    "training.corpus_cache",
    "training.feature_cache",
)
_DATASET, _TRANSFORMER = "data.dataset", "model.transformer.name"  # a path, or a name on the Hub

_RENAMED = {  # in format 2
    "data.dev_share": "data.dev_fraction",
    "model.capitals": "model.casing",
    "model.characters.features": "model.characters.output_dim",
    "model.characters.kernel": "model.characters.kernel_size",
    "model.characters.width": "model.characters.embedding_dim",
    "model.elsewhere": "model.document_context",
    "model.encoder.backward": "model.encoder.direction",
    "model.encoder.directions": "model.encoder.direction",
    "model.encoder.layers": "model.encoder.num_layers",
    "model.encoder.width": "model.encoder.hidden_size",
    "model.words.keep": "model.words.max_frozen_words",
    "model.words.training": "model.words.trainable",
    "model.words.width": "model.words.embedding_dim",
    "training.average": "training.ema_decay",
    "training.batches": "training.batch_size, training.max_batch_tokens and training.bucket_size",
    "training.not_finite": "training.on_nonfinite",
    "training.optimizer.rate": "training.optimizer.learning_rate",
    "training.optimizer.rates": "training.optimizer.learning_rates",
}

_Section = TypeVar("_Section", bound=BaseModel)
Key = tuple[str | int, ...]
"""The keys and list indices that lead to a value of the tree."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 core schema: 1e-3 is a number, NO is text. Anchors, tags and deep nesting are refused."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Returns the next node; refuses anchors, tags and deep nesting, which let small files cost much time."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            fault = "anchors, aliases and tags are not used in recipes"
            raise yaml.composer.ComposerError(None, None, fault, event.start_mark)
        if self.depth > _MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_SPECIAL = re.compile("cannot start any token|anchors, aliases|sequence entries|mapping keys|expected alphabetic")


class _Dumper(yaml.SafeDumper):
    """Quotes strings that `_Loader` would not read as text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", "n~"),
    ("int", r"[-+]?[0-9]{1,300}", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("$"), [""])
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))  # 010 is ten, not eight
_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    ),
)


def recipes() -> Path:
    """Returns the folder of the shipped recipes."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


def shipped() -> list[str]:
    """Returns the names of the shipped recipes."""
    return sorted(file.stem for file in recipes().glob("*.yaml"))


def recipe_path(name: str) -> Path:
    """Returns the file of a recipe, which is named by a shipped name or a path.

    Raises:
        ConfigError: there is no such recipe.
    """
    path = Path(name)
    if _is(Path.is_file, path):
        if path.suffix not in (".yaml", ".yml", ""):
            raise ConfigError(f"{name}: expected a recipe in YAML (.yaml); `tagger init` drafts one for annotated data")
        return path
    if path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"{name}: no such recipe file")
    if _is(Path.is_dir, path):
        is_run = (path / "config.yaml").is_file()
        hint = (
            "a run: pass `resume=True` to continue it"
            if is_run
            else "a folder: pass a recipe, and the folder as `data`; `tagger init` drafts a recipe for annotated data"
        )
        raise ConfigError(f"{name} is {hint}")
    if name not in shipped():
        known = ", ".join(shipped())
        raise ConfigError(f"no recipe is called '{name}'{_suggestion(name, shipped())}; shipped are {known}")
    return recipes() / f"{name}.yaml"


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except OSError:  # the name is too long for the file system, or its folder is not accessible
        return False


def load(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """Returns the config of a recipe with overrides.

    Args:
        recipe: a shipped name or a YAML file; its relative paths start from its folder.
        overrides: settings such as `a.b=value`, the value in YAML.

    Raises:
        ConfigError: the recipe is invalid; with a line for every fault.
    """
    path = recipe_path(recipe)
    config = parse(_read_text(path), str(path), overrides=overrides)
    return _resolve_paths(config, path.resolve().parent)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(2 * _MAX_BYTES + 1)  # a line end may take two bytes
        if len(data) > 2 * _MAX_BYTES:
            raise ConfigError(f"{path}: expected at most {_MAX_BYTES} bytes, found more")
        return data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def read_tree(path: Path, faults: list[str]) -> tuple[dict[str, Any], dict[Key, str]]:
    """Returns the content of a YAML file of settings, and the position of each key; repeated keys are added to faults.

    Raises:
        ConfigError: the file cannot be read or is not valid YAML.
    """
    positions: dict[Key, str] = {(): str(path)}
    return _parse_tree(_read_text(path), str(path), positions, faults), positions


def parse(text: str, name: str, *, overrides: Sequence[str] = ()) -> Config:
    """Returns the config of a YAML text; `name` is the name of the text in messages.

    An override may turn a part off whose other settings are in the text: these are omitted and logged.

    Raises:
        ConfigError: the recipe is invalid; with a line for every fault.
    """
    faults: list[str] = []
    positions: dict[Key, str] = {(): name}
    tree = _parse_tree(text, name, positions, faults)
    if overrides:
        fixed = _find_unused(tree)
        fixed += filter(None, [_override(tree, override, positions, faults) for override in overrides])
        if omitted := _omit_unused(tree, fixed):
            log.info("without effect after overrides, and omitted: %s", ", ".join(map(_dotted, omitted)))
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        faults.extend(_explain(error, positions))
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return config


def explain_value(key: Sequence[str], value: object, position: str) -> list[str]:
    """Returns a message for each fault that a value of a setting has in any recipe; none if some recipe may have it.

    Args:
        key: the names that lead to the setting.
        value: the value.
        position: where the value is, for the messages.
    """
    tree: dict[str, Any] = {}
    _set_value(tree, tuple(key), value)
    try:
        Config.model_validate(tree)
    except ValidationError as error:
        return list(_explain(error, {(): position}, inside=tuple(key)))
    return []


def explain_unknown(key: Sequence[str], position: str) -> str:
    """Returns the message for an unknown setting, with a suggestion."""
    return f"{position}: {_message({'type': 'extra_forbidden'}, tuple(key))}"


def _find_unused(tree: Mapping[str, Any]) -> list[Key]:
    """Returns the keys of settings without effect."""
    try:
        Config.model_validate(tree)
    except ValidationError as error:
        return [key for fault in error.errors(include_url=False) for key in _split_unused(fault)]
    return []


def _split_unused(fault: Any) -> dict[Key, str]:
    """Returns the message for each setting without effect in a fault of pydantic; none for other faults."""
    error = fault.get("ctx", {}).get("error")
    if not isinstance(error, UnusedSettingsError):
        return {}
    prefix = "".join(f"{part}." for part in fault["loc"])
    return {(*fault["loc"], *name.split(".")): f"{prefix}{message}" for name, message in error.faults.items()}


def _omit_unused(tree: dict[str, Any], fixed: Sequence[Key]) -> list[Key]:
    """Removes settings without effect from a tree, except for `fixed` keys, those inside them and those around them.

    Returns:
        The keys of the removed settings.
    """

    def is_fixed(key: Key) -> bool:
        return any(key[: len(other)] == other or other[: len(key)] == key for other in fixed)

    omitted: list[Key] = []
    while unused := [key for key in _find_unused(tree) if not is_fixed(key)]:
        for key in unused:
            section = tree
            for part in key[:-1]:
                section = section[str(part)]
            del section[str(key[-1])]
        omitted += unused
    return omitted


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """Returns a config with other settings, as a tree of sections.

    Raises:
        ConfigError: the settings do not fit.
    """
    tree = config.model_dump(mode="json", exclude_unset=True)
    for name, section in settings.items():
        tree[name] = tree.get(name, {}) | section
    return _validate(tree)


def with_values(config: Config, values: Mapping[str, object]) -> Config:
    """Returns a config with other values of settings, by dotted name; those without effect are omitted.

    Raises:
        ConfigError: the values cannot be combined; with a line for every fault.
    """
    tree = config.model_dump(mode="json")
    for name, value in values.items():
        _set_value(tree, tuple(name.split(".")), value)
    _omit_unused(tree, ())
    return _validate(tree)


def _validate(tree: Mapping[str, Any]) -> Config:
    """Returns the config of a tree of settings without positions.

    Raises:
        ConfigError: the settings do not fit; with a line for every fault.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(*_explain(error, {(): "the settings"})) from None


def dump(config: Config) -> str:
    """Returns a config as YAML, with all fields."""
    return _dump_json(config.model_dump_json())


@lru_cache(maxsize=16)
def _dump_json(text: str) -> str:
    """Returns a JSON object as YAML. A training writes the same config with each checkpoint, and PyYAML is slow."""
    return _dump_tree(json.loads(text))


def dump_changes(config: Config) -> str:
    """Returns a config as YAML, with the fields that differ from their defaults."""
    return _dump_tree(config.model_dump(mode="json", exclude_defaults=True))


def _dump_tree(tree: Mapping[str, Any]) -> str:
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def resolve_value(name: str, value: object, folder: Path) -> object:
    """Returns the value of a setting with paths that start from a folder, if it holds paths."""
    if isinstance(value, list | tuple):
        return type(value)(resolve_value(name, item, folder) for item in value)
    if not isinstance(value, str):
        return value
    path = folder / value
    if name in _PATHS or (name == _DATASET and value and _is(Path.exists, path)):
        return _shorten_path(path)
    return str(path) if name == _TRANSFORMER and value and _is(Path.is_dir, path) else value


def dump_draft(tree: Mapping[str, Any], comments: Mapping[str, str], prefix: str = "") -> Iterator[str]:
    """Yields the lines of a YAML text for settings by section, each with its comment.

    >>> list(dump_draft({"data": {"tag": 3, "train": "a b"}}, {"data.tag": "spans"}))
    ['data:', '  tag: 3  # spans', '  train: a b']

    Args:
        tree: the settings.
        comments: a comment of one line by dotted name.
        prefix: the dotted name of the section.
    """
    for name, value in tree.items():
        key = f"{prefix}.{name}" if prefix else name
        indent = "  " * key.count(".")
        comment = f"  # {comments[key]}" if key in comments else ""
        if isinstance(value, Mapping):
            yield f"{indent}{name}:{comment}"
            yield from dump_draft(value, comments, key)
        else:
            text = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, default_flow_style=True, width=1 << 20)
            yield f"{indent}{name}: {text.removesuffix(_END).rstrip()}{comment}"


def _shorten_path(path: Path) -> str:
    """Returns a path without `..` between its names, unless a link gives these a meaning.

    >>> _shorten_path(Path("runs/../data/train.txt"))
    'data/train.txt'
    """
    short = os.path.normpath(path)
    return short if os.path.realpath(short) == os.path.realpath(path) else str(path)


def _resolve_paths(config: Config, folder: Path) -> Config:
    """Returns a config whose relative paths start from a folder."""
    for name in (*_PATHS, _DATASET, _TRANSFORMER):
        key = name.split(".")
        old: object = reduce(getattr, key, config)
        new = resolve_value(name, old, folder)
        if new != old:
            config = _replace_value(config, key, new)
    return config


def _replace_value(section: _Section, key: Sequence[str], value: object) -> _Section:
    """Returns a section with another value of one setting, which may be in an inner section."""
    name, *inner = key
    new = _replace_value(getattr(section, name), inner, value) if inner else value
    return section.model_copy(update={name: new})


def _parse_tree(text: str, name: str, positions: dict[Key, str], faults: list[str]) -> dict[str, Any]:
    if len(text.encode()) > _MAX_BYTES:
        raise ConfigError(f"{name}: expected at most {_MAX_BYTES} bytes, found more")
    try:
        node = _compose(text)
        if node is None:
            return {}
        _record_positions(node, (), name, positions, faults)
        tree = _Loader("").construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        advice = "; put text with such a character in quotes" if _SPECIAL.search(error.problem or "") else ""
        fault = f"{error.problem or error.context}{advice}"
        raise ConfigError(f"{_position(name, mark) if mark else name}: {fault}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {str(error).splitlines()[0]}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: expected keys such as data, model and training, found {type(tree).__name__}")
    return tree


@lru_cache(maxsize=16)
def _compose(text: str) -> yaml.Node | None:
    """Returns the nodes of a YAML text. A recipe is often read several times, and PyYAML is slow."""
    node: yaml.Node | None = _Loader(text).get_single_node()
    return node


def _record_positions(node: yaml.Node, key: Key, name: str, positions: dict[Key, str], faults: list[str]) -> None:
    """Records the position of each key; a repeated key is a fault."""
    positions.setdefault(key, _position(name, node.start_mark))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _record_positions(item, (*key, number), name, positions, faults)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for child, value in node.value:
            inner = (*key, str(child.value))
            if inner in seen:
                faults.append(f"{_position(name, child.start_mark)}: key '{_dotted(inner)}' is repeated")
            seen.add(inner)
            positions[inner] = _position(name, child.start_mark)
            _record_positions(value, inner, name, positions, faults)


def _position(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}"


def _override(tree: dict[str, Any], override: str, positions: dict[Key, str], faults: list[str]) -> Key | None:
    """Sets the value of an override and returns its key; None if it is invalid, which is a fault."""
    name, equals, text = override.partition("=")
    key = tuple(name.strip().split("."))
    if not equals or not all(key):
        faults.append(f"setting {override}: expected KEY=VALUE such as training.epochs=5")
        return None
    try:
        value = _parse_value(text, set(find_types(key)))
    except yaml.YAMLError as error:
        faults.append(f"setting {override}: {getattr(error, 'problem', None) or 'the value is not valid YAML'}")
        return None
    is_path = _dotted(key) in _PATHS or (_dotted(key) == _TRANSFORMER and _is(Path.is_dir, Path(str(value))))
    _set_value(tree, key, _make_absolute(value) if is_path else value)
    for stale in [known for known in positions if known[: len(key)] == key]:
        del positions[stale]
    positions[key] = f"setting {override}"
    for end in range(1, len(key)):
        positions.setdefault(key[:end], positions[key])
    return key


def _parse_value(text: str, types: Collection[Any]) -> object:
    """Returns the value of an override for a setting that may have these types.

    Text is taken as it is, such as `?`, `no` or `1e3`, unless it is in quotes; null and an empty text are null.

    Raises:
        YAMLError: the setting holds no text, and the value is not valid YAML.
    """
    if str not in types:
        return _Loader(text).get_single_data()
    stripped = text.strip()
    if stripped in ("", "null"):
        return None
    try:
        value = _Loader(text).get_single_data()
    except yaml.YAMLError:
        return stripped
    is_quoted = stripped[0] in "'\"" and isinstance(value, str)
    is_other = (int in types and type(value) is int) or (Literal[False] in types and value is False)
    return value if is_quoted or is_other else stripped


def find_types(key: Sequence[str | int]) -> Iterator[Any]:
    """Yields the types that a setting may have; none for an unknown one."""
    annotation: Any = Config
    for name in key:
        section = _section(annotation)
        field = None if section is None else section.model_fields.get(str(name))
        if field is None:
            return
        annotation = field.annotation
    yield from _list_types(annotation)


def _list_types(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _list_types(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _list_types(each)
    else:
        yield annotation


def _make_absolute(value: object) -> object:
    """Returns the paths of an override as absolute paths; they start from the current folder, not from the recipe's."""
    if isinstance(value, list):
        return [_make_absolute(item) for item in value]
    return str(Path(value).absolute()) if isinstance(value, str) and value else value


def _set_value(tree: dict[str, Any], key: tuple[str, ...], value: object) -> None:
    for name in key[:-1]:
        inner = tree.get(name)
        if not isinstance(inner, dict):
            inner = tree[name] = {}
        tree = inner
    tree[key[-1]] = value


def _explain(error: ValidationError, positions: Mapping[Key, str], inside: Key = ()) -> Iterator[str]:
    """Yields a message for each faulty key, with the position of the key or of the nearest key above it.

    Args:
        error: the faults.
        positions: the positions of keys.
        inside: explain only the faults of this key and of those inside it.
    """
    reported = set()
    for fault in error.errors(include_url=False, include_context=True):
        if fault["loc"][: len(inside)] != inside:
            continue
        if unused := _split_unused(fault):
            yield from (f"{_nearest(key, positions)}: {message}" for key, message in unused.items())
            continue
        key = _find_key(fault["loc"], positions, is_unknown=fault["type"] == "extra_forbidden")
        if key in reported:
            continue  # pydantic reports a field of two types once per type
        reported.add(key)
        yield f"{_nearest(key, positions)}: {_message(fault, key)}"


def _nearest(key: Key, positions: Mapping[Key, str]) -> str:
    """Returns the position of a key or of the nearest key above it."""
    return next(positions[key[:end]] for end in range(len(key), -1, -1) if key[:end] in positions)


def _find_key(location: Key, positions: Mapping[Key, str], *, is_unknown: bool) -> Key:
    """Returns the part of a pydantic location that consists of keys, without the names of types at its end."""
    model: Any = Config
    key: list[str | int] = []
    for part in location:
        section = _section(model)
        field = None if section is None else section.model_fields.get(str(part))
        if section is not None and field is None and not is_unknown:
            break
        if section is None and (*key, part) not in positions:
            break
        key.append(part)
        model = None if field is None else field.annotation
    return tuple(key)


def _section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _message(fault: Any, key: Key) -> str:
    name = _dotted(key)
    if fault["type"] == "extra_forbidden":
        if name in _RENAMED:
            return f"unknown key '{name}'; it is called '{_RENAMED[name]}' now"
        return f"unknown key '{name}'{_suggest_setting(key)}"
    value = _describe(fault["input"])
    if fault["type"] == "literal_error":
        allowed = choices.listed(tuple(re.findall(r"'([^']*)'", fault["ctx"]["expected"])))
        return f"{name} must be {allowed}, got {value}"
    if fault["type"] == "value_error":
        return f"{name}: {fault['ctx']['error']}"
    if fault["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{name} must hold settings, got {value}"
    message = fault["msg"].removeprefix("Input ").rstrip(".")
    advice = "; put text in quotes" if fault["type"] == "string_type" else ""
    return f"{name} {message[0].lower()}{message[1:]}, got {value}{advice}"


def _suggest_setting(key: Key) -> str:
    """Returns the suggestion for an unknown key: by its exact or usual name anywhere, else a similar name beside it."""
    names = setting_names.find(_dotted(key))
    siblings = [name for name in _siblings(key) if _dotted((*key[:-1], name)) in names]
    if names and not siblings:
        return setting_names.suggest(_dotted(key))
    return _suggestion(str(key[-1]), siblings or _siblings(key)) or setting_names.suggest(_dotted(key))


def _siblings(key: Key) -> Iterable[str]:
    """Returns the names of the settings in the section that a key belongs to."""
    section: Any = Config
    for name in key[:-1]:
        field = section.model_fields.get(name) if _section(section) else None
        section = field.annotation if field else None
    return section.model_fields if _section(section) else ()


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _dotted(key: Key) -> str:
    return ".".join(map(str, key)) or "the recipe"


def _describe(value: object) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else f"{value[:40]}…")
    return repr(value) if isinstance(value, int | float | bool | type(None)) else f"a {type(value).__name__}"
