"""Scores of predicted sentences against a corpus with gold tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tagger import __version__
from tagger.choices import Scheme, Selection
from tagger.data import schemes
from tagger.data.corpus import Corpus
from tagger.data.schemes import UNKNOWN
from tagger.data.sentence import Sentence
from tagger.evaluation import scoring
from tagger.evaluation.report import SPANS, TOKENS, LeftOut, Report, TypeScore
from tagger.evaluation.selecting import SpanSelector

Tags = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of predicted sentences.

    Attributes:
        values: those of a report that depend on tags alone, by name.
        columns: the names of the counts.
        counts: the counts of each sentence.
    """

    values: Mapping[str, Any]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def signature(self, selection: Selection, reading: str, digest: str) -> str:
        """Returns the score with all that it depends on, in one line.

        Args:
            selection: which score.
            reading: how the tags were read.
            digest: the hash of the gold data.
        """
        parts = (
            f"{selection}={self.values[selection]:.2f}",
            f"scheme={reading}",
            f"seqeval={scoring.SEQEVAL_VERSION}",
            f"tagger={__version__}",
            f"data=sha256:{digest[:12]}",
        )
        return " | ".join(parts)

    def report(self, corpus: Corpus, *, selection: Selection, **other_figures: Any) -> Report:
        """Returns the report on a corpus; `other_figures` are those that do not depend on tags alone."""
        figures = {**self.values, **other_figures}
        return Report(selection=selection, sentences=len(corpus.sentences), tokens=corpus.tokens, **figures)


def score_plain(corpus: Corpus, predicted: Tags) -> Figures:
    """Returns the figures of predicted plain tags; tokens without a gold tag are left out."""
    known = [[position for position, tag in enumerate(each.tags) if tag != UNKNOWN] for each in corpus.sentences]
    gold, tags = (
        [[row[position] for position in positions] for row, positions in zip(side, known, strict=True)]
        for side in ([sentence.tags for sentence in corpus.sentences], predicted)
    )
    left_out = LeftOut(corpus.tokens - sum(map(len, known)))
    overall, each = scoring.score_tags(gold, tags)
    counts = tuple((sum(map(str.__eq__, *pair)), len(pair[0])) for pair in zip(gold, tags, strict=True))
    figures = {"accuracy": scoring.accuracy(gold, tags), "types": {}, "tags": each, "left_out": left_out}
    return Figures(_overall(overall, each) | figures, TOKENS, counts)


def score_spans(corpus: Corpus, predicted: Sequence[Sentence], tags: Tags, scheme: Scheme) -> Figures:
    """Returns the figures of predicted spans; what was not annotated is left out.

    Args:
        corpus: the sentences with gold tags.
        predicted: sentences with the predicted spans.
        tags: the predicted tags, encoded as the gold tags are, for the accuracy.
        scheme: the scheme of the gold tags.
    """
    selector = SpanSelector(scheme)
    pairs = [selector.select(*pair) for pair in zip(corpus.sentences, predicted, strict=True)]
    sides = [pair.gold for pair in pairs], [pair.predicted for pair in pairs]
    overall, types = scoring.score_spans(*sides)
    counts = tuple(
        (len({span.key for span in left} & {span.key for span in right}), len(right), len(left))
        for left, right in zip(*sides, strict=True)
    )
    rows = (
        [
            [schemes.split(tag) for position, tag in enumerate(row) if position not in pair.left_out]
            for row, pair in zip(side, pairs, strict=True)
        ]
        for side in ([sentence.tags for sentence in corpus.sentences], tags)
    )
    figures = {"accuracy": scoring.accuracy(*rows), "types": types, "tags": {}, "left_out": selector.left_out}
    return Figures(_overall(overall, types) | figures, SPANS, counts)


def _overall(overall: TypeScore, each: Mapping[str, TypeScore]) -> dict[str, Any]:
    return {
        "f1": overall.f1,
        "precision": overall.precision,
        "recall": overall.recall,
        "macro_f1": scoring.macro_f1(each),
    }
