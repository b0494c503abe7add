"""The scores of a tagger on a corpus."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from tagger.choices import Selection, counted
from tagger.data import schemes
from tagger.io import json_files

SPANS = ("correct", "predicted", "gold")
TOKENS = ("correct", "tokens")
_MAX_UNKNOWN = 10  # tags that are listed
_MAX_SCORE = 100.001  # above 100 by rounding
SCORE_NAMES: dict[Selection, str] = {"f1": "F1", "macro_f1": "macro F1", "accuracy": "accuracy"}


@dataclass(frozen=True, slots=True)
class TypeScore:
    """Precision, recall and F1 in percent of a type of spans or of a plain tag, and how many the gold data holds."""

    precision: float
    recall: float
    f1: float
    gold: int


class MatchCounts(NamedTuple):
    """The numbers of correct, predicted and gold spans or tags."""

    correct: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """In percent; 0 without predicted ones."""
        return 100 * self.correct / max(self.predicted, 1)

    @property
    def recall(self) -> float:
        """In percent; 0 without gold ones."""
        return 100 * self.correct / max(self.gold, 1)

    @property
    def f1(self) -> float:
        """In percent; 0 without any."""
        return 200 * self.correct / max(self.predicted + self.gold, 1)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is not scored, because the gold data is annotated in part.

    Attributes:
        tokens: tokens without a gold tag, and tokens of the spans left out.
        spans: gold and predicted spans that touch tokens without a gold tag, so that their bounds are not known.
        types: predicted and gold spans of types that their sentence is not annotated for, by type.
    """

    tokens: int = 0
    spans: int = 0
    types: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        listed = ", ".join(f"{kind} ({count})" for kind, count in self.types.items())
        types = f"; of types that were not annotated: {counted(sum(self.types.values()), 'span')}, {listed}" * bool(
            listed
        )
        touching = counted(self.spans, "span")
        return f"not scored, because not annotated: {counted(self.tokens, 'token')}; touching them: {touching}{types}"


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a tagger on a corpus, in percent; see `Report`.

    Attributes:
        score: the score that models are chosen by.
        selection: which score that is.
    """

    score: float
    selection: Selection
    f1: float
    precision: float
    recall: float
    macro_f1: float
    accuracy: float
    signature: str

    def __post_init__(self) -> None:
        for name in ("score", "f1", "precision", "recall", "macro_f1", "accuracy"):
            if not 0 <= getattr(self, name) <= _MAX_SCORE:
                raise ValueError(f"{name}: expected a score from 0 to 100")

    @property
    def name(self) -> str:
        """The name of `score`: F1, macro F1 or accuracy."""
        return SCORE_NAMES[self.selection]


@dataclass(frozen=True)
class Report:
    """The scores of a tagger on a corpus; all in percent.

    Attributes:
        f1, precision, recall: of spans, over all types together; of plain tags, over all tags other than `O`.
        macro_f1: the mean F1 of the types, or plain tags, that the gold data holds.
        accuracy: of tokens.
        types: the score of each type; empty for plain tags.
        tags: the score of each plain tag; empty for spans.
        selection: the score that models are chosen by.
        sentences, tokens: their numbers.
        seconds: the time spent on tagging.
        unknown_tags: gold tags that the training data lacks, with their counts; they are scored as wrong.
        gold_scheme: the scheme of the gold tags, in which tags are compared for the accuracy.
        invalid_tags: the number of gold tags that are invalid in their scheme; they are read by the rules of conlleval.
        left_out: what is not scored, because the gold data is annotated in part.
        signature: the score with all that it depends on, in one line.
    """

    f1: float
    precision: float
    recall: float
    macro_f1: float
    accuracy: float
    types: dict[str, TypeScore]
    tags: dict[str, TypeScore]
    selection: Selection
    sentences: int
    tokens: int
    seconds: float
    unknown_tags: dict[str, int]
    gold_scheme: str
    invalid_tags: int
    left_out: LeftOut
    signature: str

    @property
    def score(self) -> float:
        """The score that models are chosen by."""
        value: float = getattr(self, self.selection)
        return value

    @property
    def can_select(self) -> bool:
        """Whether models can differ in `score`: F1 is 0 for all of them on gold data without spans or tags."""
        if self.selection == "accuracy":
            return self.tokens > self.left_out.tokens
        names = self.types or self.tags
        return any(score.gold for name, score in names.items() if name != "O" or self.selection == "macro_f1")

    @property
    def scores(self) -> Scores:
        """The scores over all types."""
        return Scores(
            self.score,
            self.selection,
            self.f1,
            self.precision,
            self.recall,
            self.macro_f1,
            self.accuracy,
            self.signature,
        )

    @property
    def sentences_per_second(self) -> float:
        """The speed of tagging the corpus."""
        return self.sentences / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Returns every figure under its attribute's name, and sentences_per_second."""
        return asdict(self) | {"sentences_per_second": self.sentences_per_second}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Report":
        """Returns the report that `to_json` returned.

        Raises:
            ValueError: a figure is missing, unknown, of another type or out of range.
        """
        fields = {name: figure for name, figure in value.items() if name != "sentences_per_second"}
        report = json_files.parse_as(cls, json_files.dump(fields))
        _ = report.scores  # checks the ranges
        return report

    def __str__(self) -> str:
        lines = [
            *self.table_lines(),
            f"{self.sentences_per_second:.0f} sentences/s",
        ]
        lines += [
            f"tag that the training data lacks: {tag} ({counted(count, 'time')})" for tag, count in self._unknown_tags()
        ]
        if len(self.unknown_tags) > _MAX_UNKNOWN:
            lines.append(f"… and {len(self.unknown_tags) - _MAX_UNKNOWN:,} more tags that the training data lacks")
        if self.invalid_tags:
            lines.append(
                f"{self.invalid_tags} gold tags are invalid in their scheme and were read by the rules of conlleval"
            )
        if self.left_out != LeftOut():
            lines.append(str(self.left_out))
        return "\n".join([*lines, self.signature])

    def _unknown_tags(self) -> list[tuple[str, int]]:
        """Returns the most frequent tags that the training data lacks, with their counts."""
        return sorted(self.unknown_tags.items(), key=lambda item: (-item[1], item[0]))[:_MAX_UNKNOWN]

    def _unlisted_names(self) -> set[str]:
        """Returns the tags, or the types, that the training data lacks and that are not listed as such."""
        unlisted = self.unknown_tags.keys() - dict(self._unknown_tags()).keys()
        return set(unlisted) if self.tags else {schemes.split(tag)[1] for tag in unlisted}

    def table_lines(self) -> list[str]:
        """Returns the lines of a table with a row for each type or plain tag, and one for all; and the accuracy."""
        scored = self.tags or self.types
        counted = [score.gold for name, score in scored.items() if name != "O" or not self.tags]
        rows = dict(scored)
        for name in self._unlisted_names():
            rows.pop(name, None)
        if self.types or not self.tags or "O" in self.tags:
            name = "all but O" if self.tags else "all"
            rows[name] = TypeScore(self.precision, self.recall, self.f1, sum(counted))
        space = max(12, *(len(name) + 1 for name in rows)) if rows else 12
        lines = [f"{'':{space}}{'precision':>10}{'recall':>10}{'F1':>10}{'tokens' if self.tags else 'spans':>10}"]
        for name, score in rows.items():
            lines.append(f"{name:{space}}{score.precision:10.2f}{score.recall:10.2f}{score.f1:10.2f}{score.gold:10d}")
        if self.tags or self.selection == "macro_f1":
            lines.append(
                f"macro F1 {self.macro_f1:.2f} over {sum(score.gold > 0 for score in scored.values())} "
                + ("tags" if self.tags else "types")
            )
        scheme = "" if self.tags else f", tags in {self.gold_scheme}"
        tokens = self.tokens - self.left_out.tokens
        return [*lines, f"accuracy {self.accuracy:.2f} over {tokens} tokens in {self.sentences} sentences{scheme}"]


def summary_lines(rows: Sequence[tuple[str, Report, tuple[float, float]]]) -> list[str]:
    """Returns the lines of a table with a row for each report on the same kind of data.

    Args:
        rows: name, report, and 95 % interval of F1, or for plain tags of the accuracy.
    """
    space = max(12, *(len(name) + 1 for name, *_ in rows))
    score = "accuracy" if rows[0][1].tags else "F1"
    heading = f"{'':{space}}{'precision':>10}{'recall':>10}{'F1':>10}{'accuracy':>10}{'95 % interval':>18}"
    lines = [f"{heading} of {score}"]
    for name, report, (low, high) in rows:
        scores = (report.precision, report.recall, report.f1, report.accuracy)
        interval = f"{low:.2f} to {high:.2f}"
        lines.append(f"{name:{space}}{''.join(f'{score:10.2f}' for score in scores)}{interval:>18}")
    return lines


@dataclass(frozen=True)
class Counts:
    """The counts of each sentence of a corpus from which a tagger's score is computed.

    Attributes:
        data: the hash of the corpus.
        columns: the names of the counts, SPANS or TOKENS.
        rows: the counts of each sentence, in the order of the corpus.
    """

    data: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
