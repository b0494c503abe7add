"""Finds the files of a corpus in a folder by their names."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

from tagger.choices import Role
from tagger.data.formats import FORMATS, brat, names_of
from tagger.errors import DataError
from tagger.io import line_reader

# The file names of published corpora by role, in order of preference.
_FILE_NAMES = {
    "train": ("train", "eng.train", "*-train", "*_train", "*.train"),
    "dev": ("dev", "valid", "validation", "testa", "eng.testa", "*-dev", "*_dev", "*.dev", "*.testa"),
    "test": ("test", "testb", "eng.testb", "*-test", "*_test", "*.test", "*.testb"),
}
_FILE_SUFFIXES = ("", ".txt", *(suffix for name in names_of("is_training_data") for suffix in FORMATS[name].suffixes))
_COMPRESSED_ENDS = ("", *line_reader.COMPRESSED_SUFFIXES)


def find_corpus_files(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder by role (train, dev, test), from their names.

    Raises:
        DataError: the folder does not exist, it has no training file, or two files match one role equally well.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files = {}
    for role, stems in _FILE_NAMES.items():
        for stem in stems:
            matches = sorted(
                path
                for suffix in _FILE_SUFFIXES
                for compressed_suffix in _COMPRESSED_ENDS
                for path in folder.glob(stem + suffix + compressed_suffix)
                if path.is_file() or (path.is_dir() and brat.is_brat(path))
            )
            # Universal Dependencies and brat have the raw text and its annotations under the same name.
            annotated = {path.with_suffix("") for path in matches if path.suffix in (".conllu", ".ann")}
            matches = [path for path in matches if path.suffix != ".txt" or path.with_suffix("") not in annotated]
            if len(matches) > 1:
                raise DataError(
                    f"{folder}: {' and '.join(path.name for path in matches)} may each be `{role}`; name one"
                )
            if matches:
                files[role] = matches[0]
                break
    if "train" not in files:
        raise DataError(f"{folder}: found no training file such as train.txt or en-train.conllu; name it with `train`")
    return files


def guess_role(path: Path) -> Role | None:
    """Returns the role of a file by its name, as `find_corpus_files` does; None for other names.

    >>> guess_role(Path("en-dev.conllu.gz")), guess_role(Path("corpus.txt"))
    ('dev', None)
    """
    for role, stems in _FILE_NAMES.items():
        for end in (suffix + compressed for suffix in _FILE_SUFFIXES for compressed in _COMPRESSED_ENDS):
            if path.name.endswith(end) and any(fnmatchcase(path.name.removesuffix(end), stem) for stem in stems):
                return cast(Role, role)
    return None
