"""Every closed choice of the toolkit, written once; checks, messages and help derive from it."""

from typing import Any, Literal, get_args

Cell = Literal["lstm", "lstm1997", "gru", "rnn"]
Direction = Literal["both", "forward", "backward"]
Merge = Literal["concat", "sum", "mean"]
Characters = Literal["cnn", "lstm", "none"]
Dropout = Literal["element", "locked"]
Head = Literal["crf", "softmax"]
Scheme = Literal["IOB1", "IOB2", "IOBES"]
TagFormat = Literal["auto", "prefix", "suffix", "types", "untyped", "brackets", "plain"]
CorpusFormat = Literal["columns", "csv", "pipes", "conllu", "jsonl", "json", "parquet", "datasets"]
Part = Literal["words", "characters", "encoder", "head"]
TaggedFormat = Literal["columns", "csv", "pipes", "conllu", "jsonl", "json", "parquet"]
InputFormat = Literal["text", "lines", "columns", "csv", "pipes", "conllu", "jsonl", "json", "parquet"]
OutputFormat = Literal["columns", "conllu", "jsonl", "tsv", "parquet", "html"]
OnError = Literal["stop", "skip"]
Engine = Literal["local", "ray"]
Optimizer = Literal["sgd", "adam", "adamw"]
Selection = Literal["f1", "macro_f1", "accuracy"]
Schedule = Literal["constant", "inverse", "plateau", "onecycle", "linear"]
Misaligned = Literal["expand", "contract", "drop", "stop"]
Scored = Literal["test", "dev"]
OnNonfinite = Literal["stop", "skip"]
Kernel = Literal["torch", "numba", "triton"]
Reduction = Literal["sentence", "token", "none"]
Device = Literal["auto", "cpu", "cuda"]


def options(choice: Any) -> tuple[str, ...]:
    """Returns the values of a choice.

    >>> options(Merge)
    ('concat', 'sum', 'mean')
    """
    return get_args(choice)


def listed(values: tuple[str, ...]) -> str:
    """Returns values as they read in a sentence.

    >>> listed(options(Merge))
    'concat, sum or mean'
    """
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


SEED_LIMIT = 2**63
"""Random seeds are below this."""
