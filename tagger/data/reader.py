"""Reads sentences and records from files of any format, folders of corpus files and datasets, in one pass."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from tagger.choices import CorpusFormat, InputFormat, Misaligned, Role, Scheme, TagFormat, TaggedFormat, listed, options
from tagger.data import schemes, splitting, tag_formats
from tagger.data.formats import FORMATS, Layout, brat, conllu, hub, names_of
from tagger.data.formats.reading import AnnotationOptions, Fields, ReadOptions
from tagger.data.guessing import guess_format
from tagger.data.notices import Notices
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import MAX_FAULTS, ConfigError, DataError, EmptyError, limit_faults
from tagger.io import line_reader

# The file names of published corpora by role, in order of preference.
_FILE_NAMES = {
    "train": ("train", "eng.train", "*-train", "*_train", "*.train"),
    "dev": ("dev", "valid", "validation", "testa", "eng.testa", "*-dev", "*_dev", "*.dev", "*.testa"),
    "test": ("test", "testb", "eng.testb", "*-test", "*_test", "*.test", "*.testb"),
}
_FILE_SUFFIXES = ("", ".txt", *(suffix for name in names_of("is_training_data") for suffix in FORMATS[name].suffixes))
_COMPRESSED_ENDS = ("", *line_reader.COMPRESSED_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The sentences of one part of the data, each with tokens.

    Attributes:
        name: the name of the part in messages.
        sentences: the sentences; tags of spans have the form `B-PER`.
        format: the format that they were read from; None for sentences that come from no file.
        tag_format: the format in which the tags were read, never `auto` if another format was guessed.
        notices: what their reader changed, skipped or found suspicious.
    """

    name: str
    sentences: tuple[Sentence, ...]
    format: CorpusFormat | None = None
    tag_format: TagFormat = "auto"
    notices: Notices = field(default_factory=Notices, compare=False)

    @property
    def tokens(self) -> int:
        """The number of its tokens."""
        return sum(map(len, self.sentences))

    @property
    def is_split_text(self) -> bool:
        """Whether tokens were split from texts by the tokenizer, not by the tool that annotated them."""
        return self.has_texts and (self.format is None or FORMATS[self.format].holds_texts)

    @property
    def has_texts(self) -> bool:
        """Whether the tags are those of annotated spans of texts."""
        return any(sentence.source is not None for sentence in self.sentences)

    def describe_invalid(self, scheme: Scheme, limit: int = MAX_FAULTS) -> list[str]:
        """Returns a line for each tag that is invalid in a scheme; at most `limit` and one with the remaining count."""
        faults = []
        for sentence in self.sentences:
            for _, fault in schemes.describe_invalid(sentence.tags, scheme):
                faults.append(f"{self.name}: sentence at line {sentence.line}: {fault} breaks {scheme}")
        return limit_faults(faults, limit)

    def with_annotated_types(self, types: Iterable[str]) -> "Corpus":
        """Returns the corpus with sentences that are annotated for types of spans, unless they have their own."""
        annotated = tuple(sorted(types))
        sentences = (
            replace(sentence, annotated_types=annotated) if sentence.annotated_types is None else sentence
            for sentence in self.sentences
        )
        return replace(self, sentences=tuple(sentences))

    def digest(self) -> str:
        """Returns the SHA-256, in hexadecimal, of all tokens and tags; it does not depend on the file format."""
        digest = hashlib.sha256()
        for sentence in self.sentences:
            rows = zip(sentence.tokens, sentence.tags, strict=True)
            digest.update("".join(f"{token}\t{tag}\n" for token, tag in rows).encode() + b"\n")
            if sentence.annotated_types is not None:
                digest.update("".join(f"\t{kind}\n" for kind in sorted(sentence.annotated_types)).encode() + b"\n")
        return digest.hexdigest()


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
    if _have_same_layout(input_format, trained.format or "columns"):
        default = _trained_layout(trained)
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


def _have_same_layout(first: str, second: str) -> bool:
    """Returns whether two formats are one, or both are rows, whose fields have the same names."""
    return first == second or (FORMATS[first].holds_fields and FORMATS[second].holds_fields)


