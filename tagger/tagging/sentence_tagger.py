"""The interface of taggers: sentences or texts in, sentences or documents out."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import overload

from tagger.choices import Newline, list_briefly
from tagger.data.document import Document
from tagger.data.sentence import Sentence
from tagger.tagging.conversion import to_sentence
from tagger.tagging.texts import check_tokenizer, tag_texts

log = logging.getLogger(__name__)

Stream = Callable[[Iterable[Sentence]], Iterator[Sentence]]
"""Yields sentences with tags and spans, in their order."""


class PrecisionLog:
    """Logs the types of spans without a threshold, once for each precision."""

    def __init__(self) -> None:
        self._logged: set[float] = set()

    def add(self, precision: float | None, imprecise: Sequence[str]) -> None:
        """Logs the types that have no threshold of a precision, unless they were logged before."""
        if precision is None or not imprecise or precision in self._logged or not log.isEnabledFor(logging.WARNING):
            return
        self._logged.add(precision)
        log.warning(
            "no spans of these types: at no threshold is their precision %s with 95 %% confidence: %s",
            precision,
            list_briefly(imprecise),
        )


class SentenceTagger(ABC):
    """Tags sentences and texts; how it computes the tags is up to its subclasses.

    This module imports no torch, so that an exported model can be run without it.
    """

    @property
    @abstractmethod
    def default_language(self) -> str:
        """The ISO code of the language of texts if none is given."""

    @property
    @abstractmethod
    def trained_tokenizer(self) -> str | None:
        """The tokenizer of the texts that the model was trained on; None if it was trained on tokens."""

    @abstractmethod
    def open_stream(
        self, *, probabilities: bool, threshold: float | None, precision: float | None, nbest: int
    ) -> Stream:
        """Returns a function that tags a stream of sentences; the options are those of `tag`.

        Raises:
            ConfigError: an option is not valid.
        """

    def tag(
        self,
        sentences: Iterable[str | Sequence[str] | Sentence],
        *,
        probabilities: bool = False,
        threshold: float | None = None,
        precision: float | None = None,
        nbest: int = 0,
    ) -> list[Sentence]:
        """Returns the sentences with tags and spans, in their order.

        A string is split at spaces and tabs; any other value that is no Sentence is a sequence of tokens. Each of them
        is a document by itself. Consecutive Sentences with the same document number form a document.

        Args:
            sentences: what to tag.
            probabilities: give spans, and tags outside of spans, their probability. In a sentence longer than
                `max_tokens` a probability is exact within its window, and a span cut by windows has none.
            threshold: leave out spans with a lower probability; spans without a probability stay, with a log message.
            precision: leave out spans below the threshold of their type that has at least this precision, with 95 %
                confidence on the data that the model was calibrated on, and spans without a probability.
            nbest: give each sentence this number of its most probable taggings.

        Raises:
            TypeError: `sentences` is a string, one of them is not a sentence, or a token is not a string.
            ValueError: a token is empty.
            ConfigError: an option does not fit the model.
            ModelError: the model's scores are not finite.
        """
        if isinstance(sentences, str):
            raise TypeError("tag() takes a list of sentences; put a single one in a list")
        stream = self.open_stream(probabilities=probabilities, threshold=threshold, precision=precision, nbest=nbest)
        return list(stream(map(to_sentence, sentences, count())))

    @overload
    def tag_text(  # type: ignore[overload-overlap]  # a string is an iterable of strings, too
        self,
        texts: str,
        *,
        language: str | None = None,
        newline: Newline = "break",
        probabilities: bool = False,
        threshold: float | None = None,
        precision: float | None = None,
        nbest: int = 0,
    ) -> Document: ...

    @overload
    def tag_text(
        self,
        texts: Iterable[str],
        *,
        language: str | None = None,
        newline: Newline = "break",
        probabilities: bool = False,
        threshold: float | None = None,
        precision: float | None = None,
        nbest: int = 0,
    ) -> list[Document]: ...

    def tag_text(
        self,
        texts: str | Iterable[str],
        *,
        language: str | None = None,
        newline: Newline = "break",
        probabilities: bool = False,
        threshold: float | None = None,
        precision: float | None = None,
        nbest: int = 0,
    ) -> Document | list[Document]:
        """Returns the document of a text, or a list of documents for several texts, split and tagged.

        Texts are split into sentences and tokens by spaCy's rules, as files of raw text are (extra
        `[text]`). Each text is a document by itself.

        Args:
            texts: one text, or several.
            language: the ISO code of the language; None for that of the model.
            newline: break ends a sentence at each newline; space only at blank lines, for hard-wrapped text.
            probabilities: as for `tag`.
            threshold: as for `tag`.
            precision: as for `tag`.
            nbest: as for `tag`.

        Raises:
            TypeError: a text is not a string.
            ConfigError: spaCy is missing or does not know the language; or an option does not fit the model.
        """
        language = language or self.default_language
        check_tokenizer(self.trained_tokenizer, language)
        stream = self.open_stream(probabilities=probabilities, threshold=threshold, precision=precision, nbest=nbest)
        all_texts = [texts] if isinstance(texts, str) else texts
        documents = tag_texts(all_texts, language, newline, stream)
        return documents[0] if isinstance(texts, str) else documents
