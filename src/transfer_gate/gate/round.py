"""One round: fold consents, decide transfers and replays, and lay out everything that the transaction will write. No
I/O.

Consent events that stand in another partition than their key's are brought home (contract section 3, Strays): the round
that finds one writes it, verbatim, to `transfer-gate-strays`, into the partition of its key, in its own transaction;
once that is committed, the barrier of that partition covers it.
"""

import datetime as dt
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from transfer_gate.gate.decider import Decider
from transfer_gate.gate.inbox import Record, place_of
from transfer_gate.gate.integrity.commit_note import FIRST_TOPICS, Origins
from transfer_gate.gate.keys import Keys
from transfer_gate.gate.originals import Found
from transfer_gate.gate.outputs import Output, Outputs
from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.recalls import Recalls
from transfer_gate.gate.replays import Replays
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import Tables
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.sizes import is_prospect, unheld, weight
from transfer_gate.model.consent import ConsentEvent, ConsentGiven, Erasure, Objection, Restriction, Withdrawal
from transfer_gate.model.state import ProspectState
from transfer_gate.policy.fold import erases
from transfer_gate.policy.view import view_of
from transfer_gate.records import headers as names
from transfer_gate.records.consents import ConsentFold, Unreadable, decode_consent
from transfer_gate.records.partitioner import is_stray_name, place_known_as, stray_offset
from transfer_gate.records.sealing import UNSEALED, Sealing
from transfer_gate.records.state import received_at

logger = logging.getLogger(__name__)

#: Bytes of outputs after which a round takes no further record, and seconds after which it does not: many partners make
#: much of little, and nothing else runs on the loop meanwhile.
OUTPUT_BYTES: Final = 16 << 20
DECIDE_SECONDS: Final = 0.2
#: Bytes of states after which a round folds no further event: each that changes is held, and written.
STATE_BYTES: Final = 8 << 20
#: A record of more than this is decided in a round of its own: fifty partners make a hundred MiB of two.
ALONE_BYTES: Final = 512 << 10

#: Events that take something away from the day they are received.
_AGAINST: Final = (Withdrawal, Objection, Erasure, Restriction)
#: Beyond every partition: strays whose headers do not name where they stood.
_UNKNOWN_PARTITION: Final = (1 << 14) - 1
#: Key of a changelog record that is the state of no prospect: no prospect id is empty.
NO_PROSPECT: Final = b""


def _stopped() -> float:
    """A timer for rounds that may take as long as they do."""
    return 0.0


