"""The auditor as a process of its own that follows the gate: metrics, health, and an orderly end."""

import asyncio
import contextlib
import logging
import signal

from transfer_gate.auditor.outcomes import OUTCOMES, Finding
from transfer_gate.auditor.passes import Auditor
from transfer_gate.observe.health import serve_health
from transfer_gate.observe.metrics import AUDIT_RECORDS, AUDITOR
from transfer_gate.settings import Settings

logger = logging.getLogger(__name__)


async def run_auditor(settings: Settings, auditor: Auditor) -> None:
    """Follow until SIGTERM or SIGINT. `/readyz` is 200 once everything that stood there at the start is checked.

    Raises InvalidInput when the metrics port is taken or topics are missing.
    """
    for outcome in OUTCOMES:
        AUDIT_RECORDS.labels(outcome)  # a counter that must stay 0 has to be there to be watched
    health = serve_health(settings.metrics_host, settings.metrics_port, lambda: auditor.caught_up, registry=AUDITOR)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    following = asyncio.create_task(auditor.follow())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        auditor.close()
        await health.close()
    logger.info("auditor stopped: %s", auditor.tally.as_counts())


def log_finding(finding: Finding) -> None:
    """One line for each record that is not explained; ids and places only."""
    level = logging.ERROR if finding.outcome in {"leak", "unexplained"} else logging.WARNING
    logger.log(
        level, "%s: %s/%d@%d: %s", finding.outcome, finding.topic, finding.partition, finding.offset, finding.why
    )
