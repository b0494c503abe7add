"""Reads sentences and records from files of any format, folders of corpus files and datasets, in one pass."""

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from tagger.choices import InputFormat, Scheme, TagFormat, TaggedFormat, options
from tagger.data import schemes, tag_formats
from tagger.data.formats import FORMATS, Layout, conllu, hub, names_of
from tagger.data.formats.reading import ReadOptions
from tagger.data.sentence import Record, Sentence
from tagger.errors import MAX_FAULTS, ConfigError, DataError, limit_faults
from tagger.io import line_reader

# The file names of published corpora by role, in order of preference.
_FILE_NAMES = {
    "train": ("train", "eng.train", "*-train", "*_train", "*.train"),
    "dev": ("dev", "valid", "validation", "testa", "eng.testa", "*-dev", "*_dev", "*.dev", "*.testa"),
    "test": ("test", "testb", "eng.testb", "*-test", "*_test", "*.test", "*.testb"),
}
_FILE_SUFFIXES = ("", ".txt", *(suffix for name in names_of("is_training_data") for suffix in FORMATS[name].suffixes))


@dataclass(frozen=True, slots=True)
class Corpus:
    """The sentences of one part of the data, each with tokens, and the name of the part in messages.

    Attributes:
        name: the name.
        sentences: the sentences; tags of spans have the form `B-PER`.
        tag_format: the format in which the tags were read, never `auto` if another format was guessed.
    """

    name: str
    sentences: tuple[Sentence, ...]
    tag_format: TagFormat = "auto"

    @property
    def tokens(self) -> int:
        """The number of its tokens."""
        return sum(map(len, self.sentences))

    def describe_invalid(self, scheme: Scheme, limit: int = MAX_FAULTS) -> list[str]:
        """Returns a line for each tag that is invalid in a scheme; at most `limit` and one with the remaining count."""
        faults = []
        for sentence in self.sentences:
            for position in schemes.find_invalid(sentence.tags, scheme):
                previous = repr(sentence.tags[position - 1]) if position else "the sentence's start"
                tag = repr(sentence.tags[position]) if position < len(sentence) else "the sentence's end"
                faults.append(f"{self.name}: sentence at line {sentence.line}: {tag} after {previous} breaks {scheme}")
        return limit_faults(faults, limit)

    def digest(self) -> str:
        """Returns the SHA-256, in hexadecimal, of all tokens and tags; it does not depend on the file format."""
        digest = hashlib.sha256()
        for sentence in self.sentences:
            rows = zip(sentence.tokens, sentence.tags, strict=True)
            digest.update("".join(f"{token}\t{tag}\n" for token, tag in rows).encode() + b"\n")
            if sentence.annotated_types is not None:
                digest.update("".join(f"\t{kind}\n" for kind in sorted(sentence.annotated_types)).encode() + b"\n")
        return digest.hexdigest()


def guess_format(path: Path) -> InputFormat:
    """Returns the format of a file by its suffix; `lines` for other suffixes.

    >>> guess_format(Path("en-dev.conllu.gz"))
    'conllu'
    """
    plain = line_reader.strip_compression_suffix(path)
    names = (name for name in options(InputFormat) if plain.suffix in FORMATS[name].suffixes)
    return cast(InputFormat, next(names, "lines"))


class DataSettings(Protocol):
    """The part of a recipe's `data` settings that specifies the columns of tokens and tags."""

    @property
    def format(self) -> str:
        """The file format."""

    @property
    def token(self) -> int | str:
        """The column of the token."""

    @property
    def tag(self) -> int | str:
        """The column of the tag."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, if they have names."""

    @property
    def tag_format(self) -> TagFormat:
        """How tags encode spans."""

    @property
    def outside_tag(self) -> str:
        """The tag of tokens outside spans."""

    @property
    def unknown_tag(self) -> str | None:
        """The tag of tokens that were not annotated."""

    @property
    def comments(self) -> str:
        """How comment lines of columns start."""


class PartSettings(DataSettings, Protocol):
    """The `data` settings of a recipe that specify where its parts are: a file or a split for train, dev and test."""

    @property
    def dataset(self) -> str | None:
        """The name or the path of a dataset."""

    @property
    def revision(self) -> str | None:
        """The revision of the dataset."""

    @property
    def splits(self) -> object:
        """The splits of the dataset by role."""

    @property
    def max_record_bytes(self) -> int:
        """The largest line or sentence to read."""


