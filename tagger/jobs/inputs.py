"""The inputs that the paths of a tagging job name, and the path of each output."""

import glob
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from tagger.data.formats import hub
from tagger.errors import ConfigError, DataError, limit_faults
from tagger.io.line_reader import strip_compression_suffix

log = logging.getLogger(__name__)

STDIN = "-"
"""Names the standard input among the paths of a job; a `Path` is always a file, even `Path("-")`."""
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*")  # of a format; the one of notes.2024-01-05 belongs to the name


@dataclass(frozen=True, slots=True)
class Input:
    """A file to tag, or the standard input.

    Attributes:
        path: the path, None for the standard input.
        relative_path: the path relative to the folder that was searched, or the file name.
    """

    path: Path | None
    relative_path: PurePath

    @property
    def label(self) -> str:
        """The name in messages."""
        return "standard input" if self.path is None else str(self.path)

    @property
    def journal_path(self) -> str:
        """The path in a journal; a file called - differs from the standard input."""
        return STDIN if self.path is None else f"./{self.path}" if str(self.path) == STDIN else str(self.path)

    def file_status(self) -> tuple[int, int] | None:
        """Returns size and modification time of a file, None for an input that can be read only once."""
        if self.path is None or not self.path.is_file():
            return None
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def output_path(self, suffix: str, *, same_format: bool) -> PurePath:
        """Returns the relative path of the output: with another suffix, unless the format stays the same."""
        path = strip_compression_suffix(self.relative_path)
        if same_format and path.suffix:
            return path
        return path.with_name(strip_suffixes(path) + suffix)


def parse_paths(paths: str | Path | Iterable[str | Path]) -> tuple[str | Path, ...]:
    """Returns one or several paths of a job; the string `-` names the standard input."""
    every = [paths] if isinstance(paths, str | Path) else paths
    return tuple(path if path == STDIN else Path(path) for path in every)


def strip_suffixes(path: PurePath) -> str:
    """Returns the name of a file without the suffixes of its compression and its format.

    >>> strip_suffixes(PurePath("in/notes.2024-01-05.txt.gz")), strip_suffixes(PurePath("notes.2024-01-05"))
    ('notes.2024-01-05', 'notes.2024-01-05')
    """
    path = strip_compression_suffix(path)
    return path.stem if _SUFFIX.fullmatch(path.suffix) else path.name


def find_inputs(
    paths: Sequence[Path | str],
    *,
    pattern: str | None = None,
    out: Path | None = None,
    on_unreadable: Callable[[str, str], None] | None = None,
) -> list[Input]:
    """Returns the inputs that paths name, in the order of the paths; those of a folder or a glob are sorted by name.

    A folder means all files in it, at any depth, that are not hidden. Links to other folders are not followed; a log
    message says so. A path that does not exist and has one of `*?[` is expanded as a glob.

    Args:
        paths: files, folders, globs, or STDIN for the standard input.
        pattern: a glob that the end of a path within a folder must match, such as `*.txt` or `dev/*.txt`.
        out: the directory of the outputs, which may not lie in an input folder.
        on_unreadable: is called with the path and the fault of a folder that cannot be listed; if None, such a fault
            is an error.

    Raises:
        ConfigError: there is a pattern but no folder, or the pattern is empty.
        DataError: a file is missing or named twice, or a folder is empty, cannot be read or contains `out`; a line
            for each.
    """
    if pattern is not None and not PurePath(pattern).parts:
        raise ConfigError(f"`pattern` {pattern!r} matches no file; expected a pattern such as '*.txt'")
    expanded = [match for path in paths for match in _expand(path)]
    if pattern is not None and not any(path is not None and path.is_dir() for path in expanded):
        raise ConfigError("`pattern` selects files of a folder, but no folder is given")
    faults: list[str] = []
    unreadable: list[tuple[str, str]] = []
    inputs: list[Input] = []
    for path in expanded:
        if path is None:
            inputs.append(Input(None, PurePath("stdin")))
        elif hub.is_dataset(path):
            advice = "write it as Parquet, with `to_parquet` of the library datasets"
            faults.append(f"{path}: a saved dataset is read for training only; {advice}")
        elif path.is_dir():
            unreadable_here: list[tuple[str, str]] = []
            files = _list_files(path, pattern, unreadable_here)
            inputs += [Input(file, file.relative_to(path)) for file in files]
            unreadable += unreadable_here
            if not files and not unreadable_here:
                faults.append(f"{path}: no file in this folder{f' matches {pattern}' if pattern else ''}")
            if out is not None and out.resolve().is_relative_to(path.resolve()):
                faults.append(f"{out}: lies within the input folder {path}; choose another `out`")
        elif not os.path.lexists(path):
            faults.append(f"{path}: no such file")
        else:
            inputs.append(Input(path, PurePath(path.name)))
    if on_unreadable is None or not inputs:
        faults += [fault for _, fault in unreadable]
    else:
        for folder, fault in unreadable:
            on_unreadable(folder, fault)
    faults += _find_duplicates(inputs)
    faults += [f"{item.path}: no such file" for item in inputs if item.path is not None and not item.path.exists()]
    _raise_if_any(faults)
    return inputs


