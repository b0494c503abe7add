"""Vocabularies: the order of words, characters and tags that a model's ids stand for."""

import re
from collections.abc import Iterable, Sequence

from tagger.errors import ModelError

SPECIAL = ("<padding>", "<unknown>")
UNKNOWN = 1
MAX_ENTRIES = 4_000_000
_DIGIT = re.compile(r"\d")


def forms(word: str) -> tuple[str, str, str]:
    """Returns the spellings under which a word is looked up, in order.

    >>> forms("Route66")
    ('Route66', 'route66', 'route00')
    """
    lower = word.lower()
    return word, lower, _DIGIT.sub("0", lower)


class Vocab:
    """Strings and their ids, which are their positions.

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
        """Returns the ids of items, UNKNOWN for each that is not there."""
        get = self.ids.get
        return [get(item, UNKNOWN) for item in items]

    def lookup(self, word: str) -> int:
        """Returns the id of a word as written, else lower-cased, else with digits as 0, else UNKNOWN."""
        for form in forms(word):
            if form in self.ids:
                return max(self.ids[form], UNKNOWN)  # a text may hold the word that padding is called by
        return UNKNOWN

    def to_bytes(self) -> bytes:
        """Returns the items as a text file, one a line."""
        return "".join(f"{item}\n" for item in self.items).encode()

    @classmethod
    def from_bytes(cls, data: bytes | bytearray, *, limit: int = MAX_ENTRIES) -> "Vocab":
        """Returns the vocabulary of a text file of at most `limit` entries.

        Raises:
            ModelError: an item stands twice, or the file has too many lines or is not whole lines of UTF-8.
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
            raise ModelError("vocabulary has an entry twice or a last line without an end")
        return vocab


CASINGS = ("padding", "other", "lower", "initial", "upper", "mixed")


def casing(word: str) -> int:
    """Returns the id, in CAPITALS, of how a word is capitalised.

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
