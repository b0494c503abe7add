"""The Python API of `tagger evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tagger import model_names, tagging
from tagger.analysis import detailed_report
from tagger.analysis.detailed_report import DetailedReport
from tagger.analysis.evaluations import Evaluations
from tagger.choices import Device, Misaligned, TagFormat, TaggedFormat, check_choices
from tagger.data import tagged_files
from tagger.data.corpus import Corpus
from tagger.data.sentence import Sentence
from tagger.data.tagged_files import FileOptions
from tagger.errors import ConfigError
from tagger.io import atomic
from tagger.tagging import Tagger
from tagger.tagging.texts import check_tokenizer


def evaluate(
    model: str | Path | Tagger,
    data: str | Path | Sequence[Sentence],
    *,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    tag_format: TagFormat | None = None,
    strict: bool = False,
    misaligned: Misaligned | None = None,
    annotated_types: Sequence[str] | None = None,
    seen: str | Path | Sequence[str | Path] | None = None,
    device: Device = "auto",
) -> DetailedReport:
    """Returns the scores of a model on tagged data, as `tagger evaluate` prints them, with all errors behind them.

    Args:
        model: a model directory, `hub:USER/NAME` for a model of the Hub, or a loaded tagger.
        data: a file of any format of training data, or sentences with gold tags.
        input_format: the format of the file; None for the format that its name and content show.
        token_column: the column of the token, by number from 0 or by name; None for the column used in training.
        tag_column: likewise the column of the tag; in CoNLL-U upos, xpos or misc:KEY; in rows the field of tags or
            spans.
        tag_format: how tags encode spans, one of `tagger.choices.TagFormat`; None for the format used in training.
        strict: whether invalid gold tag sequences are an error.
        misaligned: expand or contract spans that end within a token, drop them, or stop; None for the setting of the
            model.
        annotated_types: the types of spans that the data was annotated for; spans of other types are not scored. None
            for all types, or those of each record of the data.
        seen: files of the training data, to score the spans and words that they hold apart from others.
        device: auto, cpu, cuda or cuda:N; not used if `model` is a tagger.

    Raises:
        ConfigError: an option does not fit the model or the file.
        DataError: the data cannot be read, holds no sentence, or has tags of another kind than the model.
        StorageError: there is no model directory.
        ModelError: the model directory is damaged.
    """
    reading = _Reading(
        FileOptions(input_format, token_column, tag_column, tag_format, misaligned), strict, annotated_types, seen
    )
    return _evaluate(model, [data], reading, device)[0]


def evaluate_files(
    model: str | Path | Tagger,
    files: Sequence[str | Path],
    *,
    report: str | Path | None = None,
    predictions: str | Path | None = None,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    tag_format: TagFormat | None = None,
    strict: bool = False,
    misaligned: Misaligned | None = None,
    annotated_types: Sequence[str] | None = None,
    seen: str | Path | Sequence[str | Path] | None = None,
    device: Device = "auto",
) -> Evaluations:
    """Returns the scores of a model on each of several files.

    Args:
        model: a model directory, `hub:USER/NAME` for a model of the Hub, or a loaded tagger.
        files: the files.
        report: a file to which an HTML page of the scores and errors is written.
        predictions: a file to which gold tags, predicted tags and probabilities are written, a line of JSON for each
            sentence.
        input_format: as for `evaluate`.
        token_column: as for `evaluate`.
        tag_column: as for `evaluate`.
        tag_format: as for `evaluate`.
        strict: as for `evaluate`.
        misaligned: as for `evaluate`.
        annotated_types: as for `evaluate`.
        seen: as for `evaluate`.
        device: as for `evaluate`.

    Raises:
        TaggerError: as for `evaluate`, or an output cannot be written.
    """
    for output in (report, predictions):
        if output is not None:
            atomic.check_writable(Path(output))
    reading = _Reading(
        FileOptions(input_format, token_column, tag_column, tag_format, misaligned), strict, annotated_types, seen
    )
    result = Evaluations(tuple(_evaluate(model, files, reading, device)))
    if report is not None:
        atomic.write_output(Path(report), result.to_html().encode("utf-8", "replace"))
    if predictions is not None:
        with atomic.open_output(Path(predictions)) as stream:
            stream.writelines(result.prediction_lines())
    return result


@dataclass(frozen=True, slots=True)
class _Reading:
    """How gold data is read, and the files of the training data."""

    options: FileOptions
    strict: bool
    annotated_types: Sequence[str] | None
    seen: str | Path | Sequence[str | Path] | None


def _evaluate(
    model: str | Path | Tagger, sources: Sequence[str | Path | Sequence[Sentence]], reading: _Reading, device: Device
) -> list[DetailedReport]:
    """Returns the report on each source; the model and the training data are read once."""
    options = reading.options
    check_choices(tag_format=(options.tag_format, TagFormat), misaligned=(options.misaligned, Misaligned))
    tagger = model if isinstance(model, Tagger) else tagging.load(model_names.find(model), device=device)
    seen = None if reading.seen is None else _read_seen(tagger, reading.seen)
    reports = []
    for source in sources:
        corpus = _read(tagger, source, options)
        if reading.annotated_types is not None:
            if tagger.model.scheme is None:
                raise ConfigError("`annotated_types` are types of spans, but the model's tags are plain")
            corpus = corpus.with_annotated_types(reading.annotated_types)
        reports.append(detailed_report.measure(tagger, corpus, strict=reading.strict, seen=seen))
    return reports


def _read(tagger: Tagger, data: str | Path | Sequence[Sentence], options: FileOptions) -> Corpus:
    """Returns the data, read from a file or from sentences."""
    settings = tagger.model.config.data
    if not isinstance(data, str | Path):
        sentence_format: TagFormat = "untyped" if settings.tag_format == "untyped" else "plain"
        return tagged_files.build_corpus(data, unknown_tag=settings.unknown_tag, tag_format=sentence_format)
    corpus = tagged_files.read_file(Path(data), settings, options, has_spans=tagger.model.scheme is not None)
    if corpus.is_split_text:
        check_tokenizer(tagger.model.config.data.tokenizer, settings.language)
    return corpus


def _read_seen(tagger: Tagger, seen: str | Path | Sequence[str | Path]) -> list[Sentence]:
    """Returns the sentences of the training data, which is read as in the training, not as the evaluated data."""
    paths = [seen] if isinstance(seen, str | Path) else seen
    return [sentence for path in paths for sentence in _read(tagger, path, FileOptions()).sentences]
