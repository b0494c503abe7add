"""What the paths of a tagging job stand for, and where the output of each goes."""

import glob
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from tagger.errors import ConfigError, DataError
from tagger.io.line_reader import bare_name

log = logging.getLogger(__name__)

STDIN = "-"
"""Stands for the standard input among the paths of a job; a `Path` is always a file, `Path("-")` too."""
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*")  # of a format: that of notes.2024-01-05 is part of the name
_MOST_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Input:
    """A file to tag, or the standard input.

    Attributes:
        path: where it is, None for the standard input.
        place: its place among the inputs: the path within the folder it was found in, or its name.
    """

    path: Path | None
    place: PurePath

    @property
    def label(self) -> str:
        """How messages call it."""
        return "standard input" if self.path is None else str(self.path)

    @property
    def recorded_path(self) -> str:
        """The path that a journal holds; a file called - differs from the standard input."""
        return STDIN if self.path is None else f"./{self.path}" if str(self.path) == STDIN else str(self.path)

    def identity(self) -> tuple[int, int] | None:
        """Returns size and time of change of a file, None for what can be read only once."""
        if self.path is None or not self.path.is_file():
            return None
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns

    def output(self, suffix: str, *, same_format: bool) -> PurePath:
        """Returns where its output goes: its place with another suffix, or the same where the format is the same."""
        bare = bare_name(self.place)
        if same_format and bare.suffix:
            return bare
        return bare.with_name(stem(bare) + suffix)


def stem(place: PurePath) -> str:
    """Returns the name of a file without the suffixes of its packing and its format.

    >>> stem(PurePath("in/notes.2024-01-05.txt.gz")), stem(PurePath("notes.2024-01-05"))
    ('notes.2024-01-05', 'notes.2024-01-05')
    """
    bare = bare_name(place)
    return bare.stem if _SUFFIX.fullmatch(bare.suffix) else bare.name


def find(
    paths: Sequence[Path | str],
    *,
    pattern: str | None = None,
    out: Path | None = None,
    unreadable: Callable[[str], None] | None = None,
) -> list[Input]:
    """Returns the inputs that paths stand for, in their order; those of a folder or a glob in the order of their names.

    A folder stands for all files in it, at any depth, that are not hidden; links to further folders are not followed,
    which a notice tells. A path that is not there and has one of `*?[` is taken as a glob, as a shell would expand it.

    Args:
        paths: files, folders, globs, or STDIN for the standard input.
        pattern: what the end of a path within a folder must fit, such as `*.txt` or `dev/*.txt`.
        out: the directory of the outputs, which no folder may hold.
        unreadable: takes the fault of a folder that cannot be listed; without it, such a fault is an error.

    Raises:
        ConfigError: there is a pattern and no folder, or the pattern is not one.
        DataError: a file is missing, a folder is empty, cannot be read or holds `out`, or a file comes twice; a line
            for each.
    """
    if pattern is not None and not PurePath(pattern).parts:
        raise ConfigError(f"`pattern` {pattern!r} fits no file; expected a pattern such as '*.txt'")
    expanded = [each for path in paths for each in _expanded(path)]
    if pattern is not None and not any(path is not None and path.is_dir() for path in expanded):
        raise ConfigError("`pattern` chooses among the files of a folder, and no folder is given")
    faults: list[str] = []
    left_out: list[str] = []
    inputs: list[Input] = []
    for path in expanded:
        if path is None:
            inputs.append(Input(None, PurePath("stdin")))
        elif path.is_dir():
            failed: list[str] = []
            inside = [Input(file, file.relative_to(path)) for file in _files(path, pattern, failed.append)]
            inputs += inside
            left_out += failed
            if not inside and not failed:
                faults.append(f"{path}: no file in this folder{f' fits {pattern}' if pattern else ''}")
            if out is not None and _holds(path, out):
                faults.append(f"{out}: lies within the input folder {path}; choose another `out`")
        elif not os.path.lexists(path):
            faults.append(f"{path}: no such file")
        else:
            inputs.append(Input(path, PurePath(path.name)))
    if unreadable is None or not inputs:
        faults += left_out
    else:
        for fault in left_out:
            unreadable(fault)
    faults += _twice(inputs)
    faults += [f"{item.path}: no such file" for item in inputs if item.path is not None and not item.path.exists()]
    _raise(faults)
    return inputs


