"""What a program needs to turn tokens into the inputs of a graph, and its outputs into tags: `preprocessing.json`."""

import unicodedata
from dataclasses import asdict, dataclass
from typing import Any

from tagger import __version__
from tagger.choices import Scheme
from tagger.data import document_context
from tagger.data.calibration import ThresholdSteps
from tagger.data.vocab import CASINGS, SPECIAL, Vocab
from tagger.data.word_encoding import MAX_CHARACTERS
from tagger.errors import ModelError
from tagger.io import json_files

FORMAT = 2
"""The version of the format of an export."""


@dataclass(frozen=True)
class Limits:
    """Numbers that bound the inputs.

    Attributes:
        characters: leading characters of a word that are read.
        occurrences: first occurrences of a word in its document whose neighbours are read.
        passage_tokens: tokens after which a long document is continued as a new one at the next sentence.
    """

    characters: int = MAX_CHARACTERS
    occurrences: int = document_context.MAX_OCCURRENCES
    passage_tokens: int = document_context.PASSAGE_TOKENS


@dataclass(frozen=True)
class _Header:
    """The fields of `preprocessing.json` except for the vocabularies."""

    format: int
    tagger: str
    unicode: str
    inputs: list[str]
    scheme: Scheme | None
    temperature: float
    type_temperatures: dict[str, float]
    thresholds: dict[str, ThresholdSteps]
    language: str
    tokenizer: str | None
    limits: Limits
    casings: list[str]


@dataclass(frozen=True)
class Preprocessing:
    """What the inputs and outputs of a graph mean.

    Attributes:
        inputs: the names of the graph's inputs.
        tags: the tags, in the order of their ids.
        scheme: the scheme of the tags, None for plain tags.
        words: all words with a vector, in the order of their ids.
        characters: the characters, in the order of their ids.
        temperature: the calibration temperature, which the graph applies.
        type_temperatures: temperatures of types of spans, which the program applies.
        thresholds: by type, the threshold of each precision; empty if the model has none.
        language: the language of texts, an ISO code.
        tokenizer: the tokenizer that split the texts that the model was trained on; None if they were tokens.
    """

    inputs: tuple[str, ...]
    tags: tuple[str, ...]
    scheme: Scheme | None
    words: Vocab
    characters: Vocab
    temperature: float
    type_temperatures: dict[str, float]
    thresholds: dict[str, ThresholdSteps]
    language: str
    tokenizer: str | None

    def to_bytes(self) -> bytes:
        """Returns the content of `preprocessing.json`."""
        header = _Header(
            format=FORMAT,
            tagger=__version__,
            unicode=unicodedata.unidata_version,
            inputs=list(self.inputs),
            scheme=self.scheme,
            temperature=self.temperature,
            type_temperatures=self.type_temperatures,
            thresholds=self.thresholds,
            language=self.language,
            tokenizer=self.tokenizer,
            limits=Limits(),
            casings=list(CASINGS),
        )
        lists = {"tags": self.tags, "characters": self.characters.items, "words": self.words.items}
        return json_files.dump(asdict(header) | lists)

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "Preprocessing":
        """Returns the content of a file.

        Args:
            data: its bytes.
            name: its name in messages.

        Raises:
            ModelError: it is damaged or of another format.
        """
        try:
            values = json_files.parse(data)
            if not isinstance(values, dict):
                raise ValueError("expected an object")
            if values.get("format") != FORMAT:
                raise ValueError(f"format {str(values.get('format'))[:20]}, expected {FORMAT}; export the model again")
            tags, characters, words = (_take_strings(values, key) for key in ("tags", "characters", "words"))
            header = json_files.parse_as(_Header, json_files.dump(values))
            _check(header, tags, characters, words)
        except ValueError as error:
            raise ModelError(f"{name}: {error}") from error
        return cls(
            tuple(header.inputs),
            tuple(tags),
            header.scheme,
            Vocab(words),
            Vocab(characters),
            header.temperature,
            header.type_temperatures,
            header.thresholds,
            header.language,
            header.tokenizer,
        )


def _take_strings(values: dict[str, Any], key: str) -> list[str]:
    """Removes and returns a list of strings; `json_files.parse_as` takes half a second for a vocabulary."""
    items = values.pop(key, None)
    if not isinstance(items, list) or not all(type(item) is str for item in items):
        raise ValueError(f"{key}: expected an array of strings")
    return items


def _check(header: _Header, tags: list[str], characters: list[str], words: list[str]) -> None:
    """Raises ValueError if fields contradict each other or this version of the toolkit."""
    if header.limits != Limits() or header.casings != list(CASINGS):
        raise ValueError("its limits or casings are not those of this version; export the model again")
    if not tags:
        raise ValueError("tags: expected at least one tag")
    for key, items in (("characters", characters), ("words", words)):
        if tuple(items[: len(SPECIAL)]) != SPECIAL or len(set(items)) < len(items):
            raise ValueError(f"{key}: expected {SPECIAL[0]}, {SPECIAL[1]} and distinct entries")
    if any(not temperature > 0 for temperature in header.type_temperatures.values()):
        raise ValueError("type_temperatures: expected numbers above 0")
    for steps in header.thresholds.values():
        precisions = [precision for precision, _ in steps]
        if precisions != sorted(precisions) or not all(0 <= threshold <= 1 for _, threshold in steps if threshold):
            raise ValueError("thresholds: expected rising precisions, and thresholds from 0 to 1")
