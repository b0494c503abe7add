"""The training, dev and test data of a recipe."""

import logging
import statistics
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tagger.choices import Scheme, counted
from tagger.config import Config
from tagger.config.schema import Data
from tagger.data import corpus_cache, corpus_folder, overlaps, reader, schemes, splitting, suspicions, tag_formats
from tagger.data.corpus import Corpus
from tagger.data.formats import Layout, columns, hub, spacy_library
from tagger.data.sentence import Sentence
from tagger.data.stored_sentences import StoredSentences, count_annotated_types, count_pairs
from tagger.errors import ConfigError, DataError
from tagger.training import sentence_weights
from tagger.training.sentence_weights import WEIGHTS

log = logging.getLogger(__name__)

_LARGE_BYTES = 200_000_000
"""Size of a training file from which a cache on disk is advised."""


@dataclass(frozen=True)
class Corpora:
    """The data of a recipe.

    Attributes:
        train: the training data, with tags in the scheme of the model except in sentences with unknown tags.
        dev: the dev data, as read.
        test: the test data, as read, if any.
        source: the scheme of training sentences with unknown tags; None for plain tags.
        weights: the factor of the loss of each training sentence; None if all are 1.
    """

    train: Corpus
    dev: Corpus
    test: Corpus | None
    source: Scheme | None = None
    weights: Sequence[float] | None = None

    def digests(self) -> dict[str, str]:
        """Returns the hashes of the data, and of sentence weights, that a training depends on."""
        digests = {"train": self.train.digest(), "dev": self.dev.digest()}
        return digests if self.weights is None else digests | {WEIGHTS: sentence_weights.digest(self.weights)}


class _Weighted(NamedTuple):
    """Training data with the weight of each sentence, None if all are 1."""

    corpus: Corpus
    weights: Sequence[float] | None

    def select(self, positions: Sequence[int]) -> "_Weighted":
        """Returns the sentences at these positions."""
        corpus = replace(self.corpus, sentences=tuple(self.corpus.sentences[position] for position in positions))
        weights = self.weights
        return _Weighted(corpus, None if weights is None else [weights[position] for position in positions])


def with_paths(
    config: Config, *, folder: Path | None, parts: Mapping[str, Path | None], vectors: Sequence[Path]
) -> Config:
    """Returns a config with other paths of data and vectors.

    Args:
        config: the config of the recipe.
        folder: a folder with files of the usual names, or a dataset if that is the recipe's format.
        parts: single files by role: train, dev and test.
        vectors: files of word vectors.

    Raises:
        ConfigError: the recipe reads a dataset, which has no single files; or it has no word vectors.
        DataError: the folder holds no training file.
    """
    data, words = config.data, config.model.words
    changed: dict[str, str | None] = {}
    is_dataset = data.implied_format == "datasets"
    if is_dataset and any(parts.values()):
        raise ConfigError(
            "the recipe reads a dataset; pass it as `data` or set data.dataset, and its splits in data.splits"
        )
    if folder is not None and (is_dataset or (data.implied_format is None and hub.is_dataset(folder))):
        changed |= {"format": "datasets", "dataset": str(folder.resolve())}
    elif folder is not None:
        files = corpus_folder.find_corpus_files(folder)
        changed = {role: str(files[role].resolve()) if role in files else None for role in parts}
    changed |= {role: str(path.resolve()) for role, path in parts.items() if path is not None}
    if parts.get("train"):
        _warn_of_other_parts(data, changed)
    if vectors and not words.embedding_dim:
        raise ConfigError("`vectors` has no effect with model.words.embedding_dim 0; omit it")
    if vectors:
        words = words.model_copy(update={"vectors": tuple(str(path.resolve()) for path in vectors)})
    model = config.model.model_copy(update={"words": words})
    return config.model_copy(update={"data": data.model_copy(update=changed), "model": model})


