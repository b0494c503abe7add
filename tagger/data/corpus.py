"""The sentences of one part of the data, as they were read."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from tagger.choices import CorpusFormat, Scheme, TagFormat
from tagger.data import schemes, stored_sentences, tag_formats
from tagger.data.formats import FORMATS
from tagger.data.notices import Notices
from tagger.data.sentence import Sentence
from tagger.data.stored_sentences import StoredSentences
from tagger.errors import MAX_FAULTS, limit_faults


@dataclass(frozen=True, slots=True)
class Corpus:
    """The sentences of one part of the data, each with tokens.

    Attributes:
        name: the name of the part in messages.
        sentences: the sentences, a tuple or stored on disk; tags of spans have the form `B-PER`.
        format: the format that they were read from; None for sentences that come from no file.
        tag_format: the format in which the tags were read, never `auto` if another format was guessed.
        notices: what their reader changed, skipped or found suspicious.
        files: the file of each document by its number, where each has its own, as in a folder; else none.
    """

    name: str
    sentences: Sequence[Sentence]
    format: CorpusFormat | None = None
    tag_format: TagFormat = "auto"
    notices: Notices = field(default_factory=Notices, compare=False)
    files: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """The number of its tokens."""
        if isinstance(self.sentences, StoredSentences):
            return len(self.sentences.word_ids)
        return sum(map(len, self.sentences))

    @property
    def document_count(self) -> int:
        """The number of its documents."""
        if isinstance(self.sentences, StoredSentences):
            return self.sentences.document_count
        return len({sentence.document for sentence in self.sentences})

    @property
    def is_split_text(self) -> bool:
        """Whether tokens were split from texts by the tokenizer, not by the tool that annotated them."""
        return self.has_texts and (self.format is None or FORMATS[self.format].holds_texts)

    @property
    def has_texts(self) -> bool:
        """Whether the tags are those of annotated spans of texts."""
        if isinstance(self.sentences, StoredSentences):
            return self.sentences.has_texts
        return any(sentence.has_annotated_text for sentence in self.sentences)

    def locate(self, sentence: Sentence, position: int = 0) -> str:
        """Returns the file and the line of a token of a sentence, and its record where records share a line.

        Sentences that come from no file have the name of the corpus alone.
        """
        file = self.files[sentence.document] if self.files else self.name
        if not sentence.line:
            return file
        record = f", record {sentence.record}" if sentence.record else ""
        return f"{file}:{tag_formats.find_line(sentence, position)}{record}"

    def locate_tag(self, tag: str) -> str:
        """Returns the file and the line of the first token with a tag that occurs in the corpus."""
        sentence = next(sentence for sentence in self.sentences if tag in sentence.tags)
        return self.locate(sentence, sentence.tags.index(tag))

    def describe_invalid(self, scheme: Scheme, limit: int = MAX_FAULTS) -> list[str]:
        """Returns a line for each tag that is invalid in a scheme; at most `limit` and one with the remaining count."""
        return limit_faults(self._find_invalid(scheme), limit, count=self.count_invalid(scheme))

    def count_invalid(self, scheme: Scheme) -> int:
        """Returns the number of tags that are invalid in a scheme."""
        return schemes.count_invalid(stored_sentences.count_pairs(self.sentences), scheme)

    def _find_invalid(self, scheme: Scheme) -> Iterator[str]:
        """Yields a line for each tag that is invalid in a scheme."""
        for sentence in self.sentences:
            for position, fault in schemes.describe_invalid(sentence.tags, scheme):
                where = self.locate(sentence, min(position, len(sentence) - 1))
                yield f"{where}: {fault} breaks {scheme}"

    def with_annotated_types(self, types: Iterable[str]) -> "Corpus":
        """Returns the corpus with sentences that are annotated for types of spans, unless they have their own."""
        annotated = tuple(sorted(types))
        if isinstance(self.sentences, StoredSentences):
            return replace(self, sentences=self.sentences.with_annotated_types(annotated))
        sentences = (
            replace(sentence, annotated_types=annotated) if sentence.annotated_types is None else sentence
            for sentence in self.sentences
        )
        return replace(self, sentences=tuple(sentences))

    def digest(self) -> str:
        """Returns the SHA-256, in hexadecimal, of all tokens and tags; it does not depend on the file format.

        That of stored sentences is computed once, and stored beside them.
        """
        sentences = self.sentences
        if not isinstance(sentences, StoredSentences) or sentences.cache is None:
            return _compute_digest(sentences)
        variant = hashlib.sha256(sentences.variant.encode()).hexdigest()[:16]
        name = f"{sentences.name}-digest-{variant}"
        entry = sentences.cache.open(name, lambda writer: writer.write_value("sha256", _compute_digest(sentences)))
        return str(entry.value("sha256"))


def _compute_digest(sentences: Iterable[Sentence]) -> str:
    digest = hashlib.sha256()
    for sentence in sentences:
        rows = zip(sentence.tokens, sentence.tags, strict=True)
        digest.update("".join([f"{token}\t{tag}\n" for token, tag in rows]).encode() + b"\n")
        if sentence.annotated_types is not None:
            digest.update("".join(f"\t{kind}\n" for kind in sorted(sentence.annotated_types)).encode() + b"\n")
    return digest.hexdigest()
