"""Every closed choice of the toolkit, written once; checks, messages and help derive from it."""

from typing import Any, Literal, get_args

from tagger.errors import ConfigError

Cell = Literal["lstm", "gru", "rnn"]
Merge = Literal["concat", "sum", "mean"]
Characters = Literal["cnn", "lstm", "none"]
Dropout = Literal["element", "locked"]
Head = Literal["crf", "softmax"]
Scheme = Literal["IOB1", "IOB2", "IOBES"]
CorpusFormat = Literal["columns", "conllu", "datasets"]
Part = Literal["words", "characters", "encoder", "head"]
TaggedFormat = Literal["columns", "conllu"]
InputFormat = Literal["lines", "columns", "conllu"]
OutputFormat = Literal["columns", "conllu", "jsonl"]
VectorTraining = Literal["tuned", "frozen"]
Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "inverse", "plateau", "onecycle", "linear"]
NotFinite = Literal["stop", "skip"]
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


def check(name: str, value: str, choice: Any) -> None:
    """Raises ConfigError if a value is none of the choice's.

    >>> check("encoder.merge", "max", Merge)
    Traceback (most recent call last):
    tagger.errors.ConfigError: encoder.merge must be concat, sum or mean, got 'max'
    """
    if value not in options(choice):
        raise ConfigError(f"{name} must be {listed(options(choice))}, got {value!r}")
