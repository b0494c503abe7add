"""The Python API of `tagger check`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tagger.analysis import check_page, corpus_check, corpus_files
from tagger.analysis.corpus_check import CorpusCheck
from tagger.choices import TaggedFormat
from tagger.config.overrides import list_overrides
from tagger.io import atomic


def check(
    data: str | Path | Sequence[str | Path],
    *,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    language: str | None = None,
    unknown_tag: str | None = None,
    settings: Mapping[str, object] | Sequence[str] = (),
    vectors: str | Path | Sequence[str | Path] = (),
    report: str | Path | None = None,
) -> CorpusCheck:
    """Returns the figures and the faults of annotated data, as `tagger check` prints them.

        result = tagger.check("data/")
        print(result.has_errors, [finding.kind for finding in result.findings])

    Args:
        data: a folder with train, dev and test files under their usual names, files, or a recipe and perhaps its data.
        input_format: the format of the files; None for the recipe's, else the one that the files suggest.
        token_column: the column of the token, by number from 0 or by name; None as above.
        tag_column: likewise the column of the tag; in CoNLL-U upos, xpos or misc:KEY.
        language: the ISO code of the language of texts; None for the recipe's, else en.
        unknown_tag: the tag of tokens that were not annotated.
        settings: overrides of settings of `data`, such as {"data.fields.text": "body"}, as `tagger.train` takes them.
        vectors: files of word vectors whose coverage to compute; those of the recipe if there are none.
        report: a file to which a page with all findings is written, each with up to 1,000 examples.

    Raises:
        ConfigError: the recipe is invalid or names no data, or an option does not fit.
        DataError: a file, a folder or vectors cannot be found or read.
        StorageError: the report cannot be written.
    """
    if report is not None:
        atomic.check_writable(Path(report))
    overrides = list_overrides(settings, {"data.language": language, "data.unknown_tag": unknown_tag})
    names = [data] if isinstance(data, str | Path) else list(data)
    files = corpus_files.find(names, input_format=input_format, token=token_column, tag=tag_column, settings=overrides)
    parts, unreadable = files.read()
    tables = [vectors] if isinstance(vectors, str | Path) else list(vectors) or files.config.model.words.vectors
    result = corpus_check.check(parts, unreadable, [Path(table) for table in tables], files.decisions)
    if report is not None:
        page = check_page.build(result, ", ".join(map(str, names)))
        atomic.write_output(Path(report), page.encode("utf-8", "replace"))
    return result
