r"""Characters that a format of lines cannot hold at some place, written as in Python: \t, \n, \r, \0, \xNN, \uNNNN.

A backslash that was there before stays as it is. What holds no such character stays as it is, byte for byte.
"""

import re
from collections.abc import Sequence

LINE = re.compile(r"[\t\n\r\0]")
"""Characters that break a line or a field between tabs; a NUL makes a line unreadable."""
LINE_OR_SPACE = re.compile(r"[\t\n\r\0 ]")
"""The same where spaces separate fields."""
WHITE = re.compile(r"[\s\0]")
"""What a field of CoNLL-U cannot hold, apart from words."""
WHITE_OR_BAR = re.compile(r"[\s\0|]")
"""The same in a value of MISC."""
EMPTY = "_"
"""What stands for an empty field."""
_MARK = "\ufeff"  # at the beginning of a file, a byte-order mark is no part of the text
_NAMES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}


def field(text: str, unsafe: re.Pattern[str], *, reserved: str = "") -> str:
    r"""Returns a text as a field.

    Args:
        text: any text.
        unsafe: matches the characters that cannot stand in the field.
        reserved: a word with another meaning in the format; its first character is escaped at the field's beginning.

    >>> field("a b\n", LINE), field("-X- a", LINE, reserved="-X-"), field("", LINE)
    ('a b\\n', '\\x2dX- a', '_')
    """
    if text.startswith(_MARK) or (reserved and text.split(" ", 1)[0] == reserved):
        return _code(text[0]) + unsafe.sub(lambda found: _code(found[0]), text[1:])
    return unsafe.sub(lambda found: _code(found[0]), text) or EMPTY


def fields(texts: Sequence[str], unsafe: re.Pattern[str], *, reserved: str = "") -> Sequence[str]:
    """Returns each of some texts as a field: the texts themselves where nothing has to be escaped."""
    text = "".join(texts)
    if not (unsafe.search(text) or _MARK in text or "" in texts or (reserved and reserved in text)):
        return texts
    return tuple([field(one, unsafe, reserved=reserved) for one in texts])


def one_line(text: str) -> str:
    """Returns a text as the rest of a line."""
    return LINE.sub(lambda found: _code(found[0]), text)


def document_id(name: str, space: str) -> str:
    """Returns a document's id as one word or one line that is not empty, with `space` in place of white space."""
    return one_line(space.join(name.split())) or EMPTY


def _code(character: str) -> str:
    code = ord(character)
    return _NAMES.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