def _trained_layout(data: DataSettings) -> Layout:
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


def read_sentences(
    source: Path | BinaryIO,
    *,
    input_format: InputFormat | TaggedFormat,
    layout: Layout,
    tagged: bool,
    name: str | None = None,
    **options: Any,
) -> Iterator[Sentence]:
    """Yields all sentences of a file or a stream of tagged sentences, including those without tokens.

    Args:
        source: a path, or a stream except for Parquet.
        input_format: the format of the source.
        layout: the columns of token and tag.
        tagged: whether to read the tags.
        name: the name of the source in errors; the path if None.
        options: the other options of `ReadOptions`.

    Raises:
        ConfigError: the format holds no tags.
        DataError: the source cannot be read as its format, or a line or a sentence has more than `max_record_bytes`;
            the error names file and line.
    """
    file_format, read_options = FORMATS[input_format], ReadOptions(_label(source, name), layout, **options)
    if not file_format.is_training_data:
        expected = listed(names_of("is_training_data"))
        raise ConfigError(f"{read_options.name}: {input_format} holds no tags; expected the format {expected}")
    module = file_format.load()
    if file_format.is_corpus:
        sentences: Iterator[Sentence] = module.read_tagged(source, read_options, tagged=tagged)
        return sentences
    is_tagged = tagged or not file_format.reads  # a format that is not read to be tagged has tags
    records: Iterator[Record] = (module.read_tagged_records if is_tagged else module.read_records)(source, read_options)
    return (sentence for record in records for sentence in record.sentences)


def read_records(
    source: Path | BinaryIO,
    *,
    input_format: InputFormat,
    layout: Layout,
    name: str | None = None,
    **options: Any,
) -> Iterator[Record]:
    """Returns the records of a file or a stream: sentences of lines or of a corpus, paragraphs of a text, or rows.

    Args:
        source: a path, or a stream except for Parquet.
        input_format: the format of the source.
        layout: the column of the token in columns, and of the tag in CoNLL-U.
        name: the name of the source in errors, and the document id of a text; the path if None.
        options: the other options of `ReadOptions`.

    Raises:
        ConfigError: the options do not fit the source.
        DataError: the source cannot be read as its format; the error names file and line. With `reject`, only if no
            input after the fault can be read.
    """
    records: Iterator[Record] = (
        FORMATS[input_format].load().read_records(source, ReadOptions(_label(source, name), layout, **options))
    )
    return records


def _label(source: Path | BinaryIO, name: str | None) -> str:
    return name or (str(source) if isinstance(source, Path) else "standard input")


def read_corpus(path: Path, *, input_format: InputFormat | TaggedFormat, layout: Layout, **options: Any) -> Corpus:
    """Returns the tagged sentences of a file.

    Args:
        path: the file.
        input_format: the format of the file.
        layout: the columns of token and tag.
        options: the other options of `ReadOptions`.

    Raises:
        DataError: the file cannot be read or holds no sentence.
    """
    notices = Notices()
    sentences = read_sentences(path, input_format=input_format, layout=layout, tagged=True, notices=notices, **options)
    corpus = _build_corpus(
        str(path), Corpus(path.name, (), cast(CorpusFormat, input_format), notices=notices), sentences
    )
    if input_format == "conllu" and not conllu.has_tags(corpus.sentences, str(layout.tag)):
        raise DataError(f"{path}: no token has a tag in {layout.tag}; choose another field: upos, xpos or misc:KEY")
    return _read_tags(corpus, layout)


