"""Log lines: structured, on stderr, as text for people or JSON for machines. They hold no personal data.

A line says what happened in words that never change, and where in fields: `logger.warning("…", extra={"offset": 7})`.
"""

import logging
import sys
from types import TracebackType
from typing import Final, Literal

import structlog

from transfer_gate.observe.repeats import Repeats
from transfer_gate.observe.tracebacks import brief, told
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

#: Libraries that format lines nobody reads, at a cost (design.md), and that may name keys in them.
QUIET: Final = (
    "faust",
    "aiokafka",
    "mode",
    "asyncio",
    "kafka",
    "aiohttp",
    "uvicorn",
    # Faust's services log their life under the module of the subclass.
    "transfer_gate.gate.faust.hooks",
    "transfer_gate.gate.faust.fetching",
    "transfer_gate.gate.faust.table",
)


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
    handler.addFilter(Repeats())
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
            # An event id is what its source wrote: it must not end the line, nor move the cursor of a terminal.
            if name == "event_id":
                value = without_contacts(value)
            line[name] = one_line(value) if isinstance(value, str) else value
    line["event"] = one_line(str(line["event"]))
    return line


def _exception(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    trace = line.pop("exc_info", None)
    error = trace[1] if isinstance(trace, tuple) else trace
    if isinstance(error, BaseException):
        line["exception"] = told(error)
    return line


def _without_texts(record: logging.LogRecord) -> bool:
    """Libraries write exceptions into their lines, and with them what the text of these holds."""
    if isinstance(record.args, tuple):
        record.args = tuple(brief(part) if isinstance(part, BaseException) else part for part in record.args)
    return True


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's last word on an exception that nobody caught, without its text."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("transfer_gate").critical("the program ends by an error", exc_info=(kind, error, trace))
