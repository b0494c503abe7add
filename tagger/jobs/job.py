"""A tagging job: its inputs, options and file formats."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from tagger import __version__, model_dir
from tagger.choices import InputFormat, Newline, OnError, OutputFormat, Scheme, check_choices
from tagger.data.formats import FORMATS
from tagger.errors import ConfigError
from tagger.io import line_reader
from tagger.jobs.inputs import STDIN
from tagger.model import TaggerModel
from tagger.tagging import DecodingOptions
from tagger.tagging.decoding import check_model


@dataclass(frozen=True, slots=True)
class Formats:
    """How files are read and written.

    Attributes:
        input_format: the format of the input; if None, guessed for each file, text for the standard input.
        output_format: the format of the output; if None, the input format, JSON lines for text, JSON and spacy, or
            columns for lines.
        token_column: the column of the token, as in the model's training data if None.
        tag_column: the column of the tag, as in the model's training data if None.
        scheme: the scheme of the written tags, as in the model's training data if None.
        language: the language of raw text, that of the model if None.
        newline: whether a newline in raw text ends a sentence, or is white space.

    Raises:
        ConfigError: a format or the scheme is unknown.
    """

    input_format: InputFormat | None = None
    output_format: OutputFormat | None = None
    token_column: int | str | None = None
    tag_column: int | str | None = None
    scheme: Scheme | None = None
    language: str | None = None
    newline: Newline = "break"

    def __post_init__(self) -> None:
        check_choices(
            input_format=(self.input_format, InputFormat),
            output_format=(self.output_format, OutputFormat),
            scheme=(self.scheme, Scheme),
            newline=(self.newline, Newline),
        )

    def output_format_of(self, input_format: InputFormat) -> OutputFormat:
        """Returns the output format of an input."""
        if self.output_format is not None:
            return self.output_format
        if FORMATS[input_format].writes and input_format != "spacy":  # whose further annotations would be lost
            return cast(OutputFormat, input_format)
        return "jsonl" if FORMATS[input_format].has_offsets else "columns"

    def language_of(self, model: TaggerModel) -> str:
        """Returns the language of raw text for a model."""
        return self.language or model.config.data.language


@dataclass(frozen=True, slots=True)
class Job:
    """The inputs of a tagging job, the model, the outputs and the options.

    Attributes:
        paths: files, folders, globs, or `inputs.STDIN` for the standard input.
        model: the model directory.
        formats: the formats of inputs and outputs.
        decoding: results beyond the best tags, such as probabilities.
        out: the directory of the outputs, one for each input; if None, all output goes to one stream.
        pattern: a glob that files in folders must match, None for all files.
        on_error: stop at input that cannot be read, or skip it and write it to `rejects`.
        rejects: the file of rejected input, rejects.jsonl in `out` if None.
        summary: the file that the caller will write the summary to; no other file of the job may have this path.
        stream: read the standard input and write each record's output as soon as the record is complete.
        resume: continue this job where it was stopped or killed.
        overwrite: let outputs replace existing files.
        max_tokens: the longest sentence that is tagged in one piece, the tagger's limit if None.
        max_record_bytes: maximum size of a line, a row, or a sentence of a corpus; a larger one is rejected.
    """

    paths: tuple[Path | str, ...]
    model: Path
    formats: Formats = Formats()
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    out: Path | None = None
    pattern: str | None = None
    on_error: OnError = "stop"
    rejects: Path | None = None
    summary: Path | None = None
    stream: bool = False
    resume: bool = False
    overwrite: bool = False
    max_tokens: int | None = None
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES

    def options(self, language: str) -> dict[str, Any]:
        """Returns everything except the inputs that the outputs depend on, as plain values by name.

        Args:
            language: the language of raw text, by the option or by the model.
        """
        return {
            "toolkit version": __version__,
            "model digest": model_dir.compute_digest(self.model),
            **asdict(self.formats),
            "language": language,
            **asdict(self.decoding),
            "on_error": self.on_error,
            "rejects": self.rejects and str(self.rejects),
            "max_tokens": self.max_tokens,
            "max_record_bytes": self.max_record_bytes,
        }


def check_options(job: Job, model: TaggerModel) -> None:
    """Raises ConfigError if options of a job contradict the model or each other, for any engine."""
    if job.formats.scheme and model.scheme is None:
        raise ConfigError(f"the model's tags are plain; they cannot be encoded in {job.formats.scheme}")
    output_format = job.formats.output_format
    if output_format and not FORMATS[output_format].holds_tags and model.scheme is None:
        raise ConfigError(f"the model's tags are plain; {output_format} has spans only, choose another `output_format`")
    check_model(model, job.decoding)
    if job.on_error == "stop" and job.rejects is not None:
        raise ConfigError("`rejects` is the file for input that `on_error` skip rejects; pass both or neither")
    if job.stream and (job.paths != (STDIN,) or job.out is not None):
        raise ConfigError("`stream` reads - and writes one stream; pass neither files nor `out`")
    if job.overwrite and job.out is None:
        raise ConfigError("`overwrite` needs outputs in a directory; pass `out`, too")


def _has_tag_column(source: InputFormat, target: OutputFormat) -> bool:
    """Returns whether the column of the tag in an output can be chosen."""
    return target == "conllu" or (source == target and FORMATS[source].has_columns)


def check_unused_options(formats: Formats, input_formats: Iterable[InputFormat]) -> None:
    """Raises ConfigError, with a line for each option that is set but has no effect on any of the inputs."""
    pairs = {(source, formats.output_format_of(source)): None for source in input_formats}
    uses = (
        ("token_column", formats.token_column, "input in columns", lambda source, _: FORMATS[source].has_columns),
        (
            "tag_column",
            formats.tag_column,
            "columns, csv and pipes that are written back, and output in conllu",
            _has_tag_column,
        ),
        (
            "language",
            formats.language,
            "text, jsonl, json, parquet and brat",
            lambda source, _: FORMATS[source].holds_texts,
        ),
        (
            "newline",
            None if formats.newline == "break" else formats.newline,
            "text, jsonl, json, parquet and brat",
            lambda source, _: FORMATS[source].holds_texts,
        ),
        ("scheme", formats.scheme, "output with tags", lambda _, target: FORMATS[target].holds_tags),
    )
    conversions = " and ".join(f"{source} to {target}" for source, target in pairs)
    faults = [
        f"`{name}` has no effect from {conversions}; it is for {purpose}"
        for name, value, purpose, has_effect in uses
        if value is not None and not any(has_effect(*pair) for pair in pairs)
    ]
    if faults:
        raise ConfigError(*faults)
