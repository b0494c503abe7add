"""Raw text: splits it into sentences and tokens by the rules of a language, with character offsets."""

import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from tagger.choices import Newline
from tagger.data.formats import spacy_library
from tagger.data.formats.reading import ReadOptions
from tagger.data.sentence import Record, Reject, Sentence, SourceText
from tagger.errors import TruncatedError
from tagger.io.line_reader import Unreadable

_WORD = re.compile(r"\S+")
_BLANK_LINE = re.compile(r"\n(?=[^\S\n]*(?:\n|\Z))")  # the line end before a blank line, which ends a paragraph
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_WORD = 1_000  # characters without white space; the time of the tokenizer rules is quadratic in them
_LONG_WORD = re.compile(rf"\S{{{_MAX_WORD + 1}}}")
_MAX_PIECE = 1_000_000  # characters; spaCy's own limit
_MAX_RULELESS_PIECE = 100_000  # characters for a tokenizer without rules
_MAX_JAPANESE_PIECE = 10_000  # SudachiPy accepts 49,149 bytes, see spaCy issue 13207
_PIECE_ENDS = (re.compile(r"\s"), re.compile(r"(?<=\W)\w"))  # in order of preference
_MAX_CACHED_WORDS, _MAX_CACHED_LENGTH = 32_768, 64  # words, and characters per word
_ZONE_WORDS = 32_768  # words after which spaCy's memory zone is replaced
_PLAIN, _PUNCTUATION, _END, _SPACE = range(4)  # the role of a token in splitting sentences

Token = tuple[str, int, int, int]
"""A token, its start and end in its word, and its role in splitting sentences."""
_WHITE_SPACE: tuple[Token, ...] = (("", 0, 0, _SPACE),)


