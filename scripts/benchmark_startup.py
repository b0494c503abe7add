"""Measures what a model takes on disk, and how long `tagger tag` takes to its first line beyond `import torch`.

python scripts/benchmark_startup.py MODEL TEXT [--rounds 5]

The two are started alternately; the medians are printed, in seconds.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tagger import import_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path, help="plain lines")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    command = [
        *import_path.command("from tagger.cli import main; main()"),
        "tag",
        str(options.text),
        "--from",
        "lines",
        "--model",
        str(options.model),
    ]
    rounds = [(first_line(None), first_line(command)) for _ in range(options.rounds)]
    torch, tagger = (statistics.median(times) for times in zip(*rounds, strict=True))
    size = sum(path.stat().st_size for path in options.model.iterdir())
    print(f"model {size / 1e6:.1f} MB")
    print(f"import torch {torch:.2f} s, first line {tagger:.2f} s, beyond it {tagger - torch:.2f} s")


def first_line(command: list[str] | None) -> float:
    """Returns the seconds until a command prints its first line; None stands for `import torch`."""
    started = time.perf_counter()
    command = command or [sys.executable, "-P", "-c", "import torch; print()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        taken = time.perf_counter() - started
        process.stdout.read()
    return taken


if __name__ == "__main__":
    main()
