"""Who did what: records on the audit topic for every act of an operator (contract section 1)."""

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
from transfer_gate.records.audit_events import Act, encode_act
from transfer_gate.settings import PREFIX, Settings

__all__ = ["Act", "Ending", "act_of", "audited", "operator", "record_acts"]

logger = logging.getLogger(__name__)

#: How long the end of an act that failed may take to be written, seconds: the brokers may be what failed.
_ENDING_SECONDS: Final = 15.0


def operator(settings: Settings) -> str:
    """Who acts: TRANSFER_GATE_OPERATOR, else the user of the operating system.

    A name, not a proof: what an operator can really do is for the cluster's ACLs to say. Raises InvalidInput when
    neither is known.
    """
    if settings.operator:
        return settings.operator
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise InvalidInput("your name is not known", do=f"set {PREFIX}OPERATOR") from None


def act_of(settings: Settings, action: str, outcome: str = "started", **about: Any) -> Act:
    """An act of the operator of now; `about`: the other fields of `Act`. Raises InvalidInput without a name."""
    return Act(action=action, by=operator(settings), at=_now(), outcome=outcome, **about)


async def record_acts(session: Session, *acts: Act) -> None:
    """Append to the audit topic and wait until every in-sync replica has it. Raises BrokerUnavailable."""
    await record_all(session, acts)


async def record_all(session: Session, acts: Iterable[Act]) -> None:
    """The same, for many: each is made when it is written."""
    for act in acts:
        await session.producer.write(session.settings.topics.audit, 0, None, encode_act(act))


class Ending:
    """How an act ends: its `outcome` when nothing is raised, and what is added to its `details` in any case."""

    def __init__(self) -> None:
        self.outcome = "done"
        self.details: dict[str, Any] = {}


@asynccontextmanager
async def audited(session: Session, act: Act) -> AsyncIterator[Ending]:
    """Write to the audit topic that an act is `started`, and at its end, whatever it is, how it ended: `done`, `failed`
    (with the kind of error), or `interrupted` (Ctrl-C, SIGTERM). An act without an end was killed.

    `act` says who does what and why; its outcome and its time are set here. Nothing is done that can't be written: the
    start raises BrokerUnavailable. SIGTERM raises KeyboardInterrupt inside, as Ctrl-C does.
    """
    await record_acts(session, replace(act, outcome="started", at=_now()))
    ending = Ending()
    try:
        with _interrupted_by_sigterm():
            yield ending
    except (asyncio.CancelledError, KeyboardInterrupt):
        await _record_failure(session, act, "interrupted", ending.details)
        raise
    except BaseException as error:
        await _record_failure(session, act, "failed", ending.details | {"error": type(error).__name__})
        raise
    await record_acts(session, _ended(act, ending.outcome, ending.details))


async def _record_failure(session: Session, act: Act, outcome: str, details: dict[str, Any]) -> None:
    """Write how an act failed; what it failed of matters more than that this could not be written."""
    try:
        await asyncio.wait_for(record_acts(session, _ended(act, outcome, details)), _ENDING_SECONDS)
    except Exception:  # noqa: BLE001 - see above
        logger.warning("the end of %s could not be written to the audit topic: it %s", act.action, outcome)


def _ended(act: Act, outcome: str, details: dict[str, Any]) -> Act:
    return replace(act, outcome=outcome, at=_now(), details=act.details | details)


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
