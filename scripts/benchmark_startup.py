"""Measures the time until `tagger tag` prints its first line, beyond `import torch`, and the size of the model.

    python scripts/benchmark_startup.py TEXT --model DIR [--python PYTHON --model DIR]... [--rounds 5] [--json FILE]

With several interpreters, each of an environment with another commit of the toolkit, all commits are measured in one
run. All commands run alternately, after one run each that fills the caches. Values are medians over the rounds:

    value          seconds until the first line, less those of `import torch` in the same round
    import_torch   seconds of a process that imports torch and prints a line
    first_line     seconds until `tagger tag` prints its first line
    model_mb       size of the model directory in MB

The last rows are the ratios of each commit to the first.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmark_systems import Result, describe_run, read_commit

IMPORT_TORCH = ("-c", "import torch; print()")
PACKAGE_PATH = ("-c", "import tagger; print(tagger.__file__)")


class System(NamedTuple):
    """The Python of an environment with the toolkit, and a model that its commit can load."""

    python: str
    model: Path

    def command(self, *arguments: str) -> list[str]:
        """Returns a command that ignores the current directory."""
        return [self.python, "-P", *arguments]

    def measure(self, text: Path) -> Result:
        """Measures `import torch`, then `tagger tag`."""
        import_torch = seconds_to_first_line(self.command(*IMPORT_TORCH))
        tag = ("-m", "tagger", "tag", str(text), "--from", "lines", "--model", str(self.model))
        first_line = seconds_to_first_line(self.command(*tag))
        return {"value": first_line - import_torch, "import_torch": import_torch, "first_line": first_line}

    def describe(self) -> Result:
        """Returns the commit of the toolkit and the size of the model."""
        package = subprocess.run(self.command(*PACKAGE_PATH), capture_output=True, text=True, check=True).stdout.strip()
        size = sum(path.stat().st_size for path in self.model.iterdir())
        return {"commit": read_commit(Path(package).parent), "model_mb": size / 1e6}


def seconds_to_first_line(command: list[str]) -> float:
    """Returns the seconds until a command prints its first line."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        _, errors = process.communicate()
    if process.returncode or not line:
        sys.exit(f"{shlex.join(command)} failed with exit code {process.returncode}:\n{errors[-3000:]}")
    return seconds


def measure_alternately(systems: list[System], text: Path, rounds: int) -> list[Result]:
    """Returns a row for each system, then the ratios to the first."""
    for system in systems:
        system.measure(text)
    results = [[system.measure(text) for system in systems] for _ in range(rounds)]
    rows: list[Result] = []
    for number, (system, measured) in enumerate(zip(systems, zip(*results, strict=True), strict=True), 1):
        medians = {key: statistics.median(result[key] for result in measured) for key in measured[0]}
        details = system.describe() | {"rounds": [result["value"] for result in measured]}
        rows.append({"row": f"startup {number}", "unit": "s"} | medians | details)
    first, *others = rows
    for row in others:
        ratios = [value / reference for value, reference in zip(row["rounds"], first["rounds"], strict=True)]
        name = f"{row['row']} / {first['row']}"
        rows.append({"row": name, "unit": "x", "value": statistics.median(ratios), "rounds": ratios})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="Tokenised text, one sentence per line.")
    parser.add_argument(
        "--model", type=Path, action="append", required=True, metavar="DIR", help="Model directory, one per --python."
    )
    parser.add_argument(
        "--python", action="append", metavar="PYTHON", help="Python of an environment with the toolkit [this one]."
    )
    parser.add_argument("--rounds", type=int, default=5, help="Number of rounds [5].")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the results as JSON.")
    options = parser.parse_args()
    pythons = options.python or [sys.executable]
    if len(pythons) != len(options.model):
        parser.error(f"{len(options.model)} --model for {len(pythons)} --python; pass one --model per --python")
    systems = [System(python, model) for python, model in zip(pythons, options.model, strict=True)]
    rows = measure_alternately(systems, options.text, options.rounds)
    for row in rows:
        print(format_row(row))
    if options.json:
        results = describe_run("benchmark_startup.py") | {"rows": rows}
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def format_row(row: Result) -> str:
    """Returns a line of the table."""
    line = f"{row['row']:21} {row['value']:8.3f} {row['unit']}"
    if row["unit"] == "s":
        line += "   import_torch {import_torch:.3f}, first_line {first_line:.3f}".format(**row)
        line += ", model_mb {model_mb:.1f}, commit {commit}".format(**row)
    return line


if __name__ == "__main__":
    main()