def _warn_of_other_parts(data: Data, changed: Mapping[str, str | None]) -> None:
    """Warns if training data are replaced, but not the dev and test data that the recipe has beside its own."""
    if roles := [role for role in ("dev", "test") if role not in changed and getattr(data, role)]:
        parameters = " and ".join(f"`{role}`" for role in roles)
        log.warning("the %s data of the recipe remain; pass others as %s", " and ".join(roles), parameters)


def without_test(config: Config) -> Config:
    """Returns a config without test data."""
    changed: dict[str, object] = {"test": None}
    if config.data.implied_format == "datasets":
        changed["splits"] = config.data.splits.model_copy(update=changed)
    return config.model_copy(update={"data": config.data.model_copy(update=changed)})


def with_resolved_columns(config: Config, train: Corpus) -> Config:
    """Returns a config with the format, the tag format, the tokenizer and the columns of the training data.

    Columns become numbers from 0. With a number, a model does not read the last column of a file with fewer columns as
    the tags.
    """
    data = config.data
    changed: dict[str, object] = {"format": train.format or data.format, "tag_format": train.tag_format}
    if train.format == "columns":
        layout, column_count = Layout(data.token, data.tag, data.columns), columns.count_columns(train.sentences[0])
        changed["token"], changed["tag"] = (layout.number(column) % column_count for column in (data.token, data.tag))
    if train.is_split_text:
        changed["tokenizer"] = spacy_library.describe_tokenizer(data.language)
    return config.model_copy(update={"data": data.model_copy(update=changed)})


def is_dev_split_off(data: Data) -> bool:
    """Returns whether the seed selects training documents as dev data, because there is none."""
    return (data.splits if data.implied_format == "datasets" else data).dev is None


def load(config: Config, positions: Sequence[int] | None = None) -> Corpora:
    """Returns the data of a recipe.

    Args:
        config: the config of the recipe.
        positions: the training sentences to train on, numbered from 0; None for all.

    Raises:
        ConfigError: the recipe names no training data.
        DataError: a part cannot be read, or its tags are of another kind than the training data's.
    """
    data = config.data
    if positions is not None or is_dev_split_off(data):
        _refuse_cache(config, "an audit" if positions is not None else "dev data that is split off")
    train = _read_train(config)
    detected = [_check_tags(train, data)]
    weights = _read_weights(config, train)
    if positions is not None:
        train, weights = _Weighted(train, weights).select(positions)
    data = data.model_copy(update={"tag_format": train.tag_format})
    has_spans = detected[0] is None or detected[0].scheme is not None
    dev, test = (reader.read_part(data, role, has_spans=has_spans) for role in ("dev", "test"))
    detected += [_check_tags(part, data) for part in (dev, test) if part is not None]
    kinds = [None if each is None else each.scheme is not None for each in detected]
    train = _with_annotated_types(train, data, is_train=True)
    dev, test = (part and _with_annotated_types(part, data, is_train=False) for part in (dev, test))
    if dev is None:
        remaining, split = splitting.split_off_dev(train.sentences, data.dev_fraction, config.training.seed)
        log.info("no dev data: %d training sentences are split off as dev data", len(split))
        whole = _Weighted(train, weights)
        dev = replace(whole.select(split).corpus, name=f"part of {train.name}")
        train, weights = whole.select(remaining)
    if not set(kinds[1:]) <= {kinds[0], None}:
        kind = "spans" if kinds[0] else "plain tags"
        raise DataError(f"{train.name} has {kind}, but the dev or test data does not; is data.tag the right column?")
    _warn_of_shared_documents([part for part in (train, dev, test) if part is not None])
    source = detected[0].scheme if detected[0] else None
    _check_partial(config, train, has_spans=source is not None)
    if source:
        train = replace(train, sentences=_to_scheme(train.sentences, data.scheme))
    return Corpora(train, dev, test, source, weights)


