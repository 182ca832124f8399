"""YAML files that people write, as plain Python with the line of everything, so that an error can name its place.

What is read is the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema), plus the merge key `<<`: `NO`
is Norway and not false, `2026-10-05` and `10:30` are text. Tags, duplicate keys and keys that are not text are refused.
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from transfer_gate.errors import InvalidInput

#: Steps from the top of a document to one of its values: keys of mappings and indexes of lists.
Steps: TypeAlias = tuple[str | int, ...]

MAX_DEPTH: Final = 64
#: Values in one document after its aliases are replaced: an alias bomb (a billion laughs) ends here.
MAX_VALUES: Final = 250_000

_NULL: Final = re.compile(r"|~|null|Null|NULL")
_BOOL: Final = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class InvalidFile(InvalidInput):
    """A file that can't be read as YAML: `what` is wrong in `line` (from 1) of `path`."""

    def __init__(self, path: Path, line: int, what: str) -> None:
        super().__init__(one_line(f"{path}:{line}: {what}"))
        self.path = path
        self.line = line
        self.what = what


@dataclass(frozen=True, slots=True)
class _Node:
    value: Any
    line: int
    #: How many values stand here, this one included, and over how many levels.
    size: int = 1
    height: int = 1
    #: Key or index to the node below.
    below: Mapping[str | int, "_Node"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document. `value` is made of dict, list, str, int, float, bool and None; nothing in it is shared."""

    path: Path
    value: Any
    _root: _Node

    def line_of(self, path: Steps) -> int:
        """Line, from 1, of the value at `path`, or of its nearest ancestor that is in the file.

        What an alias or a merge key brought in stands where the alias is used.
        """
        node = self._root
        for step in path:
            below = node.below.get(step)
            if below is None:
                break
            node = below
        return node.line

    def error(self, path: Steps, what: str) -> str:
        """`file:line: field: what`, the form of every message about a file."""
        place = dotted(path)
        return one_line(f"{self.path}:{self.line_of(path)}: {place}{': ' if place else ''}{what}")


def dotted(path: Steps) -> str:
    """`("listed", 0, "from")` as `listed[0].from`."""
    written = ""
    for step in path:
        written += f"[{step}]" if isinstance(step, int) else f".{step}" if written else step
    return written


def one_line(text: str) -> str:
    """The text with every character escaped that could break the line, or do things to a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word, ready to be put behind a message; empty when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def load(path: Path) -> Document:
    """Read one file.

    Raises InvalidFile that names the file and the line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidFile(path, 1, f"can't be read: {error.strerror}") from None
    return parse(raw, path)


def parse(raw: bytes, path: Path) -> Document:
    """Read a document that is already in memory; `path` stands in the messages.

    Raises InvalidFile that names the file and the line.
    """
    try:
        root = _Builder(yaml.parse(raw, Loader=yaml.SafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InvalidFile(path, mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = raw[: error.position].count(b"\n") + 1 if isinstance(error.position, int) else 1
        raise InvalidFile(path, line, f"not text in UTF-8: {error.reason}") from None
    except (yaml.YAMLError, UnicodeError):
        raise InvalidFile(path, 1, "not text in UTF-8") from None
    except _RefusedError as refused:
        raise InvalidFile(path, refused.line, refused.what) from None
    return Document(path, root.value, root)


class _RefusedError(Exception):
    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Builder:
    """Builds values from parse events, because PyYAML's node graph does not know where an alias was used."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, _Node | None] = {}
        self._values = 0

    def document(self) -> _Node:
        next(self._events)  # stream start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return _Node(None, 1)
        root = self._node(next(self._events), 0)
        next(self._events)  # document end
        more = next(self._events)
        if not isinstance(more, yaml.StreamEndEvent):
            raise _RefusedError("a second document starts here; a file holds one", _line(more))
        return root

    def _node(self, event: Any, depth: int) -> _Node:
        self._check(depth, _line(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.tag is not None:
            raise _RefusedError(f"tag {event.tag}: tags are not supported", _line(event))
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(_scalar(event), _line(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        self._count(1, node.line)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _count(self, values: int, line: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise _RefusedError(f"more than {MAX_VALUES} values once its aliases are replaced", line)

    def _check(self, depth: int, line: int) -> None:
        if depth > MAX_DEPTH:
            raise _RefusedError(f"nested deeper than {MAX_DEPTH} levels", line)

    def _alias(self, event: yaml.AliasEvent, depth: int) -> _Node:
        line = _line(event)
        if event.anchor not in self._anchors:
            raise _RefusedError(f"alias *{event.anchor}: no anchor of this name stands above", line)
        node = self._anchors[event.anchor]
        if node is None:
            raise _RefusedError(f"alias *{event.anchor} stands inside its own anchor", line)
        self._check(depth + node.height, line)
        self._count(node.size, line)
        return _moved(node, line)

    def _sequence(self, start: yaml.SequenceStartEvent, depth: int) -> _Node:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return _above([item.value for item in items], _line(start), dict(enumerate(items)))

    def _mapping(self, start: yaml.MappingStartEvent, depth: int) -> _Node:
        own: dict[str | int, _Node] = {}
        merged: dict[str | int, _Node] | None = None
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line(event)
            is_merge = isinstance(event, yaml.ScalarEvent) and event.implicit[0] and event.value == "<<"
            key = self._node(event, depth + 1).value
            node = self._node(next(self._events), depth + 1)
            if not isinstance(key, str):
                written = event.value if isinstance(event, yaml.ScalarEvent) else type(key).__name__
                raise _RefusedError(f"key {written}: a key is text; put it in quotes", line)
            if is_merge:
                if merged is not None:
                    raise _RefusedError("<<: stands twice in one mapping; give it a list", line)
                merged = _sources(node)
            elif key in own:
                raise _RefusedError(f"{key}: stands twice; it stood first in line {own[key].line}", line)
            else:
                own[key] = replace(node, line=line)
        below = (merged or {}) | own
        return _above({key: node.value for key, node in below.items()}, _line(start), below)


def _above(value: Any, line: int, below: Mapping[str | int, _Node]) -> _Node:
    size = 1 + sum(node.size for node in below.values())
    height = 1 + max((node.height for node in below.values()), default=0)
    return _Node(value, line, size, height, below)


def _moved(node: _Node, line: int) -> _Node:
    """A copy that shares nothing that can be changed, with everything in it at `line`."""
    below = {step: _moved(part, line) for step, part in node.below.items()}
    value = node.value
    if isinstance(value, list):
        value = [part.value for part in below.values()]
    elif isinstance(value, dict):
        value = {step: part.value for step, part in below.items()}
    return replace(node, value=value, line=line, below=below)


def _sources(node: _Node) -> dict[str | int, _Node]:
    """What a merge key brings in: a mapping, or several of which the earlier ones win (https://yaml.org/type/merge.html)."""
    found: dict[str | int, _Node] = {}
    for source in node.below.values() if isinstance(node.value, list) else (node,):
        if not isinstance(source.value, dict):
            raise _RefusedError("<<: takes a mapping or a list of mappings", source.line)
        found = {**source.below, **found}
    return found


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if _NULL.fullmatch(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        try:
            return int(text, 0 if text[:2] in ("0o", "0x") else 10)
        except ValueError:
            raise _RefusedError("a number with too many digits", _line(event)) from None
    if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and math.isinf(float(text))):
        raise _RefusedError(f"{text[:20]}: not a number that JSON can carry", _line(event))
    return float(text) if _FLOAT.fullmatch(text) else text
