r"""Escapes characters that a line-based format cannot hold, as in Python: \t, \n, \r, \0, \xNN, \uNNNN.

Backslashes of the text are not escaped. A text without such characters stays the same, byte for byte.
"""

import re
from collections.abc import Sequence

LINE = re.compile(r"[\t\n\r\0]")
"""Characters that end a line or a tab-separated field, and NUL, which makes a line unreadable."""
LINE_OR_SPACE = re.compile(r"[\t\n\r\0 ]")
"""The same for space-separated fields."""
WHITE = re.compile(r"[\s\0]")
"""Characters that no field of CoNLL-U except FORM can hold."""
WHITE_OR_BAR = re.compile(r"[\s\0|]")
"""The same for a value of MISC."""
EMPTY = "_"
"""An empty field."""
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")
_MARK = "\ufeff"  # at the beginning of a file, a byte-order mark is not part of the text
_NAMES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}


def field(text: str, unsafe: re.Pattern[str], *, reserved: str = "") -> str:
    r"""Returns a text as a field.

    Args:
        text: any text.
        unsafe: matches the characters that the field cannot hold.
        reserved: a word with another meaning in the format; its first character is escaped if the field starts with it.

    >>> field("a b\n", LINE), field("-X- a", LINE, reserved="-X-"), field("", LINE)
    ('a b\\n', '\\x2dX- a', '_')
    """
    if text.startswith(_MARK) or (reserved and text.split(" ", 1)[0] == reserved):
        return _code(text[0]) + unsafe.sub(lambda match: _code(match[0]), text[1:])
    return unsafe.sub(lambda match: _code(match[0]), text) or EMPTY


def fields(texts: Sequence[str], unsafe: re.Pattern[str], *, reserved: str = "") -> Sequence[str]:
    """Returns each text as a field; returns `texts` itself if nothing has to be escaped."""
    joined = "".join(texts)
    if not (unsafe.search(joined) or _MARK in joined or "" in texts or (reserved and reserved in joined)):
        return texts
    return tuple([field(text, unsafe, reserved=reserved) for text in texts])


def unescape(tags: tuple[str, ...]) -> tuple[str, ...]:
    r"""Returns tags with escaped white space and bars replaced by these characters; other escapes stay.

    >>> unescape((r"B-a\x20b\x7cc", r"B-\x41", "O"))
    ('B-a b|c', 'B-\\x41', 'O')
    """
    if "\\" not in "".join(tags):
        return tags
    return tuple([_ESCAPED.sub(_unescape, tag) for tag in tags])


def _unescape(match: re.Match[str]) -> str:
    character = chr(int(match[1] or match[2], 16))
    return character if WHITE_OR_BAR.fullmatch(character) and not LINE.fullmatch(character) else match[0]


def one_line(text: str) -> str:
    """Returns a text as the rest of a line."""
    return LINE.sub(lambda match: _code(match[0]), text)


def document_id(name: str, space: str) -> str:
    """Returns a document's id on one line, with each run of white space replaced by `space`; never empty."""
    return one_line(space.join(name.split())) or EMPTY


def _code(character: str) -> str:
    code = ord(character)
    return _NAMES.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
