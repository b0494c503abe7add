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
from tagger.config.schema import Data
from tagger.data import reader
from tagger.data.guessing import guess_format
from tagger.data.reader import Corpus
from tagger.errors import ConfigError, DataError

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

    def read(self) -> tuple[list[Part], list[Finding]]:
        """Returns the parts, and findings about files that cannot be read and about what their reader logs."""
        parts: list[Part] = []
        faults: list[str] = []
        with collect_notices() as notices:
            for role in ROLES:
                corpora: list[Corpus] = []
                for data in self._settings(role):
                    try:
                        corpus = reader.read_part(data, role)
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
) -> CorpusFiles:
    """Returns the files of a corpus.

    Args:
        names: folders with files of the usual names, or files; a file without the name of a role is training data.
            The first may be a recipe, a YAML file or a shipped name, whose settings are used; alone, it names its data.
        input_format: the format of the files; None for the recipe's or the one that the files suggest.
        token: the column of the token; None for the recipe's or the one that the files suggest.
        tag: likewise the column of the tag.

    Raises:
        ConfigError: the recipe is invalid or names no data, or an option does not fit.
        DataError: a file or folder does not exist, or a folder holds no training file.
    """
    is_recipe = bool(names) and _is_recipe(names[0])
    config = loader.load(str(names[0])) if is_recipe else Config()
    files = _group(names[is_recipe:])
    if not files:
        if not is_recipe:
            raise ConfigError("name a folder, files or a recipe as `data`")
        if config.data.train is None and config.data.dataset is None:
            raise ConfigError(f"{names[0]}: the recipe names no training data; add a folder or files to `data`")
    changes: dict[str, Any] = {"format": input_format, "token": token, "tag": tag}
    settings = {name: value for name, value in changes.items() if value is not None}
    if is_recipe:
        return CorpusFiles(loader.with_settings(config, {"data": settings}), files)
    first = next(path for role in ROLES for path in files.get(role, ()))
    with collect_notices():
        draft = _draft(first, input_format, token=token, tag=tag)
    draft = replace(draft, settings=draft.settings | settings)
    return CorpusFiles(loader.with_settings(config, {"data": draft.settings}), files, draft)


def _draft(path: Path, input_format: TaggedFormat | None, **columns: int | str | None) -> DataDraft:
    try:
        return data_draft.draft(path, input_format, **columns)
    except DataError:  # the reader reports it again
        return DataDraft({"format": input_format or reader.guess_tagged_format(path, Data())}, {})


def _is_recipe(name: str | Path) -> bool:
    if Path(name).suffix in (".yaml", ".yml"):
        return True
    return not Path(name).exists() and str(name) in loader.shipped()


def _group(names: Sequence[str | Path]) -> dict[Role, list[Path]]:
    files: dict[Role, list[Path]] = {}
    for path in map(Path, names):
        if path.is_dir() and not _has_train(path) and guess_format(path, tagged=True).format == "brat":
            files.setdefault(reader.guess_role(path) or "train", []).append(path)
        elif path.is_dir():
            if not _has_train(path):
                raise DataError(f"{path}: found no training file such as train.txt or en-train.conllu; name the files")
            by_role = reader.find_corpus_files(path)
            for role in ROLES:
                files.setdefault(role, []).extend(file for name, file in by_role.items() if name == role)
        elif not path.exists():
            raise DataError(f"{path}: no such file or folder")
        else:
            files.setdefault(reader.guess_role(path) or "train", []).append(path)
    return files


def _has_train(folder: Path) -> bool:
    return any(reader.guess_role(path) == "train" for path in folder.glob("*"))
