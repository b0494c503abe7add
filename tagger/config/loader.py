"""From YAML to a Config: every fault at once, each with its place and a suggestion."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tagger import choices
from tagger.config.schema import Config
from tagger.errors import ConfigError

_MAX_BYTES = 10_000  # PyYAML reads some 100 kB a second
_MAX_DEPTH = 20
_PATHS = ("data.train", "data.dev", "data.test", "model.words.vectors")

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

Place = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML as its 1.2 core schema reads it: 1e-3 is a number, NO is text; without anchors, tags and deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Returns the next node; a fault where it is of a kind with which a small file could ask for much work."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            what = "anchors, aliases and tags are not used in recipes"
            raise yaml.composer.ComposerError(None, None, what, event.start_mark)
        if self.depth > _MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read as text."""


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


def recipe_path(name: str) -> Path:
    """Returns the file of a recipe given as a shipped name or as a path.

    Raises:
        ConfigError: there is none.
    """
    path = Path(name)
    if _is(Path.is_file, path):
        return path
    if path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"{name}: no such recipe file")
    if _is(Path.is_dir, path):
        is_run = (path / "config.yaml").is_file()
        hint = (
            "a run: pass `resume=True` to continue it"
            if is_run
            else "a folder: pass a recipe, and the folder as `data`"
        )
        raise ConfigError(f"{name} is {hint}")
    shipped = sorted(found.stem for found in recipes().glob("*.yaml"))
    if name not in shipped:
        raise ConfigError(f"no recipe is called '{name}'{_suggestion(name, shipped)}; shipped are {', '.join(shipped)}")
    return recipes() / f"{name}.yaml"


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except OSError:  # a name too long for the file system, or in a folder that is closed to us
        return False


