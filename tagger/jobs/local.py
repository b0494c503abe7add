"""Tagging files on this machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tagger import files
from tagger.build import Bundle
from tagger.choices import InputFormat, OutputFormat, TaggedFormat
from tagger.data import sinks, sources
from tagger.data.formats.columns import Layout
from tagger.errors import DataError
from tagger.tagging import Tagger

STDIN = Path("-")


def tagged_format(bundle: Bundle, path: Path) -> TaggedFormat:
    """Returns the format of a tagged file: what its name says, else what the model was trained on, else columns."""
    if sources.guess_format(path) == "conllu" or bundle.config.data.format == "conllu":
        return "conllu"
    return "columns"


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


def tag_files(
    tagger: Tagger,
    paths: Sequence[Path],
    *,
    form: InputFormat | None,
    to: OutputFormat | None,
    out: Path | None,
    streams: tuple[BinaryIO, BinaryIO],
    token: int | str | None = None,
    tag: int | str | None = None,
) -> int:
    """Tags files one after another, each sentence in its place; returns the number of sentences with tokens.

    Args:
        tagger: the tagger.
        paths: the files; `-` stands for the input stream.
        form: the format of the input, guessed from each name if None.
        to: the format of the output; if None, that of the input, or columns for plain lines.
        out: a directory that gets a file for each input under its whole name only when it is whole; if None, all goes
            to the output stream.
        streams: the standard input and output.
        token: the column of the token, where it is not where the model's training had it.
        tag: the column of the tag, likewise.

    Raises:
        DataError: a file cannot be read, or two outputs would have one name.
        CheckpointError: the directory cannot be written.
    """
    forms = [form or sources.guess_format(path) for path in paths]
    targets: list[OutputFormat] = [to or ("columns" if given == "lines" else given) for given in forms]
    names = _names(paths, forms, targets) if out is not None else []
    if out is not None:
        _check_targets(out, names, paths)
        with files.writing(out):
            out.mkdir(parents=True, exist_ok=True)
    count = 0
    for place, (path, given, target) in enumerate(zip(paths, forms, targets, strict=True)):
        where = layout(tagger.bundle, given, token=token, tag=tag)
        there = where if target == given else layout(tagger.bundle, "conllu", tag=tag)
        write = sinks.writer(target, form=given, layout=there if target == "conllu" else where)
        source = streams[0] if path == STDIN else path
        with _sink(streams[1], None if out is None else out / names[place]) as sink:
            read = sources.read(source, form=given, layout=where, tagged=False)
            if given != "lines" and target != given:
                read = (sentence for sentence in read if sentence.tokens)  # lines between sentences stay behind
            for sentence in tagger.stream(read):
                sink.write("".join(write(sentence)).encode())
                count += bool(sentence.tokens)
                if out is None:
                    sink.flush()
    return count


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


def _check_targets(out: Path, names: Sequence[str], paths: Sequence[Path]) -> None:
    faults = []
    for place, name in enumerate(names):
        if name in names[:place]:
            faults.append(f"{paths[names.index(name)]} and {paths[place]} would both be written to {out / name}")
        if (out / name).exists() and paths[place].exists() and (out / name).samefile(paths[place]):
            faults.append(f"{paths[place]} would be overwritten by its own output; choose another --out")
    if faults:
        raise DataError(*faults)
