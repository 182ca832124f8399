"""Who did what: audit events of operators, on the audit topic (contract section 1)."""

import asyncio
import datetime as dt
import getpass
import logging
import signal
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from msgspec.structs import replace

from transfer_gate.errors import InvalidInput
from transfer_gate.kafka.session import Session
from transfer_gate.records.audit_events import AuditEvent, encode_audit_event
from transfer_gate.settings import PREFIX, Settings

__all__ = ["AuditEvent", "Ending", "audit_event", "audited", "operator", "record_audit_events"]

logger = logging.getLogger(__name__)

#: How long the audit event of a failure may take to be written, seconds: the brokers may be what failed.
_ENDING_SECONDS: Final = 15.0


def operator(settings: Settings) -> str:
    """The name of who acts: TRANSFER_GATE_OPERATOR, else the user of the operating system.

    A name, not a proof: the cluster's ACLs decide what an operator can do. Raises InvalidInput when neither is known.
    """
    if settings.operator:
        return settings.operator
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise InvalidInput("your name is not known", do=f"set {PREFIX}OPERATOR") from None


def audit_event(settings: Settings, action: str, outcome: str = "started", **about: Any) -> AuditEvent:
    """An audit event of this operator, now; `about`: its other fields. Raises InvalidInput without a name."""
    return AuditEvent(action=action, by=operator(settings), at=_now(), outcome=outcome, **about)


async def record_audit_events(session: Session, events: Iterable[AuditEvent]) -> None:
    """Append to the audit topic; each is taken from `events` once every in-sync replica has the one before it. Raises
    BrokerUnavailable.
    """
    for event in events:
        await session.producer.write(session.settings.topics.audit, 0, None, encode_audit_event(event))


class Ending:
    """How an action ends: its `outcome` when nothing is raised, and what is added to its `details` in any case."""

    def __init__(self) -> None:
        self.outcome = "done"
        self.details: dict[str, Any] = {}


@asynccontextmanager
async def audited(session: Session, event: AuditEvent) -> AsyncIterator[Ending]:
    """Write to the audit topic that an action is `started`, and at its end, whatever it is, how it ended: `done`,
    `failed` (with the kind of error), or `interrupted` (Ctrl-C, SIGTERM). An action without an end was killed.

    `event`: who does what, and why; its outcome and its time are set here. Nothing is done that can't be written: the
    start raises BrokerUnavailable. SIGTERM raises KeyboardInterrupt inside, as Ctrl-C does.
    """
    await record_audit_events(session, [replace(event, outcome="started", at=_now())])
    ending = Ending()
    try:
        with _interrupted_by_sigterm():
            yield ending
    except (asyncio.CancelledError, KeyboardInterrupt):
        await _record_failure(session, event, "interrupted", ending.details)
        raise
    except BaseException as error:
        await _record_failure(session, event, "failed", ending.details | {"error": type(error).__name__})
        raise
    await record_audit_events(session, [_ended(event, ending.outcome, ending.details)])


async def _record_failure(session: Session, event: AuditEvent, outcome: str, details: dict[str, Any]) -> None:
    """Write how an action failed; why it failed matters more than that this could not be written."""
    try:
        await asyncio.wait_for(record_audit_events(session, [_ended(event, outcome, details)]), _ENDING_SECONDS)
    except Exception:  # noqa: BLE001 - see above
        logger.warning("the end of %s could not be written to the audit topic: it %s", event.action, outcome)


def _ended(event: AuditEvent, outcome: str, details: dict[str, Any]) -> AuditEvent:
    return replace(event, outcome=outcome, at=_now(), details=event.details | details)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Turn a SIGTERM into a KeyboardInterrupt of the task that is within; signals belong to the main thread."""
    task, terminated = asyncio.current_task(), False
    if task is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        if not terminated:
            raise
        task.uncancel()
        raise KeyboardInterrupt from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
