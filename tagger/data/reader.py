"""Reads sentences and records from files of any format and from datasets, in one pass."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from tagger.choices import CorpusFormat, InputFormat, TaggedFormat, listed
from tagger.data import data_settings, schemes, tag_formats
from tagger.data.corpus import Corpus
from tagger.data.data_settings import PartSettings
from tagger.data.formats import FORMATS, Layout, brat, conllu, hub, names_of
from tagger.data.formats.reading import ReadOptions
from tagger.data.notices import Notices
from tagger.data.sentence import Record, Reject, Sentence
from tagger.data.stored_sentences import count_pairs, map_sentences
from tagger.errors import ConfigError, DataError, EmptyError


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
    records: Iterator[Record] = (module.read_tagged_records if tagged else module.read_records)(source, read_options)
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


Collect = Callable[[Iterable[Sentence]], Sequence[Sentence]]
"""Stores sentences in memory or on disk; they are read once, in order."""


def read_corpus(
    path: Path,
    *,
    input_format: InputFormat | TaggedFormat,
    layout: Layout,
    collect: Collect = tuple,
    **options: Any,
) -> Corpus:
    """Returns the tagged sentences of a file.

    Args:
        path: the file.
        input_format: the format of the file.
        layout: the columns of token and tag.
        collect: stores the sentences.
        options: the other options of `ReadOptions`.

    Raises:
        DataError: the file cannot be read or holds no sentence.
    """
    notices = Notices()
    sentences = read_sentences(path, input_format=input_format, layout=layout, tagged=True, notices=notices, **options)
    has_tags = input_format != "conllu"

    def watch() -> Iterator[Sentence]:
        nonlocal has_tags
        for sentence in sentences:
            has_tags = has_tags or conllu.has_tags([sentence], str(layout.tag))
            yield sentence

    corpus = _build_corpus(
        str(path),
        Corpus(path.name, (), cast(CorpusFormat, input_format), notices=notices, files=_find_files(path, input_format)),
        sentences if has_tags else watch(),
        collect,
    )
    if not has_tags:
        raise DataError(f"{path}: no token has a tag in {layout.tag}; choose another field: upos, xpos or misc:KEY")
    return _read_tags(corpus, layout)


def _find_files(path: Path, input_format: str) -> tuple[str, ...]:
    """Returns the name of the file of each document, where it is another than the path; else nothing."""
    if input_format != "brat":
        return ()
    parent = path.parent if path.name else path
    return tuple(text.relative_to(parent).as_posix() for text in brat.find_texts(path))


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
    layout = data_settings.trained_layout(data)
    read_options = data_settings.find_read_options(data) | {"reject": reject}
    if data.implied_format == "datasets":
        split = getattr(data.splits, role)
        if data.dataset is None or split is None:
            return None
        return read_dataset(data.dataset, split, revision=data.revision, layout=layout, **read_options)
    path = getattr(data, role)
    if path is None:
        return None
    input_format = data_settings.choose_format(Path(path), data)
    if role != "train" and data.train is not None:
        trained_format = data_settings.choose_format(Path(data.train), data)
        if not data_settings.have_same_layout(input_format, trained_format):
            layout = data_settings.default_layout(input_format, has_spans=has_spans, tagged=True)
            layout = replace(layout, unknown_tag=data.unknown_tag)
    return read_corpus(Path(path), input_format=input_format, layout=layout, **read_options)


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
        unknown_tag = layout.unknown_tag
        sentences = map_sentences(sentences, lambda sentence: tag_formats.mark_unknown(sentence, unknown_tag))
    sentences, tag_format = tag_formats.read_all(sentences, corpus.name, layout.tag_format, layout.outside_tag)
    return replace(corpus, sentences=sentences, tag_format=tag_format)


def _refuse_empty_tags(corpus: Corpus) -> None:
    if "" in schemes.count_tags(count_pairs(corpus.sentences)):
        advice = "if the token was not annotated, set data.unknown_tag to ''"
        raise DataError(f"{corpus.locate_tag('')}: the tag is empty; {advice}")


def _build_corpus(location: str, corpus: Corpus, sentences: Iterable[Sentence], collect: Collect = tuple) -> Corpus:
    with_tokens = collect(sentence for sentence in sentences if sentence.tokens)
    if not with_tokens:
        skipped = "".join(f"; {line}" for line in corpus.notices.lines(1))
        raise EmptyError(f"{location}: holds no sentence{skipped}")
    return replace(corpus, sentences=with_tokens)
