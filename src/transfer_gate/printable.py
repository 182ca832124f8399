"""Text of others as it may be printed: no character that moves a cursor, ends a line or turns its direction.

Names, ids and values come from records. A terminal obeys escape sequences in them, a line break forges a line, a
bidirectional mark reorders what stands around it. `cli.render` and `observe.logs` pass everything through here.
"""

import re
from typing import Final

#: Stands for a contact point in a text that should have none.
_HIDDEN: Final = "***"
_EMAIL: Final = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+")
#: E.164 with its sign or 00, and national numbers of ten digits, with or without separators.
_PHONE: Final = re.compile(r"(?<![^\W_])(?:(?:\+|00)[ .-]?\d(?:[ .-]?\d){6,14}|0[1-9](?:[ .-]?\d{2}){4})(?!\w)")


def one_line(text: str) -> str:
    """`text` with every character escaped that is not printable (controls, formats, separators, lone surrogates)."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def lines(text: str) -> str:
    """Lines of our own, each escaped; those after the first are indented, so that none passes for a new message."""
    first, *rest = text.split("\n")
    return "\n".join([one_line(first), *(one_line(line if line[:1] in ("", " ") else f"  {line}") for line in rest)])


def json_text(text: str) -> str:
    """JSON with every character escaped that is not printable; line breaks stand only between its tokens."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else _json(c) for c in text)


def without_contacts(text: str) -> str:
    """`text`, usually an id of a source, without the e-mail addresses and phone numbers in it."""
    if "@" in text:
        text = _EMAIL.sub(f"{_HIDDEN}@{_HIDDEN}", text)
    return _PHONE.sub(_HIDDEN, text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def _json(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