def load(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """Returns the config of a recipe, changed by overrides.

    Args:
        recipe: a shipped name or a YAML file; paths within it start from its folder.
        overrides: `a.b=value` each, the value in YAML.

    Raises:
        ConfigError: with a line for every fault.
    """
    path = recipe_path(recipe)
    try:
        with path.open("rb") as stream:
            data = stream.read(2 * _MAX_BYTES + 1)  # a line end may take two bytes
        if len(data) > 2 * _MAX_BYTES:
            raise ConfigError(f"{path}: a recipe of over {_MAX_BYTES} bytes is not read")
        text = data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    config = parse(text, str(path), overrides=overrides)
    return _rooted(config, path.resolve().parent)


def parse(text: str, name: str, *, overrides: Sequence[str] = ()) -> Config:
    """Returns the config of a YAML text, which messages call by `name`.

    Raises:
        ConfigError: with a line for every fault.
    """
    faults: list[str] = []
    where: dict[Place, str] = {(): name}
    tree = _tree(text, name, where, faults)
    for override in overrides:
        _override(tree, override, where, faults)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        faults.extend(_explained(error, where, name))
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return config


def dump(config: Config) -> str:
    """Returns a config as YAML, every field written."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _rooted(config: Config, folder: Path) -> Config:
    def root(value: str | None) -> str | None:
        return None if value is None else str(folder / value)

    data, words = config.data, config.model.words
    paths: dict[str, Any] = {role: root(getattr(data, role)) for role in ("train", "dev", "test")}
    if data.dataset and (folder / data.dataset).exists():
        paths["dataset"] = str(folder / data.dataset)
    words = words.model_copy(update={"vectors": tuple(str(folder / path) for path in words.vectors)})
    model = config.model.model_copy(update={"words": words})
    return config.model_copy(update={"data": data.model_copy(update=paths), "model": model})


def _tree(text: str, name: str, where: dict[Place, str], faults: list[str]) -> dict[str, Any]:
    if len(text.encode()) > _MAX_BYTES:
        raise ConfigError(f"{name}: a recipe of over {_MAX_BYTES} bytes is not read")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return {}
        _mark(node, (), name, where, faults)
        tree = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{_at(name, mark) if mark else name}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {str(error).splitlines()[0]}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: expected keys such as data, model and training, found {type(tree).__name__}")
    return tree


def _mark(node: yaml.Node, place: Place, name: str, where: dict[Place, str], faults: list[str]) -> None:
    """Notes where each key stands; a key that stands twice is a fault."""
    where.setdefault(place, _at(name, node.start_mark))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _mark(item, (*place, number), name, where, faults)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            inner = (*place, str(key.value))
            if inner in seen:
                faults.append(f"{_at(name, key.start_mark)}: key '{_dotted(inner)}' stands here again")
            seen.add(inner)
            where[inner] = _at(name, key.start_mark)
            _mark(value, inner, name, where, faults)


def _at(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}"


def _override(tree: dict[str, Any], override: str, where: dict[Place, str], faults: list[str]) -> None:
    key, equals, text = override.partition("=")
    place = tuple(key.strip().split("."))
    if not equals or not all(place):
        faults.append(f"setting {override}: expected KEY=VALUE such as training.epochs=5")
        return
    try:
        value = _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        faults.append(f"setting {override}: {getattr(error, 'problem', None) or 'the value is no YAML'}")
        return
    _put(tree, place, _from_here(value) if _dotted(place) in _PATHS else value)
    for stale in [known for known in where if known[: len(place)] == place]:
        del where[stale]
    where[place] = f"setting {override}"
    for end in range(1, len(place)):
        where.setdefault(place[:end], where[place])


def _from_here(value: object) -> object:
    """Returns paths of an override as they are meant where it is typed; a recipe's own start from its folder."""
    if isinstance(value, list):
        return [_from_here(item) for item in value]
    return str(Path(value).absolute()) if isinstance(value, str) and value else value


def _put(tree: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    for key in place[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    tree[place[-1]] = value


def _explained(error: ValidationError, where: Mapping[Place, str], name: str) -> Iterator[str]:
    told = set()
    for fault in error.errors(include_url=False, include_context=True):
        place = _known(fault["loc"], where, extra=fault["type"] == "extra_forbidden")
        if place in told:
            continue  # a field of two types complains for each
        told.add(place)
        nearest = next(where[place[:end]] for end in range(len(place), -1, -1) if place[:end] in where or not end)
        yield f"{nearest}: {_message(fault, place)}"


def _known(loc: Place, where: Mapping[Place, str], *, extra: bool) -> Place:
    """Returns the part of a pydantic location that is keys, without the names of types at its end."""
    model: Any = Config
    place: list[str | int] = []
    for key in loc:
        inner = _section(model)
        if inner is not None and key not in inner.model_fields and not extra:
            break
        if inner is None and (*place, key) not in where:
            break
        place.append(key)
        model = inner.model_fields[key].annotation if inner is not None and key in inner.model_fields else None
    return tuple(place)


def _section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _message(fault: Any, place: Place) -> str:
    key = _dotted(place)
    if fault["type"] == "extra_forbidden":
        if key in _RENAMED:
            return f"unknown key '{key}'; it is called '{_RENAMED[key]}' now"
        return f"unknown key '{key}'{_suggestion(str(place[-1]), _siblings(place))}"
    found = _shown(fault["input"])
    if fault["type"] == "literal_error":
        allowed = choices.listed(tuple(re.findall(r"'([^']*)'", fault["ctx"]["expected"])))
        return f"{key} must be {allowed}, got {found}"
    if fault["type"] == "value_error":
        return f"{key}: {fault['ctx']['error']}"
    if fault["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key} holds keys of its own, got {found}"
    message = fault["msg"].removeprefix("Input ").rstrip(".")
    return f"{key} {message[0].lower()}{message[1:]}, got {found}"


def _siblings(place: Place) -> Iterable[str]:
    section: Any = Config
    for key in place[:-1]:
        field = section.model_fields.get(key) if _section(section) else None
        section = field.annotation if field else None
    return section.model_fields if _section(section) else ()


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _dotted(place: Place) -> str:
    return ".".join(map(str, place)) or "the recipe"


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else f"{value[:40]}…")
    return repr(value) if isinstance(value, int | float | bool | type(None)) else f"a {type(value).__name__}"
