"""Hugging Face datasets: from the Hub, from a directory of `save_to_disk` or from local Parquet files."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagger.data.formats import annotations, rows
from tagger.data.formats.reading import ReadOptions
from tagger.data.sentence import Record
from tagger.errors import DataError, TaggerError

_SAVED = ("dataset_dict.json", "state.json")
_MAX_JSON_BYTES = 1 << 26  # of a metadata file of a saved dataset


def read_tagged_records(name: str, split: str, revision: str | None, options: ReadOptions) -> Iterator[Record]:
    """Yields a record with tags for each row of one split. Tags stored as ClassLabel numbers become their names.

    Args:
        name: a name on the Hub, a directory of `save_to_disk`, a Parquet file, or a directory of Parquet files named
            after their splits.
        split: the name of the split.
        revision: the commit, tag or branch of a dataset on the Hub.
        options: the options; `options.name` names dataset and split in messages.

    Raises:
        DataError: the dataset, the split or a column does not exist, or a row cannot be read; see `rows.TaggedRows`.
    """
    table = _load(name, split, revision)
    fields = options.annotations.fields
    for column in filter(None, (fields.text, fields.tokens, fields.tags, fields.spans)):
        if column not in table.column_names:
            raise DataError(f"{name}: no column '{column}' in split '{split}'; it has {', '.join(table.column_names)}")
    with _convert_errors(name):
        # Columns of other types, such as images, may open any file when a row is read.
        names = annotations.field_names(fields)
        table = table.select_columns([column for column in table.column_names if column in names]).with_format(None)
        table.data.table.validate(full=True)  # reading a damaged table may crash
        class_names = {column: _class_names(feature) for column, feature in table.features.items()}
    tagged_rows = rows.TaggedRows(annotations.with_class_names(options, class_names))
    for number, row in enumerate(_iterate(table, name), 1):
        location = f"{options.name}, row {number - 1}"  # as `datasets` counts
        try:
            record = tagged_rows.record(row, number, location)
        except ValueError as error:
            options.refuse(f"{location}: {error}", number, cause=error)
            continue
        if record is not None:
            yield record


def is_dataset(folder: Path) -> bool:
    """Returns whether a folder holds a saved dataset."""
    return folder.is_dir() and any((folder / name).exists() for name in _SAVED)


def _class_names(feature: Any) -> tuple[str, ...]:
    """Returns the names of the classes of a column, or of the items of its lists; none for other columns."""
    while getattr(feature, "names", None) is None and hasattr(feature, "feature"):
        feature = feature.feature
    return tuple(getattr(feature, "names", None) or ())


def _load(name: str, split: str, revision: str | None) -> Any:
    import datasets  # takes seconds to import

    path = Path(name)
    with _convert_errors(name):
        if is_dataset(path):
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
