"""The Python API of `tagger init`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tagger import model_names
from tagger.analysis import corpus_files, recipe_draft
from tagger.analysis.recipe_draft import RecipeDraft
from tagger.choices import TaggedFormat
from tagger.config.overrides import list_overrides
from tagger.errors import ConfigError, StorageError
from tagger.io import atomic

_NAME = "mine.yaml"  # of a recipe that is not written


def init(
    data: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    language: str | None = None,
    unknown_tag: str | None = None,
    settings: Mapping[str, object] | Sequence[str] = (),
    vectors: str | Path | Sequence[str | Path] = (),
    init_from: str | Path | None = None,
) -> RecipeDraft:
    """Drafts a recipe that suits annotated data, as `tagger init` does, and returns its text and its config.

        tagger.init("data/", out="mine.yaml")
        result = tagger.train("mine.yaml")

    Args:
        data: a folder with train, dev and test files under their usual names, or files; see `tagger.check`.
        out: the recipe to write; None to write nothing.
        input_format: the format of the files; None for the one that they suggest.
        token_column: the column of the token, by number from 0; None for the one that the data suggest.
        tag_column: likewise the column of the tag; in CoNLL-U upos, xpos or misc:KEY.
        language: the ISO code of the language of texts; None for the recipe's, else en.
        unknown_tag: the tag of tokens that were not annotated.
        settings: overrides of settings of `data`, such as {"data.fields.text": "body"}, as `tagger.train` takes them.
        vectors: files of word vectors to train with.
        init_from: the model from which the training will start, a directory or `hub:USER/NAME`; the recipe gets the
            settings of its network.

    Raises:
        ConfigError: an option does not fit, or there are several files for one role.
        DataError: there is no training data, or a file cannot be read.
        StorageError: `out` exists already or cannot be written.
        ModelError: `init_from` is damaged.
    """
    if init_from is not None and vectors:
        raise ConfigError("a model has word vectors of its own; pass either `init_from` or `vectors`")
    path = None if out is None else Path(out)
    if path is not None:
        if path.exists() or path.is_symlink():
            raise StorageError(f"{path}: exists already; choose another `out`")
        atomic.check_writable(path)
    overrides = list_overrides(settings, {"data.language": language, "data.unknown_tag": unknown_tag})
    names = [data] if isinstance(data, str | Path) else list(data)
    source = corpus_files.find(names, input_format=input_format, token=token_column, tag=tag_column, settings=overrides)
    tables = [Path(vectors)] if isinstance(vectors, str | Path) else [Path(table) for table in vectors]
    initial = None if init_from is None else model_names.find(init_from)
    draft = recipe_draft.draft(source, path or Path(_NAME), tables, init_from=initial)
    if path is not None:
        atomic.write_output(path, draft.text.encode())
    return draft