def check_outputs(out: Path, inputs: Sequence[Input], names: Sequence[PurePath], reserved: Sequence[PurePath]) -> None:
    """Raises DataError, with a line for each, if outputs have the path of each other, an input or a reserved name."""
    faults = []
    files = {_file_id(item.path): item.path for item in inputs if item.path is not None and item.path.is_file()}
    first: dict[PurePath, Input] = {}
    for item, name in zip(inputs, names, strict=True):
        if name in first:
            faults.append(describe_collision(first[name].label, item.label, out / name))
        elif name in reserved or name.parts[0] in map(str, reserved):
            faults.append(f"{item.label} would be written to {out / name}, which is reserved for the job")
        elif (out / name).exists() and (same := files.get(_file_id(out / name))):
            output = "its own output" if same == item.path else f"the output of {item.label}"
            faults.append(f"{same} would be overwritten by {output}; choose another `out`")
        first.setdefault(name, item)
    _raise_if_any(faults)


def check_extra_outputs(
    files: Mapping[str, Path | None], read: Iterable[Path], out: Path | None, is_reserved: Callable[[PurePath], bool]
) -> None:
    """Raises DataError, with a line for each, if a file such as the summary would overwrite another file of the job.

    Args:
        files: the files by the parameters that name them, None for those not given.
        read: the inputs on disks.
        out: the directory of the outputs, None if it is not on a disk.
        is_reserved: returns whether a relative path in `out` is an output or reserved for the job.
    """
    named = {parameter: path for parameter, path in files.items() if path is not None and not is_device(path)}
    inputs = {_file_id(path) for path in read if path.is_file()} if named else set()
    first: dict[Path, str] = {}
    faults = []
    for parameter, path in named.items():
        resolved = path.resolve()
        if path.exists() and _file_id(path) in inputs:
            faults.append(f"{path}: is an input, and `{parameter}` would overwrite it")
        elif (
            out is not None
            and resolved.is_relative_to(out.resolve())
            and is_reserved(resolved.relative_to(out.resolve()))
        ):
            faults.append(f"{path}: is written by the job itself, and `{parameter}` would overwrite it")
        elif resolved in first:
            faults.append(f"{path}: is the file of `{first[resolved]}`, and `{parameter}` would overwrite it")
        first.setdefault(resolved, parameter)
    _raise_if_any(faults)


def is_device(path: Path) -> bool:
    """Returns whether a path leads to a device or a FIFO, which is written and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def describe_collision(first: str, second: str, output: PurePath | str) -> str:
    """Returns the fault of two inputs, given by their labels, that would have the same output."""
    differ = PurePath(first).parent != PurePath(second).parent
    hint = "; pass their common folder, with `pattern`, to keep its subfolders apart" * differ
    return f"{first} and {second} would both be written to {output}{hint}"


def _expand(name: Path | str) -> Sequence[Path | None]:
    """Returns the paths that match a glob, else the path itself; None for the standard input."""
    if name == STDIN:
        return [None]
    path = Path(name)
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    return sorted(map(Path, glob.glob(str(path), recursive=True)), key=_path_parts) or [path]  # noqa: PTH207  # as in a shell


def summarize_names(names: Sequence[str | Path]) -> str:
    """Returns the first name and the number of further names.

    >>> summarize_names(["a.txt", "b.txt", "c.txt"])
    'a.txt and 2 more'
    """
    return f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"


def _list_files(folder: Path, pattern: str | None, unreadable: list[tuple[str, str]]) -> list[Path]:
    """Returns the files of a folder that are not hidden, sorted; includes dangling links, but no pipes or devices.

    Appends the path and the fault of each folder that cannot be listed to `unreadable`.
    """
    files: list[Path] = []
    linked: list[Path] = []
    special: list[Path] = []

    def report(error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        unreadable.append((error.filename, f"{error.filename}: this folder cannot be read: {reason}"))

    for parent, folders, names in os.walk(folder, onerror=report):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked += [path for path in (Path(parent, name) for name in folders) if path.is_symlink()]
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            (files if path.is_file() or not path.exists() else special).append(path)
    if special:
        log.info("%s: pipes and devices in folders are not read; name them one by one", summarize_names(special))
    if linked:
        linked.sort(key=_path_parts)
        log.info("%s: links to folders are not followed; name the folders themselves", summarize_names(linked))
    if pattern is not None:
        files = [path for path in files if path.relative_to(folder).match(pattern)]
    return sorted(files, key=_path_parts)


def _path_parts(path: Path) -> tuple[str, ...]:
    return path.parts


def _find_duplicates(inputs: Sequence[Input]) -> Iterator[str]:
    """Yields a fault for each input that is named a second time."""
    seen = set()
    for item in inputs:
        path = item.path and os.path.abspath(item.path)  # noqa: PTH100  # links stay: another name is another input
        if path in seen:
            yield f"{item.label}: given twice"
        seen.add(path)


def _file_id(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _raise_if_any(faults: Sequence[str]) -> None:
    if faults:
        raise DataError(*limit_faults(faults))