def read_part(
    data: PartSettings, role: str, *, has_spans: bool = True, reject: Callable[[Reject], None] | None = None
) -> Corpus | None:
    """Returns a part of a recipe's data: train, dev or test; None if the recipe has no such part.

    Args:
        data: the settings of the data.
        role: train, dev or test.
        has_spans: whether the tags encode spans, for a part in another format than the training data.
        reject: is called with each line, row or sentence that cannot be read; None to raise an error instead.

    Raises:
        ConfigError: the settings do not fit the file.
        DataError: the part cannot be read or holds no sentence.
    """
    layout, read_options = _trained_layout(data), find_read_options(data) | {"reject": reject}
    if data.implied_format == "datasets":
        split = getattr(data.splits, role)
        if data.dataset is None or split is None:
            return None
        return read_dataset(data.dataset, split, revision=data.revision, layout=layout, **read_options)
    path = getattr(data, role)
    if path is None:
        return None
    input_format = choose_format(Path(path), data)
    if role != "train" and data.train is not None:
        trained_format = choose_format(Path(data.train), data)
        if not _have_same_layout(input_format, trained_format):
            layout = default_layout(input_format, has_spans=has_spans, tagged=True)
            layout = replace(layout, unknown_tag=data.unknown_tag)
    return read_corpus(Path(path), input_format=input_format, layout=layout, **read_options)


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
            advice = "leave out data.format" if data.format else f"leave these settings out, or set data.format={asked}"
            raise ConfigError(f"{path}: is {guess.format} by its {guess.evidence}, but {reason}; {advice}")
    chosen = cast(TaggedFormat, asked or guess.format)
    if chosen == "conllu" and not isinstance(data.tag, str):
        raise ConfigError(f"{path}: is {chosen}; set data.tag to upos, xpos or misc:KEY, or data.format to columns")
    return chosen


def read_dataset(name: str, split: str, *, revision: str | None, layout: Layout, **options: Any) -> Corpus:
    """Returns the tagged sentences of one split of a dataset; `options` are the other options of `ReadOptions`."""
    location, notices = f"{name}, split {split}", Notices()
    read_options = ReadOptions(location, layout, notices=notices, **options)
    records = hub.read_tagged_records(name, split, revision, read_options)
    sentences = (sentence for record in records for sentence in record.sentences)
    corpus = _build_corpus(location, Corpus(f"{Path(name).name}:{split}", (), "datasets", notices=notices), sentences)
    return _read_tags(corpus, layout)


def _read_tags(corpus: Corpus, layout: Layout) -> Corpus:
    if corpus.has_texts:
        return corpus
    sentences: Sequence[Sentence] = corpus.sentences
    if layout.unknown_tag != schemes.UNKNOWN:
        _refuse_empty_tags(corpus)
    if layout.unknown_tag is not None:
        sentences = tuple(tag_formats.mark_unknown(sentence, layout.unknown_tag) for sentence in sentences)
    sentences, tag_format = tag_formats.read_all(sentences, corpus.name, layout.tag_format, layout.outside_tag)
    return replace(corpus, sentences=tuple(sentences), tag_format=tag_format)


def _refuse_empty_tags(corpus: Corpus) -> None:
    for sentence in corpus.sentences:
        if "" in sentence.tags:
            line = tag_formats.find_line(sentence, sentence.tags.index(""))
            advice = "if the token was not annotated, set data.unknown_tag to ''"
            raise DataError(f"{corpus.name}:{line}: the tag is empty; {advice}")


def _build_corpus(location: str, corpus: Corpus, sentences: Iterable[Sentence]) -> Corpus:
    with_tokens = tuple(sentence for sentence in sentences if sentence.tokens)
    if not with_tokens:
        skipped = "".join(f"; {line}" for line in corpus.notices.lines(1))
        raise EmptyError(f"{location}: holds no sentence{skipped}")
    return replace(corpus, sentences=with_tokens)


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


def split_off_dev(sentences: Sequence[Sentence], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Returns the positions of training sentences, and of about a fraction of all sentences for development.

    Documents are not split if there are several. Both parts have every type of span, or every tag, if possible.

    Raises:
        DataError: there is only one sentence.
    """
    if len(sentences) < 2:
        raise DataError("a single sentence cannot be split into training and development data; name a file with `dev`")
    parts = splitting.split(sentences, (1 - fraction, fraction), seed)
    train, dev = ([position for position, part in enumerate(parts) if part == number] for number in (0, 1))
    return train, dev
