"""Tag formats: the ways in which files encode spans in tags. Reading turns each of them into tags such as `B-PER`.

- prefix: `B-PER`, `B_PER`, with the prefixes of `schemes`
- suffix: `PER-B`, `PER_B`
- types: `PER PER O`; consecutive tokens of one type are one span
- untyped: `B I O`, `B M E S`; spans have the type `schemes.UNTYPED`
- brackets: `(PER* *) *`, as in CoNLL-2012; of nested spans the outermost is read
- plain: tags without spans, such as parts of speech
- auto: decides by all tags of a file; see `guess`
"""

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tagger.choices import TagFormat
from tagger.data import schemes, stored_sentences
from tagger.data.schemes import OUTSIDE, UNTYPED, TagPairs
from tagger.data.sentence import Sentence, Span
from tagger.errors import DataError

log = logging.getLogger(__name__)

_PREFIXES = "BIESLUM"
_SPAN_TAG = re.compile(rf"[{_PREFIXES}]-.+", re.DOTALL)
_PREFIX = re.compile(rf"([{_PREFIXES}])[-_](.+)", re.DOTALL | re.IGNORECASE)
_SUFFIX = re.compile(rf"(.+)[-_]([{_PREFIXES}])", re.DOTALL | re.IGNORECASE)
_BRACKETS = re.compile(r"((?:\([^()*\s]+)*)\*?(\)*)")
_OPEN = re.compile(r"\(([^()*\s]+)")
USUAL_OUTSIDE = ("-", "_", "o", "0", "OUT", "OTHER", "NONE", "None", "none", "Other", "other", "out", "X")
"""Usual tags of tokens outside spans, other than O."""
_EXAMPLES = {
    "prefix": "'B-PER' or 'B_PER'",
    "suffix": "'PER-B' or 'PER_B'",
    "types": "a type such as 'PER'",
    "untyped": "'B', 'I', 'E', 'S', 'L', 'U' or 'M'",
    "brackets": "'(PER*', '*', '*)' or '(PER)'",
}
_MAX_INVALID = 0.05  # share of tokens; with more, tags such as B, I and O are no scheme
_MIN_OUTSIDE = 0.4  # share of tokens, for a notice that tags may be types
_MIN_RUNS = 0.1  # share of tokens in spans that follow a token with the same tag, likewise