def read_train(config: Config) -> Corpus:
    """Returns the training data of a recipe as read, with all sentences; its tags are not in the scheme of the model.

    Raises:
        ConfigError: the recipe names no training data.
        DataError: the data cannot be read.
    """
    _refuse_cache(config, "an audit")
    return _with_annotated_types(_read_train(config), config.data, is_train=True)


def _refuse_cache(config: Config, purpose: str) -> None:
    """Raises ConfigError if the training data is to be stored on disk, which does not work for a purpose."""
    if config.training.corpus_cache is not None:
        raise ConfigError(f"training.corpus_cache cannot be used with {purpose}, which needs all sentences in memory")


def _read_weights(config: Config, train: Corpus) -> Sequence[float] | None:
    """Returns the weights of all training sentences, and logs them; None without `training.sentence_weights`."""
    if config.training.sentence_weights is None:
        return None
    path = Path(config.training.sentence_weights)
    weights = sentence_weights.read(path, train)
    mean, changed = statistics.fmean(weights), sum(weight != 1 for weight in weights)
    log.info("%s: the mean weight is %.3f; %s other than 1", path.name, mean, counted(changed, "weight"))
    return weights


def _to_scheme(sentences: Sequence[Sentence], scheme: Scheme) -> Sequence[Sentence]:
    """Returns sentences with tags in a scheme, except in sentences with unknown tags."""
    if isinstance(sentences, StoredSentences):
        return sentences.in_scheme(scheme)
    return tuple(
        # What unknown tags allow depends on the scheme of the sentence.
        sentence if schemes.UNKNOWN in sentence.tags else replace(sentence, tags=schemes.convert(sentence.tags, scheme))
        for sentence in sentences
    )


def _with_annotated_types(part: Corpus, data: Data, *, is_train: bool) -> Corpus:
    """Returns a part whose sentences have the `annotated_types` of the recipe, unless they have their own.

    Dev and test data are also annotated for the types that occur in them.
    """
    if data.annotated_types is None:
        return part
    types = set(data.annotated_types)
    if not is_train:
        types |= {schemes.split(tag)[1] for tag in schemes.count_tags(count_pairs(part.sentences))} - {""}
        log.info("%s is scored on spans of these types: %s", part.name, ", ".join(sorted(types)))
    return part.with_annotated_types(types)


def _check_partial(config: Config, train: Corpus, *, has_spans: bool) -> None:
    """Checks and logs what is not annotated in the training data.

    Raises:
        ConfigError: the recipe cannot be trained on it.
    """
    tokens = schemes.count_tags(count_pairs(train.sentences))[schemes.UNKNOWN]
    restricted = len(train.sentences) - count_annotated_types(train.sentences)[None]
    if not tokens and not restricted:
        return
    if restricted and not has_spans:
        raise ConfigError(f"annotated types are types of spans, but {train.name} has plain tags")
    if config.model.head.tag_weights:
        raise ConfigError("model.head.tag_weights needs a known tag for each token of the training data; omit it")
    if has_spans and config.data.scheme == "IOB1":
        raise ConfigError("data.scheme must be IOB2 or IOBES for training data that is annotated in part")
    if tokens == train.tokens:
        raise DataError(f"{train.name}: every tag is {config.data.unknown_tag!r}, the tag of data.unknown_tag")
    if tokens:
        log.info("%s: unknown tags, which may be any: %s", train.name, counted(tokens, "token"))
    if restricted:
        log.info("%s: annotated for some types only: %s", train.name, counted(restricted, "sentence"))


