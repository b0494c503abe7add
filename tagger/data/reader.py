"""Where sentences come from: files of any format, folders with the usual names, datasets; read once, forward."""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tagger.choices import InputFormat, Scheme
from tagger.data import schemes
from tagger.data.formats import columns, conllu, hub, jsonl, lines, text
from tagger.data.formats.columns import Layout
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import ConfigError, DataError
from tagger.io import line_reader

ALONE = ("lines", "jsonl", "parquet")  # formats whose records are documents each by itself
_SUFFIXES: dict[str, InputFormat] = {
    ".conllu": "conllu",
    ".conll": "columns",
    ".iob": "columns",
    ".bio": "columns",
    ".col": "columns",
    ".tsv": "columns",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
# The names under which corpora are published, per role, most telling first.
_USUAL = {
    "train": ("train", "eng.train", "*-train", "*_train", "*.train"),
    "dev": ("dev", "valid", "validation", "testa", "eng.testa", "*-dev", "*_dev", "*.dev", "*.testa"),
    "test": ("test", "testb", "eng.testb", "*-test", "*_test", "*.test", "*.testb"),
}
_USUAL_SUFFIXES = ("", ".txt", ".conll", ".conllu", ".iob", ".bio", ".col", ".tsv")


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
            for position in schemes.broken(sentence.tags, scheme):
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
    return _SUFFIXES.get(plain.suffix, "lines")


def read(
    source: Path | BinaryIO,
    *,
    form: InputFormat,
    layout: Layout,
    tagged: bool,
    name: str | None = None,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Sentence]:
    """Yields the sentences of a file or a stream as they stand, empty ones included.

    Raises:
        DataError: the source cannot be read as its format, or a line or a sentence has more than `max_record_bytes`;
            the error names file and line.
    """
    label = name or (str(source) if isinstance(source, Path) else "standard input")
    numbered = line_reader.read_lines(source, label, max_record_bytes=max_record_bytes)
    if form == "columns":
        return columns.read(numbered, label, layout, tagged=tagged, max_record_bytes=max_record_bytes)
    if form == "conllu":
        return conllu.read(numbered, label, str(layout.tag), tagged=tagged, max_record_bytes=max_record_bytes)
    if tagged:
        raise ConfigError(f"{label}: plain lines hold no tags; expected the format columns or conllu")
    return lines.read(numbered)


def records(
    source: Path | BinaryIO,
    *,
    form: InputFormat,
    layout: Layout,
    language: str = "en",
    name: str | None = None,
    reject: Callable[[Reject], None] | None = None,
    first: int = 1,
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES,
) -> Iterator[Record]:
    """Returns the records of a file or a stream: a sentence of lines or of a corpus, a paragraph of a text, or a row.

    The document of a sentence of lines is its line's number, from 0; that of a text is called by its name.

    Args:
        source: a path, or a stream, which Parquet cannot be.
        form: its format.
        layout: where the token stands in columns, and the tag in CoNLL-U.
        language: that of raw text, an ISO code.
        name: stands for the source in errors, and is the id of a text.
        reject: takes what cannot be read: a line, a row, or in a corpus the block between blank lines; then reading
            goes on.
        first: the number of the first line of a stream of lines or JSON lines that begins within a file.
        max_record_bytes: limit of a line, a row, or the block between blank lines; a larger one cannot be read.

    Raises:
        ConfigError: the source cannot be read that way, whatever it holds.
        DataError: it cannot be read as its format; the error names file and line. With `reject`, only if that spoils
            all that follows.
    """
    label = name or (str(source) if isinstance(source, Path) else "standard input")
    if form == "parquet":
        from tagger.data.formats import parquet  # loads Arrow, so only when it is used

        return parquet.read(source, label, language, reject=reject, max_record_bytes=max_record_bytes)
    limit = max_record_bytes
    if form == "text":
        numbered = line_reader.read_lines(
            source, label, line_reader.Unreadable if reject else None, max_record_bytes=limit
        )
        return text.read(numbered, label, language, reject=reject)
    if form in ("columns", "conllu"):
        numbered = line_reader.read_lines(
            source, label, line_reader.Unreadable if reject else None, max_record_bytes=limit
        )
        if form == "conllu":
            return conllu.records(numbered, label, str(layout.tag), reject=reject, max_record_bytes=limit)
        found = columns.read(numbered, label, layout, tagged=False, reject=reject, max_record_bytes=limit)
        return (_record(one, one.document) for one in found)
    numbered = line_reader.read_lines(source, label, reject and _refusing(reject), first=first, max_record_bytes=limit)
    if form == "jsonl":
        return jsonl.read(numbered, label, language, reject=reject)
    return (_record(one, one.line - 1) for one in lines.read(numbered))


def _record(sentence: Sentence, document: int) -> Record:
    size = sum(map(len, sentence.raw))
    return Record((sentence,), document, sentence.line, numbered=True, size=size)


def _refusing(reject: Callable[[Reject], None]) -> Callable[[str, int, str], None]:
    return lambda fault, line, raw: reject(Reject(fault, line, raw))


def corpus(
    path: Path, *, form: InputFormat, layout: Layout, max_record_bytes: int = line_reader.MAX_RECORD_BYTES
) -> Corpus:
    """Returns the tagged sentences of a file.

    Raises:
        DataError: the file cannot be read or holds no sentence.
    """
    sentences = read(path, form=form, layout=layout, tagged=True, max_record_bytes=max_record_bytes)
    found = _corpus(str(path), path.name, sentences)
    if form == "conllu" and not conllu.tagged(found.sentences, str(layout.tag)):
        raise DataError(f"{path}: no token has a tag in {layout.tag}; name its place, such as upos, xpos or misc:KEY")
    return found


def dataset(name: str, split: str, *, layout: Layout, revision: str | None) -> Corpus:
    """Returns the tagged sentences of one split of a dataset."""
    found = hub.read(name, split, token=str(layout.token), tag=str(layout.tag), revision=revision)
    return _corpus(f"{name}, split {split}", f"{Path(name).name}:{split}", found)


def _corpus(place: str, name: str, sentences: Iterable[Sentence]) -> Corpus:
    kept = tuple(sentence for sentence in sentences if sentence.tokens)
    if not kept:
        raise DataError(f"{place}: holds no sentence")
    return Corpus(name, kept)


def find(folder: Path) -> dict[str, Path]:
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
