"""What the toolkit uses of spaCy: tokenizers, sentence ends, and the numbers that stand for strings in its files."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tagger.errors import ConfigError

_RULES = "no hyphen infix"  # to be changed with the rules, so that a model shows which it was trained on


def describe_tokenizer(language: str) -> str | None:
    """Returns the library, its version, the language and the rules by which texts are split; None without spaCy."""
    try:
        return f"spacy {version('spacy')}, {language}, {_RULES}"
    except PackageNotFoundError:
        return None


def build_pipeline(language: str) -> Any:
    """Returns the blank pipeline of a language, without the hyphen infix.

    Raises:
        ConfigError: spaCy is not installed or does not support the language.
    """
    spacy = _load("raw text needs")
    from spacy.lang.char_classes import HYPHENS

    if not re.fullmatch("[a-z]{2,3}", language):
        raise ConfigError(f"expected an ISO code such as en as the language, found {language!r}")
    try:
        pipeline = spacy.blank(language)
    except ImportError as error:  # unknown language, or a package that the language needs is missing
        message = " ".join(str(error).split())[:300]
        reason = "spaCy does not support it" if message.startswith("[E048]") else message
        raise ConfigError(f"language {language!r}: {reason}") from error
    infixes = [infix for infix in pipeline.Defaults.infixes or () if HYPHENS not in infix]
    if hasattr(pipeline.tokenizer, "infix_finditer") and infixes:
        pipeline.tokenizer.infix_finditer = spacy.util.compile_infix_regex(infixes).finditer
    return pipeline


def list_sentence_ends() -> frozenset[str]:
    """Returns the tokens that end a sentence, in any language.

    Raises:
        ConfigError: spaCy is not installed.
    """
    _load("the end of a sentence needs")
    from spacy.pipeline import Sentencizer

    return frozenset(Sentencizer.default_punct_chars)


def number_attributes() -> dict[int, str]:
    """Returns the names of the attributes of tokens, such as ORTH, by their numbers.

    Raises:
        ConfigError: spaCy is not installed.
    """
    _load(".spacy files need")
    from spacy.attrs import IDS

    return {number: name for name, number in IDS.items()}


def number_strings(strings: Iterable[str]) -> dict[int, str]:
    """Returns strings by the numbers that stand for them in files; those of parts of speech are included.

    Raises:
        ConfigError: spaCy is not installed.
    """
    _load(".spacy files need")
    from spacy.parts_of_speech import NAMES
    from spacy.strings import get_string_id

    return {int(number): name for number, name in NAMES.items()} | {get_string_id(text): text for text in strings}


def hash_string(text: str) -> int:
    """Returns the number that stands for a string in files.

    Raises:
        ConfigError: spaCy is not installed.
    """
    _load(".spacy files need")
    from spacy.strings import get_string_id

    return int(get_string_id(text))


def _load(purpose: str) -> Any:
    try:
        import spacy  # takes seconds to import
    except ImportError as error:
        raise ConfigError(f"{purpose} spaCy: pip install 'bilstm-crf-tagger[text]'") from error
    return spacy
