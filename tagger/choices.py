"""Every closed choice of the toolkit, written once; checks, messages and help derive from it."""

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

from tagger.errors import ConfigError

Cell = Literal["lstm", "lstm1997", "gru", "rnn"]
Direction = Literal["both", "forward", "backward"]
Merge = Literal["concat", "sum", "mean"]
Characters = Literal["cnn", "lstm", "none"]
Dropout = Literal["element", "locked"]
Head = Literal["crf", "softmax"]
Scheme = Literal["IOB1", "IOB2", "IOBES"]
TagFormat = Literal["auto", "prefix", "suffix", "types", "untyped", "brackets", "plain"]
CorpusFormat = Literal["columns", "csv", "pipes", "conllu", "jsonl", "json", "parquet", "brat", "spacy", "datasets"]
Part = Literal["words", "characters", "transformer", "encoder", "head"]
VectorDtype = Literal["float16", "int8", "product"]
Pooling = Literal["first", "last", "first_last", "mean"]
LayerMix = Literal["scalar", "mean", "concat"]
TaggedFormat = Literal["columns", "csv", "pipes", "conllu", "jsonl", "json", "parquet", "brat", "spacy"]
InputFormat = Literal["text", "lines", "columns", "csv", "pipes", "conllu", "jsonl", "json", "parquet", "brat", "spacy"]
OutputFormat = Literal[
    "columns",
    "csv",
    "pipes",
    "conllu",
    "jsonl",
    "doccano",
    "label-studio",
    "prodigy",
    "tsv",
    "parquet",
    "brat",
    "spacy",
    "html",
]
ExportFormat = Literal["onnx"]
OnError = Literal["stop", "skip"]
Newline = Literal["break", "space"]
Engine = Literal["local", "ray"]
Optimizer = Literal["sgd", "adam", "adamw"]
Selection = Literal["f1", "macro_f1", "accuracy"]
Schedule = Literal["constant", "inverse", "plateau", "onecycle", "linear"]
Repair = Literal["conlleval", "discard", "none"]
Misaligned = Literal["expand", "contract", "drop", "stop"]
Scored = Literal["test", "dev"]
OnNonfinite = Literal["stop", "skip"]
ErrorKind = Literal["missed", "spurious", "type", "boundary", "both"]
Kernel = Literal["torch", "numba", "triton"]
Reduction = Literal["sentence", "token", "none"]
Device = str
"""auto, cpu, cuda or, for one of several GPUs, cuda:N."""
Role = Literal["train", "dev", "test"]
Uncertainty = Literal["entropy", "least-confidence", "margin", "errors"]
SelectionUnit = Literal["sentence", "document"]
AnnotationTool = Literal["doccano", "label-studio", "prodigy", "jsonl"]
SuspectKind = Literal["type", "boundary", "type and boundary", "spurious", "missing", "tag"]
Sampler = Literal["tpe", "random", "grid"]
TrialState = Literal["finished", "pruned", "refused", "failed", "unfinished"]
Severity = Literal["error", "warning"]
FindingKind = Literal[
    "unreadable",
    "notice",
    "control-tag",
    "mixed-tags",
    "different-kinds",
    "no-spans",
    "invalid-tag",
    "different-schemes",
    "unseen-type",
    "unseen-tag",
    "rare-type",
    "similar-types",
    "span-edge",
    "shared-document",
    "shared-sentence",
    "inconsistent-tags",
    "control-character",
    "zero-width",
    "replacement-character",
    "white-space",
    "mixed-normalization",
    "long-sentence",
    "low-coverage",
]


def options(choice: Any) -> tuple[str, ...]:
    """Returns the values of a choice.

    >>> options(Merge)
    ('concat', 'sum', 'mean')
    """
    return get_args(choice)


def list_briefly(items: Sequence[str], limit: int = 10) -> str:
    """Returns the first items as a list, and the number of all others.

    >>> list_briefly(["a", "b"]), list_briefly(["a", "b", "c"], 2)
    ('a, b', 'a, b and 1 more')
    """
    return ", ".join(items[:limit]) + f" and {len(items) - limit:,} more" * (len(items) > limit)


def listed(values: tuple[str, ...], limit: int | None = None) -> str:
    """Returns values as they read in a sentence; if there are more than `limit`, the first ones and a count.

    >>> listed(options(Merge)), listed(("a", "b", "c", "d"), 2)
    ('concat, sum or mean', 'a, b and 2 more')
    """
    if limit is not None and len(values) > limit:
        return list_briefly(values, limit)
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


def check_choices(**values: tuple[object, Any]) -> None:
    """Raises ConfigError if the value of a parameter is neither None nor one of a closed choice.

    >>> check_choices(scheme=("IOB2", Scheme), engine=(None, Engine))

    Args:
        values: by the name of the parameter, its value and the choice.
    """
    for name, (value, choice) in values.items():
        if value is not None and value not in options(choice):
            raise ConfigError(f"`{name}` must be {listed(options(choice))}, got {value!r}")


def counted(count: int, noun: str) -> str:
    """Returns a number with its noun, in the plural unless it is 1.

    >>> counted(1, "document"), counted(1000, "token")
    ('1 document', '1,000 tokens')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


_SCHEME_ALIASES: dict[str, Scheme] = {
    "BIO": "IOB2",
    "BIO2": "IOB2",
    "BIOES": "IOBES",
    "BILOU": "IOBES",
    "BMES": "IOBES",
    "BMEWO": "IOBES",
}


def parse_scheme(name: str) -> Scheme:
    """Returns the scheme of a name in any case, which may be a usual other name.

    >>> parse_scheme("bio"), parse_scheme("BILOU"), parse_scheme("iob1")
    ('IOB2', 'IOBES', 'IOB1')

    Raises:
        ValueError: the name is unknown.
    """
    key = name.upper()
    for scheme in get_args(Scheme):
        if scheme == key:
            return cast(Scheme, scheme)
    if key not in _SCHEME_ALIASES:
        raise ValueError(f"must be IOB1, IOB2 (also BIO) or IOBES (also BIOES, BILOU, BMES), got {name!r}")
    return _SCHEME_ALIASES[key]


SEED_LIMIT = 2**63
"""Random seeds are below this."""
