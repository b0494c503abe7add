"""Search spaces: a YAML file with the values to try for each setting.

A setting is written dotted or in its sections, and has a list of choices or a range:

    model.encoder.cell: [lstm, gru]
    training.optimizer.learning_rate: {low: 0.001, high: 0.1, log: true}
    model.encoder.hidden_size: {low: 100, high: 300, step: 50}
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tagger.choices import listed
from tagger.config import loader
from tagger.config.loader import Key
from tagger.config.schema import Config
from tagger.errors import ConfigError

_RANGE_KEYS = ("low", "high", "log", "step")
_FORMS = "a list of choices, or a range {low: 1, high: 10} with log: true or step: 1"
_TUNABLE_DATA = ("data.scheme",)  # all other settings of data change what is scored
_FIXED = {
    "training.seed": "each trial is trained with the same seeds; pass `seeds`",
    "training.selection": "it decides which score trials are compared by; set it in the recipe",
}


@dataclass(frozen=True, slots=True)
class Choices:
    """The values that a setting may have, as YAML has them."""

    values: tuple[Any, ...]

    def list_values(self) -> tuple[Any, ...]:
        """Returns the values."""
        return self.values


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from `low` to `high`.

    Attributes:
        low: the lowest number.
        high: the highest number; with a step, a whole number of steps above `low`.
        is_integer: whether the numbers are integers.
        log: whether small and large numbers are sampled equally often by their logarithm.
        step: the distance between two numbers; None for all numbers.
    """

    low: float
    high: float
    is_integer: bool
    log: bool = False
    step: float | None = None

    def list_values(self) -> tuple[float, ...] | None:
        """Returns the numbers, None if the range is continuous.

        >>> Range(100, 300, is_integer=True, step=100).list_values()
        (100, 200, 300)
        """
        step = self.step or (1 if self.is_integer and not self.log else None)
        if step is None:
            return None
        return tuple(self.low + step * number for number in range(round((self.high - self.low) / step) + 1))


@dataclass(frozen=True)
class SearchSpace:
    """The values to try for each setting, by dotted name."""

    settings: Mapping[str, Choices | Range]

    def to_json(self) -> dict[str, Any]:
        """Returns the choices and ranges by setting."""
        return {
            name: list(values.values) if isinstance(values, Choices) else asdict(values)
            for name, values in self.settings.items()
        }

    def count_combinations(self) -> int | None:
        """Returns the number of combinations of values, None if a range is continuous."""
        values = [each.list_values() for each in self.settings.values()]
        return None if any(each is None for each in values) else math.prod(len(each or ()) for each in values)


def select_effective(config: Config, values: Mapping[str, object]) -> dict[str, object]:
    """Returns the values that a config has, without those that were omitted."""
    tree = config.model_dump(mode="json")
    return {name: value for name, value in values.items() if _find_value(tree, name) == value}


def _find_value(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree[part]
    return tree


def load(path: str | Path) -> SearchSpace:
    """Returns the search space of a YAML file; its relative paths start from its folder.

    Raises:
        ConfigError: the file cannot be read, or has faults; with a line for each.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; expected a YAML file with values for each setting to tune")
    faults: list[str] = []
    tree, positions = loader.read_tree(file, faults)
    return _build(tree, positions, file.resolve().parent, faults)


def parse(settings: Mapping[str, Any], name: str = "space") -> SearchSpace:
    """Returns the search space of a mapping, as the YAML file has it; `name` is its name in messages.

    >>> parse({"model.encoder.cell": ["lstm", "gru"]}).settings
    {'model.encoder.cell': Choices(values=('lstm', 'gru'))}

    Raises:
        ConfigError: the space has faults; with a line for each.
    """
    return _build(settings, {(): name}, Path.cwd(), [])


def _build(tree: Mapping[str, Any], positions: Mapping[Key, str], folder: Path, faults: list[str]) -> SearchSpace:
    settings: dict[str, Choices | Range] = {}
    for path, value in _find_settings(tree, ()):
        name = ".".join(path)
        position = next(positions[path[:end]] for end in range(len(path), -1, -1) if path[:end] in positions)
        key = tuple(name.split("."))
        values, new_faults = _read_values(key, loader.resolve_value(name, value, folder), position)
        if name in settings:
            new_faults = [f"{position}: '{name}' is repeated"]
        faults += new_faults
        if values is not None:
            settings[name] = values
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    if not settings:
        raise ConfigError(f"{positions[()]}: holds no setting; expected {_FORMS} for each setting to tune")
    return SearchSpace(settings)


def _find_settings(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the keys that lead to each setting, and its values."""
    for key, value in tree.items():
        inner = (*path, str(key))
        if isinstance(value, Mapping) and _is_section(".".join(inner)):
            yield from _find_settings(value, inner)
        else:
            yield inner, value


def _is_section(name: str) -> bool:
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in loader.find_types(name.split(".")))


