"""Writes the table of all settings into configs/README.md, between its two marker comments, from the schema.

python scripts/describe_settings.py [--check]
"""

import argparse
import sys
from pathlib import Path

from tagger.config.settings import list_sections

README = Path(__file__).parents[1] / "configs" / "README.md"
START = "<!-- settings: written by scripts/describe_settings.py -->"
END = "<!-- end of settings -->"


def main() -> int:
    """Writes the README, or with `--check` returns 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="Write nothing; fail if the README is out of date.")
    options = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    updated = replace_settings(text, describe())
    if not options.check:
        README.write_text(updated, encoding="utf-8")
    elif updated != text:
        print(f"{README} is out of date: run `python scripts/describe_settings.py`", file=sys.stderr)
        return 1
    return 0


def replace_settings(text: str, settings: str) -> str:
    """Returns a text with the settings between the two marker comments replaced."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{README}: expected the lines {START!r} and {END!r}")
    return f"{before}{START}\n\n{settings}\n{END}{after}"


def describe() -> str:
    """Returns a heading and a table in Markdown for each section of settings."""
    blocks = []
    for section in list_sections():
        rows = [
            f"| `{setting.name.rpartition('.')[2]}` | {setting.values} | `{setting.default}` "
            f"| {escape(setting.meaning)} |"
            for setting in section.settings
        ]
        if rows:
            table = ["| setting | values | default | meaning |", "|---|---|---|---|", *rows]
            blocks.append(f"### `{section.name}`\n\n{section.summary}\n\n" + "\n".join(table) + "\n")
    return "\n".join(blocks)


def escape(text: str) -> str:
    """Returns a text as a cell of a Markdown table."""
    return text.replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main())
