"""Reads one member of a zip archive. The path ARCHIVE:MEMBER names it, as in glove.6B.zip:glove.6B.100d.txt."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from tagger.errors import CorruptError, DataError
from tagger.io.line_reader import strip_compression_suffix

_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # the second starts an archive without members
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others may decompress to gigabytes at once
_MAX_LISTED = 10
_IS_ENCRYPTED = 1  # a bit of the flags


@contextmanager
def open_member(path: Path, suffixes: Sequence[str]) -> Iterator[tuple[Path | BinaryIO, str]]:
    """Yields what to read, and its name for messages: the path of a plain file, or the stream of a zip's member.

    Args:
        path: a file, a zip archive, or a member of one.
        suffixes: the suffixes of files that the caller reads, compressed ones aside. If the path names no member, the
            archive must hold one file with such a suffix; without any, it must hold one file.

    Raises:
        DataError: the archive does not hold the member, holds several candidates, or cannot be read.
        CorruptError: while reading: the archive is damaged.
    """
    archive_path, member = _split_path(path)
    if not _is_zip(archive_path):
        if member is not None:
            raise DataError(f"{path}: {archive_path.name} is not a zip archive, so it has no member '{member}'")
        yield path, str(path)
        return
    name = str(archive_path)
    try:
        with zipfile.ZipFile(archive_path) as archive:
            info = _find_member(archive, archive_path, member, suffixes)
            name = f"{archive_path}:{info.filename}"
            with _open(archive, info, name) as stream:
                yield stream, name
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CorruptError(f"{name}: damaged zip archive: {error}") from error


def _split_path(path: Path) -> tuple[Path, str | None]:
    """Returns the path of an archive and the name of its member, None if the path names none."""
    text = str(path)
    if not path.exists():
        for index, character in enumerate(text):
            if character == ":" and (archive := Path(text[:index])).is_file():
                return archive, text[index + 1 :]
    return path, None


def _is_zip(path: Path) -> bool:
    if not path.is_file():  # reading a pipe here would take its first bytes
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(4) in _MAGICS
    except OSError:  # the caller's attempt to read the file reports it
        return False


def _find_member(archive: zipfile.ZipFile, path: Path, member: str | None, suffixes: Sequence[str]) -> zipfile.ZipInfo:
    infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    candidates = [name for name in infos if not _is_hidden(name)]
    readable = [name for name in candidates if strip_compression_suffix(PurePosixPath(name)).suffix in suffixes]
    candidates = readable or candidates
    if member is None and len(candidates) == 1:
        member = candidates[0]
    if not candidates:
        raise DataError(f"{path}: is a zip archive without files")
    if member is None:
        example = f"name one, as in {path.name}:{candidates[0]}"
        raise DataError(f"{path}: is a zip archive with several files: {_listed(candidates)}; {example}")
    if member not in infos:
        raise DataError(f"{path}: has no member '{member}'; it has {_listed(candidates)}")
    return infos[member]


def _open(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> BinaryIO:
    if info.flag_bits & _IS_ENCRYPTED:
        raise DataError(f"{name}: is encrypted; extract it first")
    if info.compress_type not in _METHODS:
        raise DataError(f"{name}: is compressed with a method that is not read; extract it first")
    try:
        return cast(BinaryIO, archive.open(info))
    except NotImplementedError as error:
        raise DataError(f"{name}: {error}; extract it first") from error


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return parts[:1] == ("__MACOSX",) or any(part.startswith(".") for part in parts)


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + rest
