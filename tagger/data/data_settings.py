"""How files are read by the `data` settings of a recipe: format, columns and annotations."""

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from tagger.choices import CorpusFormat, Misaligned, TagFormat, TaggedFormat, options
from tagger.data.formats import FORMATS, Layout
from tagger.data.formats.reading import AnnotationOptions, Fields
from tagger.data.guessing import guess_format
from tagger.errors import ConfigError


class DataSettings(Protocol):
    """The part of a recipe's `data` settings that specifies the columns of tokens and tags."""

    @property
    def format(self) -> str | None:
        """The file format; None if it is guessed for each file."""

    @property
    def token(self) -> int | str:
        """The column of the token."""

    @property
    def tag(self) -> int | str:
        """The column of the tag."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, if they have names."""

    @property
    def tag_format(self) -> TagFormat:
        """How tags encode spans."""

    @property
    def outside_tag(self) -> str:
        """The tag of tokens outside spans."""

    @property
    def unknown_tag(self) -> str | None:
        """The tag of tokens that were not annotated."""

    @property
    def comments(self) -> str:
        """How comment lines of columns start."""

    @property
    def fields(self) -> object:
        """The names of the fields of rows, with the attributes of `reading.Fields`."""

    @property
    def language(self) -> str:
        """The language of texts."""

    @property
    def misaligned(self) -> Misaligned:
        """What becomes of a span that ends within a token."""

    @property
    def annotator(self) -> str | None:
        """The annotator whose work is read."""

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The names of tags that are integers."""

    @property
    def max_record_bytes(self) -> int:
        """The largest line or sentence to read."""


class PartSettings(DataSettings, Protocol):
    """The `data` settings of a recipe that specify where its parts are: a file or a split for train, dev and test."""

    @property
    def implied_format(self) -> CorpusFormat | None:
        """The format that the settings ask for; None if the format is guessed for each file."""

    @property
    def train(self) -> str | None:
        """The training file."""

    @property
    def dataset(self) -> str | None:
        """The name or the path of a dataset."""

    @property
    def revision(self) -> str | None:
        """The revision of the dataset."""

    @property
    def splits(self) -> object:
        """The splits of the dataset by role."""


def guess_tagged_format(path: Path, trained: DataSettings) -> TaggedFormat:
    """Returns the format of a tagged file: by its name or content, else that of the training data, else columns."""
    guess = guess_format(path, tagged=True)
    names = (
        name for name in (guess.format if guess.evidence else None, trained.format) if name in options(TaggedFormat)
    )
    return cast(TaggedFormat, next(names, "columns"))


def find_annotation_options(settings: DataSettings) -> AnnotationOptions:
    """Returns how rows are read by settings of data; in rows the columns of tokens and tags are names of fields."""
    fields = Fields(**{each.name: getattr(settings.fields, each.name) for each in dataclass_fields(Fields)})
    if settings.format is None or FORMATS[settings.format].holds_fields:
        fields = with_columns(fields, settings.token, settings.tag if not fields.spans and not fields.tags else None)
    return AnnotationOptions(fields, settings.misaligned, settings.annotator, settings.tag_names)


def find_read_options(
    settings: DataSettings, layout: Layout | None = None, *, misaligned: Misaligned | None = None
) -> dict[str, Any]:
    """Returns the options of `ReadOptions` that settings of data determine, for tagged files.

    Args:
        settings: the settings of the data.
        layout: columns that replace those of the settings; in rows they are names of fields.
        misaligned: what becomes of misaligned spans; None for the setting.
    """
    annotations = find_annotation_options(settings)
    if layout is not None and layout.fixed:
        annotations = replace(annotations, fields=with_columns(annotations.fields, layout.token, layout.tag))
    if misaligned is not None:
        annotations = replace(annotations, misaligned=misaligned)
    return {
        "language": settings.language,
        "annotations": annotations,
        "max_record_bytes": settings.max_record_bytes,
    }


def with_columns(fields: Fields, token: int | str | None, tag: int | str | None) -> Fields:
    """Returns fields whose tokens, and whose tags or spans, have the name of a column; numbers change nothing."""
    if isinstance(token, str):
        fields = replace(fields, tokens=token)
    return replace(fields, tags=tag, spans=tag) if isinstance(tag, str) else fields


def find_layout(
    trained: DataSettings,
    input_format: str,
    *,
    has_spans: bool = True,
    token: int | str | None = None,
    tag: int | str | None = None,
    tagged: bool = False,
) -> Layout:
    """Returns which columns hold tokens and tags in the files of a format, and how the tags are read.

    Files in the format of the training data have its columns and tags. In other files the token is in the first column;
    tags are read from the last column or written into a new one. In CoNLL-U tags are XPOS or, for spans, NER in MISC.

    Args:
        trained: the settings of the training data.
        input_format: the format of the files.
        has_spans: whether the tags encode spans.
        token: the column of the token; None for the default.
        tag: the column of the tag; None for the default.
        tagged: whether the files hold tags.
    """
    if have_same_layout(input_format, trained.format or "columns"):
        default = trained_layout(trained)
    else:
        default = default_layout(input_format, has_spans=has_spans, tagged=tagged)
    tag_column = default.tag if tag is None else tag
    is_plain = default.tag_format == "auto" and not has_spans
    return replace(
        default,
        token=default.token if token is None else token,
        tag=tag_column,
        fixed=tag is not None,
        unknown_tag=trained.unknown_tag,
        tag_format="plain" if is_plain else default.tag_format,
    )


def have_same_layout(first: str, second: str) -> bool:
    """Returns whether two formats are one, or both are rows, whose fields have the same names."""
    return first == second or (FORMATS[first].holds_fields and FORMATS[second].holds_fields)


def trained_layout(data: DataSettings) -> Layout:
    """Returns the layout of files in the format of the training data."""
    return Layout(
        data.token,
        data.tag,
        data.columns,
        tag_format=data.tag_format,
        outside_tag=data.outside_tag,
        comments=data.comments,
        unknown_tag=data.unknown_tag,
    )


def default_layout(input_format: str, *, has_spans: bool, tagged: bool) -> Layout:
    """Returns the columns of a format by default; see `find_layout`."""
    if input_format == "conllu":
        return Layout(0, "misc:NER" if has_spans else "xpos")
    if input_format == "spacy":
        return Layout(0, "ents" if has_spans else "tag")
    return Layout(0, -1 if tagged else None)


def choose_format(path: Path, data: PartSettings) -> TaggedFormat:
    """Returns the format of a file of training data: that of the settings, else by its name and content.

    Raises:
        ConfigError: the file has another format than the settings ask for, or the settings do not fit its format.
    """
    guess, asked = guess_format(path, tagged=True), data.implied_format
    if data.format is None and asked == "columns" and not data.columns and FORMATS[guess.format].has_columns:
        asked = None  # column numbers fit several formats
    if asked is not None and guess.evidence and guess.format != asked:
        is_row = FORMATS[guess.format].holds_fields and not FORMATS[asked].holds_fields
        if data.format is None or (guess.evidence == "content" and is_row):
            reason = f"data.format is {asked}" if data.format else f"the recipe's data settings describe {asked}"
            advice = "leave out data.format"
            if data.format is None:
                other = "" if is_row else f", leave these settings out, or set data.format={asked}"
                advice = f"draft a recipe for this data with `tagger init`{other}"
            raise ConfigError(f"{path}: is {guess.format} by its {guess.evidence}, but {reason}; {advice}")
    chosen = cast(TaggedFormat, asked or guess.format)
    if chosen == "conllu" and not isinstance(data.tag, str):
        raise ConfigError(f"{path}: is {chosen}; set data.tag to upos, xpos or misc:KEY, or data.format to columns")
    return chosen
