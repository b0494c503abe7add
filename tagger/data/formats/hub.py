"""Corpora of Hugging Face `datasets`: from the hub, from a saved dataset's directory or from local parquet files."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagger.data.sentence import Sentence
from tagger.errors import DataError, TaggerError

_MAX_JSON_BYTES = 1 << 26  # of a file that describes a saved dataset


def read(name: str, split: str, *, token: str, tag: str, revision: str | None = None) -> Iterator[Sentence]:
    """Yields the sentences of one split; tags kept as ClassLabel numbers are given their names.

    Args:
        name: a name on the hub, a directory that `save_to_disk` made, or a parquet file or a directory of such files
            named for their splits.
        split: the split's name there.
        token: the column of token lists.
        tag: the column of tag lists.
        revision: the commit, tag or branch of a dataset on the hub.

    Raises:
        DataError: the dataset, the split or a column is not there, or a row's tokens and tags differ in number.
    """
    rows = _rows(name, split, revision)
    for column in (token, tag):
        if column not in rows.column_names:
            raise DataError(f"{name}: no column '{column}' in split '{split}'; it has {', '.join(rows.column_names)}")
    with _in_one_line(name):
        # Columns of other kinds, such as images, may open any file when a row is read.
        rows = rows.select_columns(list(dict.fromkeys((token, tag)))).with_format(None)
        rows.data.table.validate(full=True)  # the memory of a damaged table is not to be read
        names = _class_names(rows.features[tag])
    for number, row in enumerate(_each(rows, name)):
        tokens, tags = row[token], row[tag]
        place = f"{name}, split {split}, row {number}"
        if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags):
            raise DataError(f"{place}: expected as many tags as tokens, each in a list")
        if not all(isinstance(item, str) and item and "\n" not in item for item in tokens):
            raise DataError(f"{place}: a token is empty, no text or has a line break in it")
        names_of_tags = tuple(_tag(value, names, place) for value in tags)
        yield Sentence(tuple(tokens), tags=names_of_tags, document=number)


def _class_names(feature: Any) -> list[str] | None:
    inner = getattr(feature, "feature", feature)
    return getattr(inner, "names", None)


def _tag(value: Any, names: list[str] | None, place: str) -> str:
    if isinstance(value, int) and names is not None and 0 <= value < len(names):
        return names[value]
    if isinstance(value, str) and value and "\n" not in value:
        return value
    raise DataError(f"{place}: {value!r} is no tag; expected text, or a number that the dataset names")


def _rows(name: str, split: str, revision: str | None) -> Any:
    import datasets  # takes seconds to load, so only when it is used

    path = Path(name)
    with _in_one_line(name):
        if path.is_dir() and any((path / mark).exists() for mark in ("dataset_dict.json", "state.json")):
            _check_files(path)
            found = datasets.load_from_disk(name)
        elif path.exists():
            found = datasets.load_dataset("parquet", data_files=_parquet(path, split))
        else:
            found = datasets.load_dataset(name, revision=revision)
    if isinstance(found, datasets.Dataset):
        return found
    if split not in found:
        raise DataError(f"{name}: no split '{split}'; it has {', '.join(found)}")
    return found[split]


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """Turns what the library raises over damaged data, which may be an error of any kind, into a DataError."""
    try:
        yield
    except TaggerError:
        raise
    except Exception as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise DataError(f"{name}: not a dataset that can be read: {' '.join(reason.split())[:200]}") from error


def _each(rows: Any, name: str) -> Iterator[Any]:
    with _in_one_line(name):
        yield from rows


def _check_files(path: Path) -> None:
    """Raises DataError if a saved dataset holds anything but regular files, or a description that is too large."""
    for one in sorted(path.rglob("*")):
        status = one.stat()
        if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
            raise DataError(f"{one}: expected a regular file in a saved dataset")
        if one.suffix == ".json" and status.st_size > _MAX_JSON_BYTES:
            raise DataError(f"{one}: expected at most {_MAX_JSON_BYTES} bytes, found {status.st_size}")


def _parquet(path: Path, split: str) -> dict[str, list[str]]:
    """Returns the parquet files of each split: train.parquet, train-00000-of-00001.parquet or train/0000.parquet."""
    if path.is_file():
        return {split: [str(path)]}
    found: dict[str, list[str]] = {}
    for part in sorted(path.rglob("*.parquet")):
        named = part.stem.split("-")[0] if part.parent in (path, path / "data") else part.parent.name
        found.setdefault(named, []).append(str(part))
    if not found:
        raise DataError(f"{path}: holds no parquet file and no saved dataset")
    return found
