"""What became of each unit: takes in quarantine, decisions and partner records, and counts what is not as promised.

Contract section 6, promise 2: for every (input record, partner, channel) exactly one outcome, released or quarantined.
Only first decisions (attempt 1, of the input topic) are outcomes of input records; what replays decide later about what
was held is followed by `chains`.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.gate.integrity.identity import FIRST_LIVES, TopicLives
from transfer_gate.model.terms import Channel
from transfer_gate.model.transfer import Contact
from transfer_gate.records import headers as names
from transfer_gate.records.headers import Headers
from transfer_gate.records.ids import quarantine_id, topic_name
from transfer_gate.verify.chains import Chains, ReplayLedger
from transfer_gate.verify.inputs import (
    BITS,
    KEY_MISMATCH,
    KEY_MISPLACED,
    NO_PARTNER,
    READABLE,
    SCHEMA_INVALID,
    TOO_LARGE,
    UNDECODABLE,
    UNIDENTIFIED,
    Inputs,
    PartitionInputs,
    fingerprint,
    mask_of,
    points_of,
    referred,
    topic_id_of,
)

_STAGES: Final = {
    READABLE: b"policy",
    UNDECODABLE: b"decode",
    SCHEMA_INVALID: b"schema",
    TOO_LARGE: b"schema",
    KEY_MISMATCH: b"schema",
    KEY_MISPLACED: b"schema",
    UNIDENTIFIED: b"schema",
}
_EMAIL: Final = BITS["email"]
_PHONE: Final = BITS["sms"] | BITS["automated_call"] | BITS["live_call"]
_POSTAL: Final = BITS["postal"]

#: Nothing is replayed so often; the attempts of a unit are held in two bytes.
_ENDLESS: Final = 1 << 16
#: Place of a decision about a record of another topic than the transfers; and of a former one of their name.
_ELSEWHERE: Final = 1 << 80
_FORMER: Final = 1 << 81

_CHANNELS: Final = msgspec.json.Decoder(tuple[Channel, ...])


class _Source(Struct):
    topic: str
    partition: int
    offset: int
    topic_id: str | None = None


class _Decision(Struct):
    """The part of a decision record that joins a released record to its input record."""

    decision_id: str
    source: _Source
    released: tuple[str, ...]
    attempt: int
    input_sha256: str = ""


class _Released(Struct):
    """The part of a released record that says for whom it is, and about whom."""

    decision_id: str
    event_id: str
    partner_id: str
    prospect_id: str
    channels: tuple[Channel, ...]
    contact: Contact


_DECISION: Final = msgspec.json.Decoder(_Decision)
_RELEASED: Final = msgspec.json.Decoder(_Released)


class _Release(Struct, frozen=True):
    """A released record by numbers and hashes."""

    partner: int
    mask: int
    event: int
    person: int
    points: tuple[int, int, int]


class Outcomes:
    """Counts over all outcome records; take in quarantine and decisions first, then partner topics.

    `released` and `quarantined` count well-routed outcomes with repetitions, so that
    expected = released + quarantined - duplicated + missing. A misrouted outcome is none: its unit may be missing too.
    """

    def __init__(
        self,
        inputs: Inputs,
        transfers: str,
        partner_topics: Mapping[str, str],
        replay: str | None = None,
        lives: TopicLives = FIRST_LIVES,
        *,
        grown: bool = False,
    ) -> None:
        """`transfers` is the input topic, `partner_topics` party id to topic, `replay` the topic of replays: a stray
        record there is held, and is no transfer; `grown`: replays go to where the prospect is, so that a transfer that
        was misplaced is decided. Outcomes of records of a former topic, by its `lives`, are outside of this account."""
        self._grown = grown
        self.released = self.quarantined = self.duplicated = self.misrouted = 0
        self.outside = 0
        self.chains = Chains(inputs)
        self._inputs = inputs
        self._transfers = transfers
        self._replay = replay
        self._lives = lives
        self._topics = partner_topics
        #: Attempt, partition, unit and channels of what was held again: the attempts of one record stand in several
        #: partitions where the topics have grown in between.
        self._later: list[tuple[int, PartitionInputs, int, int]] = []
        #: Hash of a decision id to partition << 48 | offset; of a later decision, the same below zero.
        self._decisions: dict[int, int] = {}
        #: Hashes of decision ids that are about another record than the one that stands there now.
        self._foreign: set[int] = set()
        self._undecided: list[_Release] = []

    def missing(self) -> int:
        """Channels of units without any first outcome."""
        return sum(
            (asked & ~(released | held)).bit_count()
            for part in self._inputs.partitions.values()
            for asked, released, held in zip(part.asked, part.released, part.held, strict=True)
        )

    def quarantine(self, key: bytes | None, value: bytes | None, sent: Headers, *, opened: bool = True) -> None:
        """Take in one record of the quarantine topic whose source is not `consent-events`, in its partition's order.

        `opened`: the value is the payload; else it is sealed, and not compared.
        """
        own = {name: text or b"" for name, text in sent if name.startswith(names.PREFIX)}
        try:
            topic = own[names.SOURCE_TOPIC].decode()
            partition, offset = int(own[names.SOURCE_PARTITION]), int(own[names.SOURCE_OFFSET])
            attempt = int(own.get(names.ATTEMPT, b"1"))
            partner = own.get(names.PARTNER, b"").decode()
            channels = _CHANNELS.decode(own.get(names.CHANNELS, b"[]"))
            identity = own[names.QUARANTINE_ID].decode()
            topic_id = topic_id_of(own)
        except (KeyError, ValueError, msgspec.DecodeError):
            self.misrouted += 1
            return
        count = max(len(channels), 1)
        if topic == self._transfers and topic_id != self._lives.own(topic, partition):
            self.outside += count
            return
        found = self._find(partition, offset) if topic == self._transfers else None
        if found is None:
            unread = topic == self._transfers and not self._inputs.within(partition, offset)
            self._not_found(unread or topic == self._replay, count)
            return
        part, index = found
        if names.REFERENCE in own:
            same = referred(key, sent, own, part.contents[index], part.shells[index])
        else:
            content = part.contents[index] if opened else part.shells[index]
            same = fingerprint(key, value if opened else b"", sent) == content
        right = (
            same
            and identity == quarantine_id(topic_name(topic, topic_id), partition, offset, partner)
            and any(
                _held_at(shape, partner, own.get(names.STAGE))
                for shape in {part.shapes[index], self._shape(part, index, again=attempt > 1)}
            )
            and bool(partner) == bool(channels)
            and 0 < attempt < _ENDLESS
        )
        if right:
            self._hold(partition, part, index, partner, mask_of(channels), attempt)
        else:
            self.misrouted += count

    def decision(self, value: bytes | None) -> None:
        """Take in one record of `transfer-decisions`."""
        try:
            decision = _DECISION.decode(value or b"")
        except msgspec.DecodeError:
            return  # explains nothing; a released record is then joined by its event
        if decision.released:
            source = decision.source
            place = source.partition << 48 | source.offset
            if source.topic != self._transfers:
                place = _ELSEWHERE
            elif source.topic_id != self._lives.own(source.topic, source.partition):
                place = _FORMER
            elif decision.attempt > 1:
                place = ~place
            self._decisions[hash(decision.decision_id)] = place
            if place < _ELSEWHERE and self._of_another(decision):
                self._foreign.add(hash(decision.decision_id))

    def _of_another(self, decision: _Decision) -> bool:
        """Whether the transfers were made anew: the record that was decided is not the one at its place now."""
        found = self._find(decision.source.partition, decision.source.offset)
        return (
            bool(decision.input_sha256)
            and found is not None
            and (found[0].digests[found[1]] != hash(decision.input_sha256))
        )

    def release(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Take in one record of a partner's topic."""
        try:
            record = _RELEASED.decode(value or b"")
        except msgspec.DecodeError:
            self.misrouted += 1
            return
        mask = mask_of(record.channels)
        right = (
            self._topics.get(record.partner_id) == topic
            and key == record.prospect_id.encode()
            and mask.bit_count() == len(record.channels) > 0
            and _no_other_points(mask, record.contact)
        )
        if not right:
            self.misrouted += max(len(record.channels), 1)
            return
        release = _Release(
            self._inputs.number(record.partner_id),
            mask,
            hash(record.event_id),
            hash(record.prospect_id),
            points_of(record.contact),
        )
        place = self._decisions.get(hash(record.decision_id))
        if place is None:
            self._undecided.append(release)
        elif place == _FORMER:
            self.outside += mask.bit_count()
        elif place == _ELSEWHERE or hash(record.decision_id) in self._foreign:
            self.misrouted += mask.bit_count()
        else:
            again, place = place < 0, ~place if place < 0 else place
            partition, offset = place >> 48, place & (1 << 48) - 1
            found = self._find(partition, offset)
            if found is None:
                self._not_found(not self._inputs.within(partition, offset), mask.bit_count())
            else:
                self._release(*found, release, again=again)

    def join_by_event(self) -> None:
        """Join released records that no decision explains to the input records of their event; call it last."""
        if not self._undecided:
            return
        places = self._inputs.by_event()
        for release in self._undecided:
            # One event may stand in several input records: take the one in which this repeats least.
            candidates = places.get(release.event, [])
            found = min(candidates, key=lambda place: self._repeats(place[0], place[1], release), default=None)
            if found is None:
                self.misrouted += release.mask.bit_count()
            else:
                self._release(*found, release)
        self._undecided.clear()

    def close_chains(self, ledger: ReplayLedger) -> None:
        """Hold what became of the held against the replay ledger; after everything was taken in."""
        for attempt, part, unit, mask in sorted(self._later, key=_attempt):
            self.chains.again(part, unit, attempt, mask)
        self._later.clear()

        def id_of(partition: int, offset: int, who: str) -> str:
            name = topic_name(self._transfers, self._lives.own(self._transfers, partition))
            return quarantine_id(name, partition, offset, who)

        self.chains.close(ledger, id_of)

    def _shape(self, part: PartitionInputs, index: int, *, again: bool) -> int:
        shape = part.shapes[index]
        return READABLE if shape == KEY_MISPLACED and again and self._grown else shape

    def _find(self, partition: int, offset: int) -> tuple[PartitionInputs, int] | None:
        part = self._inputs.partitions.get(partition)
        index = part.position(offset) if part else None
        return None if part is None or index is None else (part, index)

    def _not_found(self, outside: bool, count: int) -> None:
        """An outcome of no input record that was read: outside of what was to be read, or else invented."""
        if outside:
            self.outside += count
        else:
            self.misrouted += count

    def _repeats(self, part: PartitionInputs, index: int, release: _Release) -> int:
        unit = part.unit_of(index, release.partner)
        if unit is None:
            return 1 << 16
        return (release.mask & (part.released[unit] | part.held[unit])).bit_count()

    def _hold(self, partition: int, part: PartitionInputs, index: int, partner: str, mask: int, attempt: int) -> None:
        if partner == NO_PARTNER:  # one quarantine record for the whole input record: every unit of it is held
            for each in part.units(index):
                if part.shapes[index] in (READABLE, KEY_MISMATCH, KEY_MISPLACED, UNIDENTIFIED):
                    self.chains.whole(partition, each)
                self._count_held(part, each, part.asked[each], attempt)
            return
        unit = part.unit_of(index, self._inputs.number(partner))
        if unit is None:
            self.misrouted += mask.bit_count()
        else:
            self._count_held(part, unit, mask, attempt)

    def _release(self, part: PartitionInputs, index: int, release: _Release, *, again: bool = False) -> None:
        unit = part.unit_of(index, release.partner)
        of_source = (part.emails[index], part.phones[index], part.postals[index])
        right = (
            self._shape(part, index, again=again) == READABLE
            and release.event == part.events[index]
            and release.person == part.people[index]
            and all(sent in (0, given) for sent, given in zip(release.points, of_source, strict=True))
        )
        if unit is None or not right:
            self.misrouted += release.mask.bit_count()
            return
        if again:
            self.misrouted += (release.mask & ~part.asked[unit]).bit_count()
            self.chains.released(part, unit, release.mask & part.asked[unit])
            return
        mask = self._asked_only(part, unit, release.mask)
        self.released += mask.bit_count()
        part.released[unit] |= mask

    def _count_held(self, part: PartitionInputs, unit: int, mask: int, attempt: int) -> None:
        if attempt > 1:
            self._later.append((attempt, part, unit, mask))
            return
        mask = self._asked_only(part, unit, mask)
        self.quarantined += mask.bit_count()
        part.held[unit] |= mask
        self.chains.first(part, unit, mask)

    def _asked_only(self, part: PartitionInputs, unit: int, mask: int) -> int:
        """The channels that were asked for; counts the others as misrouted and repetitions as duplicated."""
        self.misrouted += (mask & ~part.asked[unit]).bit_count()
        mask &= part.asked[unit]
        self.duplicated += (mask & (part.released[unit] | part.held[unit])).bit_count()
        return mask


def _attempt(again: tuple[int, PartitionInputs, int, int]) -> int:
    return again[0]


def _held_at(shape: int, partner: str, stage: bytes | None) -> bool:
    """Whether the stage fits what was wrong; what can't be joined with its prospect may also be held as a whole."""
    joined = shape not in (KEY_MISMATCH, KEY_MISPLACED, UNIDENTIFIED)
    return stage == _STAGES[shape] or (not joined and partner == NO_PARTNER and stage == b"policy")


def _no_other_points(mask: int, contact: Contact) -> bool:
    """Whether only contact points of the released channels are there (rules.md 5)."""
    return (
        (contact.email is None or bool(mask & _EMAIL))
        and (contact.phone is None or bool(mask & _PHONE))
        and (contact.postal is None or bool(mask & _POSTAL))
    )
