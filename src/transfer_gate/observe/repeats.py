"""A line that comes again and again is told once a minute, with how many were left out."""

import logging
import time
from collections.abc import Callable
from typing import Final

EVERY_SECONDS: Final = 60.0
#: Kinds of lines that are remembered; libraries that write a value into their message make a kind of each.
MOST_KINDS: Final = 500


class _Told:
    __slots__ = ("at", "left_out")

    def __init__(self, at: float) -> None:
        self.at = at
        self.left_out = 0


class Repeats(logging.Filter):
    """Looks at warnings and worse: the same logger, level, message and place (topic, partition, rule, source) are one
    kind.

    What differs from record to record, such as an offset, makes no kind of its own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[tuple[object, ...], _Told] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; sets `left_out` on the one that follows others."""
        if record.levelno < logging.WARNING:
            return True
        place = tuple(getattr(record, name, None) for name in ("topic", "partition", "rule", "source"))
        kind = (record.name, record.levelno, str(record.msg), *place)
        now = self._clock()
        told = self._told.get(kind)
        if told is not None and now - told.at < EVERY_SECONDS:
            told.left_out += 1
            return False
        if told is not None and told.left_out:
            record.left_out = told.left_out
        self._told.pop(kind, None)
        self._told[kind] = _Told(now)
        if len(self._told) > MOST_KINDS:
            del self._told[next(iter(self._told))]
        return True