def read_records(source: Path | BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Returns the paragraphs of a source that have tokens; see `read` for errors."""
    lines = options.lines_of_blocks(source)
    return read(lines, options.name, options.language, newline=options.newline, reject=options.reject)


def read(
    source: Iterable[tuple[int, str]],
    name: str,
    language: str,
    *,
    newline: Newline = "break",
    reject: Callable[[Reject], None] | None = None,
) -> Iterator[Record]:
    """Returns the paragraphs of a file that have tokens, as records. The file's name is their document's id.

    A paragraph is a line or, if newlines are white space, consecutive lines that are not blank. One of over a million
    characters is split into pieces, preferably at white space. Offsets count the code points of the whole file,
    byte-order mark and carriage returns included. A rejected line ends a paragraph. It counts as its decoded bytes with
    U+FFFD for those that are not UTF-8; only the retained beginning of a long line counts.

    Args:
        source: the numbered lines; with `reject`, undecodable lines are `Unreadable`.
        name: the name of the file.
        language: the language, an ISO code.
        newline: whether a newline ends a sentence, or is white space and only a blank line ends one.
        reject: is called with each line that cannot be read.

    Raises:
        ConfigError: spaCy is not installed or does not support the language.
    """
    split = partial(splitter(language), newline=newline)  # outside the generator: it raises before the first paragraph
    return _paragraphs(_lines(source, reject) if newline == "break" else _join_lines(source, reject), name, split)


def _paragraphs(
    lines: Iterable[tuple[int, int, str]], name: str, split: Callable[..., Iterator[Sentence]]
) -> Iterator[Record]:
    """Yields the records of lines, or of several lines together, given by number, offset and text."""
    is_first = True
    for number, offset, line in lines:
        has_mark = number == 1 and line.startswith("\ufeff")
        for start, end in _split_pieces(line, int(has_mark), _MAX_PIECE):
            text, first = line[start:end], number + line.count("\n", 0, start)
            sentences = tuple(split(text, start=offset + start, line=first))
            if "\n" in text:
                sentences = tuple([_count_lines(sentence, first) for sentence in sentences])
            if sentences:
                size = len(text)
                yield Record(sentences, name, first, text, offset + start, size=size, starts_document=is_first)
                is_first = False


def _count_lines(sentence: Sentence, first: int) -> Sentence:
    """Returns a sentence of a text of several lines with the number of its own line."""
    assert sentence.source is not None
    text, start = sentence.source.text, sentence.source.start
    return replace(sentence, line=first + text.count("\n", 0, sentence.offsets[0][0] - start))


def _lines(
    source: Iterable[tuple[int, str]], reject: Callable[[Reject], None] | None
) -> Iterator[tuple[int, int, str]]:
    """Yields number, offset and text of each line; rejects unreadable lines."""
    offset = 0
    for number, line in source:
        if reject and isinstance(line, Unreadable):
            reject(Reject(line.fault, number, line))
            offset += len(line.encode(errors="surrogateescape").decode(errors="replace"))
        else:
            yield number, offset, line
            offset += len(line)


def _join_lines(
    source: Iterable[tuple[int, str]], reject: Callable[[Reject], None] | None
) -> Iterator[tuple[int, int, str]]:
    """Yields number and offset of the first of consecutive lines that are not blank, and their text."""
    lines: list[str] = []
    first = start = size = previous = 0
    try:
        for number, offset, line in _lines(source, reject):
            if lines and (not line.strip() or number != previous + 1 or size > _MAX_PIECE):
                yield first, start, "".join(lines)
                lines = []
            if line.strip():
                if not lines:
                    first, start, size = number, offset, 0
                lines.append(line)
                size, previous = size + len(line), number
    except TruncatedError as error:
        raise error.before(first) if lines else error from error
    if lines:
        yield first, start, "".join(lines)


def _split_pieces(line: str, start: int, max_length: int) -> Iterator[tuple[int, int]]:
    """Yields the bounds of pieces of a line of at most `max_length` characters, without the line end.

    A piece ends before white space in its second half, else at the start of a word after a character that is not a
    letter, else at its maximum length. No piece ends before a combining mark, unless marks fill its second half.
    """
    last = len(line.removesuffix("\n").removesuffix("\r"))
    while last - start > max_length:
        half = start + max_length // 2
        matches = ([match.start() for match in end.finditer(line, half, start + max_length)] for end in _PIECE_ENDS)
        # For the pattern a combining mark is not a letter, but the text after it mostly continues the word.
        ends = (index for indices in matches for index in reversed(indices) if not _is_mark(line[index - 1]))
        end = next(ends, 0) or _before_marks(line, half, start + max_length)
        yield start, end
        start = end
    yield start, last


def _before_marks(text: str, minimum: int, index: int) -> int:
    """Returns the last index up to `index` that is not before a combining mark; `index` if none from `minimum` on."""
    end = index
    while end > minimum and _is_mark(text[end]):
        end -= 1
    return index if _is_mark(text[end]) else end


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


@cache  # a server uses several languages in turn; spaCy has about 75
def splitter(language: str) -> "Splitter":
    """Returns the splitter of a language; it is cached.

    Raises:
        ConfigError: spaCy is not installed or does not support the language.
    """
    return Splitter(language)


class Splitter:
    """Splits texts like spaCy's blank pipeline of a language with its sentencizer, without the hyphen infix.

    A word is a run of characters that are not white space. It is tokenized once and cached: in most languages its
    tokens do not depend on other words. A word of over a thousand characters is split after each thousand. A splitter
    may be used from several threads.

    Args:
        language: an ISO 639 code such as en, or xx for no language in particular.
    """

    def __init__(self, language: str) -> None:
        self._pipeline = spacy_library.build_pipeline(language)
        self._ends = spacy_library.list_sentence_ends()
        self._max_ruleless_piece = _MAX_JAPANESE_PIECE if language == "ja" else _MAX_RULELESS_PIECE
        self._has_rules = hasattr(self._pipeline.tokenizer, "rules")  # not in Chinese
        self._rules = frozenset(self._pipeline.tokenizer.rules or () if self._has_rules else ())
        self._multiword_rules = _any_of(rule for rule in self._rules if len(rule.split()) > 1)
        self._words = _WordCache(self._tokenize_word)
        self._zone, self._zone_words = self._enter_zone(), 0
        self._lock = threading.Lock()  # guards spaCy's memory, which the zone frees

    def __call__(self, text: str, *, start: int = 0, line: int = 0, newline: Newline = "break") -> Iterator[Sentence]:
        """Yields the sentences of a text; each has tokens.

        Args:
            text: the text.
            start: the offset of its first character.
            line: its line number.
            newline: whether a newline ends a sentence, or is white space and only a blank line ends one.
        """
        source = SourceText(text, start)
        for paragraph in text.split("\n") if newline == "break" else _BLANK_LINE.split(text):
            for tokens, offsets in _split_sentences(self._tokenize(paragraph, start)):
                yield Sentence(tuple(tokens), line=line, offsets=tuple(offsets), source=source)
            start += len(paragraph) + 1

    def _tokenize(self, text: str, start: int) -> Iterator[tuple[int, tuple[Token, ...]]]:
        """Yields the tokens of each word, or of a piece of the text, with the offset of the word or piece."""
        flat = text.replace("\n", " ")
        if not self._has_rules or (self._multiword_rules.search(flat) and not _LONG_WORD.search(text)):
            for first, last in _split_pieces(flat, 0, _MAX_PIECE if self._has_rules else self._max_ruleless_piece):
                yield start + first, self._tokenize_piece(flat[first:last])
            return
        words, cache = flat.split(), self._words
        if " ".join(words) == flat.rstrip() and not _LONG_WORD.search(text):
            for word in words:
                yield start, cache[word]
                start += len(word) + 1
        else:
            yield from self._tokenize_irregular(text, start)

    def _tokenize_irregular(self, text: str, start: int) -> Iterator[tuple[int, tuple[Token, ...]]]:
        """Does the same for a text with white space other than single spaces, or with a long word."""
        cache, previous_end = self._words, 0
        for match in _WORD.finditer(text):
            first, last = match.span()
            gap = text[previous_end:first]
            if gap != " " and "\n" not in gap:  # a newline with the white space around it is like a single space
                yield start, _WHITE_SPACE
            previous_end = last
            while last - first > _MAX_WORD:
                end = _before_marks(text, first + 1, first + _MAX_WORD)
                yield first + start, cache[text[first:end]]
                first = end
            yield first + start, cache[text[first:last]]

    def _tokenize_word(self, word: str) -> tuple[Token, ...]:
        rules = self._pipeline.tokenizer
        if not word.isalpha() or word in self._rules:
            return self._tokenize_piece(word)
        if rules.find_prefix(word) or rules.find_suffix(word) or rules.find_infix(word):
            return self._tokenize_piece(word)
        return ((word, 0, len(word), _PLAIN),)  # no rule applies; much faster than the pipeline

    def _tokenize_piece(self, text: str) -> tuple[Token, ...]:
        with self._lock:
            self._zone_words += 1 + len(text) // _MAX_WORD
            if self._zone_words > _ZONE_WORDS:
                self._zone.__exit__(None, None, None)
                self._zone, self._zone_words = self._enter_zone(), 0
            # spaCy refuses lone surrogates, which JSON may contain. The replacement has the same length.
            doc = self._pipeline.make_doc(_SURROGATE.sub("\ufffd", text))
            bounds = ((token.idx, token.idx + len(token), self._role(token)) for token in doc)
            return tuple((text[start:end], start, end, role) for start, end, role in bounds)

    def _role(self, token: Any) -> int:
        if token.text in self._ends:
            return _END
        return _SPACE if token.is_space else _PUNCTUATION if token.is_punct else _PLAIN

    def _enter_zone(self) -> AbstractContextManager[Any]:
        """Enters and returns a memory zone of spaCy, which frees the data of its words when it is exited."""
        zone: AbstractContextManager[Any] = self._pipeline.memory_zone()
        zone.__enter__()
        return zone


class _WordCache(dict[str, tuple[Token, ...]]):
    """The tokens of words, computed at the first access; words without recent access are evicted."""

    def __init__(self, tokenize: Callable[[str], tuple[Token, ...]]) -> None:
        self._tokenize = tokenize
        self._older: dict[str, tuple[Token, ...]] = {}

    def __missing__(self, word: str) -> tuple[Token, ...]:
        tokens = self._older.get(word) or self._tokenize(word)
        if len(word) <= _MAX_CACHED_LENGTH:
            if len(self) >= _MAX_CACHED_WORDS:
                self._older = self.copy()
                self.clear()
            self[word] = tokens
        return tokens


def split_tokens(tokens: Iterable[tuple[str, int, int]]) -> Iterator[tuple[list[str], list[tuple[int, int]]]]:
    """Yields the sentences of tokens with offsets, by the same rules as those of texts. White space is left out.

    Args:
        tokens: tokens with their starts and ends; a line break in white space ends a sentence.

    Raises:
        ConfigError: spaCy is not installed.
    """
    ends, line = spacy_library.list_sentence_ends(), 0
    numbered: list[tuple[int, Token]] = []
    for token, start, end in tokens:
        is_space = token.isspace()
        line += is_space and "\n" in token
        is_punctuation = all(unicodedata.category(character).startswith("P") for character in token)
        role = _END if token in ends else _SPACE if is_space else _PUNCTUATION if is_punctuation else _PLAIN
        numbered.append((line, (token, start, end, role)))
    for _, group in groupby(numbered, key=itemgetter(0)):
        yield from _split_sentences([(0, tuple(token for _, token in group))])


def _split_sentences(
    words: Iterable[tuple[int, tuple[Token, ...]]],
) -> Iterator[tuple[list[str], list[tuple[int, int]]]]:
    """Yields the tokens and offsets of sentences. A sentence starts after an end mark and following punctuation."""
    tokens: list[str] = []
    offsets: list[tuple[int, int]] = []
    has_end = False
    for offset, word in words:
        for token, first, last, role in word:
            if role == _END:
                has_end = True
            elif has_end and role != _PUNCTUATION:
                yield tokens, offsets
                tokens, offsets, has_end = [], [], False
            if role != _SPACE:
                tokens.append(token)
                offsets.append((offset + first, offset + last))
    if tokens:
        yield tokens, offsets


def _any_of(rules: Iterable[str]) -> re.Pattern[str]:
    """Returns a pattern that matches any of the strings; without strings, it matches nothing."""
    return re.compile("|".join(map(re.escape, rules)) or r"(?!)")
