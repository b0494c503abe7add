"""The Python API of `tagger split`."""

from collections.abc import Sequence
from pathlib import Path

from tagger.analysis import corpus_files, corpus_split
from tagger.analysis.corpus_split import CorpusSplit
from tagger.choices import TaggedFormat


def split(
    data: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    fractions: Sequence[float] = corpus_split.FRACTIONS,
    seed: int = 1,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
) -> CorpusSplit:
    """Splits an annotated file into train, dev and test files, as `tagger split` does.

    Whole documents go to a part if there are several. Every part has every type, or every plain tag, if possible.

    Args:
        data: a file, or a recipe that says how to read it and the file.
        out: the folder for the parts; their names are train, dev and test with the suffix of the file.
        fractions: the fractions of train, dev and test, or of train and dev; they need not sum to 1.
        seed: the random seed.
        input_format: the format of the file; None for the recipe's, else the one that the file suggests.
        token_column: the column of the token, by number from 0 or by name; None as above.
        tag_column: likewise the column of the tag; in CoNLL-U upos, xpos or misc:KEY.

    Raises:
        ConfigError: the recipe is invalid, or an option does not fit.
        DataError: the file cannot be read, or has fewer sentences or rows than parts.
        StorageError: `out` holds such a file, or cannot be written.
    """
    names = [data] if isinstance(data, str | Path) else list(data)
    source = corpus_files.find(names, input_format=input_format, token=token_column, tag=tag_column)
    return corpus_split.split(source, Path(out), fractions, seed=seed)