class Round:
    """What one transaction of one partition will write. `at` (UTC) is when the gate began to decide."""

    def __init__(
        self,
        book: Rulebook,
        tables: Tables,
        partition: int,
        at: dt.datetime,
        sealing: Sealing = UNSEALED,
        origins: Origins = FIRST_TOPICS,
        timer: Callable[[], float] = _stopped,
        share: float = 1.0,
        *,
        first: bool = False,
    ) -> None:
        """`timer` counts seconds, to end a round that takes long; it is looked at for every record.
        `share` of OUTPUT_BYTES is what the round may write, and of STATE_BYTES what it may change (see Share).
        `first`: nothing shows yet that the group has worked in this partition.
        """
        self._timer = timer
        self._most = int(OUTPUT_BYTES * share)
        self._most_states = int(STATE_BYTES * share)
        self._book = book
        self._partition = partition
        self._unidentified = view_of(book.registry).nobody
        self._is_first = first
        self._states = Overlay(tables.consent)
        self._keys = Keys(sealing, self._states, at.date())
        self._consents = ConsentFold(book.bounds, self._unidentified, origins.consents_base)
        self._consents_life = origins.consents_life
        self._recalls = Recalls(book, tables.consent, at)
        self._outputs = Outputs(book, at, self._keys, self._recalls, origins.topic_ids)
        self._decider = Decider(book.registry, book.placement, self._states, at, partition)
        self._replays = Replays(tables.ledger, self._keys, self._outputs, self._decider, at)
        self.changes: dict[bytes, bytes | None] = {}
        self.ledger_changes: dict[bytes, bytes | None] = {}
        self.batches = Batches(partition, int(at.timestamp() * 1000), book.limits)
        #: Consent events on their way home, by the partition of their key.
        self.elsewhere: dict[int, Batches] = {}
        self.strays = 0
        self.unreadable_consents = 0
        #: Prospects whose history exceeded its bounds.
        self.overflowed = 0
        #: Timestamp of the oldest event of this round that takes something away, ms; for metrics.
        self.withdrawn_at: int | None = None

    @property
    def outcomes(self) -> Counter[tuple[str, str]]:
        """(party id or "", "released" or the first reason) to number of channels."""
        return self._outputs.outcomes

    @property
    def quarantined(self) -> Counter[str]:
        """First reason to number of quarantine records."""
        return self._outputs.quarantined

    @property
    def replays(self) -> Counter[str]:
        """What became of replay records, by outcome."""
        return self._replays.outcomes

    @property
    def notices(self) -> Counter[str]:
        """Party id to number of records on its suppression topic."""
        return self._recalls.notices

    @property
    def unaddressed(self) -> int:
        """Notices that were due to parties without a file that names an address."""
        return self._recalls.unaddressed

    @property
    def rule_errors(self) -> Counter[str]:
        """Rules that raised to number of times."""
        return self._decider.rule_errors

    def fold(self, records: Sequence[Record]) -> int:
        """Apply consent events to the overlay; copy those that can't be read to quarantine (contract section 3).

        Returns how many of them, one at least: the others would make the round too large or too long.
        """
        return self._each(records, self._fold_or_send_home)

    def fold_strays(self, records: Sequence[Record]) -> int:
        """Apply consent events that came home, in the same way. Their copies in quarantine were written where they
        stood.
        """
        return self._each(records, self._fold_stray)

    def _each(self, records: Sequence[Record], fold: Callable[[Record], None]) -> int:
        states, until = self._states, self._timer() + DECIDE_SECONDS
        for count, record in enumerate(records, 1):
            fold(record)
            if self._timer() >= until or states.read + self._recalls.held >= self._most_states:
                return count
        return len(records)

    def _fold_or_send_home(self, record: Record) -> None:
        if self._book.placement.misplaced(record.key, self._partition) and is_prospect(record.key):
            self.strays += 1
            logger.warning("a consent event stands outside the partition of its key", extra=place_of(record))
            self.batches.add(*self._outputs.of_stray_consent(record, record.offset + 1))
            self._send_home(record)
        else:
            self._fold(record)

    def _fold_stray(self, record: Record) -> None:
        if self._book.placement.misplaced(record.key, self._partition):
            self._send_home(record)  # by another partitioner, or another count: never applied where no decision looks
        else:
            self._fold(as_event(record), copied=True)

    def _source_headers(self, record: Record) -> list[tuple[str, bytes | None]]:
        """Where an event stood at first, as headers."""
        if record.topic == self._book.strays:
            return [header for header in record.headers if header[0].startswith(names.PREFIX)]
        return stray_headers(record, self._consents_life, whole=False)

    def _at_home_of(self, key: bytes | None) -> Batches:
        home = self._book.placement.home(key)
        if home is None:
            raise ValueError("a record that has no home is not misplaced")
        batches = self.elsewhere.get(home)
        if batches is None:
            batches = self.elsewhere[home] = Batches(home, self.batches.timestamp_ms, self._book.limits)
        return batches

    def _send_home(self, record: Record) -> None:
        topic = self._book.strays
        again = record.topic == topic
        headers, value = record.headers if again else stray_headers(record, self._consents_life), record.value
        if unheld(record) is not None or not self._book.limits.fits(topic, record.key, value, headers):
            headers, value = self._source_headers(record), None  # blocks its prospect, as it would have at home
        self._at_home_of(record.key).add(topic, record.key, value, headers)

    def _fold(self, record: Record, *, copied: bool = False) -> None:
        states = self._states
        try:
            event = _decoded(record, self._unidentified)
        except Unreadable as error:
            if record.value is not None or not copied:  # else counted where it stood
                self.unreadable_consents += 1
            logger.warning(
                "a consent event can't be read: its prospect is blocked",
                extra=place_of_event(record, self._book.consents),
            )
            for prospect in error.prospects:
                if not is_prospect(prospect):
                    continue
                if self._book.placement.misplaced(prospect, self._partition):
                    # It blocks that prospect where they are decided.
                    self._at_home_of(prospect).add(self._book.strays, prospect, None, self._source_headers(record))
                else:
                    before = states.get(prospect)
                    after = self._consents.block(before, record.offset)
                    self._note_overflow(before, after, record)
                    states.put(prospect, after)
            if not copied:
                self.batches.add(*self._outputs.of_unreadable_consent(record, record.offset + 1))
        else:
            about = event.prospect_id.encode()
            before = states.get(about)
            after = self._consents.add(before, event, record.offset, received_at(record.timestamp))
            self._note_overflow(before, after, record)
            states.put(about, after)
            if erases(before, after):
                self._keys.destroy(about)
            if after is not before and (takes_away(event) or ends_record(event)):
                for notice in self._recalls.applied(about, after):
                    self.batches.add(*notice)
            if takes_away(event) and (self.withdrawn_at is None or record.timestamp < self.withdrawn_at):
                self.withdrawn_at = record.timestamp

    def _note_overflow(self, before: ProspectState, after: ProspectState, record: Record) -> None:
        if after.overflowed and not before.overflowed:
            self.overflowed += 1
            logger.warning(
                "a prospect has more history than is kept: their transfers are quarantined (history-overflow)",
                extra=place_of_event(record, self._book.consents),
            )

    def decide(self, records: Sequence[Record], position: int) -> int:
        """Decide transfers with every consent event below `position` of the consent topic applied.

        Returns how many of them, one at least: the others would make the round too large or too long.
        """
        of, decide = self._outputs.of, self._decider.decide
        return self._lay_out(records, lambda record: of(decide(record), record, position))

    def ignore_before(self, time: dt.datetime | None) -> None:
        """Take no replay of what was quarantined before `time` and has no entry: it may have been dropped."""
        self._replays.forgotten_before = time

    def bring(self, originals: Found) -> None:
        """Give what the replays refer to that have no value of their own."""
        self._replays.originals = originals

    def replay(self, records: Sequence[Record], position: int) -> int:
        """Decide quarantined records again, in the same way."""
        return self._lay_out(records, lambda record: self._replays.take(record, position))

    def sweep(self, owners: Iterable[bytes], quarantine_ids: Iterable[bytes], served: Iterable[bytes] = ()) -> None:
        """Forget keys and ledger entries of what quarantine has deleted, and what was served long ago
        (`gate.retention`).
        """
        for owner in owners:
            self._keys.sweep(owner)
        self._recalls.forget(served)
        self._replays.drop(quarantine_ids)

    def _lay_out(self, records: Sequence[Record], outputs_of: Callable[[Record], list[Output]]) -> int:
        """Add what each record writes, until the round is large or takes long; returns how many records that were."""
        add = self.batches.add
        size, until = 0, self._timer() + DECIDE_SECONDS
        for count, record in enumerate(records, 1):
            weighs = weight(record)
            if weighs > ALONE_BYTES and count > 1:
                return count - 1
            outputs = outputs_of(record)
            for output in outputs:
                add(*output)
                size += len(output[2] or b"")
            size += weighs * len(outputs)  # keys and headers travel with each
            if size + self._recalls.held >= self._most or weighs > ALONE_BYTES or self._timer() >= until:
                return count
        return len(records)

    def close(self) -> None:
        """Add the changelog and ledger records of everything that changed.

        The first round of a partition writes to the changelog whatever it changed: should the brokers forget the
        group's offsets, the changelog shows that it has worked (`gate.integrity.offsets`).
        """
        for topic, changed, changes in (
            (self._book.changelog, self._states.changes(), self.changes),
            (self._book.changelog, self._recalls.changes(), self.changes),
            (self._book.ledger, self._replays.changes(), self.ledger_changes),
        ):
            for key, value in changed:
                changes[key] = value
                self.batches.add(topic, key, value)
        if self._is_first and not self.changes:
            self.batches.add(self._book.changelog, NO_PROSPECT, None)
        self._states.forget()


