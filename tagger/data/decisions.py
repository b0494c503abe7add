"""Decisions of a person about suspect annotations, as the page of an audit saves them, applied to sentences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagger.data import schemes, tag_formats
from tagger.data.formats import Layout, json_file
from tagger.data.formats.reading import ReadOptions, shorten
from tagger.data.schemes import OUTSIDE
from tagger.data.sentence import Sentence, Span
from tagger.errors import DataError, limit_faults
from tagger.io import json_files

_DECISIONS = ("keep", "change")
_NUMBERS = ("sentence", "line", "start", "end")


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about the tokens [start, end) of a sentence.

    Attributes:
        location: the file and the line of the decision.
        changes: whether the alternative replaces the annotation; otherwise the annotation is right.
        line: the line of the first token in its file.
        start: the first token.
        end: the token after the last.
        text: the text of the tokens.
        annotated_type: the type of the annotated span, or the plain tag; None for no span.
        alternative: what replaces it, a plain tag as its type; None for no span.
        alternative_text: the text of the alternative.
    """

    location: str
    changes: bool
    line: int
    start: int
    end: int
    text: str
    annotated_type: str | None
    alternative: Span | None
    alternative_text: str

    @property
    def annotated(self) -> Span | None:
        """The annotated span; None if there is none."""
        return None if self.annotated_type is None else Span(self.annotated_type, self.start, self.end)


class Decisions:
    """The decisions of one file, by the name of the data file and the number of the sentence in it, from 0.

    Args:
        path: a file in JSON, an array of decisions.

    Raises:
        DataError: the file cannot be read, or a decision is not valid; a line for each.
    """

    def __init__(self, path: Path) -> None:
        self._remaining: dict[tuple[str, int], list[Decision]] = {}
        faults = []
        for value, location in json_file.read_located_rows(path, ReadOptions(str(path), Layout())):
            try:
                key, decision = _parse(value, location)
            except ValueError as error:
                faults.append(f"{location}: {error}")
            else:
                self._remaining.setdefault(key, []).append(decision)
        if faults:
            raise DataError(*limit_faults(faults))

    def take(self, file: str, number: int) -> list[Decision]:
        """Returns the decisions about a sentence, once."""
        return self._remaining.pop((file, number), [])

    def check_files(self, names: Sequence[str]) -> None:
        """Raises DataError, with a line for each, if the file of a decision is not one of the inputs, by its name."""
        faults = []
        for (file, _), chosen in self._remaining.items():
            if (count := names.count(file)) != 1:
                fault = "is no input" if not count else f"is the name of {count} inputs; convert them one by one"
                faults += [f"{decision.location}: {file} {fault}" for decision in chosen]
        if faults:
            raise DataError(*limit_faults(faults))

    def check_taken(self, file: str) -> None:
        """Raises DataError, with a line for each, if there are decisions about sentences that a file does not have."""
        faults = [
            f"{decision.location}: {file} has no sentence {number}; the data have changed since the audit"
            for (name, number), chosen in self._remaining.items()
            for decision in chosen
            if name == file
        ]
        if faults:
            raise DataError(*limit_faults(faults))


def apply(sentence: Sentence, decisions: Sequence[Decision], name: str, *, has_spans: bool) -> Sequence[str]:
    """Returns the tags of a sentence, those of spans in IOB2, after decisions.

    Raises:
        DataError: a decision is about another annotation or another text than the sentence has, or spans would overlap.
    """
    for decision in decisions:
        _check_sentence(decision, sentence, name)
    change = _change_spans if has_spans else _change_tags
    return change(sentence, decisions, name)


