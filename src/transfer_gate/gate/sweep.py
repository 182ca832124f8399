"""Once a day a partition forgets what quarantine has deleted: ledger entries, and keys that sealed nothing else."""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from msgspec import Struct

from transfer_gate.gate.retention import Retention, expired_entries, lonely_keys, old_days
from transfer_gate.gate.rounds import Tables
from transfer_gate.observe.tracebacks import brief

logger = logging.getLogger(__name__)

#: States and entries that are looked at before others may run, and that one transaction forgets.
_LOOKS: Final = 5_000
_FORGETS: Final = 5_000
#: After a broker did not say how long quarantine keeps records, seconds.
_AGAIN_SECONDS: Final = 60.0
#: How long the partition waits for that answer, seconds: it decides nothing meanwhile.
_ANSWER_SECONDS: Final = 5.0


class Expired(Struct, frozen=True):
    """What one transaction forgets: owners of keys (record keys of the consent table), quarantine ids."""

    owners: tuple[bytes, ...] = ()
    quarantine_ids: tuple[bytes, ...] = ()


class Sweep:
    """When a partition sweeps next, and what. Its task asks between two rounds, so that the tables stand still."""

    def __init__(self, retention: Retention | None, tables: Tables) -> None:
        self._retention = retention
        self._tables = tables
        self._swept: dt.date | None = None
        self._not_before = 0.0

    def forgotten_before(self, at: dt.datetime) -> dt.datetime | None:
        """Before which time (UTC) what was quarantined may have been forgotten, as far as is known."""
        return None if self._retention is None else self._retention.known.forgotten_before(at)

    def due(self, clock: Callable[[], dt.datetime], *, idle: bool) -> bool:
        """Whether to sweep now: once a day (UTC), the first time when there is nothing to decide."""
        if self._retention is None or not (idle or self._swept is not None) or time.monotonic() < self._not_before:
            return False
        return self._swept != clock().date()

    async def expired(self, at: dt.datetime) -> list[Expired]:
        """What to forget now, in parts of a transaction each. Reads the retention of quarantine anew; nothing is
        forgotten while that can't be read.
        """
        if self._retention is None:
            return []
        self._not_before = time.monotonic() + _AGAIN_SECONDS
        try:
            kept = await asyncio.wait_for(self._retention.look(), _ANSWER_SECONDS)
        except Exception as error:  # noqa: BLE001 - forgetting later does no harm
            logger.warning("the retention of quarantine can't be read: nothing is swept", extra={"error": brief(error)})
            return []
        self._swept = at.date()
        ids = await _picked(expired_entries(self._tables.ledger, kept.forgotten_before(at)))
        owners: list[bytes] = []
        if kept.days is not None:
            table = self._tables.consent
            days = (day for day in old_days(at.date(), kept.days) if table.get(day) is not None)
            owners = await _picked(chain(days, lonely_keys(table, at.date(), kept.days)))
        if ids or owners:
            logger.info("quarantine has deleted: %d ledger entries and %d keys are looked at", len(ids), len(owners))
        parts = [Expired(quarantine_ids=tuple(ids[i : i + _FORGETS])) for i in range(0, len(ids), _FORGETS)]
        return parts + [Expired(owners=tuple(owners[i : i + _FORGETS])) for i in range(0, len(owners), _FORGETS)]


async def _picked(candidates: Iterator[bytes | None]) -> list[bytes]:
    picked = []
    for count, key in enumerate(candidates, 1):
        if key is not None:
            picked.append(key)
        if count % _LOOKS == 0:
            await asyncio.sleep(0)
    return picked