def guess_tagged_format(path: Path, trained: DataSettings) -> TaggedFormat:
    """Returns the format of a tagged file: by its suffix, else the format of the training data, else columns."""
    names = (name for name in (guess_format(path), trained.format) if name in options(TaggedFormat))
    return cast(TaggedFormat, next(names, "columns"))


def find_layout(
    trained: DataSettings,
    input_format: str,
    *,
    has_spans: bool = True,
    token: int | str | None = None,
    tag: int | str | None = None,
    tagged: bool = False,
) -> Layout:
    """Returns which columns hold tokens and tags in the files of a format, and how the tags are read.

    Files in the format of the training data have its columns and tags. In other files the token is in the first column;
    tags are read from the last column or written into a new one. In CoNLL-U tags are XPOS or, for spans, NER in MISC.

    Args:
        trained: the settings of the training data.
        input_format: the format of the files.
        has_spans: whether the tags encode spans.
        token: the column of the token; None for the default.
        tag: the column of the tag; None for the default.
        tagged: whether the files hold tags.
    """
    if input_format == trained.format:
        default = Layout(
            trained.token,
            trained.tag,
            trained.columns,
            tag_format=trained.tag_format,
            outside_tag=trained.outside_tag,
            comments=trained.comments,
        )
    elif input_format == "conllu":
        default = Layout(0, "misc:NER" if has_spans else "xpos")
    else:
        default = Layout(0, -1 if tagged else None)
    tag_column = default.tag if tag is None else tag
    is_plain = default.tag_format == "auto" and not has_spans
    return replace(
        default,
        token=default.token if token is None else token,
        tag=tag_column,
        fixed=tag is not None,
        unknown_tag=trained.unknown_tag,
        tag_format="plain" if is_plain else default.tag_format,
    )


def read_sentences(
    source: Path | BinaryIO,
    *,
    input_format: InputFormat,
    layout: Layout,
    tagged: bool,
    name: str | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Sentence]:
    """Yields all sentences of a file or a stream of tagged sentences, including those without tokens.

    Raises:
        ConfigError: the format holds no tags.
        DataError: the source cannot be read as its format, or a line or a sentence has more than `max_record_bytes`;
            the error names file and line.
    """
    options = ReadOptions(_label(source, name), layout, max_record_bytes=max_record_bytes)
    if not FORMATS[input_format].is_corpus:
        expected = " or ".join(names_of("is_corpus"))
        raise ConfigError(f"{options.name}: {input_format} holds no tags; expected the format {expected}")
    sentences: Iterator[Sentence] = FORMATS[input_format].load().read_tagged(source, options, tagged=tagged)
    return sentences


def read_records(
    source: Path | BinaryIO,
    *,
    input_format: InputFormat,
    layout: Layout,
    name: str | None = None,
    **options: Any,
) -> Iterator[Record]:
    """Returns the records of a file or a stream: sentences of lines or of a corpus, paragraphs of a text, or rows.

    Args:
        source: a path, or a stream except for Parquet.
        input_format: the format of the source.
        layout: the column of the token in columns, and of the tag in CoNLL-U.
        name: the name of the source in errors, and the document id of a text; the path if None.
        options: the other options of `ReadOptions`.

    Raises:
        ConfigError: the options do not fit the source.
        DataError: the source cannot be read as its format; the error names file and line. With `reject`, only if no
            input after the fault can be read.
    """
    records: Iterator[Record] = (
        FORMATS[input_format].load().read_records(source, ReadOptions(_label(source, name), layout, **options))
    )
    return records


def _label(source: Path | BinaryIO, name: str | None) -> str:
    return name or (str(source) if isinstance(source, Path) else "standard input")


def read_corpus(
    path: Path, *, input_format: InputFormat, layout: Layout, max_record_bytes: int = line_reader.MAX_RECORD_BYTES
) -> Corpus:
    """Returns the tagged sentences of a file.

    Raises:
        DataError: the file cannot be read or holds no sentence.
    """
    sentences = read_sentences(
        path, input_format=input_format, layout=layout, tagged=True, max_record_bytes=max_record_bytes
    )
    corpus = _build_corpus(str(path), path.name, sentences)
    if input_format == "conllu" and not conllu.has_tags(corpus.sentences, str(layout.tag)):
        raise DataError(f"{path}: no token has a tag in {layout.tag}; choose another field: upos, xpos or misc:KEY")
    return _read_tags(corpus, layout)


