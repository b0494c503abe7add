"""Splits an annotated file into training, dev and test files of the same format."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tagger.analysis.corpus_check import PartFigures, figures, figures_table
from tagger.analysis.corpus_files import ROLES, CorpusFiles
from tagger.analysis.parts import Part
from tagger.data import reader, splitting
from tagger.data.formats import FORMATS
from tagger.data.reader import Corpus
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError, StorageError
from tagger.io import atomic, line_reader

FRACTIONS = (80.0, 10.0, 10.0)


@dataclass(frozen=True)
class CorpusSplit:
    """The result of a split: the files and their figures, in the order train, dev, test."""

    files: tuple[Path, ...]
    parts: tuple[PartFigures, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns files and figures as JSON has them."""
        return {"files": list(map(str, self.files)), "parts": [asdict(part) for part in self.parts]}

    def __str__(self) -> str:
        return "\n".join([*figures_table(self.parts), "", *map(str, self.files)])


def check_fractions(fractions: Sequence[float]) -> None:
    """Checks that there is a positive number for train and dev, or for train, dev and test.

    Raises:
        ConfigError: there is not.
    """
    if len(fractions) not in (2, 3) or not all(0 < fraction < 1e9 for fraction in fractions):
        listed = ",".join(f"{fraction:g}" for fraction in fractions)
        raise ConfigError(f"`fractions` must be two or three numbers above 0 such as 80,10,10, got {listed}")


def split(source: CorpusFiles, out: Path, fractions: Sequence[float] = FRACTIONS, *, seed: int = 1) -> CorpusSplit:
    """Splits a file into parts, which hold its sentences or rows unchanged and in their order.

    Args:
        source: one file, and the settings to read it with.
        out: the folder of the parts, which must not hold them yet.
        fractions: the fractions of train and dev, or of train, dev and test.
        seed: the random seed.

    Raises:
        ConfigError: the fractions or the format of the file cannot be used.
        DataError: the file cannot be read, or has fewer sentences than parts.
        StorageError: the folder holds such a file, or cannot be written.
    """
    check_fractions(fractions)
    (path,) = (path for paths in source.files.values() for path in paths)
    plain = line_reader.strip_compression_suffix(path)
    files = tuple(out / f"{role}{plain.suffix}" for role in ROLES[: len(fractions)])
    for file in files:
        if file.exists() or file.is_symlink():
            raise StorageError(f"{file}: exists already; choose another `out`")
        atomic.check_writable(file)
    pieces = _read_pieces(path, source)
    sentences = [sentence for piece in pieces for sentence in piece.sentences]
'''