def _decoded(record: Record, unidentified: AbstractSet[str]) -> ConsentEvent:
    """Raises Unreadable, also of a record that is too large to be looked at."""
    why = unheld(record)
    if why is not None:
        raise Unreadable(why, () if record.key is None else (record.key,))
    return decode_consent(record.value, record.key, unidentified, record.headers)


def takes_away(event: ConsentEvent) -> bool:
    """Whether it counts against transfers from its receipt; a refused consent is a withdrawal (contract section 3)."""
    return isinstance(event, _AGAINST) or (isinstance(event, ConsentGiven) and event.state == "refused")


def ends_record(event: ConsentEvent) -> bool:
    """Whether it ends a consent record without a refusal."""
    return isinstance(event, ConsentGiven) and event.state in ("expired", "invalidated")


def stray_headers(record: Record, life: int, *, whole: bool = True) -> list[tuple[str, bytes | None]]:
    """Headers of the record that brings `record` home: its own, if it travels as a `whole`, and where it stood, in
    which `life` of its topic (`Origins.consents_life`).
    """
    return [
        *(names.without_gate_headers(record.headers) if whole else ()),
        (names.SOURCE_TOPIC, record.topic.encode()),
        (names.SOURCE_PARTITION, b"%d" % record.partition),
        (names.SOURCE_OFFSET, b"%d" % record.offset),
        (names.SOURCE_TIMESTAMP_MS, b"%d" % record.timestamp),
        *([(names.SOURCE_LIFE, b"%d" % life)] if life else ()),
    ]


