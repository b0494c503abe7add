"""Raw text: tokens and sentences by the rules of a language, each token with its place in the text."""

import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from tagger.data.formats.reading import ReadOptions
from tagger.data.sentence import Record, Reject, Sentence, SourceText
from tagger.errors import ConfigError
from tagger.io.line_reader import Unreadable

_WORD = re.compile(r"\S+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_WORD = 1_000  # characters without white space; the rules take time that grows with their square
_TOO_LONG = re.compile(rf"\S{{{_LONGEST_WORD + 1}}}")
_LONGEST_PIECE = 1_000_000  # characters, as spaCy has it
_LONGEST_STRETCH = 100_000  # characters for a tokenizer without rules
_LONGEST_JAPANESE = 10_000  # likewise: SudachiPy takes 49,149 bytes, spaCy issue 13207
_ENDS = (re.compile(r"\s"), re.compile(r"(?<=\W)\w"))  # of pieces, the better first
_REMEMBERED, _REMEMBERED_WIDTH = 32_768, 64  # words, and characters of one
_UNSEEN = 32_768  # words after which spaCy forgets those it has seen
_PLAIN, _MARK, _END, _SPACE = range(4)  # what a token means to the end of a sentence

Piece = tuple[str, int, int, int]
"""A token with its start and end in its word, and what it means to the end of a sentence."""
_WHITE: tuple[Piece, ...] = (("", 0, 0, _SPACE),)


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Returns the paragraphs of a source that hold tokens; see `read` for errors."""
    return read(options.lines_of_blocks(source), options.name, options.language, reject=options.reject)


def read(
    source: Iterable[tuple[int, str]], name: str, language: str, *, reject: Callable[[Reject], None] | None = None
) -> Iterator[Record]:
    """Returns the paragraphs of a file that hold tokens; its name is the id of their document.

    A paragraph is what stands between two newlines; one of over a million characters comes in pieces that end at white
    space. Offsets count the code points of the whole file, byte-order mark and carriage returns among them.

    With `reject`, lines that cannot be read go there; give `files.Unreadable` to `files.lines`. Such a line counts as
    the code points of its bytes (of an over-long one: of those shown) with U+FFFD in place of what is not UTF-8.

    Raises:
        ConfigError: spaCy is not there or does not know the language.
    """
    split = splitter(language)  # here, so that the fault comes before the first paragraph is asked for
    return _paragraphs(source, name, split, reject)


def _paragraphs(
    source: Iterable[tuple[int, str]], name: str, split: "Splitter", reject: Callable[[Reject], None] | None
) -> Iterator[Record]:
    place = 0
    for number, line in source:
        if reject and isinstance(line, Unreadable):
            reject(Reject(line.fault, number, line))
            place += len(line.encode(errors="surrogateescape").decode(errors="replace"))
            continue
        mark = number == 1 and line.startswith("\ufeff")
        for start, end in _pieces(line, int(mark), _LONGEST_PIECE):
            text = line[start:end]
            if sentences := tuple(split(text, start=place + start, line=number)):
                yield Record(sentences, name, number, text, place + start, size=len(text))
        place += len(line)


def _pieces(line: str, start: int, most: int) -> Iterator[tuple[int, int]]:
    """Yields the bounds of what of a line is read as one, at most so many characters, without its line end.

    A piece ends before white space in its second half, else where a word begins after a sign, else at its full length,
    or before the character that a combining mark there belongs to.
    """
    last = len(line.removesuffix("\n").removesuffix("\r"))
    while last - start > most:
        half = start + most // 2
        places = ([found.start() for found in pattern.finditer(line, half, start + most)] for pattern in _ENDS)
        # A combining mark is no letter to the pattern: what follows it is mostly the same word.
        ends = (place for found in places for place in reversed(found) if not _is_mark(line[place - 1]))
        end = next(ends, 0) or _before_marks(line, half, start + most)
        yield start, end
        start = end
    yield start, last


def _before_marks(text: str, least: int, place: int) -> int:
    """Returns a place or, where a combining mark follows, the last one before it, from `least` on, where none does."""
    end = place
    while end > least and _is_mark(text[end]):
        end -= 1
    return place if _is_mark(text[end]) else end


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


@lru_cache(maxsize=4)
def splitter(language: str) -> "Splitter":
    """Returns the splitter of a language, made once.

    Raises:
        ConfigError: spaCy is not there or does not know the language.
    """
    return Splitter(language)


class Splitter:
    """Splits texts as spaCy's blank pipeline of a language does, with the hyphen infix removed and its sentencizer.

    A word, here a stretch without white space, is split once and then remembered: in most languages nothing else bears
    on its tokens. One of over a thousand characters is split as if white space stood after each thousand. Several
    threads may ask at once.

    Args:
        language: an ISO 639 code such as en, or xx for none in particular.
    """

    def __init__(self, language: str) -> None:
        self._pipeline = _blank(language)
        self._ends = _sentence_ends()
        self._stretch = _LONGEST_JAPANESE if language == "ja" else _LONGEST_STRETCH
        self._by_words = hasattr(self._pipeline.tokenizer, "rules")  # not so in Chinese
        self._rules = frozenset(self._pipeline.tokenizer.rules or () if self._by_words else ())
        self._across = _any_of(rule for rule in self._rules if len(rule.split()) > 1)
        self._words = _Remembered(self._word)
        self._zone, self._unseen = self._entered(), 0
        self._lock = threading.Lock()  # around all that touches spaCy's memory, which the zone frees

    def __call__(self, text: str, *, start: int = 0, line: int = 0) -> Iterator[Sentence]:
        """Yields the sentences of a text, none without tokens; a newline ends a sentence.

        Args:
            text: what to split.
            start: the offset of its first character.
            line: the line where it stands.
        """
        source = SourceText(text, start)
        for paragraph in text.split("\n"):
            for tokens, offsets in _sentences(self._placed(paragraph, start)):
                yield Sentence(tuple(tokens), line=line, offsets=tuple(offsets), source=source)
            start += len(paragraph) + 1

    def _placed(self, text: str, start: int) -> Iterator[tuple[int, tuple[Piece, ...]]]:
        """Yields tokens with the place that theirs count from: those of a word, or of the whole text."""
        if not self._by_words or (self._across.search(text) and not _TOO_LONG.search(text)):
            for first, last in _pieces(text, 0, _LONGEST_PIECE if self._by_words else self._stretch):
                yield start + first, self._tokens(text[first:last])
            return
        words, known = text.split(), self._words
        if " ".join(words) == text.rstrip() and not _TOO_LONG.search(text):
            for word in words:
                yield start, known[word]
                start += len(word) + 1
        else:
            yield from self._placed_apart(text, start)

    def _placed_apart(self, text: str, start: int) -> Iterator[tuple[int, tuple[Piece, ...]]]:
        """Does the same where there is other white space than single spaces, or a long word."""
        known, before = self._words, 0
        for found in _WORD.finditer(text):
            first, last = found.span()
            if first - before != 1 or text[before] != " ":
                yield start, _WHITE
            before = last
            while last - first > _LONGEST_WORD:
                end = _before_marks(text, first + 1, first + _LONGEST_WORD)
                yield first + start, known[text[first:end]]
                first = end
            yield first + start, known[text[first:last]]

    def _word(self, word: str) -> tuple[Piece, ...]:
        """Returns the tokens of a word: itself if it is letters to which no rule applies, which is soon known."""
        rules = self._pipeline.tokenizer
        if not word.isalpha() or word in self._rules:
            return self._tokens(word)
        if rules.find_prefix(word) or rules.find_suffix(word) or rules.find_infix(word):
            return self._tokens(word)
        return ((word, 0, len(word), _PLAIN),)

    def _tokens(self, text: str) -> tuple[Piece, ...]:
        with self._lock:
            self._unseen += 1 + len(text) // _LONGEST_WORD
            if self._unseen > _UNSEEN:
                self._zone.__exit__(None, None, None)
                self._zone, self._unseen = self._entered(), 0
            # One character stands for one: spaCy takes no lone surrogate, which JSON may hold.
            doc = self._pipeline.make_doc(_SURROGATE.sub("\ufffd", text))
            bounds = ((token.idx, token.idx + len(token), self._kind(token)) for token in doc)
            return tuple((text[start:end], start, end, kind) for start, end, kind in bounds)

    def _kind(self, token: Any) -> int:
        if token.text in self._ends:
            return _END
        return _SPACE if token.is_space else _MARK if token.is_punct else _PLAIN

    def _entered(self) -> AbstractContextManager[Any]:
        """Returns a zone of spaCy's memory, entered: what it keeps of words it has seen goes when the zone is left."""
        zone: AbstractContextManager[Any] = self._pipeline.memory_zone()
        zone.__enter__()
        return zone


class _Remembered(dict[str, tuple[Piece, ...]]):
    """The tokens of words, computed when first asked for; those not asked for lately are forgotten."""

    def __init__(self, tokens: Callable[[str], tuple[Piece, ...]]) -> None:
        self._tokens = tokens
        self._older: dict[str, tuple[Piece, ...]] = {}

    def __missing__(self, word: str) -> tuple[Piece, ...]:
        found = self._older.get(word) or self._tokens(word)
        if len(word) <= _REMEMBERED_WIDTH:
            if len(self) >= _REMEMBERED:
                self._older = self.copy()
                self.clear()
            self[word] = found
        return found


def _sentences(
    with_paths: Iterable[tuple[int, tuple[Piece, ...]]],
) -> Iterator[tuple[list[str], list[tuple[int, int]]]]:
    """Yields the tokens and offsets of sentences: one begins after an end and the marks that follow it."""
    tokens: list[str] = []
    offsets: list[tuple[int, int]] = []
    ended = False
    for place, pieces in with_paths:
        for token, first, last, kind in pieces:
            if kind == _END:
                ended = True
            elif ended and kind != _MARK:
                yield tokens, offsets
                tokens, offsets, ended = [], [], False
            if kind != _SPACE:
                tokens.append(token)
                offsets.append((place + first, place + last))
    if tokens:
        yield tokens, offsets


def _any_of(rules: Iterable[str]) -> re.Pattern[str]:
    """Returns the pattern of any of these strings; of none, one that is found nowhere."""
    return re.compile("|".join(map(re.escape, rules)) or r"(?!)")


def _blank(language: str) -> Any:
    try:
        import spacy  # takes seconds to load, so only when it is used
        from spacy.lang.char_classes import HYPHENS
    except ImportError as error:
        raise ConfigError("raw text needs spaCy: pip install 'bilstm-crf-tagger[text]'") from error
    if not re.fullmatch("[a-z]{2,3}", language):
        raise ConfigError(f"the language must be an ISO code such as en, got {language!r}")
    try:
        pipeline = spacy.blank(language)
    except ImportError as error:  # what a language asks for besides spaCy, too
        told = " ".join(str(error).split())[:300]
        known = not told.startswith("[E048]")
        raise ConfigError(f"language {language!r}: {told if known else 'spaCy has no such one'}") from error
    infixes = [infix for infix in pipeline.Defaults.infixes or () if HYPHENS not in infix]
    if hasattr(pipeline.tokenizer, "infix_finditer") and infixes:
        pipeline.tokenizer.infix_finditer = spacy.util.compile_infix_regex(infixes).finditer
    return pipeline


def _sentence_ends() -> frozenset[str]:
    from spacy.pipeline import Sentencizer

    return frozenset(Sentencizer.default_punct_chars)