def _warn_of_shared_documents(parts: Sequence[Corpus]) -> None:
    """Warns if a whole document of dev or test data is in an earlier part too, so that its scores are too high."""
    later = [part.sentences for part in parts[1:]]
    early = overlaps.find_shared_sentences(parts[0].sentences, chain.from_iterable(later))
    documents = [overlaps.group_by_document(sentences) for sentences in (early, *later)]
    shared = [pair for pair in overlaps.find_shared_documents(documents) if pair.fraction == 1]
    if shared:
        locations = [f"{parts[part].name}:{documents[part][number][0].line}" for part, number in shared[0][:2]]
        log.warning(
            "%s of dev and test data %s in an earlier part too, so that scores are too high; the first: %s as %s",
            counted(len(shared), "document"),
            "is" if len(shared) == 1 else "are",
            *locations,
        )


def _read_train(config: Config) -> Corpus:
    data, cache = config.data, config.training.corpus_cache
    if cache is None and data.implied_format != "datasets" and data.train is not None:
        _warn_of_size(Path(data.train))
    train = reader.read_part(data, "train") if cache is None else corpus_cache.read_train(data, Path(cache))
    if train is None and data.implied_format == "datasets":
        raise ConfigError("the recipe names no dataset; give data.dataset, or a directory as `data`")
    if train is None:
        raise ConfigError("the recipe names no training data; pass `data` or `train`")
    return train


def _warn_of_size(path: Path) -> None:
    """Warns if a training file may need more memory than there is."""
    size = path.stat().st_size if path.is_file() else 0
    if size >= _LARGE_BYTES:
        log.warning(
            "%s has %.1f GB and is kept in memory, which takes many times as much;"
            " training.corpus_cache=DIR keeps it on disk",
            path.name,
            size / 1e9,
        )


def _check_tags(part: Corpus, data: Data) -> schemes.Detected | None:
    """Checks and logs the tags and the notices of a part; returns the scheme of its tags, None if all are O.

    Raises:
        DataError: a tag is empty or has a control character, or plain tags are mixed with tags of spans.
    """
    for notice in part.notices.lines():
        log.warning("%s", notice)
    pairs = count_pairs(part.sentences)
    tags, detected = set(schemes.count_tags(pairs)), schemes.detect_by_pairs(pairs)
    if control_tags := schemes.control_tags(tags - {schemes.UNKNOWN}):
        fault = f"the tag {control_tags[0][:60]!r} is empty or has a control character"
        raise DataError(f"{part.locate_tag(control_tags[0])}: {fault}")
    if plain_tags := schemes.find_non_span_tags(tags):
        where, tag = part.locate_tag(plain_tags[0]), tag_formats.describe_tag(plain_tags[0])
        advice = _advise(plain_tags[0], tags)
        raise DataError(f"{where}: expected tags of spans such as 'B-PER', found {tag}; {advice}")
    if detected.scheme and data.tag_format == "plain":
        raise DataError(f"{part.name}: the tags are spans in {detected.name}; omit data.tag_format plain")
    for notice in suspicions.find_suspicions(part):
        log.warning("%s", notice)
    log.info(
        "%s: %s, %s, %s; %s",
        part.name,
        counted(len(part.sentences), "sentence"),
        counted(part.tokens, "token"),
        counted(part.document_count, "document"),
        f"spans in {detected.name}, trained in {data.scheme}" if detected.scheme else detected.name,
    )
    if detected.scheme and detected.invalid_count:
        if data.strict:
            raise DataError(*part.describe_invalid(detected.scheme))
        log.warning(
            "%d tags are invalid in %s and are read by the rules of conlleval; the first: %s",
            detected.invalid_count,
            detected.name,
            part.describe_invalid(detected.scheme, 1)[0],
        )
    return None if tags <= {schemes.OUTSIDE, schemes.UNKNOWN} else detected


def _advise(plain_tag: str, tags: Set[str]) -> str:
    """Returns what may be wrong with a plain tag among tags of spans."""
    skeleton = tag_formats.skeleton(plain_tag)
    if same := sorted(tag for tag in tags - {plain_tag} if tag_formats.skeleton(tag) == skeleton):
        return f"it looks like {same[0]!r} but has other characters"
    return "if it is the tag outside spans, set data.outside_tag"
