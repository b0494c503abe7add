"""Reads the parts of a corpus from a folder, from files or as a recipe names them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from tagger.analysis import data_draft
from tagger.analysis.data_draft import DataDraft
from tagger.analysis.findings import MAX_EXAMPLES, Example, Finding, collect
from tagger.analysis.parts import Part
from tagger.choices import Role, TaggedFormat
from tagger.config import Config, loader
from tagger.config.overrides import list_overrides
from tagger.config.schema import Data
from tagger.data import corpus_folder, data_settings, reader
from tagger.data.corpus import Corpus
from tagger.data.guessing import guess_format
from tagger.data.sentence import Reject
from tagger.errors import ConfigError, DataError, EmptyError

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class CorpusFiles:
    """The files of a corpus by role, and the settings to read them with.

    Attributes:
        config: the recipe; without one, the settings that the first file suggests.
        files: the files of each role; empty for the parts that the recipe names.
        draft: the settings that the first file suggests; None with a recipe.
    """

    config: Config
    files: Mapping[Role, Sequence[Path]]
    draft: DataDraft | None = None

    @property
    def decisions(self) -> list[str]:
        """The settings that the first file suggests, each with its note; none with a recipe."""
        if self.draft is None:
            return []
        settings = (f"{name}={value}" for name, value in _flatten(self.draft.settings, "data."))
        lines = [f"data.{name}: {note}" for name, note in self.draft.notes.items()]
        return [f"read with {', '.join(settings)}", *lines]

    def read(self) -> tuple[list[Part], list[Finding]]:
        """Returns the parts, and findings about files that cannot be read and about what their reader logs."""
        parts: list[Part] = []
        faults: list[str] = []

        def reject(rejected: Reject) -> None:
            faults.append(rejected.fault)

        with collect_notices() as notices:
            for role in ROLES:
                corpora: list[Corpus] = []
                for data in self._settings(role):
                    previous = len(faults)
                    try:
                        corpus = reader.read_part(data, role, reject=reject)
                    except EmptyError as error:
                        faults += error.faults if len(faults) == previous else ()
                    except DataError as error:
                        faults += error.faults
                    else:
                        corpora += [] if corpus is None else [corpus]
                if corpora:
                    parts.append(Part(role, tuple(corpora)))
        findings = [
            *collect("unreadable", "error", "The data cannot be read.", (Example("", fault) for fault in faults)),
            *collect(
                "notice",
                "warning",
                "The reader decided how to read the data. Is it as meant?",
                (Example("", notice) for notice in notices),
            ),
            *(finding for part in parts for corpus in part.corpora for finding in _reported(corpus)),
        ]
        return parts, findings

    def _settings(self, role: Role) -> Iterator[Data]:
        """Yields the settings for each file of a role."""
        if not self.files:
            yield self.config.data
        for path in self.files.get(role, ()):
            yield self.config.data.model_copy(update={role: str(path)})


def _flatten(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yields the settings of a tree by dotted name."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _reported(corpus: Corpus) -> Iterator[Finding]:
    """Yields a finding for each kind of notice of a reader, such as spans that end within a token."""
    for kind, count in corpus.notices.counts.items():
        examples = (Example("", message) for message in corpus.notices.messages[kind][:MAX_EXAMPLES])
        yield Finding("notice", "warning", f"The reader reports {kind}.", count, tuple(examples))


@contextmanager
def collect_notices() -> Iterator[list[str]]:
    """Yields a list that gets what the package logs within the block, in place of the handlers of its logger."""
    notices: list[str] = []
    logger = logging.getLogger("tagger")
    handlers, propagate, level = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [_Collector(notices)], False
    logger.setLevel(logging.INFO)
    try:
        yield notices
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


class _Collector(logging.Handler):
    """Adds messages to a list."""

    def __init__(self, notices: list[str]) -> None:
        super().__init__(logging.INFO)
        self._notices = notices

    def emit(self, record: logging.LogRecord) -> None:
        self._notices.append(record.getMessage())


def find(
    names: Sequence[str | Path],
    *,
    input_format: TaggedFormat | None = None,
    token: int | str | None = None,
    tag: int | str | None = None,
    settings: Mapping[str, object] | Sequence[str] = (),
) -> CorpusFiles:
    """Returns the files of a corpus.

    Args:
        names: folders with files of the usual names, or files; a file without the name of a role is training data.
            The first may be a recipe, a YAML file or a shipped name, whose settings are used; alone, it names its data.
        input_format: the format of the files; None for the recipe's or the one that the files suggest.
        token: the column of the token; None for the recipe's or the one that the files suggest.
        tag: likewise the column of the tag.
        settings: overrides of settings of `data`.

    Raises:
        ConfigError: the recipe or a setting is invalid, or names no data, or an option does not fit.
        DataError: a file or folder does not exist, or a folder holds no training file.
    """
    is_recipe = bool(names) and _is_recipe(names[0])
    overrides = _parse_overrides(settings)
    config = loader.load(str(names[0])) if is_recipe else Config()
    files = _group(names[is_recipe:])
    if not files:
        if not is_recipe:
            raise ConfigError("name a folder, files or a recipe as `data`")
        if config.data.train is None and config.data.dataset is None:
            raise ConfigError(f"{names[0]}: the recipe names no training data; add a folder or files to `data`")
    changes: dict[str, Any] = {"format": input_format, "token": token, "tag": tag}
    overrides |= {name: value for name, value in changes.items() if value is not None}
    if is_recipe:
        return CorpusFiles(loader.with_settings(config, {"data": overrides}), files)
    first = next(path for role in ROLES for path in files.get(role, ()))
    with collect_notices():  # the reader logs them again
        draft = _draft(first, overrides)
    draft = replace(draft, settings=draft.settings | overrides)
    return CorpusFiles(loader.with_settings(config, {"data": draft.settings}), files, draft)


def _parse_overrides(settings: Mapping[str, object] | Sequence[str]) -> dict[str, Any]:
    """Returns the settings of data that overrides set.

    Raises:
        ConfigError: one is invalid, or belongs to another section.
    """
    tree = loader.parse("", "`settings`", overrides=list_overrides(settings)).model_dump(exclude_unset=True)
    if sections := tree.keys() - {"data"}:
        raise ConfigError(f"`settings` change how data is read here; {min(sections)} has no effect, only data has")
    overrides: dict[str, Any] = tree.get("data", {})
    return overrides


def _draft(path: Path, overrides: Mapping[str, Any]) -> DataDraft:
    input_format = overrides.get("format")
    try:
        return data_draft.draft(path, loader.with_settings(Config(), {"data": overrides}).data)
    except DataError:  # the reader reports it again
        return DataDraft({"format": input_format or data_settings.guess_tagged_format(path, Data())}, {})


def _is_recipe(name: str | Path) -> bool:
    if Path(name).suffix in (".yaml", ".yml"):
        return True
    return not Path(name).exists() and str(name) in loader.shipped()


def _group(names: Sequence[str | Path]) -> dict[Role, list[Path]]:
    files: dict[Role, list[Path]] = {}
    for path in map(Path, names):
        if path.is_dir() and not _has_train(path) and guess_format(path, tagged=True).format == "brat":
            files.setdefault(corpus_folder.guess_role(path) or "train", []).append(path)
        elif path.is_dir():
            if not _has_train(path):
                raise DataError(f"{path}: found no training file such as train.txt or en-train.conllu; name the files")
            by_role = corpus_folder.find_corpus_files(path)
            for role in ROLES:
                files.setdefault(role, []).extend(file for name, file in by_role.items() if name == role)
        elif not path.exists():
            raise DataError(f"{path}: no such file or folder")
        else:
            files.setdefault(corpus_folder.guess_role(path) or "train", []).append(path)
    return files


def _has_train(folder: Path) -> bool:
    return any(corpus_folder.guess_role(path) == "train" for path in folder.glob("*"))
