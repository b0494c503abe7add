"""Options that several commands share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from tagger import choices
from tagger.errors import ConfigError

Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE", help="Device to compute on: auto, cpu, cuda or cuda:N; auto selects a GPU if available."
    ),
]
MODEL_HELP = "Model directory, or hub:USER/NAME or hub:USER/NAME@REVISION for the Hugging Face Hub."
Model = Annotated[str, typer.Option(metavar="MODEL", help=MODEL_HELP)]
NamedModel = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
InitFrom = Annotated[
    str | None, typer.Option(metavar="MODEL", help="Model with initial weights: a directory or hub:USER/NAME.")
]
Paths = Annotated[list[str], typer.Argument(metavar="PATH", help="Files, folders or globs; - for standard input.")]
InputFormat = Annotated[
    choices.InputFormat | None,
    typer.Option(
        "--from",
        help="Input format; text is raw text, lines has one tokenized sentence per line. A .txt file is raw text unless"
        " it is plainly columns with tags, or CoNLL-U.",
        show_default="by name and content, else text",
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(metavar="GLOB", help="Files to read in a folder.", show_default="all that are not hidden"),
]
ModelLanguage = Annotated[
    str | None, typer.Option(metavar="CODE", help="Language of raw text.", show_default="that of the model")
]
Newline = Annotated[
    choices.Newline,
    typer.Option(help="End a sentence of raw text at each newline, or treat newlines in a paragraph as spaces."),
]
MaxTokens = Annotated[
    int,
    typer.Option(metavar="N", min=1, max=10**6, help="Split sentences with more tokens into overlapping windows."),
]
MaxRecordBytes = Annotated[
    int, typer.Option(metavar="N", min=1000, max=1 << 30, help="Maximum size of a line, row or sentence in bytes.")
]
BatchTokens = Annotated[
    int, typer.Option(metavar="N", min=1, max=10**7, help="Maximum tokens per batch, padding included.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=1000,
        help="Number of CPU cores to use.",
        show_default="all CPU cores",
    ),
]
OnError = Annotated[
    choices.OnError,
    typer.Option(help="Stop at a record that cannot be read, or skip it and write it to --rejects."),
]
Seen = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Known annotated data, such as the training data (repeatable)."),
]
Vectors = Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Pretrained word vectors (repeatable).")]
Report = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result as an HTML page.")]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="Directory with the train, dev and test files.")]
Train = Annotated[Path | None, typer.Option(metavar="FILE", help="Training file.")]
Dev = Annotated[Path | None, typer.Option(metavar="FILE", help="Development file.")]
RecipeSeed = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Random seed.", show_default="from the recipe")
]
Seeds = Annotated[
    str | None, typer.Option(metavar="LIST", help="Train once with each of these seeds, such as 1,2,3 or 1-5.")
]
Jobs = Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Number of trainings in parallel.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting (repeatable).")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TaggedFormat = Annotated[
    choices.TaggedFormat | None,
    typer.Option("--from", help="Format of the annotated data.", show_default="by name and content"),
]
Misaligned = Annotated[
    choices.Misaligned | None,
    typer.Option(
        help="Expand or contract annotated spans that end within a token, drop them, or stop."
        " Of overlapping spans the longest remains.",
        show_default="expand, or the setting",
    ),
]
TokenColumn = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column of the token: a number (-1 is the last) or a name.")
]
TagColumn = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the tag: a number or a name; in CoNLL-U upos, xpos or misc:KEY; in JSON and Parquet a field.",
    ),
]

AnnotatedTypes = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Types of spans that the file is annotated for, such as PER,LOC."),
]
Language = Annotated[str | None, typer.Option(metavar="CODE", help="Language of raw text.", show_default="en")]
UnknownTag = Annotated[
    str | None, typer.Option(metavar="TAG", help="Tag of tokens that were not annotated, such as ? or _.")
]
DataSettings = Annotated[
    list[str] | None, typer.Option("--set", metavar="data.KEY=VALUE", help="Override a setting (repeatable).")
]

PredictedColumn = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the predicted tag; in a file with both tags, the gold tag is in the column before it.",
        show_default="as --tag-column",
    ),
]

TAG_FORMAT_HELP = (
    "How tags encode spans: prefix B-PER, suffix PER-B, types PER, untyped B, brackets (PER*; plain for none."
)
TagFormat = Annotated[choices.TagFormat | None, typer.Option(help=TAG_FORMAT_HELP, show_default="as in training")]
TagFormatOfFiles = Annotated[
    choices.TagFormat | None, typer.Option(help=TAG_FORMAT_HELP, show_default="as the tags show")
]
PRECISION_HELP = (
    "Precision to reach with 95 % confidence, by a threshold for each type of a calibrated model; spans below it are"
    " dropped."
)
SCHEME_HELP = "Scheme of the output tags: IOB1, IOB2 (BIO) or IOBES (BIOES)."


def parse_types(text: str | None) -> list[str] | None:
    """Returns the types of a list such as `PER,LOC`."""
    return None if text is None else text.split(",")


def parse_column(text: str | None) -> int | str | None:
    """Returns the number or the name of a column.

    Raises:
        ConfigError: the number has more than 5 digits.
    """
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]+", text):
        return text
    if len(text) > 6:
        raise ConfigError(f"column {text[:20]}: expected a number of at most 5 digits")
    return int(text)
