"""Reads gold and predicted tags from files of any format, or from columns of one file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tagger.config import Config, loader
from tagger.data import tagged_files
from tagger.data.corpus import Corpus
from tagger.data.sentence import Sentence
from tagger.data.tagged_files import FileOptions
from tagger.errors import ConfigError

Source = str | Path | Sequence[Sentence]
"""A file, or sentences with tags."""


@dataclass(frozen=True, slots=True)
class SystemFiles:
    """How files of gold and predicted tags are read.

    Attributes:
        options: the format and the columns of a file; `tag` is the column of the gold tags.
        predicted_column: the column of the predicted tags; None for the column of the gold tags.
        unknown_tag: the tag of tokens that were not annotated.
        language: the language of texts.
        annotated_types: the types of spans that the gold data was annotated for; None for all.
    """

    options: FileOptions
    predicted_column: int | str | None = None
    unknown_tag: str | None = None
    language: str = "en"
    annotated_types: Sequence[str] | None = None

    def read_gold(self, source: Source) -> Corpus:
        """Returns the gold sentences.

        Raises:
            ConfigError: an option does not fit the file.
            DataError: the file cannot be read.
        """
        gold = self._read(source, self.options, "gold")
        return gold if self.annotated_types is None else gold.with_annotated_types(self.annotated_types)

    def read_predicted(self, source: Source) -> Corpus:
        """Returns the predicted sentences of a file of its own; errors as for `read_gold`.

        Rows that were tagged may still have the spans of their input, which may be gold spans; their tags are read.
        """
        column = self.options.tag if self.predicted_column is None else self.predicted_column
        return self._read(source, replace(self.options, tag=column, prefers_tags=True), "predicted")

    def read_both(self, path: str | Path) -> tuple[Corpus, Corpus]:
        """Returns the gold and the predicted sentences of one file; by default gold tags are left of predicted tags.

        Raises:
            ConfigError: an option does not fit the file, or there is no `predicted_column`.
            DataError: the file cannot be read.
        """
        column, tag = self.predicted_column, self.options.tag
        if column is None:
            raise ConfigError(f"{path}: name files as `predicted`, or a column of this file as `predicted_column`")
        if tag is None and isinstance(column, int):
            tag = column - 1
        files = replace(self, options=replace(self.options, tag=tag))
        return files.read_gold(path), files.read_predicted(path)

    def _read(self, source: Source, options: FileOptions, name: str) -> Corpus:
        if not isinstance(source, str | Path):
            tag_format = options.tag_format or "auto"
            return tagged_files.build_corpus(source, unknown_tag=self.unknown_tag, tag_format=tag_format, name=name)
        changes = {"unknown_tag": self.unknown_tag, "language": self.language}
        settings = loader.with_settings(Config(), {"data": changes}).data
        return replace(tagged_files.read_file(Path(source), settings, options), name=str(source))
