"""Checks of words and sentence lengths: invisible and damaged characters, normal forms, missing sentence ends."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence

from tagger.analysis.findings import Example, Finding, collect
from tagger.analysis.parts import Part
from tagger.choices import FindingKind, Severity

LONG_SENTENCE = 250
"""Sentences with more tokens are reported."""
_JOINERS = "\u200c\u200d"  # needed in Persian, in Indic scripts and in emoji
_LAST_LATIN = "\u024f"
_EMOJI_JOINER = "\u200d"  # a tokenizer may cut an emoji after it
_FLAG, _FLAG_TAGS = "\U0001f3f4", frozenset(map(chr, range(0xE0020, 0xE0080)))
_FAULTS: tuple[tuple[FindingKind, Severity, str], ...] = (
    ("control-character", "error", "The token has a control character."),
    ("zero-width", "warning", "The token has an invisible character, so that it differs from the word it looks like."),
    ("replacement-character", "warning", "The token has U+FFFD, which replaces characters that could not be decoded."),
    ("white-space", "warning", "The token begins or ends with white space, or has nothing else."),
)


def check(parts: Sequence[Part]) -> Iterator[Finding]:
    """Yields the findings about words and lengths of sentences."""
    words = {
        word for part in parts for word in part.words if not (word.isascii() and word.isprintable() and " " not in word)
    }
    faulty: dict[str, dict[str, str]] = {}
    for word in words:
        for kind, text in _faults_of(word):
            faulty.setdefault(kind, {})[word] = text
    for kind, severity, message in _FAULTS:
        yield from collect(kind, severity, message, _uses(parts, faulty.get(kind, {})))
    yield from collect(
        "mixed-normalization",
        "warning",
        "Some words are composed (NFC) and some decomposed (NFD); the same word is then two words. Normalize the text.",
        _uses(parts, _minority_forms(parts)),
    )
    yield from collect(
        "long-sentence",
        "warning",
        f"The sentence has more than {LONG_SENTENCE} tokens. Are sentences separated by a blank line?",
        (
            Example(located.locate(), f"{len(located.sentence):,} tokens: {located.text}")
            for part in parts
            for located in part
            if len(located.sentence) > LONG_SENTENCE
        ),
    )


def _uses(parts: Sequence[Part], texts: Mapping[str, str]) -> Iterator[Example]:
    """Yields every token that is one of the words, with the word's text."""
    for located in (located for part in parts if texts for located in part):
        for position, token in enumerate(located.sentence.tokens):
            if token in texts:
                yield Example(located.locate(position), texts[token])


def _faults_of(word: str) -> Iterator[tuple[FindingKind, str]]:
    """Yields the kind of each fault of a word, with the word and its faulty characters."""
    tests: tuple[tuple[FindingKind, Callable[[str, int], bool]], ...] = (
        ("control-character", _is_control),
        ("zero-width", _is_invisible),
        ("replacement-character", lambda text, index: text[index] == "\ufffd"),
    )
    for kind, test in tests:
        if characters := [character for index, character in enumerate(word) if test(word, index)]:
            yield kind, f"{word!r} with {_name(characters)}"
    if word != word.strip():
        ends = [character for character in (word[0], word[-1]) if character.isspace()]
        yield "white-space", f"{word!r} with {_name(ends)}"


def _is_control(word: str, index: int) -> bool:
    return unicodedata.category(word[index]) in ("Cc", "Cs", "Zl", "Zp")


def _is_invisible(word: str, index: int) -> bool:
    """Returns whether a character is invisible.

    Joiners between letters of scripts that need them, joiners beside emoji and the tags of flags are not meant.
    """
    if unicodedata.category(word[index]) != "Cf" or (word[index] in _FLAG_TAGS and word[0] == _FLAG):
        return False
    neighbours = word[max(index - 1, 0) : index] + word[index + 1 : index + 2]
    if word[index] == _EMOJI_JOINER and any(map(_is_emoji, neighbours)):
        return False
    return word[index] not in _JOINERS or len(neighbours) < 2 or min(neighbours) <= _LAST_LATIN


def _is_emoji(character: str) -> bool:
    """Returns whether a character is an emoji, or changes the one before it: its colour or its style."""
    return character == "\ufe0f" or "\U0001f3fb" <= character <= "\U0001f3ff" or unicodedata.category(character) == "So"


def _name(characters: Sequence[str]) -> str:
    """Returns the code points of characters, each once.

    >>> _name("\u200b\u200b")
    'U+200B ZERO WIDTH SPACE'
    """
    names = (f"U+{ord(each):04X} {unicodedata.name(each, '')}".strip() for each in dict.fromkeys(characters))
    return ", ".join(names)


def _minority_forms(parts: Sequence[Part]) -> dict[str, str]:
    """Returns the words in the normal form, NFC or NFD, that fewer tokens have, if there are words in both forms."""
    composed: dict[str, int] = {}
    decomposed: dict[str, int] = {}
    for part in parts:
        for word, count in part.words.items():
            if word.isascii():
                continue
            nfc, nfd = unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word)
            if nfc != nfd and word in (nfc, nfd):
                counts = composed if word == nfc else decomposed
                counts[word] = counts.get(word, 0) + count
    if not composed or not decomposed:
        return {}
    is_composed = sum(composed.values()) < sum(decomposed.values())
    return {
        word: f"{word!r} is {'NFC' if is_composed else 'NFD'}" for word in (composed if is_composed else decomposed)
    }
