"""Tagging files on this machine."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from tagger import files
from tagger.build import Bundle
from tagger.choices import InputFormat, OutputFormat, Scheme, TaggedFormat
from tagger.data import schemes, sinks, sources
from tagger.data.formats.columns import Layout
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError
from tagger.tagging import Tagger

log = logging.getLogger(__name__)

STDIN = Path("-")


def tagged_format(bundle: Bundle, path: Path) -> TaggedFormat:
    """Returns the format of a tagged file: what its name says, else what the model was trained on, else columns."""
    guessed = sources.guess_format(path)
    if guessed not in ("columns", "conllu"):
        return "conllu" if bundle.config.data.format == "conllu" else "columns"
    return guessed


def layout(
    bundle: Bundle,
    form: InputFormat,
    *,
    token: int | str | None = None,
    tag: int | str | None = None,
    tagged: bool = False,
) -> Layout:
    """Returns where tokens and tags stand in files of a format: where they stood in training, unless told otherwise.

    In files unlike those of the training, tags are read from the last column and written into a new one; in CoNLL-U
    they are XPOS, or for spans NER in MISC.
    """
    data = bundle.config.data
    if form == data.format:
        known = Layout(data.token, data.tag, data.columns)
    elif form == "conllu":
        known = Layout(0, "misc:NER" if bundle.scheme else "xpos")
    else:
        known = Layout(0, -1 if tagged else None)
    return Layout(known.token if token is None else token, known.tag if tag is None else tag, known.names)


@dataclass(frozen=True, slots=True)
class Formats:
    """How files are read and written.

    Attributes:
        form: the format of the input, guessed from each name if None.
        to: the format of the output; if None, that of the input, or columns for plain lines.
        token: the column of the token, where it is not where the model's training had it.
        tag: the column of the tag, likewise.
        scheme: in which spans are spelt, that of the training if None.
    """

    form: InputFormat | None = None
    to: OutputFormat | None = None
    token: int | str | None = None
    tag: int | str | None = None
    scheme: Scheme | None = None


def tag_files(
    tagger: Tagger, paths: Sequence[Path], formats: Formats, *, out: Path | None, streams: tuple[BinaryIO, BinaryIO]
) -> int:
    """Tags files one after another, each sentence in its place; returns the number of sentences with tokens.

    Args:
        tagger: the tagger.
        paths: the files; `-` stands for the input stream.
        formats: how they are read and written.
        out: a directory that gets a file for each input under its whole name only when it is whole; if None, all goes
            to the output stream.
        streams: the standard input and output.

    Raises:
        ConfigError: a scheme is asked for, and the model's tags are plain.
        DataError: a file cannot be read, or two outputs would have one name.
        CheckpointError: the directory cannot be written.
    """
    if formats.scheme and tagger.bundle.scheme is None:
        raise ConfigError(f"the model's tags are plain; they cannot be spelt in {formats.scheme}")
    forms = [formats.form or _guessed(path) for path in paths]
    targets: list[OutputFormat] = [
        formats.to or ("columns" if form == "lines" or form == "text" else form) for form in forms
    ]
    if missing := [f"{path}: no such file" for path in paths if path != STDIN and not path.exists()]:
        raise DataError(*missing)
    names: list[str | None] = [None] * len(paths)
    if out is not None:
        names = [*_names(paths, forms, targets)]
        _check_targets(out, names, paths)
        with files.writing(out):
            out.mkdir(parents=True, exist_ok=True)
    count = 0
    for path, form, to, name in zip(paths, forms, targets, names, strict=True):
        source = streams[0] if path == STDIN else path
        with _sink(streams[1], out / name if out is not None and name is not None else None) as sink:
            for sentence, lines in _tagged(tagger, source, form, to, formats):
                sink.write("".join(lines).encode())
                count += bool(sentence.tokens)
                if out is None:
                    sink.flush()
    return count


def _guessed(path: Path) -> InputFormat:
    form = sources.guess_format(path)
    if form == "lines" and path != STDIN:
        log.info("%s: read as plain lines, a sentence each; --from says otherwise", path)
    return form


def _tagged(
    tagger: Tagger, source: Path | BinaryIO, form: InputFormat, to: OutputFormat, formats: Formats
) -> Iterator[tuple[Sentence, Iterator[str]]]:
    """Yields the sentences of a source, tagged, each with the lines it is written as."""
    where = there = layout(tagger.bundle, form, token=formats.token, tag=formats.tag)
    if to == "conllu" and form != "conllu":
        there = layout(tagger.bundle, "conllu", tag=formats.tag)
    write = sinks.writer(to, form=form, layout=there)
    sentences = sources.read(source, form=form, layout=where, tagged=False)
    if form not in ("lines", to):
        # What stands between sentences stays behind.
        sentences = (sentence for sentence in sentences if sentence.tokens)
    for sentence in tagger.stream(sentences):
        if formats.scheme:
            tags = schemes.tags_of(sentence.spans, len(sentence), formats.scheme)
            sentence = replace(sentence, tags=tags)
        yield sentence, write(sentence)


@contextmanager
def _sink(stream: BinaryIO, path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield stream
        return
    with files.writing(path), files.atomic_file(path) as new:
        yield new


def _names(paths: Sequence[Path], forms: Sequence[InputFormat], targets: Sequence[OutputFormat]) -> list[str]:
    names = []
    for path, form, to in zip(paths, forms, targets, strict=True):
        plain = Path("stdin" if path == STDIN else path.name.removesuffix(".gz"))
        names.append(plain.name if form == to and plain.suffix else f"{plain.stem}{sinks.SUFFIXES[to]}")
    return names


def _check_targets(out: Path, names: Sequence[str | None], paths: Sequence[Path]) -> None:
    faults = []
    for place, name in enumerate(map(str, names)):
        if name in names[:place]:
            faults.append(f"{paths[names.index(name)]} and {paths[place]} would both be written to {out / name}")
        if (out / name).exists() and paths[place].exists() and (out / name).samefile(paths[place]):
            faults.append(f"{paths[place]} would be overwritten by its own output; choose another --out")
    if faults:
        raise DataError(*faults)
