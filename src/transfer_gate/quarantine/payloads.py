"""Payloads of quarantined records, opened where they still can be, and the decisions about them: the recorded decision
and, of the payload, a redecision.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.gate.inbox import Record
from transfer_gate.gate.originals import originals_of
from transfer_gate.gate.replays import Redecision, explain_again, only_of, source_record
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.session import Session
from transfer_gate.kafka.sizes import unheld
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.quarantine.consent_states import States, states_of
from transfer_gate.quarantine.search import Found
from transfer_gate.records.decisions import DecisionRecord, decode_decision
from transfer_gate.records.quarantined import Opener, Quarantined
from transfer_gate.records.sealing import Erased, MasterKeys, NotOpened, load_master_keys
from transfer_gate.settings import PREFIX, Settings

Condition = Literal["plain", "decrypted", "erased", "locked", "by-reference"]


class Payload(Struct, frozen=True):
    """A payload, or why there is none: `erased` for good, `locked` where the right master key is missing,
    `by-reference` where only the source has it: then `original` is the record that was found there.

    `value` is None too where the source record had none (a tombstone).
    """

    condition: Condition
    value: bytes | None = None
    why: str = ""
    original: Record | None = None

    @property
    def readable(self) -> bool:
        """Whether it can be decided as it came in."""
        return self.condition in ("plain", "decrypted") or self.original is not None


async def payloads_of(session: Session, found: Sequence[Found]) -> list[Payload]:
    """The payload of each record, in order, by the keys that exist now.

    Reads the changelog of the partitions of sealed payloads. Raises InvalidInput for an unusable key file,
    BrokerUnavailable.
    """
    wanted: dict[int, set[bytes]] = {}
    for item in found:
        if item.held.encryption is not None:
            wanted.setdefault(item.record.partition, set()).add(owner(item))
    states = await states_of(session, wanted) if wanted else {}
    masters = master_keys(session.settings) if wanted else None
    return [payload_of(item, states, masters) for item in found]


def payload_of(found: Found, states: States, masters: MasterKeys | None) -> Payload:
    """The payload of one record, by states that hold its owner's."""
    reference = found.held.reference
    if reference is not None:
        place = f"{reference.topic}/{reference.partition}, offset {reference.offset}"
        what = f"{reference.size:,} bytes, SHA-256 {reference.sha256}"
        return Payload(
            "by-reference", why=f"too large to be copied, or unreadable in its batch: it is in {place} ({what})"
        )
    opener = Opener(lambda owner: states.get((found.record.partition, owner), EMPTY).sealing_key, masters)
    try:
        value = opener.open(found.held, found.record.key, found.record.value)
        return Payload("plain" if found.held.encryption is None else "decrypted", value)
    except Erased as error:
        return Payload("erased", why=str(error))
    except NotOpened as error:
        do = f"; set {PREFIX}QUARANTINE_KEY_FILE to the file that the workers use" if masters is None else ""
        return Payload("locked", why=f"{error}{do}")


async def with_original(session: Session, found: Found, payload: Payload) -> Payload:
    """A payload by reference, read from the source topic. Raises BrokerUnavailable."""
    if found.held.reference is None:
        return payload
    _, at_source = await originals_of(session).of([found.record])
    original = at_source[found.record.offset]
    if original.record is None:
        return replace(payload, why=original.why)
    too_large = unheld(original.record) is not None
    return replace(payload, value=original.record.value, original=original.record, why=payload.why if too_large else "")


def owner(found: Found) -> bytes:
    """The key of the consent table under which the sealing key of this record is kept."""
    return found.held.owner(found.record.key)


def owners(found: Sequence[Found]) -> Mapping[int, AbstractSet[bytes]]:
    """By partition, the keys of the consent table on which reading and deciding these records depends."""
    wanted: dict[int, set[bytes]] = {}
    for item in found:
        wanted.setdefault(item.record.partition, set()).update({owner(item), item.record.key or b""})
    return wanted


def master_keys(settings: Settings) -> MasterKeys | None:
    """The keys of the settings' key file, if there is one. Raises InvalidInput when it is not usable."""
    return None if settings.quarantine_key_file is None else load_master_keys(settings.quarantine_key_file)


async def decision_behind(session: Session, found: Found) -> DecisionRecord | None:
    """The decision that quarantined this record; None for an unreadable consent event, or when retention deleted it.

    Decision record and quarantine record are written in one transaction, to partitions of the same number: reading
    begins at the time of the decision, and the record is among the first.
    """
    if found.held.decision_id is None:
        return None
    topic = session.settings.topics.decisions
    place = TopicPartition(topic, found.record.partition)
    at_ms = int(dt.datetime.fromisoformat(found.held.quarantined_at).timestamp() * 1000)
    _, ends = await session.reader.bounds({topic: found.record.partition + 1}, committed_only=True)
    starts = await session.reader.offsets_at([place], at_ms)
    if starts.get(place, ends[place]) >= ends[place]:
        return None
    async with aclosing(session.reader.records({place: ends[place]}, starts)) as batches:
        async for records in batches:
            for record in records:
                decision = decode_decision(record.value)
                if decision is not None and decision.decision_id == found.held.decision_id:
                    return decision
    return None


def redecide(
    held: Quarantined, key: bytes | None, payload: Payload, state: ProspectState, registry: Registry, now: dt.datetime
) -> Redecision:
    """Decide as the gate would if the record were replayed at `now` (UTC): only what is quarantined of it. `payload` is
    readable.
    """
    source = payload.original or source_record(held, key, payload.value)
    return explain_again(source, only_of(held), state, registry, now)
