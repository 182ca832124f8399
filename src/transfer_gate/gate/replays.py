"""Quarantined records that come back: each attempt is taken at most once, and decided again (contract section 6).

The replay ledger of the partition says which attempt of a quarantine id is open. It is read and written in the same
transaction as the outcome, so whatever is sent twice, resumed after a crash or sent by two runs at once comes to
nothing the second time.

`quarantine explain`, `policy explain --decision` and the auditor decide again as a round does, on one state at one
time, and write nothing (`decide_again`). A forecast of a replay, which is about many records and about what becomes of
each, takes whole rounds (`replay.planning`).
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, get_args

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.gate.decider import Decider, Only, RecordDecision
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.keys import Keys
from transfer_gate.gate.originals import NOTHING_FOUND, Found
from transfer_gate.gate.outputs import Attempt, Output, Outputs
from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.table import MemorySlice, Slice
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import ProspectState
from transfer_gate.policy.explain import Explanation, explain
from transfer_gate.records import headers as names
from transfer_gate.records import ids
from transfer_gate.records.decisions import ANY_CHANNEL
from transfer_gate.records.ledger import ERASED, LedgerEntry, State, decode_entry, encode_entry, may_be_replayed
from transfer_gate.records.partitioner import ANYWHERE
from transfer_gate.records.quarantined import MalformedHeaders, Quarantined, decode_quarantined
from transfer_gate.records.replay_requests import Action, restored
from transfer_gate.records.sealing import Erased, NotOpened

#: Why an unreadable consent event is not replayed.
_RESOLVE_INSTEAD = "an unreadable consent event is settled by: transfer-gate consent resolve"
#: Why a record without a value of its own is not replayed where its original was not looked for.
NOT_LOOKED_FOR: Final = "kept by reference, and its original was not looked for"
#: Why a record is discarded, in the operator's words, is kept up to here (characters).
_LONGEST_WHY: Final = 1000


class _NoOriginal(Exception):
    """What a record refers to can't be had; the text says why, and names the place."""


