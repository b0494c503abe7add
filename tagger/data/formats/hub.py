"""Hugging Face datasets: from the Hub, from a directory of `save_to_disk` or from local Parquet files."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagger.data.sentence import Sentence
from tagger.errors import DataError, TaggerError

_MAX_JSON_BYTES = 1 << 26  # of a metadata file of a saved dataset


def read(name: str, split: str, *, token: str, tag: str, revision: str | None = None) -> Iterator[Sentence]:
    """Yields the sentences of one split. Tags stored as ClassLabel numbers become their names.

    Args:
        name: a name on the Hub, a directory of `save_to_disk`, a Parquet file, or a directory of Parquet files named
            after their splits.
        split: the name of the split.
        token: the column of token lists.
        tag: the column of tag lists.
        revision: the commit, tag or branch of a dataset on the Hub.

    Raises:
        DataError: the dataset, the split or a column does not exist, or a row has different numbers of tokens and tags.
    """
    rows = _load(name, split, revision)
    for column in (token, tag):
        if column not in rows.column_names:
            raise DataError(f"{name}: no column '{column}' in split '{split}'; it has {', '.join(rows.column_names)}")
    with _convert_errors(name):
        # Columns of other types, such as images, may open any file when a row is read.
        rows = rows.select_columns(list(dict.fromkeys((token, tag)))).with_format(None)
        rows.data.table.validate(full=True)  # reading a damaged table may crash
        names = _class_names(rows.features[tag])
    for number, row in enumerate(_iterate(rows, name)):
        tokens, tags = row[token], row[tag]
        location = f"{name}, split {split}, row {number}"
        if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags):
            raise DataError(f"{location}: expected a list of tokens and a list of as many tags")
        if not all(isinstance(item, str) and item and "\n" not in item for item in tokens):
            raise DataError(f"{location}: a token is empty, not a string or has a line break; expected words")
        tag_names = tuple(_tag_name(value, names, location) for value in tags)
        yield Sentence(tuple(tokens), tags=tag_names, document=number)


def _class_names(feature: Any) -> list[str] | None:
    inner = getattr(feature, "feature", feature)
    return getattr(inner, "names", None)


def _tag_name(value: Any, names: list[str] | None, location: str) -> str:
    if isinstance(value, int) and names is not None and 0 <= value < len(names):
        return names[value]
    if isinstance(value, str) and value and "\n" not in value:
        return value
    raise DataError(
        f"{location}: {value!r} is not a tag; expected a string without line breaks, or a number with a ClassLabel name"
    )


def _load(name: str, split: str, revision: str | None) -> Any:
    import datasets  # takes seconds to import

    path = Path(name)
    with _convert_errors(name):
        if path.is_dir() and any((path / file).exists() for file in ("dataset_dict.json", "state.json")):
            _check_files(path)
            dataset = datasets.load_from_disk(name)
        elif path.exists():
            dataset = datasets.load_dataset("parquet", data_files=_find_parquet_files(path, split))
        else:
            dataset = datasets.load_dataset(name, revision=revision)
    if isinstance(dataset, datasets.Dataset):
        return dataset
    if split not in dataset:
        raise DataError(f"{name}: no split '{split}'; it has {', '.join(dataset)}")
    return dataset[split]


@contextmanager
def _convert_errors(name: str) -> Iterator[None]:
    """Converts an exception of any type, which the library raises for damaged data, to a DataError of one line."""
    try:
        yield
    except TaggerError:
        raise
    except Exception as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise DataError(f"{name}: cannot be read as a dataset: {' '.join(reason.split())[:200]}") from error


def _iterate(rows: Any, name: str) -> Iterator[Any]:
    with _convert_errors(name):
        yield from rows


def _check_files(path: Path) -> None:
    """Raises DataError if a saved dataset has anything but regular files, or a metadata file that is too large."""
    for file in sorted(path.rglob("*")):
        status = file.stat()
        if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
            raise DataError(f"{file}: expected a regular file in a saved dataset")
        if file.suffix == ".json" and status.st_size > _MAX_JSON_BYTES:
            raise DataError(f"{file}: expected at most {_MAX_JSON_BYTES} bytes, found {status.st_size}")


def _find_parquet_files(path: Path, split: str) -> dict[str, list[str]]:
    """Returns the Parquet files of each split: train.parquet, train-00000-of-00001.parquet or train/0000.parquet."""
    if path.is_file():
        return {split: [str(path)]}
    files: dict[str, list[str]] = {}
    for file in sorted(path.rglob("*.parquet")):
        name = file.stem.split("-")[0] if file.parent in (path, path / "data") else file.parent.name
        files.setdefault(name, []).append(str(file))
    if not files:
        raise DataError(f"{path}: expected Parquet files or a saved dataset, found neither")
    return files