def as_event(record: Record) -> Record:
    """A stray as the consent event that it is: received when it first was, under an offset of its own."""
    own = {name: text or b"" for name, text in record.headers if name.startswith(names.PREFIX)}
    try:
        partition, offset = int(own[names.SOURCE_PARTITION]), int(own[names.SOURCE_OFFSET])
        received, life = int(own[names.SOURCE_TIMESTAMP_MS]), int(own.get(names.SOURCE_LIFE, b"0"))
        name = stray_offset(partition, offset, life)
    except (KeyError, ValueError):
        # Not written by a gate. It may all the same have been a withdrawal.
        name, received = stray_offset(_UNKNOWN_PARTITION, record.offset), record.timestamp
    return ConsumerRecord(
        topic=record.topic,
        partition=record.partition,
        offset=name,
        timestamp=received,
        timestamp_type=record.timestamp_type,
        key=record.key,
        value=record.value,
        checksum=None,
        serialized_key_size=record.serialized_key_size,
        serialized_value_size=record.serialized_value_size,
        headers=record.headers,
    )


def place_of_event(record: Record, consents: str) -> dict[str, object]:
    """Fields of a log line about a consent event, home-brought (`as_event`) or not: where it stood in `consents` at
    first, else, where that is not known, on the topic of strays.
    """
    topic, partition, offset = record.topic, record.partition, record.offset
    if is_stray_name(offset):
        stood, offset = place_known_as(offset, partition)
        if stood != _UNKNOWN_PARTITION:
            topic, partition = consents, stood
    return {"topic": topic, "partition": partition, "offset": offset}
