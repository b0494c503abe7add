"""Writes the results of a study: tables, their numbers, a plot and a verdict.

A study NAME writes into a directory

    NAME.json   `study`, `command`, `machine`, `seconds`, `verdict`, `tables` and other data of the plot; `tables` has a
                list of rows by the title of the table, and a row has its values by the title of the column
    NAME.md     the tables and the verdict
    NAME.png    the plot
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

Row = Mapping[str, Any]  # a number, a word or None by the title of the column
Tables = Mapping[str, Sequence[Row]]


def write_study(
    study: str, out: Path, *, tables: Tables, figure: Figure, verdict: str, seconds: float, **details: Any
) -> None:
    """Writes the three files of a study and prints its tables and verdict.

    Args:
        study: the name of the study.
        out: the directory, which is created.
        tables: rows by the title of the table.
        figure: the plot.
        verdict: one or several sentences.
        seconds: the time that the study took.
        details: other values of the JSON file.
    """
    out.mkdir(parents=True, exist_ok=True)
    results = {
        "study": study,
        "command": _command(study),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, torch {torch.__version__}",
        "seconds": round(seconds, 1),
        "verdict": verdict,
        "tables": tables,
        **details,
    }
    text = "\n\n".join([*(f"{title}\n\n{format_markdown(rows)}" for title, rows in tables.items()), verdict]) + "\n"
    atomic.replace(out / f"{study}.json", format_json(results).encode() + b"\n")
    atomic.replace(out / f"{study}.md", text.encode())
    with atomic.open_atomic(out / f"{study}.png") as stream:
        figure.savefig(stream, format="png", dpi=80)
    print(text, end="")


def _command(study: str) -> str:
    """Returns the command of this run, with paths reduced to their names."""
    words = [word.partition("=") for word in sys.argv[1:]]
    arguments = ["".join(Path(part).name if _is_path(part) else part for part in word) for word in words]
    return shlex.join(["python", f"scripts/studies/{study}.py", *arguments])


def _is_path(word: str) -> bool:
    return os.sep in word and Path(word).exists()


def format_json(value: Any, indent: str = "") -> str:
    """Returns JSON with each row of a table on one line.

    >>> print(format_json({"study": "flow", "tables": {"steps": [{"cell": "rnn"}, {"cell": "gru"}]}, "norms": [1, 2]}))
    {
     "study": "flow",
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
    if isinstance(value, Mapping) and (not indent or all(isinstance(item, list) for item in value.values())):
        lines = [f"{json.dumps(key)}: {format_json(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}}}"
    if isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
        lines = [json.dumps(item, allow_nan=False, ensure_ascii=False) for item in value]
        return "[\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def format_markdown(rows: Sequence[Row]) -> str:
    """Returns rows as a Markdown table with the columns of the first row.

    >>> rnn = {"cell": "rnn", "steps": 1200, "loss": 0.123456}
    >>> print(format_markdown([rnn, {"cell": "gru", "steps": None, "loss": 2.0}]))
    | cell | steps | loss |
    |---|---|---|
    | rnn | 1200 | 0.123 |
    | gru | - | 2.00 |
    """
    titles = list(rows[0])
    lines = [titles, *([_format_value(row[title]) for title in titles] for row in rows)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(titles), *text[1:]])


def _format_value(value: str | float | None) -> str:
    """Returns a cell of a table: numbers below 1 with three significant digits, others with two decimals."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    if size >= 1e6:
        return f"{value:.1e}"
    return f"{value:.3g}" if size < 1 else f"{value:.2f}"
