"""The options that all studies share."""

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

if find_spec("matplotlib") is None:
    raise ImportError("studies draw plots: pip install 'bilstm-crf-tagger[plot]'")


import matplotlib

matplotlib.rcdefaults()  # matplotlib reads a matplotlibrc in the current directory


def create_parser(doc: str | None) -> ArgumentParser:
    """Returns a parser with the description `doc` and the option `--out`."""
    parser = ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="Directory for the results.")
    return parser


def integer_type(minimum: int) -> Callable[[str], int]:
    """Returns a function that parses the value of an option as an integer of at least `minimum`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise ArgumentTypeError(f"expected an integer of at least {minimum}, found {text!r}")
        return int(text)

    return parse
