"""The directory of an experiment that is resumed with the same arguments: created, compared and locked."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tagger.config import Config, changed_settings, loader
from tagger.errors import ConfigError, ModelError, StorageError
from tagger.io import atomic, directories, json_files, regular_file
from tagger.training.run_dir import CONFIG

DATA = "data"
"""The option that holds the hash of the data."""
_MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class ExperimentKind:
    """A kind of experiment.

    Attributes:
        noun: what a message calls it, such as `audit`.
        article: the article of the noun.
        options_file: the file with its options.
        is_ours: returns whether it writes, replaces or removes a name in its directory.
    """

    noun: str
    article: str
    options_file: str
    is_ours: Callable[[str], bool]


def check_unused(directory: Path, kind: ExperimentKind) -> None:
    """Raises StorageError if a directory holds an experiment of this kind already."""
    if (directory / kind.options_file).exists():
        raise StorageError(
            f"{directory}: already holds {kind.article} {kind.noun}; pass `resume=True` or choose another `out`"
        )


@contextmanager
def open_directory(
    directory: Path, kind: ExperimentKind, config: Config, options: Mapping[str, object], *, resume: bool
) -> Iterator[None]:
    """Creates the directory of an experiment, or checks that a resumed one belongs to the arguments; locks it.

    Args:
        directory: the directory.
        kind: the kind of experiment.
        config: the recipe.
        options: the options by the names of parameters, and the hash of the data as DATA.
        resume: continue the experiment that the directory holds; without one, a log line says that it starts.

    Raises:
        StorageError: the directory holds another experiment or other files, or cannot be written.
        ConfigError: a setting differs from that of the resumed experiment.
        ModelError: the data has changed, or the options cannot be read.
    """
    path = directory / kind.options_file
    if not resume:
        check_unused(directory, kind)
    exists = path.exists()
    with directories.claim(directory, kind.is_ours):
        if exists:
            _check_same(directory, kind, config, options)
        else:
            if resume:
                directories.log_new_start(directory, kind.noun)
            with atomic.wrap_os_errors(directory):
                atomic.replace(directory / CONFIG, loader.dump(config).encode())
                atomic.replace(path, json_files.dump(options, indent=1) + b"\n")
        yield


def _check_same(directory: Path, kind: ExperimentKind, config: Config, options: Mapping[str, object]) -> None:
    path = directory / kind.options_file
    expected = json_files.parse(json_files.dump(options))
    try:
        before = json_files.parse(bytes(regular_file.read(path, limit=_MAX_BYTES)))
        if not isinstance(before, dict) or before.keys() != expected.keys():
            raise ValueError(f"expected an object with {', '.join(expected)}")
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    if before[DATA] != expected[DATA]:
        raise ModelError(f"{directory}: the data has changed since the {kind.noun} began; choose another `out`")
    changes = [_describe(name, before[name], value) for name, value in expected.items() if before[name] != value]
    advice = f"resume the {kind.noun} without this change"
    if changes:
        raise StorageError(*(f"{directory}: {change}; {advice}" for change in changes))
    if faults := changed_settings(loader.load(str(directory / CONFIG)), config):
        raise ConfigError(*(f"{directory}: {fault}; {advice}" for fault in faults))


def _describe(name: str, before: object, now: object) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        return f"`{name}` has changed in {', '.join(changed)}"
    return f"`{name}` was {before}, now {now}"