def _change_spans(sentence: Sentence, decisions: Sequence[Decision], name: str) -> Sequence[str]:
    annotated = {span.key: span for span in schemes.tags_to_spans(sentence.tags)}
    for decision in decisions:
        if decision.annotated is not None and decision.annotated.key not in annotated:
            raise _outdated(decision, sentence, name)
    changes = [decision for decision in decisions if decision.changes]
    for decision in changes:
        if decision.annotated is not None:
            annotated.pop(decision.annotated.key, None)
    for decision in changes:
        span = decision.alternative
        if span is None or span.key in annotated:
            continue
        if other := next(
            (each for each in annotated.values() if each.start < span.end and span.start < each.end), None
        ):
            where = f"{name}:{tag_formats.find_line(sentence, other.start)}"
            text = shorten(sentence.slice(other.start, other.end))
            fault = f"{span.type} {decision.alternative_text!r} overlaps {other.type} {text!r} at {where}"
            raise DataError(f"{decision.location}: {fault}; decide on one of them")
        annotated[span.key] = span
    return schemes.spans_to_tags(sorted(annotated.values(), key=lambda span: span.start), len(sentence), "IOB2")


def _change_tags(sentence: Sentence, decisions: Sequence[Decision], name: str) -> Sequence[str]:
    tags = list(sentence.tags)
    for decision in decisions:
        if sentence.tags[decision.start] != decision.annotated_type:
            raise _outdated(decision, sentence, name)
        if decision.changes:
            tags[decision.start] = decision.alternative.type if decision.alternative else OUTSIDE
    return tags


def _check_sentence(decision: Decision, sentence: Sentence, name: str) -> None:
    spans = [(decision.start, decision.end, decision.text)]
    if decision.alternative is not None:
        spans.append((decision.alternative.start, decision.alternative.end, decision.alternative_text))
    has_texts = all(end <= len(sentence) and sentence.slice(start, end) == text for start, end, text in spans)
    if not has_texts or tag_formats.find_line(sentence, decision.start) != decision.line:
        raise _outdated(decision, sentence, name)


def _outdated(decision: Decision, sentence: Sentence, name: str) -> DataError:
    kind = f"the annotation {decision.annotated_type}" if decision.annotated_type else "the text"
    where = f"{name}:{tag_formats.find_line(sentence, min(decision.start, len(sentence) - 1))}"
    fault = f"{where} does not have {kind} {shorten(decision.text)!r} of line {decision.line}"
    return DataError(f"{decision.location}: {fault}; the data have changed since the audit, or are read in another way")


def _parse(value: Any, location: str) -> tuple[tuple[str, int], Decision]:
    """Returns the file and the number of a decision's sentence, and the decision.

    Raises:
        ValueError: the value is no decision.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object in braces, found {json_files.describe(value)}")
    if (decision := value.get("decision")) not in _DECISIONS:
        raise ValueError(f"expected 'keep' or 'change' as 'decision', found {json_files.describe(decision)}")
    _check(value, _NUMBERS, lambda number: type(number) is int and number >= 0, "a number")
    _check(value, ("file", "text"), lambda text: isinstance(text, str), "a text")
    _check(value, ("given",), lambda kind: kind is None or isinstance(kind, str), "a text or null")
    alternative, span = value.get("alternative"), None
    if alternative is not None:
        if not isinstance(alternative, Mapping):
            raise ValueError(f"expected an object or null as 'alternative', found {json_files.describe(alternative)}")
        _check(alternative, ("type", "text"), lambda text: isinstance(text, str), "a text")
        _check(alternative, ("start", "end"), lambda number: type(number) is int and number >= 0, "a number")
        span = Span(alternative["type"], alternative["start"], alternative["end"])
    for start, end in [(value["start"], value["end"]), *([(span.start, span.end)] if span else [])]:
        if start >= end:
            raise ValueError(f"expected a start before the end, found {start} and {end}")
    parsed = Decision(
        location,
        decision == "change",
        value["line"],
        value["start"],
        value["end"],
        value["text"],
        value["given"],
        span,
        alternative["text"] if alternative else "",
    )
    return (value["file"], value["sentence"]), parsed


def _check(value: Mapping[str, Any], names: Sequence[str], is_valid: Callable[[Any], bool], expected: str) -> None:
    for name in names:
        if name not in value or not is_valid(value[name]):
            raise ValueError(f"expected {expected} as {name!r}, found {json_files.describe(value.get(name))}")
