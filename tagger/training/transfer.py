"""Initial weights from another model."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from tagger.choices import list_briefly
from tagger.config import Config
from tagger.config.schema import Transformer
from tagger.data import schemes
from tagger.data.sentence import Sentence
from tagger.data.stored_sentences import count_annotated_types, count_pairs
from tagger.data.vectors import Table
from tagger.data.vocab import SPECIAL, Vocab
from tagger.errors import ConfigError
from tagger.model import TaggerModel
from tagger.transformer.library import Pretrained

log = logging.getLogger(__name__)

_WORDS = (
    "embedding.words.weight",
    "embedding.words.frozen",
    "embedding.words.frozen_steps",
    "embedding.words.frozen_centroids",
)
_BY_CHARACTER = ("embedding.characters.embedding.weight",)
_BY_TAG = ("projection.weight", "projection.bias", "head.crf.start_transitions", "head.crf.end_transitions")
_BY_TWO_TAGS = ("head.crf.transitions",)


def vector_tables(source: TaggerModel) -> list[Table]:
    """Returns the word vectors of a model, trained and frozen, as a table for a new model; none if it has none."""
    words = source.single_network.embedding.words
    if words is None:
        return []
    matrix = torch.cat([words.weight.detach().cpu(), words.frozen_vectors().cpu()]).numpy()
    return [Table(dict(source.known_words.ids), matrix)]


def transfer_weights(source: TaggerModel, target: TaggerModel) -> None:
    """Copies the weights of a model into a new model that was built from its `vector_tables`.

    Weights of a character or tag are copied to its index in the new model; those of padding and unknown words as well.

    Raises:
        ConfigError: the networks have different shapes.
    """
    ours, theirs = target.network.state_dict(), source.network.state_dict()
    if _WORDS[0] in ours:
        ours[_WORDS[0]][: len(SPECIAL)] = theirs[_WORDS[0]][: len(SPECIAL)]
    faults = [f"the model has no {name}" for name in ours.keys() - theirs.keys() - set(_WORDS)]
    for name in ours.keys() & theirs.keys() - set(_WORDS):
        rows = _rows(name, source, target)
        if theirs[name].shape[len(rows) :] != ours[name].shape[len(rows) :]:
            old, new = (tuple(weights[name].shape) for weights in (theirs, ours))
            faults.append(f"{name} has the shape {old} in the model and {new} in the recipe")
        else:
            _copy(theirs[name], ours[name], rows)
    if faults:
        raise ConfigError(*(f"cannot start from the model: {fault}" for fault in sorted(faults)))
    _log_changes(source, target)


def check_settings(source: TaggerModel, config: Config) -> None:
    """Raises ConfigError if settings of a recipe that decide the shape of the network are not those of a model."""
    differences = []
    for name in _shape_settings(source):
        section, _, field = name.rpartition(".")
        old, new = (getattr(_section(each, section), field) for each in (source.config, config))
        if old != new if name != "model.words.embedding_dim" else (old == 0) != (new == 0):
            differences.append(f"{name} is {old} in the model and {new} in the recipe")
    if differences:
        advice = "set what the model has, or draft a recipe with `tagger init` and `init_from`"
        raise ConfigError(f"cannot start from the model: {', '.join(differences)}; {advice}")


def _shape_settings(source: TaggerModel) -> Iterator[str]:
    """Yields the settings that decide the scheme of a model, and the names, shapes and meaning of its weights."""
    model = source.config.model
    if source.scheme is not None:
        yield "data.scheme"
    yield "model.words.embedding_dim"  # decided by the vectors of the model, unless it is 0
    yield "model.characters.kind"
    if model.characters.kind != "none":
        yield from ("model.characters.embedding_dim", "model.characters.output_dim")
    if model.characters.kind == "cnn":
        yield "model.characters.kernel_size"
    yield from ("model.casing", "model.document_context.output_dim", "model.encoder.num_layers")
    if model.encoder.num_layers:
        names = ["cell", "hidden_size", "direction", *["merge"] * (model.encoder.direction == "both")]
        yield from (f"model.encoder.{name}" for name in (*names, "attention_heads"))
    yield "model.head.kind"


def _section(config: Config, name: str) -> Any:
    section: Any = config
    for part in name.split("."):
        section = getattr(section, part)
    return section


def check_transformer(source: TaggerModel, chosen: Pretrained | None, settings: Transformer) -> None:
    """Raises ConfigError if the recipe does not name the transformer of the model."""
    known = source.transformer
    if (known is None) != (settings.name is None):
        has, names = ("a", "none") if known else ("no", "one")
        raise ConfigError(
            f"cannot start from the model: it has {has} transformer, and model.transformer.name names {names}"
        )
    if known is None:
        return
    if PurePath(settings.name or "").name != PurePath(known.origin.name).name:
        raise ConfigError(
            f"cannot start from the model: its transformer is {known.origin.name}, the recipe names {settings.name}"
        )
    ours, theirs = settings, source.config.model.transformer
    for name in ("trainable", "layers", "pooling", "mix", "output_dim"):
        old, new = getattr(theirs, name), getattr(ours, name)
        if old != new:
            raise ConfigError(
                f"cannot start from the model: model.transformer.{name} is {old} in the model and {new} in the recipe"
            )
    if chosen is not None and chosen.origin.digest != known.origin.digest:
        raise ConfigError(
            f"cannot start from the model: its transformer {known.origin.name} has other weights than"
            f" {chosen.origin.name} in model.transformer.name"
        )


def find_unlearned(source: TaggerModel, sentences: Sequence[Sentence]) -> list[str]:
    """Returns the types or tags of a model that training on sentences unlearns: annotated everywhere, but absent."""
    present = _names(source, schemes.count_tags(count_pairs(sentences)))
    absent = _names(source, source.tags.items) - present
    annotated: set[str] = set()
    for types in count_annotated_types(sentences):
        annotated |= absent if types is None else set(types)
    return sorted(absent & annotated)


def _names(source: TaggerModel, tags: Iterable[str]) -> set[str]:
    """Returns the types of tags if the model tags spans, else the tags."""
    return {schemes.split(tag)[1] for tag in tags} - {""} if source.scheme else set(tags)


def _log_changes(source: TaggerModel, target: TaggerModel) -> None:
    """Logs which types or tags, words and characters were kept, added and dropped."""
    has_spans = source.scheme is not None and target.scheme is not None
    before, after = (
        _names(source, model.tags.items) if has_spans else set(model.tags.items) for model in (source, target)
    )
    changes = {"kept": before & after, "added": after - before, "dropped": before - after}
    listed = "; ".join(f"{change}: {list_briefly(sorted(names))}" for change, names in changes.items() if names)
    log.info("started from a model; %s %s", "types" if has_spans else "tags", listed)
    for name in ("known_words", "characters"):
        old, new = (getattr(model, name).ids.keys() - set(SPECIAL) for model in (source, target))
        counts = (len(old & new), len(new - old), len(old - new))
        log.info("%s kept: %d; added: %d; dropped: %d", name.removeprefix("known_"), *counts)


def _rows(name: str, source: TaggerModel, target: TaggerModel) -> tuple[tuple[Vocab, Vocab], ...]:
    """Returns the vocabularies, old and new, that index the first dimensions of a tensor."""
    tags = (source.tags, target.tags)
    if name in _BY_TWO_TAGS:
        return (tags, tags)
    if name in _BY_TAG:
        return (tags,)
    return ((source.characters, target.characters),) if name in _BY_CHARACTER else ()


def _copy(old: Tensor, new: Tensor, rows: tuple[tuple[Vocab, Vocab], ...]) -> None:
    if not rows:
        new.copy_(old)
        return
    pairs = [[(olds[item], news[item]) for item in news.items if item in olds] for olds, news in rows]
    if all(pairs):
        old_ids, new_ids = zip(*(torch.tensor(ids).T for ids in pairs), strict=True)
        new[torch.meshgrid(*new_ids, indexing="ij")] = old[torch.meshgrid(*old_ids, indexing="ij")]
