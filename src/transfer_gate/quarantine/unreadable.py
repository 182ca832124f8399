"""Consent events that can't be read: where they are, what they may have been, and settling them (contract 3)."""

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, get_args

import msgspec
from msgspec import Struct

from transfer_gate.errors import NothingMatched
from transfer_gate.kafka import ConsumerRecord, TopicPartition
from transfer_gate.kafka.session import Session
from transfer_gate.model.consent import ConsentEvent
from transfer_gate.model.state import EMPTY
from transfer_gate.quarantine.consent_states import states_of
from transfer_gate.quarantine.discard import choose, discard
from transfer_gate.quarantine.payloads import Payload
from transfer_gate.quarantine.search import Filter, Found, Place, found_in, look
from transfer_gate.records.consents import Unreadable, decode_consent, is_readable
from transfer_gate.records.forms import is_unidentified
from transfer_gate.records.input_json import without_values
from transfer_gate.records.partitioner import Placement, place_known_as

#: Every type of consent event that the contract knows; those that take nothing away come last.
TYPES: Final[tuple[str, ...]] = tuple(str(kind.__struct_config__.tag) for kind in get_args(ConsentEvent))
#: Types that forbid something: to settle an event of these unread would be a leak.
FORBIDDING: Final = frozenset({"withdrawal", "objection", "erasure", "restriction"})
_TYPE: Final = re.compile(rb'"type"\s*:\s*"([a-z_]{3,20})')


class UnreadableEvent(Struct, frozen=True, kw_only=True):
    """A record of `consent-events` that the gate can't read. `received_at` is the record's timestamp.

    `why`: what is wrong with it, without its values; `looks_like`: types that it may have been, by what is left of it;
    empty when nothing is known.
    """

    partition: int
    offset: int
    key: bytes
    received_ms: int
    why: str
    looks_like: tuple[str, ...]

    @property
    def may_forbid(self) -> bool:
        """Whether it may have been a withdrawal, objection, erasure or restriction."""
        return not self.looks_like or any(kind in FORBIDDING for kind in self.looks_like)


async def unreadable_at(
    session: Session, key: bytes, offsets: Iterable[int], unidentified: AbstractSet[str] = frozenset()
) -> list[UnreadableEvent]:
    """The unreadable events at these offsets that mark a prospect, as their record key or by the id in them, in order;
    `unidentified`: see `decode_consent`.

    All are in one partition, which is found by reading each. Raises NothingMatched naming the offsets without such an
    event.
    """
    wanted = sorted(set(offsets))
    consents = session.settings.topics.consents
    begins, ends = await session.reader.bounds(await session.cluster.partitions(consents), committed_only=True)
    events: list[UnreadableEvent] = []
    for place in sorted(begins):
        within = [offset for offset in wanted if begins[place] <= offset < ends[place]]
        async for picked in session.reader.pick({place: within}):
            events += [
                event for record in picked.records if (event := as_unreadable(record, key, unidentified)) is not None
            ]
        if events:
            break
    missing = set(wanted) - {event.offset for event in events}
    if missing:
        listed = ", ".join(map(str, sorted(missing)))
        raise NothingMatched(
            f"no unreadable consent event of this prospect at offset {listed}",
            do="list them with: transfer-gate consent unreadable",
        )
    return events


async def home_of(session: Session, key: bytes, partition: int) -> int:
    """The partition in which this prospect (record key) is decided; `partition` where the key has no home.

    Raises BrokerUnavailable.
    """
    found = (await session.cluster.topics()).get(session.settings.topics.consents)
    home = Placement(session.settings.partitioner, found.partitions if found else None).home(key)
    return partition if home is None else home


async def _end_of_strays(session: Session, home: int) -> int:
    """The offset below which are all strays of this partition that are committed now."""
    topic = session.settings.topics.strays
    _, ends = await session.reader.bounds({topic: home + 1}, committed_only=True)
    return ends[TopicPartition(topic, home)]


