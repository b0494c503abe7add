"""Highlights entities of a text in HTML, for pages and notebooks. The text is escaped completely."""

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

NUM_COLOURS = 12
# Symbols for control characters; U+FFFD for those without a symbol and for characters that reorder text.
_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_VISIBLE |= dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
_VISIBLE |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)
# Colours of common entity types, far apart.
_COLOURS = {"PER": 7, "PERSON": 7, "ORG": 1, "LOC": 4, "GPE": 5, "MISC": 10, "NORP": 11, "DATE": 2}
_MARK_STYLE = "padding:.15em .3em;border-radius:.3em;color:inherit;unicode-bidi:isolate"
_LABEL_STYLE = "margin-inline-start:.4em;font-size:.7em;font-weight:bold;opacity:.75"

Attributes = Callable[[str], tuple[str, str]]
"""Returns the HTML attributes of a mark and those of its label, by entity type."""


class Mark(NamedTuple):
    """An entity over the characters [start, end) of a text."""

    start: int
    end: int
    type: str
    probability: float | None = None


def escape(text: str) -> str:
    r"""Returns the HTML of a text, with symbols for control characters.

    >>> escape("<b>\x1b[0m")
    '&lt;b&gt;␛[0m'
    """
    return html.escape(text.translate(_VISIBLE))


def highlight(text: str, marks: Iterable[Mark], attributes: Attributes) -> Iterator[str]:
    """Yields the HTML of a text with marks, which are sorted and do not overlap.

    Args:
        text: the text.
        marks: the entities to highlight.
        attributes: returns the HTML attributes of marks, such as `inline_attributes`.
    """
    end = 0
    for mark in marks:
        kind = escape(mark.type)
        title = kind if mark.probability is None else f"{kind} {mark.probability:.4f}"
        of_mark, of_label = attributes(mark.type)
        yield escape(text[end : mark.start])
        yield f'<mark {of_mark} title="{title}" dir="auto">{escape(text[mark.start : mark.end])}'
        yield f"<bdi{of_label}>{kind}</bdi></mark>"
        end = mark.end
    yield escape(text[end:])


def inline_attributes(kind: str) -> tuple[str, str]:
    """Returns the attributes for a fragment without a style sheet, such as the output of a notebook's cell."""
    hue = colour(kind) * 360 // NUM_COLOURS
    return f'style="background:hsl({hue} 75% 55% / 35%);{_MARK_STYLE}"', f' style="{_LABEL_STYLE}"'


def notebook_block(content: str) -> str:
    """Returns the HTML of a block that shows highlighted text, line breaks included, in a notebook's cell."""
    return f'<div dir="auto" style="line-height:1.9;white-space:pre-wrap">{content}</div>'


def assign_colours(types: Sequence[str]) -> dict[str, int]:
    """Returns the number of a colour for each type: that of `colour`, or another if two types would share it.

    >>> assign_colours(["LOC", "PER", "PERSON"])
    {'LOC': 4, 'PER': 7, 'PERSON': 0}
    """
    colours: dict[str, int] = {}
    for kind in sorted(types, key=lambda kind: kind not in _COLOURS):
        unused = [number for number in range(NUM_COLOURS) if number not in colours.values()]
        number = colour(kind)
        colours[kind] = number if number in unused or not unused else unused[0]
    return colours


def colour(kind: str) -> int:
    """Returns the number of an entity type's colour, below `NUM_COLOURS`."""
    return _COLOURS.get(kind, crc32(kind.encode("utf-8", "backslashreplace")) % NUM_COLOURS)
