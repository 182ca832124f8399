"""What a log line holds of an exception: its kind and where it was raised. Its text only where no record can be in it.

Whatever raises while it holds a record may carry a part of it in its text: `KeyError: 'claire@…'`.
"""

import traceback
from collections.abc import Iterator
from typing import Final

from transfer_gate.errors import GateError

#: Modules whose exceptions name topics, offsets and brokers, never the content of a record.
_OF_THE_STREAM: Final = ("aiokafka.", "transfer_gate.gate.", "transfer_gate.kafka.")


def summary(error: BaseException) -> str:
    """Return one line: the kind, and the text where it is safe."""
    kind = type(error)
    safe = isinstance(error, GateError | OSError) or f"{kind.__module__}.".startswith(_OF_THE_STREAM)
    return f"{kind.__name__}: {error}" if safe and str(error) else kind.__name__


def traceback_of(error: BaseException) -> str:
    """Return the traceback, innermost exception first as Python prints it; functions and lines of code, no values."""
    return "\n".join(_lines(error, set()))


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield "then:"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
    yield summary(error)
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            if id(part) not in seen:
                yield from (f"  | {line}" for line in _lines(part, seen))
