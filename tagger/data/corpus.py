"""The sentences of one part of the data, as they were read."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tagger.choices import CorpusFormat, Scheme, TagFormat
from tagger.data import schemes, tag_formats
from tagger.data.formats import FORMATS
from tagger.data.notices import Notices
from tagger.data.sentence import Sentence
from tagger.errors import MAX_FAULTS, limit_faults


@dataclass(frozen=True, slots=True)
class Corpus:
    """The sentences of one part of the data, each with tokens.

    Attributes:
        name: the name of the part in messages.
        sentences: the sentences; tags of spans have the form `B-PER`.
        format: the format that they were read from; None for sentences that come from no file.
        tag_format: the format in which the tags were read, never `auto` if another format was guessed.
        notices: what their reader changed, skipped or found suspicious.
        files: the file of each document by its number, where each has its own, as in a folder; else none.
    """

    name: str
    sentences: tuple[Sentence, ...]
    format: CorpusFormat | None = None
    tag_format: TagFormat = "auto"
    notices: Notices = field(default_factory=Notices, compare=False)
    files: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """The number of its tokens."""
        return sum(map(len, self.sentences))

    @property
    def is_split_text(self) -> bool:
        """Whether tokens were split from texts by the tokenizer, not by the tool that annotated them."""
        return self.has_texts and (self.format is None or FORMATS[self.format].holds_texts)

    @property
    def has_texts(self) -> bool:
        """Whether the tags are those of annotated spans of texts."""
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
        faults = []
        for sentence in self.sentences:
            for position, fault in schemes.describe_invalid(sentence.tags, scheme):
                where = self.locate(sentence, min(position, len(sentence) - 1))
                faults.append(f"{where}: {fault} breaks {scheme}")
        return limit_faults(faults, limit)

    def with_annotated_types(self, types: Iterable[str]) -> "Corpus":
        """Returns the corpus with sentences that are annotated for types of spans, unless they have their own."""
        annotated = tuple(sorted(types))
        sentences = (
            replace(sentence, annotated_types=annotated) if sentence.annotated_types is None else sentence
            for sentence in self.sentences
        )
        return replace(self, sentences=tuple(sentences))

    def digest(self) -> str:
        """Returns the SHA-256, in hexadecimal, of all tokens and tags; it does not depend on the file format."""
        digest = hashlib.sha256()
        for sentence in self.sentences:
            rows = zip(sentence.tokens, sentence.tags, strict=True)
            digest.update("".join(f"{token}\t{tag}\n" for token, tag in rows).encode() + b"\n")
            if sentence.annotated_types is not None:
                digest.update("".join(f"\t{kind}\n" for kind in sorted(sentence.annotated_types)).encode() + b"\n")
        return digest.hexdigest()
