"""Precision, recall and F1 of spans, through seqeval, and of plain tags; accuracy."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

from tagger.data import schemes
from tagger.data.sentence import Span
from tagger.evaluation.report import MatchCounts, TypeScore

SEQEVAL_VERSION = version("seqeval")


def accuracy(gold: Sequence[Sequence[object]], predicted: Sequence[Sequence[object]]) -> float:
    """Returns the percentage of tokens whose two tags are equal; 0 if there are no tokens."""
    pairs = [a == b for left, right in zip(gold, predicted, strict=True) for a, b in zip(left, right, strict=True)]
    return 100 * sum(pairs) / len(pairs) if pairs else 0.0


def score_spans(
    gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]
) -> tuple[TypeScore, dict[str, TypeScore]]:
    """Returns the score over all spans, and the score of each type; scores without spans are 0, as in conlleval.

    seqeval computes them from IOB2 tags, in which each set of spans has a unique encoding.
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support  # scikit-learn loads slowly

    lengths = [max((span.end for span in (*a, *b)), default=0) for a, b in zip(gold, predicted, strict=True)]
    encoded = [
        [list(schemes.spans_to_tags(spans, length, "IOB2")) for spans, length in zip(side, lengths, strict=True)]
        for side in (gold, predicted)
    ]
    names = sorted({span.type for side in (gold, predicted) for spans in side for span in spans})
    if not names:
        return TypeScore(0.0, 0.0, 0.0, 0), {}
    each = precision_recall_fscore_support(*encoded, average=None, zero_division=0)
    overall = precision_recall_fscore_support(*encoded, average="micro", zero_division=0)
    types = {name: _score(*(column[index] for column in each)) for index, name in enumerate(names)}
    return _score(*overall), types


def score_tags(
    gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]
) -> tuple[TypeScore, dict[str, TypeScore]]:
    """Returns the score over all plain tags other than `O`, and the score of each tag.

    >>> overall, tags = score_tags([["O", "P", "P"]], [["O", "P", "O"]])
    >>> overall.recall, tags["O"].precision
    (50.0, 50.0)
    """
    pairs = Counter(pair for left, right in zip(gold, predicted, strict=True) for pair in zip(left, right, strict=True))
    correct = Counter({tag: count for (tag, other), count in pairs.items() if tag == other})
    in_gold, in_predicted = Counter[str](), Counter[str]()
    for (tag, other), count in pairs.items():
        in_gold[tag] += count
        in_predicted[other] += count
    names = sorted(in_gold.keys() | in_predicted.keys(), key=lambda tag: (-in_gold[tag], tag))
    tags = {tag: _score_counts(correct[tag], in_predicted[tag], in_gold[tag]) for tag in names}
    totals = (
        sum(counts[tag] for tag in names if tag != schemes.OUTSIDE) for counts in (correct, in_predicted, in_gold)
    )
    return _score_counts(*totals), tags


def macro_f1(types: Mapping[str, TypeScore]) -> float:
    """Returns the mean F1 of the types, or plain tags, that the gold data holds; 0 if it holds none."""
    values = [score.f1 for score in types.values() if score.gold]
    return sum(values) / len(values) if values else 0.0


def _score_counts(correct: int, predicted: int, gold: int) -> TypeScore:
    counts = MatchCounts(correct, predicted, gold)
    return TypeScore(counts.precision, counts.recall, counts.f1, gold)


def _score(precision: float, recall: float, f1: float, gold: int) -> TypeScore:
    return TypeScore(100 * float(precision), 100 * float(recall), 100 * float(f1), int(gold))
