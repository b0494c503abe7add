"""Drafts a recipe that suits the data: how to read it, and sizes and lengths of training by its amount."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagger import model_dir, streams
from tagger.analysis.corpus_files import ROLES, CorpusFiles
from tagger.analysis.parts import Part
from tagger.choices import counted
from tagger.config import Config, loader, presets
from tagger.data.formats.reading import shorten
from tagger.errors import ConfigError, DataError, limit_faults
from tagger.model import TaggerModel

log = logging.getLogger(__name__)

_MAX_NOTICES = 3  # of a kind
_MAX_NAMES = 8  # of types or tags in a comment
_COMMENTS = {
    "model.document_context": "features of a word's other occurrences in its document",
    "training.ema_decay": "the best model holds a moving average of the weights",
    "training.epochs": "the epoch with the best dev score is used",
}


@dataclass(frozen=True)
class RecipeDraft:
    """A recipe: its text with comments, and its settings, with paths as in the text."""

    text: str
    config: Config

    def __str__(self) -> str:
        return self.text


def draft(
    source: CorpusFiles, path: Path, vectors: Sequence[Path] = (), *, init_from: Path | None = None
) -> RecipeDraft:
    """Returns a recipe for a corpus.

    Args:
        source: the files; at most one for each role.
        path: the file of the recipe, from whose folder its paths start.
        vectors: files of word vectors.
        init_from: the directory of a model to start from, whose network the recipe describes.

    Raises:
        ConfigError: there is a recipe already, or there are several files for a role.
        DataError: there is no training data, or a file cannot be read.
        ModelError: the model is damaged.
    """
    if source.draft is None:
        raise ConfigError("`data` names a recipe; name a folder or files with annotated data")
    for role, paths in source.files.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise ConfigError(f"{names} are each the {role} data by their names; a recipe has one file for each role")
    parts, findings = source.read()
    if faults := [example.text for finding in findings for example in finding.examples if finding.severity == "error"]:
        raise DataError(*limit_faults(faults))
    for finding in findings:
        for line in limit_faults([example.text for example in finding.examples], _MAX_NOTICES):
            log.warning("%s", line)
    train = parts[0]
    if train.role != "train":
        raise DataError(f"{train.corpora[0].name}: found no training data; name its file in `data`")
    tree = _tree(source, train, path.parent, vectors)
    if init_from is not None:
        _take_network(tree, model_dir.load(init_from)[0])
    comments = _COMMENTS | {f"data.{name}": note for name, note in _describe_data(source, train).items()}
    safe = {name: streams.escape_line(comment) for name, comment in comments.items()}
    text = "".join(f"{line}\n" for line in (*_head(parts, str(path), init_from), *loader.dump_draft(tree, safe)))
    return RecipeDraft(text, loader.parse(text, "the recipe"))


def _tree(source: CorpusFiles, train: Part, folder: Path, vectors: Sequence[Path]) -> dict[str, Any]:
    """Returns the settings by section."""
    assert source.draft is not None
    has_spans = train.detected.scheme is not None
    tree = presets.choose(len(train.sentences), len(train.documents), has_spans=has_spans)
    data: dict[str, Any] = dict(source.draft.settings)
    for role in ROLES:
        if paths := source.files.get(role):
            data[role] = _relative(paths[0], folder)
    if not source.files.get("dev"):
        data |= tree["data"]
    model = tree["model"]
    if vectors:
        model = {"words": {"vectors": [_relative(path, folder) for path in vectors]}} | model
    return {"data": data, "model": model, "training": tree["training"]}


def _take_network(tree: dict[str, Any], model: TaggerModel) -> None:
    """Replaces the settings of a network, and the scheme of its tags, by those of a model that differ from defaults."""
    settings = model.config.model_dump(mode="json", exclude_defaults=True)
    tree["model"] = settings.get("model", {})
    if model.scheme is not None and "scheme" in settings.get("data", {}):
        tree["data"]["scheme"] = model.scheme


def _relative(path: Path, folder: Path) -> str:
    """Returns a path from a folder on, in which it is found wherever the command runs."""
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()


def _head(parts: Sequence[Part], name: str, init_from: Path | None) -> list[str]:
    """Returns the comment at the top: what to do with the recipe `name`, and the amount of data."""
    initial = (
        []
        if init_from is None
        else [f"# Start it from {streams.escape_line(str(init_from))}: the network is the same."]
    )
    counts = [
        f"# {part.role}: {counted(len(part.sentences), 'sentence')}, {counted(len(part.words), 'distinct word')}"
        for part in parts
    ]
    return [f"# Drafted by `tagger init`. Train it: tagger train {streams.escape_line(name)}", *initial, *counts]


def _describe_data(source: CorpusFiles, train: Part) -> Mapping[str, str]:
    """Returns a comment for each setting of `data` that the data decided."""
    assert source.draft is not None
    names = list(train.types or train.tags)
    listed = ", ".join(names[:_MAX_NAMES]) + ", …" * (len(names) > _MAX_NAMES)
    kind = f"spans in {train.detected.name}" if train.detected.scheme else "plain tags"
    notes = dict(source.draft.notes)
    notes["tag"] = shorten("; ".join(filter(None, (f"{kind}: {listed}", notes.get("tag", "")))), 200)
    notes["token"] = shorten(f"such as {', '.join(list(train.words)[:3])}", 100)
    notes["dev_fraction"] = "there is no dev data, so that this fraction of the training data is split off"
    return notes
