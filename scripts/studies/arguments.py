"""The options that every study has."""

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

if find_spec("matplotlib") is None:
    raise ImportError("studies draw pictures: pip install 'bilstm-crf-tagger[plot]'")


import matplotlib

matplotlib.rcdefaults()  # it obeys a matplotlibrc in the current directory


def parser(doc: str | None) -> ArgumentParser:
    """Returns a parser for the study of a docstring, with the directory that it writes into."""
    found = ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    found.add_argument("--out", type=Path, required=True, metavar="DIR", help="where table, numbers and picture go")
    return found


def whole_number(least: int) -> Callable[[str], int]:
    """Returns what reads an option that is a whole number of at least so much."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}")
        return int(text)

    return read