def _read_values(key: tuple[str, ...], value: Any, position: str) -> tuple[Choices | Range | None, list[str]]:
    """Returns the values of a setting, None if they are faulty, and their faults."""
    name = ".".join(key)
    types = set(loader.find_types(key))
    if not types:
        return None, [loader.explain_unknown(key, position)]
    if _is_section(name):
        return None, [f"{position}: '{name}' is a section; expected settings in it, found {_describe(value)}"]
    if name in _FIXED:
        return None, [f"{position}: {name} cannot be tuned: {_FIXED[name]}"]
    if key[0] == "data" and name not in _TUNABLE_DATA:
        return None, [f"{position}: {name} cannot be tuned: it changes the data, so that scores cannot be compared"]
    if isinstance(value, Mapping) and (not value or not set(value).isdisjoint(_RANGE_KEYS)):
        return _read_range(key, value, position, types)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _read_choices(key, value, position)
    return None, [f"{position}: {name}: expected {_FORMS}, found {_describe(value)}"]


def _read_choices(key: tuple[str, ...], values: Sequence[Any], position: str) -> tuple[Choices | None, list[str]]:
    name = ".".join(key)
    if not values:
        return None, [f"{position}: {name}: the list is empty; expected {_FORMS}"]
    faults = [fault for value in values for fault in loader.explain_value(key, value, position)]
    texts = [json.dumps(value) for value in values]
    faults += [f"{position}: {name}: {text} is repeated" for text in dict.fromkeys(texts) if texts.count(text) > 1]
    return (None, faults) if faults else (Choices(tuple(values)), [])


def _read_range(
    key: tuple[str, ...], value: Mapping[str, Any], position: str, types: set[Any]
) -> tuple[Range | None, list[str]]:
    name = ".".join(key)
    if int not in types and float not in types:
        return None, [f"{position}: {name} is not a number; expected a list of choices"]
    kind, is_integer = ("integer", True) if int in types else ("number", False)
    expected = listed(_RANGE_KEYS)
    faults = [f"unknown key {each!r}; expected {expected}" for each in value if each not in _RANGE_KEYS]
    faults += [f"'{each}' is missing" for each in ("low", "high") if each not in value]
    for each in ("low", "high", "step"):
        if each in value and not _is_number(value[each], is_integer=is_integer):
            faults.append(f"{each} must be {'an' if is_integer else 'a'} {kind}, got {_describe(value[each])}")
    if not isinstance(value.get("log", False), bool):
        faults.append(f"log must be true or false, got {_describe(value['log'])}")
    if faults:
        return None, [f"{position}: {name}: {fault}" for fault in faults]
    faults = [fault for each in ("low", "high") for fault in loader.explain_value(key, value[each], position)]
    result = Range(value["low"], value["high"], is_integer, value.get("log", False), value.get("step"))
    faults += [f"{position}: {name}: {fault}" for fault in _check_range(result)]
    return (None, faults) if faults else (_fit_steps(result), [])


def _check_range(values: Range) -> Iterator[str]:
    if values.low >= values.high:
        yield f"low must be below high, got {values.low:g} and {values.high:g}"
    if values.log and values.low <= 0:
        yield f"log needs a low above 0, got {values.low:g}"
    if values.log and values.step is not None:
        yield "log and step exclude each other; omit one of them"
    if values.step is not None and not 0 < values.step <= values.high - values.low:
        yield f"step must be above 0 and at most high - low, got {values.step:g}"


def _fit_steps(values: Range) -> Range:
    """Returns a range whose highest number is a whole number of steps above the lowest."""
    if values.step is None:
        return values
    steps = math.floor((values.high - values.low) / values.step + 1e-9)
    return Range(values.low, values.low + steps * values.step, values.is_integer, values.log, values.step)


def _is_number(value: object, *, is_integer: bool) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) if is_integer else isinstance(value, int | float) and math.isfinite(value)


def _describe(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
