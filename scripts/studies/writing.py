"""What every study ends in: tables, their numbers, a picture and a verdict.

A study NAME writes into a directory

    NAME.json   `study`, `command`, `machine`, `seconds`, `verdict` and `tables`: for each table a list of rows, each of
                which has the number or word of each column by its title; and what else the picture is drawn from
    NAME.md     the tables and the verdict
    NAME.png    the picture
"""

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from tagger.io import atomic

Row = Mapping[str, Any]  # of each column a number, a word or None
Tables = Mapping[str, Sequence[Row]]


def write(study: str, out: Path, *, tables: Tables, figure: Figure, verdict: str, seconds: float, **more: Any) -> None:
    """Writes a study's three files and prints its tables and its verdict.

    Args:
        study: its name.
        out: the directory, which is made.
        tables: rows by the table's title.
        figure: the picture.
        verdict: one sentence.
        seconds: that it took.
        more: what else the JSON file is to hold.
    """
    out.mkdir(parents=True, exist_ok=True)
    found = {
        "study": study,
        "command": _command(study),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, torch {torch.__version__}",
        "seconds": round(seconds, 1),
        "verdict": verdict,
        "tables": tables,
        **more,
    }
    text = "\n\n".join([*(f"{title}\n\n{markdown(rows)}" for title, rows in tables.items()), verdict]) + "\n"
    atomic.replace(out / f"{study}.json", laid_out(found).encode() + b"\n")
    atomic.replace(out / f"{study}.md", text.encode())
    with atomic.open_atomic(out / f"{study}.png") as stream:
        figure.savefig(stream, format="png", dpi=80)
    print(text, end="")


def _command(study: str) -> str:
    """Returns what was typed, of the paths of files and folders their names alone."""
    words = [word.partition("=") for word in sys.argv[1:]]
    given = ["".join(Path(part).name if _is_path(part) else part for part in word) for word in words]
    return shlex.join(["python", f"scripts/studies/{study}.py", *given])


def _is_path(word: str) -> bool:
    return os.sep in word and Path(word).exists()


def laid_out(value: Any, indent: str = "") -> str:
    """Returns JSON in which each row of a table has a line.

    >>> print(laid_out({"study": "memory", "tables": {"steps": [{"cell": "rnn"}, {"cell": "gru"}]}, "norms": [1, 2]}))
    {
     "study": "memory",
     "tables": {
      "steps": [
       {"cell": "rnn"},
       {"cell": "gru"}
      ]
     },
     "norms": [1, 2]
    }
    """
    inner = indent + " "
    if isinstance(value, Mapping) and (not indent or all(isinstance(each, list) for each in value.values())):
        lines = [f"{json.dumps(key)}: {laid_out(each, inner)}" for key, each in value.items()]
        return "{\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}}}"
    if isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
        lines = [json.dumps(each, allow_nan=False, ensure_ascii=False) for each in value]
        return "[\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def sentence(parts: Sequence[str]) -> str:
    """Returns parts as one sentence.

    >>> sentence(["on names it holds", "on verbs it fails"])
    'On names it holds; on verbs it fails.'
    """
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def markdown(rows: Sequence[Row]) -> str:
    """Returns rows as a table in Markdown; all have the columns of the first.

    >>> print(markdown([{"cell": "rnn", "steps": 1200, "loss": 0.123456}, {"cell": "gru", "steps": None, "loss": 2.0}]))
    | cell | steps | loss |
    |---|---|---|
    | rnn | 1200 | 0.123 |
    | gru | - | 2.00 |
    """
    titles = list(rows[0])
    lines = [titles, *([_shown(row[title]) for title in titles] for row in rows)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(titles), *text[1:]])


def _shown(value: str | float | None) -> str:
    """Returns a cell of a table: numbers below 1 to three digits, others to two places."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    if size >= 1e6:
        return f"{value:.1e}"
    return f"{value:.3g}" if size < 1 else f"{value:.2f}"