def check_outputs(out: Path, inputs: Sequence[Input], names: Sequence[PurePath], taken: Sequence[PurePath]) -> None:
    """Raises DataError, with a line for each, where outputs would meet one another, an input, or what is `taken`."""
    faults = []
    files = {_number(item.path): item.path for item in inputs if item.path is not None and item.path.is_file()}
    first: dict[PurePath, Input] = {}
    for item, name in zip(inputs, names, strict=True):
        if name in first:
            faults.append(collision(first[name].label, item.label, out / name))
        elif name in taken or name.parts[0] in map(str, taken):
            faults.append(f"{item.label} would be written to {out / name}, which the job keeps for itself")
        elif (out / name).exists() and (same := files.get(_number(out / name))):
            own = "its own output" if same == item.path else f"the output of {item.label}"
            faults.append(f"{same} would be overwritten by {own}; choose another `out`")
        first.setdefault(name, item)
    _raise(faults)


def check_aside(
    aside: Mapping[str, Path | None], read: Iterable[Path], out: Path | None, taken: Callable[[PurePath], bool]
) -> None:
    """Raises DataError, with a line for each, where a file beside the outputs would overwrite another of the job.

    Args:
        aside: the files by the options that name them; None for those not given.
        read: the inputs that are on disks.
        out: the directory of the outputs, if there is one on a disk.
        taken: tells whether a place in it is that of an output, or one that the job keeps for itself.
    """
    given = {option: path for option, path in aside.items() if path is not None and not is_device(path)}
    inputs = {_number(path) for path in read if path.is_file()} if given else set()
    first: dict[Path, str] = {}
    faults = []
    for option, path in given.items():
        place = path.resolve()
        if path.exists() and _number(path) in inputs:
            faults.append(f"{path}: is an input, and `{option}` would overwrite it")
        elif out is not None and place.is_relative_to(out.resolve()) and taken(place.relative_to(out.resolve())):
            faults.append(f"{path}: is written by the job itself, and `{option}` would overwrite it")
        elif place in first:
            faults.append(f"{path}: is what `{first[place]}` names, and `{option}` would overwrite it")
        first.setdefault(place, option)
    _raise(faults)


def is_device(path: Path) -> bool:
    """Returns whether a path leads to what is written and never replaced, such as a device or a FIFO."""
    return path.exists() and not path.is_file() and not path.is_dir()


def collision(one: str, other: str, output: PurePath | str) -> str:
    """Returns the fault of two inputs, given by what messages call them, that would have one output."""
    apart = PurePath(one).parent != PurePath(other).parent
    hint = "; a folder given as such, with `pattern`, keeps its shape" * apart
    return f"{one} and {other} would both be written to {output}{hint}"


def _expanded(name: Path | str) -> Sequence[Path | None]:
    """Returns the paths that a glob stands for, else the path itself; None for the standard input."""
    if name == STDIN:
        return [None]
    path = Path(name)
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    return sorted(map(Path, glob.glob(str(path), recursive=True)), key=_order) or [path]  # noqa: PTH207  # as the shell's


def and_more(names: Sequence[str | Path]) -> str:
    """Returns the first of some names and how many more there are.

    >>> and_more(["a.txt", "b.txt", "c.txt"])
    'a.txt and 2 more'
    """
    return f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"


def _files(folder: Path, pattern: str | None, failed: Callable[[str], None]) -> Iterator[Path]:
    """Yields the files of a folder that are not hidden; a link that leads nowhere is one, a pipe is none.

    Calls `failed` with the fault of each folder that cannot be listed.
    """
    found: list[Path] = []
    linked: list[Path] = []
    special: list[Path] = []

    def report(error: OSError) -> None:
        failed(f"{error.filename}: this folder cannot be read: {(error.strerror or str(error)).lower()}")

    for place, folders, names in os.walk(folder, onerror=report):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked += [path for path in (Path(place, name) for name in folders) if path.is_symlink()]
        paths = (Path(place, name) for name in names if not name.startswith("."))
        for path in paths:
            (found if path.is_file() or not path.exists() else special).append(path)
    if special:
        log.info("%s: pipes and devices in folders are not read; give them by themselves", and_more(special))
    if linked:
        linked.sort(key=_order)
        log.info("%s: links to folders are not followed; give the folders themselves", and_more(linked))
    if pattern is not None:
        found = [path for path in found if path.relative_to(folder).match(pattern)]
    yield from sorted(found, key=_order)


def _order(path: Path) -> tuple[str, ...]:
    return path.parts


def _holds(folder: Path, out: Path) -> bool:
    return out.resolve().is_relative_to(folder.resolve())


def _twice(inputs: Sequence[Input]) -> Iterator[str]:
    seen = set()
    for item in inputs:
        path = item.path and os.path.abspath(item.path)  # noqa: PTH100  # links stay: another name is another input
        if path in seen:
            yield f"{item.label}: given twice"
        seen.add(path)


def _number(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _raise(faults: Sequence[str]) -> None:
    if faults:
        more = len(faults) - _MOST_FAULTS
        raise DataError(*faults[:_MOST_FAULTS], *([f"… and {more} more"] if more > 0 else []))
