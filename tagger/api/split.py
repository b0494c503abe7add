"""The Python API of `tagger split`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tagger.analysis import corpus_files, corpus_split
from tagger.analysis.corpus_split import CorpusSplit
from tagger.choices import TaggedFormat
from tagger.config.overrides import list_overrides


def split(
    data: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    fractions: Sequence[float] = corpus_split.FRACTIONS,
    seed: int = 1,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    language: str | None = None,
    unknown_tag: str | None = None,
    settings: Mapping[str, object] | Sequence[str] = (),
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
        language: the ISO code of the language of texts; None for the recipe's, else en.
        unknown_tag: the tag of tokens that were not annotated.
        settings: overrides of settings of `data`, such as {"data.fields.text": "body"}, as `tagger.train` takes them.

    Raises:
        ConfigError: the recipe is invalid, or an option does not fit.
        DataError: the file cannot be read, or has fewer sentences or rows than parts.
        StorageError: `out` holds such a file, or cannot be written.
    """
    overrides = list_overrides(settings, {"data.language": language, "data.unknown_tag": unknown_tag})
    names = [data] if isinstance(data, str | Path) else list(data)
    source = corpus_files.find(names, input_format=input_format, token=token_column, tag=tag_column, settings=overrides)
    return corpus_split.split(source, Path(out), fractions, seed=seed)
