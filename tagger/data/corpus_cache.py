"""Training data that exceed the memory: read once, stored as arrays in a cache, and mapped from there.

The name of a cached corpus is a hash of the content of its file and of all that determines how it is read. A changed
file thus has another name.
"""

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from tagger import __version__
from tagger.choices import CorpusFormat
from tagger.data import data_settings, reader, stored_sentences
from tagger.data.corpus import Corpus
from tagger.data.data_settings import PartSettings
from tagger.data.formats import FORMATS, spacy_library
from tagger.data.notices import Notices
from tagger.data.stored_sentences import StoredSentences
from tagger.errors import ConfigError, DataError
from tagger.io.array_cache import ArrayCache, EntryWriter

log = logging.getLogger(__name__)

_LAYOUT = 1  # of the entries
_FACTS = "facts"


def read_train(data: PartSettings, directory: Path) -> Corpus | None:
    """Returns the training data of a recipe, stored in a cache; None if the recipe names no training data.

    Args:
        data: the settings of the data.
        directory: the directory of the cache.

    Raises:
        ConfigError: the training data is not a file, or its settings do not fit it.
        DataError: the file cannot be read or holds no sentence, or it changes while it is read.
        StorageError: the cache cannot be written.
    """
    if data.implied_format == "datasets":
        raise ConfigError("training.corpus_cache needs training data in a file, not a dataset; omit it")
    if data.train is None:
        return None
    path = Path(data.train)
    input_format = data_settings.choose_format(path, data)
    if input_format == "brat" or (path.exists() and not path.is_file()):
        raise ConfigError(f"training.corpus_cache needs training data in one regular file, not {path}; omit it")
    options = data_settings.find_read_options(data)
    layout = data_settings.trained_layout(data)
    tokenizer = spacy_library.describe_tokenizer(data.language) if FORMATS[input_format].holds_texts else None
    digest = _hash_file(path)
    settings = repr((_LAYOUT, __version__, digest, input_format, layout, options, tokenizer))
    name = hashlib.sha256(settings.encode()).hexdigest()[:32]

    is_new = False

    def build(writer: EntryWriter) -> None:
        nonlocal is_new
        started = time.monotonic()
        log.info("%s: is encoded into %s", path.name, directory)
        with _collect_warnings() as warnings:
            corpus = reader.read_corpus(
                path,
                input_format=input_format,
                layout=layout,
                collect=lambda sentences: stored_sentences.write(sentences, writer),
                **options,
            )
        assert isinstance(corpus.sentences, StoredSentences)
        if _hash_file(path) != digest:
            raise DataError(f"{path}: has changed while it was read")
        corpus.sentences.finish()
        notices = corpus.notices
        writer.write_value(_FACTS, [corpus.format, corpus.tag_format, notices.counts, notices.messages, warnings])
        seconds = time.monotonic() - started
        log.info("%s: encoded %s tokens in %.0f s", path.name, f"{corpus.tokens:,}", seconds)
        is_new = True

    cache = ArrayCache(directory)
    entry = cache.open(name, build)
    corpus_format, tag_format, counts, messages, warnings = entry.value(_FACTS)
    if not is_new:
        log.info("%s: is read from %s", path.name, directory)
        for warning in warnings:
            log.warning("%s", warning)
    notices = Notices()
    notices.counts.update(counts)
    notices.messages.update(messages)
    sentences = stored_sentences.read(cache, name, entry)
    return Corpus(path.name, sentences, cast(CorpusFormat, corpus_format), tag_format, notices)


@contextmanager
def _collect_warnings() -> Iterator[list[str]]:
    """Yields a list of the warnings about tags that the block logs, for later trainings."""
    messages: list[str] = []
    handler = _Collector(messages)
    logger = logging.getLogger("tagger.data")
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


def _hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
