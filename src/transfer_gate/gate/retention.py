"""How long quarantine keeps a record, and the daily sweep that forgets what quarantine has deleted: ledger entries of
records that can't be replayed any more, and keys that sealed nothing that is still there.
"""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import chain
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.gate.table import Slice, Tables
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.observe.logs import summary
from transfer_gate.policy.recall import served_before
from transfer_gate.records.sealing import is_key_of_day, owner_of_day
from transfer_gate.records.state import decode_served, decode_state, prospect_of

_DAY_MS: Final = 86_400_000
#: A retention of a hundred years is one without limit; beyond some more, dates end.
_FOR_EVER_DAYS: Final = 36_500
#: Kafka's own default of `segment.ms`.
_SEGMENT_MS: Final = 7 * _DAY_MS
#: For clocks that differ and brokers that delete late.
_MARGIN_DAYS: Final = 1
#: Days behind the retention of quarantine on which keys of days are still looked for; older ones were dropped before.
_SWEPT_DAYS: Final = 60
#: A state that holds a key and nothing else is not larger, bytes.
_SMALL_STATE: Final = 1_000
_KEY_MEMBER: Final = b'"sealing_key"'


class Kept(Struct, frozen=True):
    """Of quarantine: for how many days a record is kept, at most, before it may be deleted (`days`), and before it is
    deleted for certain (`certain_days`): Kafka deletes whole segments, so up to `segment.ms` later. None: for ever.
    """

    days: int | None = None
    certain_days: int | None = None

    @classmethod
    def of(cls, config: Mapping[str, str]) -> "Kept":
        """From the topic's settings in force. What is not known is kept for ever."""
        kept_ms = int(config.get("retention.ms", "-1"))
        days = kept_ms // _DAY_MS + 1
        certain = (kept_ms + int(config.get("segment.ms", _SEGMENT_MS))) // _DAY_MS + 1 + _MARGIN_DAYS
        if kept_ms < 0 or certain >= _FOR_EVER_DAYS or "delete" not in config.get("cleanup.policy", "delete"):
            return cls()
        return cls(days, certain)

    def forgotten_before(self, at: dt.datetime) -> dt.datetime | None:
        """What was quarantined before this time is not there any more at `at` (UTC); None when it may be."""
        return None if self.certain_days is None else at - dt.timedelta(days=self.certain_days)


class Retention:
    """The retention of quarantine as it was read last (`known`), and as it is now."""

    def __init__(self, known: Kept, read: Callable[[], Awaitable[Kept]]) -> None:
        self.known = known
        self._read = read

    async def look(self) -> Kept:
        """Read it anew: it may have been raised under running workers. Raises what reading raises."""
        self.known = await self._read()
        return self.known


class _Time(Struct):
    """Of a ledger entry, when it was written."""

    at: dt.datetime


_TIME: Final = msgspec.json.Decoder(_Time)


def expired_entries(ledger: Slice, before: dt.datetime | None) -> Iterator[bytes | None]:
    """Quarantine ids whose last attempt is older than `before`: the record that holds it was written with the entry, or
    earlier, so it is gone. None for each entry that stays, so that the caller can let others run meanwhile.
    """
    if before is not None:
        for key, value in ledger.items():
            yield key if _TIME.decode(value).at < before else None


def old_days(today: dt.date, kept_days: int) -> Iterator[bytes]:
    """Owners of the keys of days (UTC) whose records are older than quarantine keeps them."""
    for age in range(kept_days + 1, kept_days + 1 + _SWEPT_DAYS):
        yield owner_of_day(today - dt.timedelta(days=age))


def lonely_keys(table: Slice, today: dt.date, kept_days: int) -> Iterator[bytes | None]:
    """Record keys of which nothing is known but a sealing key that was not used for longer than quarantine keeps
    records, or of which it is not known when it was used. None for each other state.
    """
    before = today - dt.timedelta(days=kept_days)
    for key, value in table.items():
        due = False
        if len(value) <= _SMALL_STATE and _KEY_MEMBER in value and not is_key_of_day(key):
            state = decode_state(value)
            sealing = state.sealing_key
            due = sealing is not None and is_lonely(state) and (sealing.used is None or sealing.used < before)
        yield key if due else None


def served_long_ago(table: Slice, before: dt.datetime) -> Iterator[bytes | None]:
    """Keys of served indexes with a party that was served last before this time. None for each other entry."""
    for key, value in table.items():
        if prospect_of(key) is None:
            yield None
            continue
        parties = decode_served(value).parties.values()
        yield key if any(served_before(party, before) for party in parties) else None


def is_lonely(state: ProspectState) -> bool:
    """Whether no consent event is behind a state: its key may be of no prospect at all."""
    return replace(state, sealing_key=None) == EMPTY


logger = logging.getLogger(__name__)

#: States and entries that are looked at before others may run, and that one transaction forgets.
_LOOKS: Final = 5_000
_FORGETS: Final = 5_000
#: After a broker did not answer how long quarantine keeps records, seconds.
_AGAIN_SECONDS: Final = 60.0
#: How long the partition waits for that answer, seconds: it decides nothing meanwhile.
_ANSWER_SECONDS: Final = 5.0


class Expired(Struct, frozen=True):
    """What one transaction forgets: owners of keys (record keys of the consent table), quarantine ids, keys of served
    indexes.
    """

    owners: tuple[bytes, ...] = ()
    quarantine_ids: tuple[bytes, ...] = ()
    served: tuple[bytes, ...] = ()


class Sweep:
    """When a partition sweeps next, and what. Its task checks between two rounds, so that the tables stand still."""

    def __init__(self, retention: Retention | None, tables: Tables, recall_memory: dt.timedelta) -> None:
        """`recall_memory`: for how long it is kept what a partner was served (`policy.recall_memory_days`)."""
        self._retention = retention
        self._recall_memory = recall_memory
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
            logger.warning(
                "the retention of quarantine can't be read: nothing is swept", extra={"error": summary(error)}
            )
            return []
        self._swept = at.date()
        ids = await _picked(expired_entries(self._tables.ledger, kept.forgotten_before(at)))
        owners: list[bytes] = []
        if kept.days is not None:
            table = self._tables.consent
            days = (day for day in old_days(at.date(), kept.days) if table.get(day) is not None)
            owners = await _picked(chain(days, lonely_keys(table, at.date(), kept.days)))
        served = await _picked(served_long_ago(self._tables.consent, at - self._recall_memory))
        if ids or owners:
            logger.info("quarantine has deleted: %d ledger entries and %d keys are looked at", len(ids), len(owners))
        return [
            *(Expired(quarantine_ids=some) for some in _parts(ids)),
            *(Expired(owners=some) for some in _parts(owners)),
            *(Expired(served=some) for some in _parts(served)),
        ]


def _parts(keys: list[bytes]) -> Iterator[tuple[bytes, ...]]:
    """What one transaction forgets each, in order."""
    return (tuple(keys[i : i + _FORGETS]) for i in range(0, len(keys), _FORGETS))


async def _picked(candidates: Iterator[bytes | None]) -> list[bytes]:
    picked = []
    for count, key in enumerate(candidates, 1):
        if key is not None:
            picked.append(key)
        if count % _LOOKS == 0:
            await asyncio.sleep(0)
    return picked