def read_part(data: PartSettings, role: str) -> Corpus | None:
    """Returns a part of a recipe's data: train, dev or test; None if the recipe has no such part.

    Raises:
        DataError: the part cannot be read or holds no sentence.
    """
    layout = find_layout(data, data.format)
    if data.format == "datasets":
        split = getattr(data.splits, role)
        if data.dataset is None or split is None:
            return None
        return read_dataset(data.dataset, split, layout=layout, revision=data.revision)
    path = getattr(data, role)
    if path is None:
        return None
    input_format = cast(InputFormat, data.format)
    return read_corpus(Path(path), input_format=input_format, layout=layout, max_record_bytes=data.max_record_bytes)


def read_dataset(name: str, split: str, *, layout: Layout, revision: str | None) -> Corpus:
    """Returns the tagged sentences of one split of a dataset."""
    sentences = hub.read(name, split, token=str(layout.token), tag=str(layout.tag), revision=revision)
    return _read_tags(_build_corpus(f"{name}, split {split}", f"{Path(name).name}:{split}", sentences), layout)


def _read_tags(corpus: Corpus, layout: Layout) -> Corpus:
    sentences: Sequence[Sentence] = corpus.sentences
    if layout.unknown_tag != schemes.UNKNOWN:
        _refuse_empty_tags(corpus)
    if layout.unknown_tag is not None:
        sentences = tuple(mark_unknown(sentence, layout.unknown_tag) for sentence in sentences)
    sentences, tag_format = tag_formats.read_all(sentences, corpus.name, layout.tag_format, layout.outside_tag)
    return Corpus(corpus.name, tuple(sentences), tag_format)


def _refuse_empty_tags(corpus: Corpus) -> None:
    for sentence in corpus.sentences:
        if "" in sentence.tags:
            line = tag_formats.find_line(sentence, sentence.tags.index(""))
            advice = "if the token was not annotated, set data.unknown_tag to ''"
            raise DataError(f"{corpus.name}:{line}: the tag is empty; {advice}")


def mark_unknown(sentence: Sentence, unknown_tag: str) -> Sentence:
    """Returns a sentence in which the tag of tokens that were not annotated is `schemes.UNKNOWN`."""
    if unknown_tag not in sentence.tags:
        return sentence
    return replace(sentence, tags=tuple([schemes.UNKNOWN if tag == unknown_tag else tag for tag in sentence.tags]))


def _build_corpus(location: str, name: str, sentences: Iterable[Sentence]) -> Corpus:
    with_tokens = tuple(sentence for sentence in sentences if sentence.tokens)
    if not with_tokens:
        raise DataError(f"{location}: holds no sentence")
    return Corpus(name, with_tokens)


def find_corpus_files(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder by role (train, dev, test), from their names.

    Raises:
        DataError: the folder does not exist, it has no training file, or two files match one role equally well.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files = {}
    for role, stems in _FILE_NAMES.items():
        for stem in stems:
            matches = sorted(
                path
                for suffix in _FILE_SUFFIXES
                for compressed_suffix in ("", *line_reader.COMPRESSED_SUFFIXES)
                for path in folder.glob(stem + suffix + compressed_suffix)
                if path.is_file()
            )
            # Universal Dependencies publishes the raw text and the treebank under the same name.
            matches = [path for path in matches if path.suffix != ".txt" or path.with_suffix(".conllu") not in matches]
            if len(matches) > 1:
                raise DataError(
                    f"{folder}: {' and '.join(path.name for path in matches)} may each be `{role}`; name one"
                )
            if matches:
                files[role] = matches[0]
                break
    if "train" not in files:
        raise DataError(f"{folder}: found no training file such as train.txt or en-train.conllu; name it with `train`")
    return files


def split_off_dev(sentences: Sequence[Sentence], fraction: float, seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """Returns training sentences and about a fraction of all sentences for development.

    Documents are not split if there are several.

    Raises:
        DataError: there is only one sentence.
    """
    by_document = len({sentence.document for sentence in sentences}) > 1
    units = [sentence.document if by_document else number for number, sentence in enumerate(sentences)]
    order = sorted(set(units))
    if len(order) < 2:
        raise DataError("a single sentence cannot be split into training and development data; name a file with `dev`")
    random.Random(seed).shuffle(order)
    dev_units = set(order[: min(max(1, round(fraction * len(order))), len(order) - 1)])
    train = [sentence for unit, sentence in zip(units, sentences, strict=True) if unit not in dev_units]
    dev = [sentence for unit, sentence in zip(units, sentences, strict=True) if unit in dev_units]
    return train, dev
