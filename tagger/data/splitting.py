"""Splits sentences into parts or folds: whole documents where there are several.

Parts have every type if possible; folds have about the same number of tokens.

The method for parts is iterative stratification (Sechidis et al., 2011): the rarest type is distributed first.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tagger.choices import counted
from tagger.data import schemes
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Unit:
    """Sentences that stay together: a document, or one sentence of a single document.

    Attributes:
        sentences: the indices of the sentences.
        labels: the number of spans of each type or, for plain tags, of tokens with each tag.
    """

    sentences: tuple[int, ...]
    labels: Mapping[str, int]


def split(sentences: Sequence[Sentence], fractions: Sequence[float], seed: int) -> list[int]:
    """Returns the number of the part of each sentence.

    Documents are not split if there are at least as many as parts. No part is empty if there are enough sentences.

    Args:
        sentences: tagged sentences.
        fractions: the fraction of each part, in sentences.
        seed: the random seed.
    """
    units = _units(sentences, len(fractions))
    parts = [0] * len(sentences)
    for unit, part in zip(units, distribute(units, fractions, seed), strict=True):
        for index in unit.sentences:
            parts[index] = part
    return parts


def _units(sentences: Sequence[Sentence], min_documents: int) -> list[Unit]:
    has_spans = schemes.detect([sentence.tags for sentence in sentences]).scheme is not None
    documents = _group_by_document(sentences)
    groups = (
        list(documents.values()) if len(documents) >= min_documents else [[index] for index in range(len(sentences))]
    )
    return [
        Unit(
            tuple(group),
            schemes.count_labels(schemes.count_pairs(sentences[index].tags for index in group), has_spans=has_spans),
        )
        for group in groups
    ]


def distribute(units: Sequence[Unit], fractions: Sequence[float], seed: int) -> list[int]:
    """Returns the number of the part of each unit, so that each part has about its fraction of every label."""
    order = list(range(len(units)))
    random.Random(seed).shuffle(order)
    demand = _Demand(units, fractions)
    waiting: dict[str, dict[int, None]] = {}  # by label, the units without a part
    for index in order:
        for label in units[index].labels:
            waiting.setdefault(label, {})[index] = None
    parts: dict[int, int] = {}
    while waiting:
        label = min(waiting, key=lambda label: (len(waiting[label]), label))
        index = next(iter(waiting[label]))
        parts[index] = demand.choose(label, len(waiting[label]))
        demand.assign(units[index], parts[index])
        for other in units[index].labels:
            del waiting[other][index]
            if not waiting[other]:
                del waiting[other]
    for index in order:
        if index not in parts:
            parts[index] = demand.choose(None, 0)
            demand.assign(units[index], parts[index])
    return [parts[index] for index in range(len(units))]


def divide_into_folds(sentences: Sequence[Sentence], folds: int, seed: int | str) -> list[int]:
    """Returns the number of the fold of each sentence, from 0.

    Documents are shuffled, and each is added to the fold that has the fewest tokens so far. If there is only one
    document, sentences are distributed instead.

    Args:
        sentences: the sentences.
        folds: the number of folds.
        seed: the random seed.

    Raises:
        ConfigError: there are fewer documents, or sentences of a single document, than folds.
    """
    documents = list(_group_by_document(sentences).values())
    units = documents if len(documents) > 1 else [[index] for index in range(len(sentences))]
    if len(units) < folds:
        noun = "document" if len(documents) > 1 else "sentence"
        raise ConfigError(f"{counted(len(units), noun)} cannot be divided into {folds} folds; lower `folds`")
    random.Random(seed).shuffle(units)
    tokens = [0] * folds
    result = [0] * len(sentences)
    for unit in units:
        fold = tokens.index(min(tokens))
        tokens[fold] += sum(len(sentences[index]) for index in unit)
        for index in unit:
            result[index] = fold
    return result


def _group_by_document(sentences: Sequence[Sentence]) -> dict[int, list[int]]:
    """Returns the indices of the sentences of each document."""
    documents: dict[int, list[int]] = {}
    for index, sentence in enumerate(sentences):
        documents.setdefault(sentence.document, []).append(index)
    return documents


class _Demand:
    """The number of sentences, and of spans or tokens of each label, that each part still needs."""

    def __init__(self, units: Sequence[Unit], fractions: Sequence[float]) -> None:
        totals: Counter[str] = Counter()
        for unit in units:
            totals.update(unit.labels)
        count = sum(len(unit.sentences) for unit in units)
        fractions = [fraction / sum(fractions) for fraction in fractions]
        self.sentences = [fraction * count for fraction in fractions]
        self.labels = [{label: fraction * total for label, total in totals.items()} for fraction in fractions]
        self.seen: list[set[str]] = [set() for _ in fractions]
        self.empty = set(range(len(fractions)))
        self.remaining_units = len(units)

    def choose(self, label: str | None, waiting: int) -> int:
        """Returns the part that needs a unit with a label most; without a label, the one that lacks most sentences.

        The last units with a label go to parts that lack it, and the last units of all to empty parts. `waiting` is the
        number of units with the label that have no part yet.
        """
        parts = range(len(self.sentences))
        candidates: Sequence[int] = [part for part in parts if label is not None and label not in self.seen[part]]
        if not candidates or waiting > len(candidates):
            candidates = parts
        if self.remaining_units <= len(self.empty):
            candidates = sorted(self.empty)
        if label is None:
            return max(candidates, key=lambda part: self.sentences[part])
        return max(candidates, key=lambda part: (self.labels[part][label], self.sentences[part]))

    def assign(self, unit: Unit, part: int) -> None:
        """Records that a part has got a unit."""
        self.sentences[part] -= len(unit.sentences)
        for label, count in unit.labels.items():
            self.labels[part][label] -= count
        self.seen[part] |= unit.labels.keys()
        self.empty.discard(part)
        self.remaining_units -= 1


def split_off_dev(sentences: Sequence[Sentence], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Returns the positions of training sentences, and of about a fraction of all sentences for development.

    Documents are not split if there are several. Both parts have every type of span, or every tag, if possible.

    Raises:
        DataError: there is only one sentence.
    """
    if len(sentences) < 2:
        raise DataError("a single sentence cannot be split into training and development data; name a file with `dev`")
    parts = split(sentences, (1 - fraction, fraction), seed)
    train, dev = ([position for position, part in enumerate(parts) if part == number] for number in (0, 1))
    return train, dev
