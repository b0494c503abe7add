"""Runs measurements alternately, and makes rows of their medians and ratios."""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark_systems import Result, describe_run


def measure_alternately(
    measurements: Mapping[str, Callable[[], Result]],
    rounds: int,
    *,
    ratios: Iterable[tuple[str, str]],
    units: Mapping[str, str],
) -> Iterator[Result]:
    """Yields a row for each measurement, then the ratios.

    Args:
        measurements: the functions that measure, by the names of their rows.
        rounds: number of rounds; each runs every measurement once.
        ratios: pairs of rows; in each round, the first is divided by the second.
        units: the units of rows by name; tokens/s for others.
    """
    results: dict[str, list[Result]] = {name: [] for name in measurements}
    for number in range(rounds):
        for name, measure in measurements.items():
            results[name].append(measure())
            print(f"round {number + 1}, {name}: {results[name][-1]['value']:,.2f}", file=sys.stderr)
    for name, values in results.items():
        medians = {key: median_or_mode([result[key] for result in values]) for key in values[0]}
        row = {"row": name, "unit": units.get(name, "tokens/s")} | medians
        yield row | {"rounds": [result["value"] for result in values]}
    for name, reference in ratios:
        if name in results and reference in results:
            pairs = zip(results[name], results[reference], strict=True)
            values = [result["value"] / other["value"] for result, other in pairs]
            yield {"row": f"{name} / {reference}", "unit": "x", "value": statistics.median(values), "rounds": values}


def median_or_mode(values: list[Any]) -> Any:
    """Returns the median of numbers, the most frequent of other values."""
    return statistics.median(values) if isinstance(values[0], int | float) else statistics.mode(values)


def report_rows(rows: Iterable[Result], script: str, path: Path | None) -> None:
    """Prints each row when it is measured; with a path, also writes all rows so far as JSON with a description."""
    results: Result = {**describe_run(script), "rows": []}
    for row in rows:
        print(format_row(row), flush=True)
        results["rows"].append(row)
        if path:
            path.write_text(json.dumps(results, indent=1) + "\n")


def format_row(row: Result) -> str:
    """Returns a line of the table."""
    details = {key: value for key, value in row.items() if key not in ("row", "unit", "value", "rounds")}
    texts = [f"{key} {value}" if isinstance(value, str) else f"{key} {value:,.4g}" for key, value in details.items()]
    return f"{row['row']:36} {row['value']:12,.2f} {row['unit']:9} {', '.join(texts)}"
