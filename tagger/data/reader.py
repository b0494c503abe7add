"""Where sentences come from: files of any format, folders with the usual names, datasets; read once, forward."""

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from tagger.choices import InputFormat, Scheme, TaggedFormat, options
from tagger.data import schemes
from tagger.data.formats import FORMATS, Layout, conllu, hub, names_of
from tagger.data.formats.reading import ReadOptions
from tagger.data.sentence import Record, Sentence
from tagger.errors import ConfigError, DataError
from tagger.io import line_reader

# The names under which corpora are published, per role, most telling first.
_USUAL = {
    "train": ("train", "eng.train", "*-train", "*_train", "*.train"),
    "dev": ("dev", "valid", "validation", "testa", "eng.testa", "*-dev", "*_dev", "*.dev", "*.testa"),
    "test": ("test", "testb", "eng.testb", "*-test", "*_test", "*.test", "*.testb"),
}
_USUAL_SUFFIXES = ("", ".txt", *(suffix for name in names_of("is_training_data") for suffix in FORMATS[name].suffixes))


@dataclass(frozen=True, slots=True)
class Corpus:
    """The sentences of one part of the data, none of them empty, and the name that messages give it."""

    name: str
    sentences: tuple[Sentence, ...]

    @property
    def tokens(self) -> int:
        """The number of its tokens."""
        return sum(map(len, self.sentences))

    def invalid_places(self, scheme: Scheme, most: int = 20) -> list[str]:
        """Returns a line for each tag that breaks a scheme, up to `most` of them."""
        faults = []
        for sentence in self.sentences:
            for position in schemes.find_invalid(sentence.tags, scheme):
                before = repr(sentence.tags[position - 1]) if position else "the sentence's start"
                tag = repr(sentence.tags[position]) if position < len(sentence) else "the sentence's end"
                faults.append(f"{self.name}: sentence at line {sentence.line}: {tag} after {before} breaks {scheme}")
        return faults[:most] + [f"… and {len(faults) - most} more"] * (len(faults) > most)

    def digest(self) -> str:
        """Returns the SHA-256, in hexadecimal, of all tokens and tags, whatever format they were read from."""
        digest = hashlib.sha256()
        for sentence in self.sentences:
            rows = zip(sentence.tokens, sentence.tags, strict=True)
            digest.update("".join(f"{token}\t{tag}\n" for token, tag in rows).encode() + b"\n")
        return digest.hexdigest()


def guess_format(path: Path) -> InputFormat:
    """Returns the format that a file's name suggests, plain lines if none.

    >>> guess_format(Path("en-dev.conllu.gz"))
    'conllu'
    """
    plain = line_reader.strip_compression_suffix(path)
    names = (name for name in options(InputFormat) if plain.suffix in FORMATS[name].suffixes)
    return cast(InputFormat, next(names, "lines"))


class DataSettings(Protocol):
    """The settings of training data that say which columns hold tokens and tags: `data` of a recipe."""

    @property
    def format(self) -> str:
        """The format."""

    @property
    def token(self) -> int | str:
        """The column of the token."""

    @property
    def tag(self) -> int | str:
        """The column of the tag."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, if they have names."""


def guess_tagged_format(path: Path, trained: DataSettings) -> TaggedFormat:
    """Returns the format of a tagged file: the one that its name suggests, else that of the training, else columns."""
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
    """Returns which columns hold tokens and tags in the files of a format.

    In the format of the training data, the columns are those of the training. In other files the token is in the first
    column, and tags are read from the last column or written into a new one; in CoNLL-U they are XPOS or, for spans,
    NER in MISC.

    Args:
        trained: the settings of the training data.
        input_format: the format of the files.
        has_spans: whether the tags encode spans.
        token: the column of the token; None for the above.
        tag: the column of the tag; None for the above.
        tagged: whether the files hold tags.
    """
    if input_format == trained.format:
        usual = Layout(trained.token, trained.tag, trained.columns)
    elif input_format == "conllu":
        usual = Layout(0, "misc:NER" if has_spans else "xpos")
    else:
        usual = Layout(0, -1 if tagged else None)
    tag_column = usual.tag if tag is None else tag
    return Layout(usual.token if token is None else token, tag_column, usual.names, fixed=tag is not None)