def as_unreadable(
    record: ConsumerRecord, key: bytes, unidentified: AbstractSet[str] = frozenset()
) -> UnreadableEvent | None:
    """The record as an unreadable event that marks the prospect `key`; None when it can be read, or marks other
    prospects.
    """
    try:
        decode_consent(record.value, record.key, unidentified, record.headers)
    except Unreadable as error:
        if key not in error.prospects:
            return None
        return UnreadableEvent(
            partition=record.partition,
            offset=record.offset,
            key=key,
            received_ms=record.timestamp,
            why=without_values(str(error)),
            looks_like=looks_like(record.value or b""),
        )
    return None


def looks_like(value: bytes) -> tuple[str, ...]:
    """Types of consent event that a damaged value may have been, by the beginning of its `type`."""
    begun = {found.decode() for found in _TYPE.findall(value)}
    return tuple(kind for kind in TYPES if any(kind.startswith(begin) for begin in begun))


def nameable(key: bytes | None, unidentified: AbstractSet[str] = frozenset()) -> bool:
    """Whether an event can be about this key: its `prospect_id` has 1 to 128 characters and identifies a person."""
    try:
        return key is not None and 1 <= len(key.decode()) <= 128 and not is_unidentified(key.decode(), unidentified)
    except UnicodeDecodeError:
        return False


async def publish_resolution(
    session: Session, key: bytes, partition: int, offsets: Iterable[int], *, by: str, why: str, history: bool = False
) -> int:
    """Write the event that settles these offsets, to their partition, or with `history` a history that exceeded its
    bounds; returns the offset after it.

    Raises BrokerUnavailable.
    """
    event = {
        "event_id": f"resolution-{uuid.uuid4()}",
        "prospect_id": key.decode(),
        "type": "resolution",
        "event_time": dt.datetime.now(dt.UTC),
        "resolves": sorted(set(offsets)),
        "by": by,
        "why": why,
    }
    if history:
        event["history"] = True
    topic, value = session.settings.topics.consents, msgspec.json.encode(event)
    return await session.producer.write(topic, partition, key, value)


async def is_applied(session: Session, partition: int, reached: int, home: int, timeout: float) -> bool:
    """Whether a resolution that ends at `reached` counts where its prospect is decided, after up to `timeout` seconds.

    A resolution in another partition than `home` has to come home first.
    """
    cluster, topics, group = session.cluster, session.settings.topics, session.settings.app_id
    if not await cluster.await_commits(group, topics.consents, {partition: reached}, timeout):
        return False
    if partition == home:
        return True
    return await cluster.await_commits(group, topics.strays, {home: await _end_of_strays(session, home)}, timeout)


async def open_copies(session: Session, events: Sequence[UnreadableEvent]) -> list[str]:
    """Quarantine ids of the open copies of these events of one partition.

    Offset and time distinguish them from copies of events of a former life of the topic.
    """
    wanted, stood = Filter(stage="consent", open_only=True), {(event.offset, event.received_ms) for event in events}
    view = await look(session, wanted, partition=events[0].partition)
    return [
        copy.held.quarantine_id
        async for copy in found_in(session, wanted, view)
        if (copy.held.source.offset, copy.held.source_timestamp_ms) in stood
    ]


async def discard_copies(
    session: Session, copies: Sequence[str], partition: int, why: str, timeout: float
) -> tuple[int, int]:
    """Discard copies in quarantine; returns how many are open, and how many of them are discarded after up to `timeout`
    seconds. Copies that retention deleted are settled.
    """
    if not copies:
        return 0, 0
    wanted = Filter(ids=frozenset(copies))
    chosen = await choose(session, wanted, partition=partition, consents=True)
    if not chosen.count:
        return 0, 0
    return chosen.count, (await discard(session, wanted, chosen, why, timeout, consents=True)).discarded


async def still_blocking(session: Session, key: bytes, partition: int) -> list[Place]:
    """Positions of the unreadable events that block the transfers of a prospect (record key) in its partition."""
    state = (await states_of(session, {partition: {key}})).get((partition, key), EMPTY)
    return [Place(*place_known_as(name, partition)) for name in sorted(set(state.unreadable) - set(state.resolved))]


def came_home(copy: Found, payload: Payload) -> bool:
    """Whether a copy is that of a readable stray, which counts at home and blocks nothing."""
    readable = payload.readable and is_readable(payload.value, copy.record.key, headers=copy.held.inbound)
    return copy.held.reason == "key-misplaced" and readable
