"""Log lines: structured, on stderr, as text for people or JSON for machines. They hold no personal data.

The message of a line never changes; what differs is in fields: `logger.warning("…", extra={"offset": 7})`. Of an
exception a line holds its kind and where it was raised; its text only where no record can be in it: whatever raises
while it holds a record may carry a part of it there (`KeyError: 'claire@…'`)."""

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Literal

import structlog

from transfer_gate.errors import GateError
from transfer_gate.printable import one_line, without_contacts

#: All that a line may carry beside its message; anything else given as `extra` is dropped.
FIELDS: Final = (
    "topic",
    "topics",
    "partition",
    "offset",
    "first",
    "last",
    "source",
    "event_id",
    "decision_id",
    "stage",
    "reason",
    "rule",
    "released",
    "held",
    "error",
    "left_out",
)

#: Libraries that format lines without a reader, at a cost, and that may name keys in them.
QUIET: Final = (
    "faust",
    "aiokafka",
    "mode",
    "asyncio",
    "kafka",
    "aiohttp",
    "uvicorn",
    # Faust's services log starts and stops under the module of the subclass.
    "transfer_gate.gate.faust.hooks",
    "transfer_gate.gate.faust.fetching",
)

#: A warning that repeats is written once in this time, seconds, with the number of those left out.
EVERY_SECONDS: Final = 60.0
#: Kinds of lines that are remembered; libraries that write a value into their message make a kind of each.
MOST_KINDS: Final = 500


def configure_logs(form: Literal["console", "json"], level: Literal["debug", "info", "warning", "error"]) -> None:
    """Send every log line of the process to stderr; libraries only from `warning` up."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _fields,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _exception,
                renderer,
            ],
        )
    )
    handler.addFilter(_without_texts)
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    # A line that can't be written would be shown by Python, with everything that it was given.
    logging.raiseExceptions = False
    sys.excepthook = _unexpected


def _fields(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    record = line["_record"]
    for name in FIELDS:
        value = getattr(record, name, None)
        if value is not None:
            # An event id is text of its source: it must not end the line, nor move the cursor of a terminal.
            if name == "event_id":
                value = without_contacts(value)
            line[name] = one_line(value) if isinstance(value, str) else value
    line["event"] = one_line(str(line["event"]))
    return line


def _exception(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    trace = line.pop("exc_info", None)
    error = trace[1] if isinstance(trace, tuple) else trace
    if isinstance(error, BaseException):
        line["exception"] = traceback_of(error)
    return line


def _without_texts(record: logging.LogRecord) -> bool:
    """Libraries write exceptions into their lines, and with them what the text of these holds."""
    if isinstance(record.args, tuple):
        record.args = tuple(summary(part) if isinstance(part, BaseException) else part for part in record.args)
    return True


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log an exception that was not caught, without its text."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("transfer_gate").critical("the program ends by an error", exc_info=(kind, error, trace))


class _Written:
    __slots__ = ("at", "left_out")

    def __init__(self, at: float) -> None:
        self.at = at
        self.left_out = 0


class RateLimit(logging.Filter):
    """Write a warning or an error that repeats once a minute.

    The same logger, level, message and place (topic, partition, rule, source) are one kind of line. What differs from
    record to record, such as an offset, makes no kind of its own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._written: dict[tuple[object, ...], _Written] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written; set `left_out` on the one that follows others."""
        if record.levelno < logging.WARNING:
            return True
        place = tuple(getattr(record, name, None) for name in ("topic", "partition", "rule", "source"))
        kind = (record.name, record.levelno, str(record.msg), *place)
        now = self._clock()
        last = self._written.get(kind)
        if last is not None and now - last.at < EVERY_SECONDS:
            last.left_out += 1
            return False
        if last is not None and last.left_out:
            record.left_out = last.left_out
        self._written.pop(kind, None)
        self._written[kind] = _Written(now)
        if len(self._written) > MOST_KINDS:
            del self._written[next(iter(self._written))]
        return True


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
