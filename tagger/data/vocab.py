"""Vocabularies, which map words, characters and tags to ids, and the casing of words."""

import re
from collections.abc import Iterable, Sequence

from tagger.errors import ModelError

SPECIAL = ("<padding>", "<unknown>")
UNKNOWN = 1
MAX_ENTRIES = 4_000_000
_DIGIT = re.compile(r"\d")


def forms(word: str) -> tuple[str, str, str]:
    """Returns the forms under which a word is looked up, in order: as written, lower-cased, with digits as 0.

    >>> forms("Route66")
    ('Route66', 'route66', 'route00')
    """
    lower = word.lower()
    return word, lower, _DIGIT.sub("0", lower)


class Vocab:
    """Strings, and ids that are their positions.

    >>> Vocab(["O", "S-PER"])["S-PER"]
    1
    """

    def __init__(self, items: Sequence[str]) -> None:
        self.items = tuple(items)
        self.ids = {item: number for number, item in enumerate(self.items)}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: str) -> int:
        return self.ids[item]

    def __contains__(self, item: str) -> bool:
        return item in self.ids

    def encode(self, items: Iterable[str]) -> list[int]:
        """Returns the ids of items, UNKNOWN for each item that is not in the vocabulary."""
        get = self.ids.get
        return [get(item, UNKNOWN) for item in items]

    def lookup(self, word: str) -> int:
        """Returns the id of the first of a word's `forms` in the vocabulary, else UNKNOWN."""
        for variant in forms(word):
            if variant in self.ids:
                return max(self.ids[variant], UNKNOWN)  # a text may contain the word '<padding>'
        return UNKNOWN

    def to_bytes(self) -> bytes:
        """Returns the items as a text file, one per line."""
        return "".join(f"{item}\n" for item in self.items).encode()

    @classmethod
    def from_bytes(cls, data: bytes | bytearray, *, limit: int = MAX_ENTRIES) -> "Vocab":
        """Returns the vocabulary in a text file of at most `limit` entries.

        Raises:
            ModelError: an entry is repeated, there are too many lines, or the file is not complete lines of UTF-8.
        """
        if (count := data.count(b"\n")) > limit:
            raise ModelError(f"vocabulary has {count} entries; at most {limit} are read")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"vocabulary is not UTF-8: {error}") from error
        *items, rest = text.split("\n")
        vocab = cls(items)
        if len(vocab.ids) != len(vocab.items) or rest:
            raise ModelError("vocabulary has a repeated entry or an incomplete last line")
        return vocab


CASINGS = ("padding", "other", "lower", "initial", "upper", "mixed")


def casing(word: str) -> int:
    """Returns the casing id of a word, an index into CASINGS.

    >>> [CASINGS[casing(word)] for word in ("EU", "Peter", "lamb", "eBay", "22")]
    ['upper', 'initial', 'lower', 'mixed', 'other']
    """
    if word.islower():
        return 2
    if word.isupper():
        return 3 if len(word) == 1 else 4
    if not any(character.isalpha() for character in word):
        return 1
    return 3 if word[0].isupper() and word[1:].islower() else 5
