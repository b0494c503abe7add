"""The summary of a tagging job: counts and time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from tagger.choices import counted
from tagger.data.sentence import Record


@dataclass(slots=True)
class Summary:
    """Counts of what a job tagged, and its time.

    Attributes:
        documents, sentences, tokens: counts; sentences without tokens are not counted.
        spans: the number of spans of each type.
        rejected: the number of rejected lines, rows, blocks and files.
        seconds: time without loading the model; a resumed job includes the time before.
    """

    documents: int = 0
    sentences: int = 0
    tokens: int = 0
    spans: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    seconds: float = 0.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Summary":
        """Returns a summary from the result of `to_dict`."""
        return cls(**dict(values) | {"spans": Counter(values["spans"])})

    def to_dict(self) -> dict[str, Any]:
        """Returns the counts and the time by name, as a journal stores them."""
        return {name: getattr(self, name) for name in self.__slots__}

    def check(self) -> None:
        """Raises ValueError if a number is negative."""
        numbers = (self.documents, self.sentences, self.tokens, self.rejected, self.seconds, *self.spans.values())
        if min(numbers) < 0:
            raise ValueError("a number is negative")

    def add(self, records: Sequence[Record], document: str | int | None) -> str | int | None:
        """Counts records and returns the document of the last one.

        Args:
            records: consecutive records of an input.
            document: the document of the record before them, None at the start of the input.
        """
        for record in records:
            self.documents += record.document != document
            document = record.document
            for sentence in record.sentences:
                self.sentences += bool(sentence.tokens)
                self.tokens += len(sentence.tokens)
        sentences = chain.from_iterable([record.sentences for record in records])
        self.spans.update([span.type for sentence in sentences for span in sentence.spans])
        return document

    def merge(self, counts: "Summary", *, continues_document: bool) -> None:
        """Adds the counts of the next records.

        Args:
            counts: the counts of these records alone.
            continues_document: whether the first of them continues the document of the record before.
        """
        self.documents += counts.documents - continues_document
        self.sentences += counts.sentences
        self.tokens += counts.tokens
        self.spans.update(counts.spans)

    def copy(self) -> "Summary":
        """Returns an independent copy."""
        return replace(self, spans=self.spans.copy())

    @property
    def tokens_per_second(self) -> float:
        """The speed of the whole job, including reading and writing."""
        return self.tokens / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Returns all figures by name, including the speed."""
        spans = dict(sorted(self.spans.items()))
        counts = {name: getattr(self, name) for name in ("documents", "sentences", "tokens", "rejected")}
        return counts | {"spans": spans, "seconds": self.seconds, "tokens_per_second": self.tokens_per_second}

    def __str__(self) -> str:
        lines = [
            f"{counted(self.documents, 'document')}, {counted(self.sentences, 'sentence')}, "
            f"{counted(self.tokens, 'token')} in {self.seconds:.1f} s ({self.tokens_per_second:,.0f} tokens/s)"
        ]
        if self.spans:
            lines.append("spans: " + ", ".join(f"{name} {count:,}" for name, count in sorted(self.spans.items())))
        if self.rejected:
            lines.append(f"rejected: {self.rejected:,}")
        return "\n".join(lines)
