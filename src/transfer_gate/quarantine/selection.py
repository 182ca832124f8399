"""Find quarantined records: read the topic as far as a filter needs, and say which of them are open."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from msgspec import Struct

from transfer_gate.admin.cluster import open_cluster
from transfer_gate.admin.reading import Offsets, bounds, committed_records, offsets_at
from transfer_gate.errors import InvalidInput
from transfer_gate.model.terms import Channel
from transfer_gate.settings import Settings
from transfer_gate.stream.clients import broker_errors
from transfer_gate.wire.headers import Stage
from transfer_gate.wire.held import Held, MalformedHeaders, held_of
from transfer_gate.wire.ledger import LedgerEntry, decode_entry, may_be_replayed

#: What may be done with a quarantine record; a `superseded` one was replayed, and another record stands for it now.
OPEN: Final = "open"
SUPERSEDED: Final = "superseded"


class Filter(Struct, frozen=True, kw_only=True):
    """Which quarantine records are meant; what is not given does not restrict. Times are aware; `until` is exclusive.

    `reason` is any reason of any channel. `prospect_id` is the record key.
    """

    partner_id: str | None = None
    reason: str | None = None
    stage: Stage | None = None
    channel: Channel | None = None
    prospect_id: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    ids: frozenset[str] = frozenset()
    open_only: bool = False

    def takes(self, key: bytes | None, held: Held) -> bool:
        """Whether the record is meant, as far as its key and headers can tell; times and openness apart."""
        return (
            (self.partner_id is None or held.partner_id == self.partner_id)
            and (self.stage is None or held.stage == self.stage)
            and (self.channel is None or self.channel in held.channels)
            and (self.prospect_id is None or key == self.prospect_id.encode())
            and (not self.ids or held.quarantine_id in self.ids)
            and (self.reason is None or any(self.reason in reasons for reasons in held.reasons.values()))
        )


class Found(Struct, frozen=True, kw_only=True):
    """A quarantine record, and its state by the ledger: `open`, `superseded`, `replayed` or `discarded`."""

    record: ConsumerRecord[bytes | None, bytes | None]
    held: Held
    state: str


def state_of(held: Held, entry: LedgerEntry | None) -> str:
    """What became of this attempt of a quarantined record."""
    if may_be_replayed(entry, held.attempt):
        return OPEN
    if entry is not None and held.attempt == entry.attempt:
        return entry.state
    # The ledger tells of a later attempt: replayed into nothing held, or into another quarantine record.
    return entry.state if entry is not None and entry.state != OPEN else SUPERSEDED


async def quarantine_ends(settings: Settings) -> Offsets:
    """Where each partition of the quarantine topic ends now. Raises InvalidInput when there is no such topic."""
    async with open_cluster(settings) as cluster, broker_errors(settings):
        found = (await cluster.topics()).get(settings.topics.quarantine)
        if found is None:
            raise InvalidInput(
                f"no topic {settings.topics.quarantine} on this cluster", do="run: transfer-gate topics apply"
            )
        _, ends = await bounds(settings, {found.name: found.partitions}, committed_only=True)
        return ends


async def read_ledger(settings: Settings, partitions: int) -> dict[str, LedgerEntry]:
    """Every entry of the replay ledger by quarantine id."""
    entries: dict[str, LedgerEntry] = {}
    async with broker_errors(settings):
        _, ends = await bounds(settings, {settings.topics.ledger: partitions}, committed_only=False)
        async for records in committed_records(settings, ends):
            for record in records:
                if record.key is not None and record.value is not None:
                    entries[record.key.decode()] = decode_entry(record.value)
    return entries


async def select(
    settings: Settings, wanted: Filter, ends: Offsets, ledger: Mapping[str, LedgerEntry]
) -> AsyncIterator[list[Found]]:
    """The records that a filter means, below `ends`, by partition in the order of their offsets, in lists.

    Reads from the offset of `since` to that of `until` (the topic's timestamps are those of the broker's clock).
    Records without the headers of quarantine are passed over: nobody but the gate should write there.
    """
    async with broker_errors(settings):
        starts = await _starts(settings, wanted, ends)
        if wanted.until is not None:
            stops = await offsets_at(settings, ends, _ms(wanted.until))
            ends = {place: min(end, stops.get(place, end)) for place, end in ends.items()}
        ends = {place: end for place, end in ends.items() if place in starts and starts[place] < end}
        if not ends:
            return
        async for records in committed_records(settings, ends, {place: starts[place] for place in ends}):
            found = [one for record in records if (one := _found(record, wanted, ledger)) is not None]
            if found:
                yield found


async def _starts(settings: Settings, wanted: Filter, ends: Offsets) -> dict[TopicPartition, int]:
    if wanted.since is not None:
        return await offsets_at(settings, ends, _ms(wanted.since))
    begins, _ = await bounds(settings, {place.topic: len(ends) for place in ends}, committed_only=True)
    return dict(begins)


def _found(record: ConsumerRecord, wanted: Filter, ledger: Mapping[str, LedgerEntry]) -> Found | None:
    try:
        held = held_of(record.headers)
    except MalformedHeaders:
        return None
    if not wanted.takes(record.key, held):
        return None
    state = state_of(held, ledger.get(held.quarantine_id))
    return None if wanted.open_only and state != OPEN else Found(record=record, held=held, state=state)


def _ms(at: dt.datetime) -> int:
    return int(at.timestamp() * 1000)