def read_sentences(
    source: Path | BinaryIO,
    *,
    input_format: InputFormat,
    layout: Layout,
    tagged: bool,
    name: str | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Sentence]:
    """Yields all sentences of a file or a stream of tagged sentences, empty ones included.

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
    """Returns the records of a file or a stream: a sentence of lines or of a corpus, a paragraph of a text, or a row.

    Args:
        source: a path, or a stream, from which Parquet cannot be read.
        input_format: its format.
        layout: the column of the token in columns, and of the tag in CoNLL-U.
        name: the name of the source in errors, and the document id of a text; the path if None.
        options: the other options of `ReadOptions`.

    Raises:
        ConfigError: the source cannot be read in this way, whatever it holds.
        DataError: it cannot be read as its format; the error names file and line. With `reject`, only if nothing after
            the fault can be read.
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
    corpus = _corpus(str(path), path.name, sentences)
    if input_format == "conllu" and not conllu.has_tags(corpus.sentences, str(layout.tag)):
        raise DataError(f"{path}: no token has a tag in {layout.tag}; choose another field: upos, xpos or misc:KEY")
    return corpus


def read_dataset(name: str, split: str, *, layout: Layout, revision: str | None) -> Corpus:
    """Returns the tagged sentences of one split of a dataset."""
    found = hub.read(name, split, token=str(layout.token), tag=str(layout.tag), revision=revision)
    return _corpus(f"{name}, split {split}", f"{Path(name).name}:{split}", found)


def _corpus(place: str, name: str, sentences: Iterable[Sentence]) -> Corpus:
    kept = tuple(sentence for sentence in sentences if sentence.tokens)
    if not kept:
        raise DataError(f"{place}: holds no sentence")
    return Corpus(name, kept)


def find_corpus_files(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder by role (train, dev, test) as their names tell.

    Raises:
        DataError: there is no such folder, it has no training file, or two files fit one role equally.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = {}
    for role, stems in _USUAL.items():
        for stem in stems:
            fitting = sorted(
                path
                for suffix in _USUAL_SUFFIXES
                for packed in ("", *line_reader.COMPRESSED_SUFFIXES)
                for path in folder.glob(stem + suffix + packed)
                if path.is_file()
            )
            # Universal Dependencies publishes the raw text beside the treebank, under the same name.
            fitting = [path for path in fitting if path.suffix != ".txt" or path.with_suffix(".conllu") not in fitting]
            if len(fitting) > 1:
                raise DataError(
                    f"{folder}: {' and '.join(path.name for path in fitting)} may each be `{role}`; name one"
                )
            if fitting:
                found[role] = fitting[0]
                break
    if "train" not in found:
        raise DataError(f"{folder}: found no training file such as train.txt or en-train.conllu; name it with `train`")
    return found


def split_off_dev(sentences: Sequence[Sentence], share: float, seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """Returns sentences to train on and about `share` of them to develop on, split by document if there are several.

    Raises:
        DataError: there is too little to split.
    """
    several = len({sentence.document for sentence in sentences}) > 1
    units = [sentence.document if several else number for number, sentence in enumerate(sentences)]
    order = sorted(set(units))
    if len(order) < 2:
        raise DataError("a single sentence cannot be split into training and development data; name a file with `dev`")
    random.Random(seed).shuffle(order)
    chosen = set(order[: min(max(1, round(share * len(order))), len(order) - 1)])
    train = [sentence for unit, sentence in zip(units, sentences, strict=True) if unit not in chosen]
    dev = [sentence for unit, sentence in zip(units, sentences, strict=True) if unit in chosen]
    return train, dev
