"""Log lines: structured, on stderr, as text for people or JSON for machines. They hold no personal data."""

import logging
import sys
from typing import Literal

import structlog

#: Libraries that format lines nobody reads, at a cost (design.md), and that may name keys in them.
QUIET = (
    "faust",
    "aiokafka",
    "mode",
    "asyncio",
    "kafka",
    "aiohttp",
    # Faust's services log their life under the module of the subclass.
    "transfer_gate.stream.hooks",
    "transfer_gate.stream.table",
)


def configure_logs(form: Literal["console", "json"], level: Literal["debug", "info", "warning", "error"]) -> None:
    """Send every log line of the process to stderr; libraries only from `warning` up."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
