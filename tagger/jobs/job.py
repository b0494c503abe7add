"""A tagging job as it is asked for, and how its files are laid out."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tagger import __version__, model_dir
from tagger.choices import InputFormat, OnError, OutputFormat, Scheme
from tagger.data.formats import FORMATS
from tagger.errors import ConfigError
from tagger.io import line_reader
from tagger.model import TaggerModel
from tagger.tagging import DecodingOptions


@dataclass(frozen=True, slots=True)
class Formats:
    """How files are read and written.

    Attributes:
        input_format: the format of the input, guessed from each file name if None.
        output_format: the format of the output; if None that of the input, columns for plain lines, jsonl for
            raw text.
        token: the column of the token, where it is not where the model's training had it.
        tag: the column of the tag, likewise.
        scheme: in which spans are spelt, that of the training if None.
        language: the language of raw text, English if None.
    """

    input_format: InputFormat | None = None
    output_format: OutputFormat | None = None
    token: int | str | None = None
    tag: int | str | None = None
    scheme: Scheme | None = None
    language: str | None = None

    @property
    def text_language(self) -> str:
        """The code of the language of raw text."""
        return self.language or "en"

    def target(self, input_format: InputFormat) -> OutputFormat:
        """Returns the format in which an input of a format is written."""
        if self.output_format is not None:
            return self.output_format
        if input_format == "lines":
            return "columns"
        return "jsonl" if input_format == "text" else input_format


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be tagged, by which model, and where it goes.

    Attributes:
        paths: files, folders, globs, or `inputs.STDIN` for the standard input.
        model: the model's directory.
        formats: how files are read and written.
        answers: what is asked beside the best tags.
        out: the directory of the outputs, one for each input; if None, all goes to the output stream.
        pattern: which files of a folder are read, all if None.
        on_error: what is done when something cannot be read: stop, or skip it and set it aside.
        rejects: the file of what is set aside, rejects.jsonl in `out` if None.
        summary: the file that the caller will write the summary into, which must be no other of the job.
        resume: whether to go on with this job where it was stopped or killed.
        overwrite: whether outputs may replace files that exist.
        max_tokens: the longest sentence that is tagged in one piece, the tagger's own limit if None.
        max_record_bytes: limit of a line, a row, or a sentence of a corpus; a larger one cannot be read.
    """

    paths: tuple[Path | str, ...]
    model: Path
    formats: Formats = Formats()
    answers: DecodingOptions = field(default_factory=DecodingOptions)
    out: Path | None = None
    pattern: str | None = None
    on_error: OnError = "stop"
    rejects: Path | None = None
    summary: Path | None = None
    resume: bool = False
    overwrite: bool = False
    max_tokens: int | None = None
    max_record_bytes: int = line_reader.MAX_RECORD_BYTES

    def options(self) -> dict[str, Any]:
        """Returns all that the outputs depend on beside the inputs, as plain values by name."""
        own = {"on_error": self.on_error, "rejects": self.rejects and str(self.rejects)}
        names = {"token": "token_column", "tag": "tag_column"}
        given = asdict(self.formats) | {"language": self.formats.text_language}
        formats = {names.get(name, name): value for name, value in given.items()}
        answers = asdict(self.answers)
        model = {"toolkit version": __version__, "model digest": model_dir.digest(self.model)}
        return (
            model | formats | answers | own | {"max_tokens": self.max_tokens, "max_record_bytes": self.max_record_bytes}
        )


def check(job: Job, model: TaggerModel) -> None:
    """Raises ConfigError if a job's options do not fit the model, or one another, wherever it is done."""
    if job.formats.scheme and model.scheme is None:
        raise ConfigError(f"the model's tags are plain; they cannot be spelt in {job.formats.scheme}")
    output_format = job.formats.output_format
    if output_format and not FORMATS[output_format].holds_tags and model.scheme is None:
        raise ConfigError(
            f"the model's tags are plain; {output_format} holds spans alone, choose another `output_format`"
        )
    if job.on_error == "stop" and job.rejects is not None:
        raise ConfigError("`rejects` takes what `on_error` skip sets aside; give both or none")
    if job.overwrite and job.out is None:
        raise ConfigError("`overwrite` is for outputs in a directory; pass `out`, too")


def check_effects(formats: Formats, input_formats: Iterable[InputFormat]) -> None:
    """Raises ConfigError, with a line for each, if options bear on none of the inputs, whose formats are given."""
    ways = {(input_format, formats.target(input_format)): None for input_format in input_formats}
    options = (
        ("token_column", formats.token, "input in columns", lambda input_format, _: input_format == "columns"),
        (
            "tag_column",
            formats.tag,
            "columns that are written back and output in conllu",
            lambda input_format, output_format: output_format == "conllu" or input_format == output_format == "columns",
        ),
        (
            "language",
            formats.language,
            "text, jsonl and parquet",
            lambda input_format, _: FORMATS[input_format].has_offsets,
        ),
        ("scheme", formats.scheme, "output with tags", lambda _, output_format: FORMATS[output_format].holds_tags),
    )
    shown = " and ".join(f"{source} to {target}" for source, target in ways)
    faults = [
        f"`{name}` has no effect from {shown}; it is for {what}"
        for name, value, what, bears in options
        if value is not None and not any(bears(*way) for way in ways)
    ]
    if faults:
        raise ConfigError(*faults)