class Replays:
    """The replay records of one round."""

    def __init__(
        self,
        ledger: Slice,
        keys: Keys,
        outputs: Outputs,
        decider: Decider,
        at: dt.datetime,
    ) -> None:
        self._ledger = ledger
        self._keys = keys
        self._opener = keys.opener
        self._outputs = outputs
        self._decider = decider
        self._at = at
        #: Entries of what was quarantined before this time may have been dropped: nothing of it is taken.
        self.forgotten_before: dt.datetime | None = None
        #: What those refer to that have no value of their own, by offset.
        self.originals: Found = NOTHING_FOUND
        self._entries: dict[str, LedgerEntry] = {}
        self._dropped: list[bytes] = []
        #: `released`, `requarantined`, `discarded`, `erased`, `refused`, `ignored` to number of records; for metrics.
        self.outcomes: Counter[str] = Counter()

    def take(self, record: Record, position: int) -> list[Output]:
        """What one record of the replay topic writes, the ledger apart.

        One in the partition neither of its source nor of its key is ignored: the ledger here does not know it. Our
        commands write none; a copy made by another client, with a partitioner of its own, may be one.
        """
        action = _action(record)
        if action == "rewrap":
            if record.key is not None:
                self._keys.rewrap(record.key)
            return []
        try:
            held = decode_quarantined(restored(record.headers))
        except MalformedHeaders:
            # Not from our commands. It has no earlier life, so it is held as what it is: a record of this topic.
            return self._outputs.of_whole(record, position, "decode", "undecodable")
        entry = self._entry(held.quarantine_id)
        if (
            action is None
            or (record.partition != held.source.partition and self._decider.is_misplaced(record.key))
            or self._forgotten(held, entry)
            or not may_be_replayed(entry, held.attempt)
        ):
            self.outcomes["ignored"] += 1
            return []
        if action == "discard":
            self._settle(held, "discarded", "discarded", _text(record, names.REPLAY_WHY))
            return []
        if held.stage == "consent":
            self._settle(held, "open", "refused", _RESOLVE_INSTEAD)
            return []
        try:
            source = self._source(record, held)
        except _NoOriginal as error:
            self._settle(held, "open", "refused", str(error))
            return []
        except Erased:
            self._settle(held, "discarded", "erased", ERASED)
            return []
        except NotOpened as error:
            self._settle(held, "open", "refused", str(error))
            return []
        return self._decide(source, held, position)

    def drop(self, quarantine_ids: Iterable[bytes]) -> None:
        """Remove the entries of records that quarantine has deleted."""
        self._dropped += quarantine_ids

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Every quarantine id whose entry changed, and the new entry as bytes; None where it was dropped."""
        for dropped in self._dropped:
            yield dropped, None
        for quarantine_id, entry in self._entries.items():
            yield quarantine_id.encode(), encode_entry(entry)

    def _forgotten(self, held: Quarantined, entry: LedgerEntry | None) -> bool:
        """Whether a record without an entry is so old that its entry may have been dropped. It is not in quarantine any
        more; it can only be an old record of the replay topic, read again.
        """
        if entry is not None or self.forgotten_before is None:
            return False
        try:
            at = dt.datetime.fromisoformat(held.quarantined_at)
        except ValueError:
            return True
        return (at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)) < self.forgotten_before

    def _entry(self, quarantine_id: str) -> LedgerEntry | None:
        entry = self._entries.get(quarantine_id)
        if entry is None and (raw := self._ledger.get(quarantine_id.encode())) is not None:
            entry = decode_entry(raw)
        return entry

    def _settle(self, held: Quarantined, state: State, outcome: str, why: str | None) -> None:
        self.outcomes[outcome] += 1
        self._entries[held.quarantine_id] = LedgerEntry(
            state=state, attempt=held.attempt, at=self._at, run=held.replay_run, why=why
        )

    def _source(self, record: Record, held: Quarantined) -> Record:
        """The record as it came in at first. Raises _NoOriginal, Erased, NotOpened."""
        if held.reference is not None:
            original = self.originals.get(record.offset)
            if original is None or original.record is None:
                raise _NoOriginal(original.why if original is not None else NOT_LOOKED_FOR)
            return original.record
        value = self._opener.open(held, record.key, record.value)
        return source_record(held, record.key, value)

    def _decide(self, source: Record, held: Quarantined, position: int) -> list[Output]:
        only = only_of(held)
        decided = self._decider.decide(source, only)
        if decided.transfer is None and only is not None:
            # It could be read once, so this is a defect of the gate; the attempt stays open.
            self._settle(held, "open", "refused", decided.reason)
            return []
        attempt = Attempt(held.attempt + 1, held.first_quarantined_at, held.replay_run, held.source.topic_id)
        entry = LedgerEntry(state="open", attempt=attempt.number, at=self._at, run=attempt.run)
        if decided.transfer is None:
            self._put(held.quarantine_id, replace(entry, quarantined={ANY_CHANNEL: (decided.reason,)}))
        elif only is not None:
            (decision,) = decided.decisions
            self._put(held.quarantine_id, _came_to(entry, decision))
        else:
            self._split(held, decided.decisions, entry)
        return self._outputs.of(decided, source, position, attempt)

    def _split(self, held: Quarantined, decisions: Sequence[PartnerDecision], entry: LedgerEntry) -> None:
        """A record that could not be read at first is readable now: it becomes one for each partner that is held."""
        place, held_for = held.source, []
        for decision in decisions:
            if decision.quarantined:
                child = ids.quarantine_id(place.name, place.partition, place.offset, decision.partner_id)
                self._entries[child] = _came_to(entry, decision)
                held_for.append(child)
        self._put(held.quarantine_id, replace(entry, state="replayed", split=tuple(held_for)))

    def _put(self, quarantine_id: str, entry: LedgerEntry) -> None:
        self._entries[quarantine_id] = entry
        self.outcomes["released" if entry.state == "replayed" and not entry.split else "requarantined"] += 1


def _came_to(entry: LedgerEntry, decision: PartnerDecision) -> LedgerEntry:
    return replace(
        entry,
        state="open" if decision.quarantined else "replayed",
        released=decision.released,
        quarantined={str(channel): reasons for channel, reasons in decision.quarantined.items()},
    )


def _action(record: Record) -> Action | None:
    """What the record requests; None for a word that this version does not know."""
    text = _text(record, names.REPLAY_ACTION) or "replay"
    return text if text in get_args(Action) else None  # type: ignore[return-value]  # one of them, as just checked


def _text(record: Record, name: str) -> str | None:
    raw = dict(record.headers).get(name)
    return None if raw is None else raw[: 4 * _LONGEST_WHY].decode(errors="replace")[:_LONGEST_WHY]


def only_of(held: Quarantined) -> Only | None:
    """The part of a transfer that a quarantine record is about; None: all, as it could not be read."""
    return Only(held.partner_id, held.channels) if held.partner_id is not None else None


def source_record(held: Quarantined, key: bytes | None, value: bytes | None) -> Record:
    """The record as it came in at first, of the headers of its quarantine record, and its key and payload."""
    place = held.source
    return ConsumerRecord(
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        timestamp=held.source_timestamp_ms,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=tuple(held.inbound),
    )


class Redecision(Struct, frozen=True, kw_only=True):
    """A decision of now. `reasons`: channel to reasons where it is quarantined before any rule is evaluated, with
    the one key `*` when it can't be read; otherwise `explanations`, one a partner.
    """

    reasons: Mapping[str, tuple[str, ...]] = {}
    explanations: tuple[Explanation, ...] = ()


def decide_again(
    source: Record, only: Only | None, state: ProspectState, registry: Registry, at: dt.datetime
) -> RecordDecision:
    """What is decided about an input record at `at` (UTC), on the `state` of the prospect that its key names; `only` of
    one partner and some channels.
    """
    states = Overlay(MemorySlice())
    if source.key is not None:
        states.put(source.key, state)
    return Decider(registry, ANYWHERE, states, at, source.partition).decide(source, only)


def explain_again(
    source: Record, only: Only | None, state: ProspectState, registry: Registry, at: dt.datetime
) -> Redecision:
    """The same, rule by rule."""
    decided = decide_again(source, only, state, registry, at)
    if decided.transfer is None:
        return Redecision(reasons={ANY_CHANNEL: (decided.reason,)})
    if decided.stage != "policy":
        (first, *_) = decided.decisions
        return Redecision(reasons={str(channel): reasons for channel, reasons in first.quarantined.items()})
    return Redecision(explanations=explain(decided.transfer, state, registry, at))
