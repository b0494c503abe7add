"""What a tagging job has done: the figures told at its end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from tagger.data.sentence import Record


@dataclass(slots=True)
class Summary:
    """What was tagged and written, and how long it took.

    Attributes:
        documents, sentences, tokens: how many; sentences without tokens do not count.
        spans: how many of each type.
        rejected: what could not be read and was set aside.
        seconds: the time it took, sessions before a resumption counted, the loading of the model left out.
    """

    documents: int = 0
    sentences: int = 0
    tokens: int = 0
    spans: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Summary":
        """Returns the summary that `stored` gave the values of."""
        return cls(**dict(values) | {"spans": Counter(values["spans"])})

    def stored(self) -> dict[str, Any]:
        """Returns the figures that a journal stores, by their names."""
        return {name: getattr(self, name) for name in self.__slots__}

    def check(self) -> None:
        """Raises ValueError if a figure is negative."""
        figures = (self.documents, self.sentences, self.tokens, self.rejected, self.seconds, *self.spans.values())
        if min(figures) < 0:
            raise ValueError("a figure is negative")

    def add(self, records: Sequence[Record], document: str | int | None) -> str | int | None:
        """Counts records that follow one of a document, None at an input's start; returns the document of the last."""
        for record in records:
            self.documents += record.document != document
            document = record.document
            for sentence in record.sentences:
                self.sentences += bool(sentence.tokens)
                self.tokens += len(sentence.tokens)
        sentences = chain.from_iterable([record.sentences for record in records])
        self.spans.update([span.type for sentence in sentences for span in sentence.spans])
        return document

    def copy(self) -> "Summary":
        """Returns a summary of its own with the same figures."""
        return replace(self, spans=self.spans.copy())

    @property
    def tokens_per_second(self) -> float:
        """The speed of the whole job, reading and writing included."""
        return self.tokens / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Returns every figure by its name."""
        spans = dict(sorted(self.spans.items()))
        figures = {name: getattr(self, name) for name in ("documents", "sentences", "tokens", "rejected")}
        return figures | {"spans": spans, "seconds": self.seconds, "tokens_per_second": self.tokens_per_second}

    def __str__(self) -> str:
        lines = [
            f"{_counted(self.documents, 'document')}, {_counted(self.sentences, 'sentence')}, "
            f"{_counted(self.tokens, 'token')} in {self.seconds:.1f} s ({self.tokens_per_second:,.0f} tokens/s)"
        ]
        if self.spans:
            lines.append("spans: " + ", ".join(f"{name} {count:,}" for name, count in sorted(self.spans.items())))
        if self.rejected:
            lines.append(f"rejected: {self.rejected:,}")
        return "\n".join(lines)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