class _TagError(ValueError):
    """A tag that is not of the tag format, by its position in the sentence."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


@dataclass(frozen=True, slots=True)
class Guess:
    """The tag format of a file.

    Attributes:
        tag_format: the format; `auto` if the tags need no conversion.
        fault: why the tags are not read, if they look like spans in a format that must be given.
        notice: a notice for the user; empty for none.
    """

    tag_format: TagFormat
    fault: str = ""
    notice: str = ""


class TagReader:
    """Reads the tags of sentences in one format.

    Attributes:
        nested: the number of nested spans that were left out so far.
    """

    def __init__(self, tag_format: TagFormat, outside_tag: str = OUTSIDE) -> None:
        self._format, self._outside = tag_format, outside_tag
        self.nested = 0
        self._tags = {
            schemes.UNKNOWN: schemes.UNKNOWN
        }  # the result for each tag, in formats in which it depends on the tag alone

    def read(self, sentence: Sentence, name: str) -> Sentence:
        """Returns a sentence with tags such as `B-PER`.

        Raises:
            DataError: a tag is not of the format; the error names file and line.
        """
        try:
            tags = self.read_tags(sentence.tags)
        except _TagError as error:
            raise DataError(f"{name}:{find_line(sentence, error.position)}: {error}") from None
        return sentence if tags == sentence.tags else replace(sentence, tags=tags)

    def read_tags(self, tags: Sequence[str]) -> tuple[str, ...]:
        """Returns tags such as `B-PER`, one for each tag of a sentence.

        >>> TagReader("suffix").read_tags(["PER-B", "PER_I", "O"])
        ('B-PER', 'I-PER', 'O')

        Raises:
            ValueError: a tag is not of the format.
        """
        if self._format == "brackets":
            return self._read_brackets(tags)
        known = self._tags
        for position, tag in enumerate(tags):
            if tag not in known:
                known[tag] = self._read_tag(tag, position)
        result = tuple([known[tag] for tag in tags])
        return _types_to_tags(result) if self._format == "types" else result

    def _read_tag(self, tag: str, position: int) -> str:
        if tag == self._outside:
            return OUTSIDE
        if self._format in ("auto", "plain"):
            return tag
        if self._format == "types" and not _SPAN_TAG.fullmatch(tag) and tag != OUTSIDE:
            return tag
        if self._format == "untyped" and tag.removesuffix(f"-{UNTYPED}") in set(_PREFIXES):
            return f"{tag[0]}-{UNTYPED}"
        if self._format == "prefix" and (match := _PREFIX.fullmatch(tag)):
            return f"{match[1].upper()}-{match[2]}"
        if self._format == "suffix" and (match := _SUFFIX.fullmatch(tag)):
            return f"{match[2].upper()}-{match[1]}"
        raise _TagError(position, self._describe(tag))

    def _describe(self, tag: str) -> str:
        expected = f"expected {_EXAMPLES[self._format]}, or {self._outside!r} outside spans (data.outside_tag)"
        return f"found the tag {describe_tag(tag)} with data.tag_format {self._format}; {expected}"

    def _read_brackets(self, tags: Sequence[str]) -> tuple[str, ...]:
        spans: list[Span] = []
        open_types: list[str] = []
        start = 0
        for position, tag in enumerate(tags):
            if tag == self._outside:
                continue
            match = _BRACKETS.fullmatch(tag)
            opened = _OPEN.findall(match[1]) if match else []
            if match is None or not tag or len(match[2]) > len(open_types) + len(opened):
                raise _TagError(position, self._describe(tag))
            if opened and not open_types:
                start = position
            self.nested += len(opened) - (not open_types and bool(opened))
            open_types += opened
            outermost = open_types[:1]
            del open_types[len(open_types) - len(match[2]) :]
            if outermost and not open_types:
                spans.append(Span(outermost[0], start, position + 1))
        if open_types:
            raise _TagError(start, f"the span ({open_types[0]} is not closed in its sentence; expected a tag with ')'")
        return schemes.spans_to_tags(spans, len(tags), "IOB2")


def _types_to_tags(types: Sequence[str]) -> tuple[str, ...]:
    """Returns IOB2 tags in which each run of one type is a span."""
    pairs = pairwise((OUTSIDE, *types))
    return tuple([kind if kind == OUTSIDE else f"{'I' if kind == before else 'B'}-{kind}" for before, kind in pairs])


def read_all(
    sentences: Sequence[Sentence], name: str, tag_format: TagFormat, outside_tag: str = OUTSIDE
) -> tuple[Sequence[Sentence], TagFormat]:
    """Returns the sentences of a file with tags such as `B-PER`, and the format that `auto` stands for.

    Logs a notice about the detected format, and the number of nested spans that were left out.

    Raises:
        DataError: a tag is not of the format, or tags look like spans in a format that must be given.
    """
    if tag_format == "auto":
        guessed = guess_by_pairs(stored_sentences.count_pairs(sentences), outside_tag)
        if guessed.fault:
            raise DataError(f"{name}: {guessed.fault}")
        if guessed.notice:
            log.warning("%s: %s", name, guessed.notice)
        tag_format = guessed.tag_format
    if tag_format in ("auto", "plain") and outside_tag == OUTSIDE:
        return sentences, tag_format
    reader = TagReader(tag_format, outside_tag)
    converted = stored_sentences.map_sentences(sentences, lambda sentence: reader.read(sentence, name))
    if reader.nested:
        log.warning("%s: %d nested spans are left out; the outermost are kept", name, reader.nested)
    return converted, tag_format


def guess(sequences: Iterable[Sequence[str]], outside_tag: str = OUTSIDE) -> Guess:
    """Returns the tag format that all tags of a file suggest, as `guess_by_pairs`, given those of each sentence."""
    return guess_by_pairs(schemes.count_pairs(sequences), outside_tag)


def guess_by_pairs(pairs: TagPairs, outside_tag: str = OUTSIDE) -> Guess:
    """Returns the tag format that all tags of a file suggest.

    Only `untyped` and `brackets` are guessed; they are read if all tags fit. Tags such as `B-PER` need no conversion.
    Tags that look like those of another format are a fault, because the format must be given; types are a notice.

    Args:
        pairs: the pairs of tags of the file.
        outside_tag: the tag of tokens outside spans.
    """
    counts = schemes.count_labels(pairs, has_spans=False)
    tags = counts.keys() - {outside_tag}
    if not tags or all(map(_SPAN_TAG.fullmatch, tags)):
        return Guess("auto")
    if tags <= set(_PREFIXES):
        return _guess_untyped(pairs, tags, outside_tag)
    if any(tag[0] == "(" and tag[-1] in "*)" for tag in tags if tag) and all(map(_BRACKETS.fullmatch, tags)):
        return Guess("brackets")
    unusual = tags & set(USUAL_OUTSIDE) if outside_tag == OUTSIDE and len(tags) > 1 else set()
    fault = _find_span_format(tags - unusual if len(unusual) == 1 else tags, unusual)
    if fault:
        return Guess("plain", fault=fault)
    notice = _notice_types(pairs, counts, outside_tag)
    return Guess("plain" if notice else "auto", notice=notice)


def _guess_untyped(pairs: TagPairs, tags: Iterable[str], outside_tag: str) -> Guess:
    """Returns the format of tags that are single letters of a scheme."""
    letters = set(tags)
    if "B" not in letters or not letters & set("IMEL"):
        return Guess("auto")
    reader = TagReader("untyped", outside_tag)
    read: TagPairs = Counter()
    for (before, tag), count in pairs.items():
        read[_read_one(reader, before), _read_one(reader, tag)] += count
    detected = schemes.detect_by_pairs(read)
    if detected.invalid_count <= _MAX_INVALID * schemes.count_tags(pairs).total():
        return Guess("untyped")
    listed = ", ".join(sorted(letters | {outside_tag}))
    why = f"as spans {detected.invalid_count} of them were invalid"
    return Guess(
        "plain", notice=f"the tags {listed} are plain tags, because {why}; data.tag_format untyped reads spans"
    )


def _read_one(reader: TagReader, tag: str | None) -> str | None:
    return None if tag is None else reader.read_tags([tag])[0]


def _find_span_format(tags: Iterable[str], outside: Iterable[str]) -> str:
    """Returns the fault of tags that all look like spans in a format that must be given; an empty string for others.

    Args:
        tags: the tags, without that of tokens outside spans.
        outside: the tag of tokens outside spans, if it is not O.
    """
    tags = sorted(tags)
    setting = "".join(f" and data.outside_tag to {tag!r}" for tag in outside)
    for name, pattern in (("prefix", _PREFIX), ("suffix", _SUFFIX)):
        if all(map(pattern.fullmatch, tags)):
            alternative = ", or to plain to keep them" * (not outside)
            return f"tags such as {tags[0]!r} look like spans; set data.tag_format to {name}{setting}{alternative}"
    return ""


def _notice_types(pairs: TagPairs, counts: Counter[str], outside_tag: str) -> str:
    """Returns a notice for plain tags that may be types of spans: many tokens are outside, and types are repeated."""
    outside, total = counts[outside_tag], counts.total()
    inside = total - outside
    repeated = sum(count for (left, right), count in pairs.items() if left is not None and left == right != outside_tag)
    if outside < _MIN_OUTSIDE * total or repeated < _MIN_RUNS * inside:
        return ""
    example = max(counts.keys() - {outside_tag}, key=lambda tag: (counts[tag], tag))
    return (
        f"tags such as {example!r} may be types of spans; they are read as plain tags."
        " Set data.tag_format to types to read runs of one type as spans, or to plain"
    )


def mark_unknown(sentence: Sentence, unknown_tag: str) -> Sentence:
    """Returns a sentence in which the tag of tokens that were not annotated is `schemes.UNKNOWN`."""
    if unknown_tag not in sentence.tags:
        return sentence
    return replace(sentence, tags=tuple([schemes.UNKNOWN if tag == unknown_tag else tag for tag in sentence.tags]))


def find_line(sentence: Sentence, position: int) -> int:
    """Returns the line of a token in its file; the line of its sentence where that has one line or is unknown."""
    if len(sentence.raw) < len(sentence):
        return sentence.line
    numbered = [
        index for index, line in enumerate(sentence.raw) if line.partition("\t")[0].removeprefix("\ufeff").isdecimal()
    ]
    if len(numbered) == len(sentence):  # words of CoNLL-U, among comments, ranges and empty nodes
        return sentence.line + numbered[position] - numbered[0]
    return sentence.line + position


def describe_tag(tag: str) -> str:
    r"""Returns a tag for a message, with the code points of characters that may look like others.

    >>> describe_tag("\u041e"), describe_tag("B-PER")
    ("'О' (U+041E)", "'B-PER'")
    """
    text = repr(tag if len(tag) <= 60 else f"{tag[:60]}…")
    odd = dict.fromkeys(character for character in tag if not character.isascii())
    codes = [f"U+{ord(character):04X}" for character in odd]
    return f"{text} ({', '.join(codes[:3])}{', …' * (len(codes) > 3)})" if codes else text


def skeleton(tag: str) -> str:
    r"""Returns a text that is equal for tags that look the same: without invisible characters, letters in Latin.

    >>> skeleton("\u041e") == skeleton("O")
    True
    """
    decomposed = unicodedata.normalize("NFKC", tag)
    visible = (character for character in decomposed if unicodedata.category(character) not in ("Cf", "Mn", "Zs"))
    return "".join(visible).translate(_LATIN)


_LATIN = str.maketrans(
    "АВЕЅІЈКМНОРСТУХЗаеіјорсухѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧοανι–—‐‑−",
    "ABESIJKMHOPCTYX3aeijopcyxsABEZHIKMNOPTYXoavi-----",
)
