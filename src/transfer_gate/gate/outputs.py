"""What a decision becomes: the records for partner, quarantine and decisions topics (contract section 5). Pure."""

import datetime as dt
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Final, NamedTuple

from msgspec.structs import replace

from transfer_gate.gate.decider import RecordDecision
from transfer_gate.gate.inbox import Record, place_of
from transfer_gate.gate.keys import Keys
from transfer_gate.gate.recalls import Recalls
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.sizes import BATCH_OVERHEAD, at_most, header_bytes, is_prospect, measured, unheld
from transfer_gate.kafka.unpacking import KEPT_HEADER_BYTES, last_offset
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.terms import Channel, Reason
from transfer_gate.model.transfer import Transfer
from transfer_gate.records import headers, ids
from transfer_gate.records.decisions import ANY_CHANNEL, ConsentSeen, DecisionRecord, SourcePlace, encode_decision
from transfer_gate.records.quarantined import Reference, encode_reference
from transfer_gate.records.released import ReleasedRecord, encode_released
from transfer_gate.records.sealing import Encryption, encode_encryption

logger = logging.getLogger(__name__)

#: Its prospect's key lies in another partition (`records.sealing.owner_of`).
MISPLACED: Final = "key-misplaced"
#: One record to write: topic, key, value, headers.
Output = tuple[str, bytes | None, bytes | None, headers.Headers]

_NO_HEADERS: Final[headers.Headers] = ()


class Attempt(NamedTuple):
    """Which decision of a record this is, `number` from 1, and what a redecision of a quarantined record goes on from;
    `topic_id`, of the topic in which it stood at first, where that was not the first of its name.
    """

    number: int = 1
    first_quarantined_at: str | None = None
    run: str | None = None
    topic_id: str | None = None


FIRST_ATTEMPT: Final = Attempt()


class Outputs:
    """Lays out the records of one round; `at` (UTC) is when the gate began to decide."""

    __slots__ = (
        "_at", "_at_text", "_book", "_consents_id", "_keys", "_least", "_logs_all", "_recalls", "_topic_ids",
        "outcomes", "quarantined",
    )  # fmt: skip

    def __init__(
        self,
        book: Rulebook,
        at: dt.datetime,
        keys: Keys,
        recalls: Recalls,
        topic_ids: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._book = book
        self._at = at
        self._keys = keys
        self._recalls = recalls
        #: Id of each input topic that was made anew under its name.
        self._topic_ids = topic_ids
        self._consents_id = topic_ids.get(book.consents)
        self._least = book.limits.least
        self._at_text = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        #: (party id or "", "released" or the first reason) to number of channels; for metrics.
        self.outcomes: Counter[tuple[str, str]] = Counter()
        #: First reason of each quarantine record, to number of records; for metrics.
        self.quarantined: Counter[str] = Counter()
        self._logs_all = logger.isEnabledFor(logging.DEBUG)

    def of(
        self, decided: RecordDecision, record: Record, position: int, attempt: Attempt = FIRST_ATTEMPT
    ) -> list[Output]:
        """Everything that the decision on `record` writes. In a replay, `record` is the source as it was at first."""
        if decided.transfer is None:
            return self.of_whole(record, position, decided.stage, decided.reason, attempt)
        return self._of_decisions(record, decided.transfer, decided.decisions, position, decided.stage, attempt)

    def _of_decisions(
        self,
        record: Record,
        transfer: Transfer,
        decisions: Sequence[PartnerDecision],
        position: int,
        stage: headers.Stage,
        attempt: Attempt,
    ) -> list[Output]:
        """For each partner: what it gets, what is held back, and the evidence."""
        partition, offset = record.partition, record.offset
        source = self._source(record, attempt)
        name = source.name
        digest = measured(record)[1]
        key = transfer.prospect_id.encode()
        outputs: list[Output] = []
        for each in decisions:
            decision = each
            decision_id = ids.decision_id(name, partition, offset, decision.partner_id, attempt.number)
            if decision.rule_errors or self._logs_all:
                _log(record, transfer, decision, decision_id)
            release = decision.release
            if release is not None:
                transfer_id = ids.transfer_id(transfer.event_id, decision.partner_id)
                released = self._release(transfer, decision, decision_id, transfer_id, key)
                if not self._fits(released[0], released[1], released[2], released[3]):
                    decision = _held(transfer, decision, "too-large")
                else:
                    lifts = self._recalls.served(key, transfer, decision.partner_id, release, transfer_id)
                    if lifts is None:
                        decision = _held(transfer, decision, "history-overflow")
                    else:
                        self.outcomes[decision.partner_id, "released"] += len(decision.released)
                        outputs.append(released)
                        outputs.extend(lifts)
            if decision.quarantined:
                outputs.append(
                    self._quarantine(
                        record, source, decision.partner_id, decision.quarantined, position, stage, decision_id, attempt
                    )
                )
            evidence = DecisionRecord(
                decision_id=decision_id,
                decided_at=self._at,
                source=source,
                event_id=transfer.event_id,
                prospect_id=transfer.prospect_id,
                partner_id=decision.partner_id,
                released=decision.released,
                quarantined=decision.quarantined,  # type: ignore[arg-type]  # a channel is a str; mappings are invariant
                consent=self._seen(position, decision.record_ids),
                policy=self._book.policy,
                input_sha256=digest,
                attempt=attempt.number,
                replay_run=attempt.run,
                rule_errors=decision.rule_errors,
            )
            outputs.append((self._book.decisions, key, encode_decision(evidence), _NO_HEADERS))
        return outputs

    def of_whole(
        self, record: Record, position: int, stage: headers.Stage, reason: Reason, attempt: Attempt = FIRST_ATTEMPT
    ) -> list[Output]:
        """Quarantine of a record of which nothing more is known, and the evidence."""
        source = self._source(record, attempt)
        decision_id = ids.decision_id(source.name, record.partition, record.offset, attempt=attempt.number)
        why = {"decision_id": decision_id, "stage": stage, "reason": reason}
        logger.debug("a transfer is held as a whole", extra=place_of(record) | why)
        held: dict[str, tuple[Reason, ...]] = {ANY_CHANNEL: (reason,)}
        evidence = DecisionRecord(
            decision_id=decision_id,
            decided_at=self._at,
            source=source,
            event_id=None,
            prospect_id=None,
            partner_id=None,
            released=(),
            quarantined=held,
            consent=self._seen(position, ()),
            policy=self._book.policy,
            input_sha256=measured(record)[1],
            attempt=attempt.number,
            replay_run=attempt.run,
        )
        return [
            self._quarantine(record, source, "", held, position, stage, decision_id, attempt),
            (self._book.decisions, _evidence_key(record.key), encode_decision(evidence), _NO_HEADERS),
        ]

    def _source(self, record: Record, attempt: Attempt) -> SourcePlace:
        """Where a record stood at first. The headers of a replay name of which topic it was."""
        topic_id = self._topic_ids.get(record.topic) if attempt is FIRST_ATTEMPT else attempt.topic_id
        return SourcePlace(topic=record.topic, partition=record.partition, offset=record.offset, topic_id=topic_id)

    def _seen(self, position: int, record_ids: tuple[str, ...]) -> ConsentSeen:
        return ConsentSeen(offset=position, record_ids=record_ids, topic_id=self._consents_id)

    def _fits(self, topic: str, key: bytes | None, value: bytes | None, headers: headers.Headers) -> bool:
        """Whether a topic takes a record; what every topic takes needs no closer look."""
        if BATCH_OVERHEAD + at_most(key, value, headers) <= self._least:
            return True
        return self._book.limits.fits(topic, key, value, headers)

    def of_unreadable_consent(self, record: Record, position: int) -> Output:
        """Copy of a consent event that can't be read. It is no decision about a transfer, so there is no evidence."""
        return self._of_consent(
            record, "too-large" if unheld(record) == "too-large" else "consent-unreadable", position
        )

    def of_stray_consent(self, record: Record, position: int) -> Output:
        """Copy of a consent event that stands in another partition than its key's."""
        return self._of_consent(record, "key-misplaced", position)

    def _of_consent(self, record: Record, reason: Reason, position: int) -> Output:
        source, held = self._source(record, FIRST_ATTEMPT), {ANY_CHANNEL: (reason,)}
        return self._quarantine(record, source, "", held, position, "consent", None, FIRST_ATTEMPT)

    def _release(
        self, transfer: Transfer, decision: PartnerDecision, decision_id: str, transfer_id: str, key: bytes
    ) -> Output:
        partner, release = decision.partner_id, decision.release
        if release is None:
            raise ValueError("nothing was released")
        released = ReleasedRecord(
            transfer_id=transfer_id,
            decision_id=decision_id,
            event_id=transfer.event_id,
            partner_id=partner,
            prospect_id=transfer.prospect_id,
            released_at=self._at,
            purpose=transfer.purpose,
            offer_category=transfer.offer_category,
            channels=decision.released,
            contact=release.contact,
            attributes=release.attributes,
            obligations=release.obligations,
            policy=self._book.stamp,
        )
        return (
            self._book.partner_topics[partner],
            key,
            encode_released(released),
            headers.of_release(transfer_id, decision_id),
        )

    def _quarantine(
        self,
        record: Record,
        source: SourcePlace,
        partner: str,
        reasons: Mapping[str, tuple[Reason, ...]] | Mapping[Channel, tuple[Reason, ...]],
        position: int,
        stage: headers.Stage,
        decision_id: str | None,
        attempt: Attempt,
    ) -> Output:
        name, partition, offset = source.name, record.partition, record.offset
        for of_channel in reasons.values():
            self.outcomes[partner, of_channel[0]] += 1
        first = next(iter(reasons.values()))[0]
        self.quarantined[first] += 1
        key, value, inbound = record.key, record.value, record.headers
        # Under a foreign key, or one that no prospect has, the record is not the key's prospect's to erase.
        apart = (stage == "schema" and partner) or first == MISPLACED
        owner = None if apart or not is_prospect(key) else key
        reference: bytes | None = None
        encryption: Encryption | None = None
        if unheld(record) is not None:
            reference, key, inbound = _by_reference(record)
            value = None
        elif value is not None and self._keys.seals:
            value, encryption = self._keys.seal(owner, value, ids.quarantine_name(name, partition, offset, partner))
        quarantine_id = ids.quarantine_id(name, partition, offset, partner)
        while True:
            written = headers.of_quarantine(
                inbound,
                quarantine_id=quarantine_id,
                stage=stage,
                partner_id=partner or None,
                reasons=reasons,
                source=(record.topic, partition, offset, record.timestamp),
                decision_id=decision_id,
                revision=self._book.stamp.revision,
                consent_offset=position,
                quarantined_at=self._at_text,
                first_quarantined_at=attempt.first_quarantined_at,
                attempt=attempt.number,
                replay_run=attempt.run,
                encryption=encode_encryption(encryption) if encryption is not None else None,
                reference=reference,
                topic_id=source.topic_id,
            )
            if reference is not None or self._fits(self._book.quarantine, key, value, written):
                return self._book.quarantine, key, value, written
            reference, key, inbound = _by_reference(record)
            value, encryption = None, None


def _by_reference(record: Record) -> tuple[bytes, bytes | None, headers.Headers]:
    """Header `tg-reference` of a record whose value is not repeated; its key and its own headers, if they are small."""
    size, digest = measured(record)
    key, inbound = record.key, record.headers
    small = is_prospect(key) or key is None
    few = header_bytes(inbound) <= KEPT_HEADER_BYTES
    reference = Reference(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        size=size,
        sha256=digest,
        last_offset=last if (last := last_offset(record)) > record.offset else None,
        key_size=None if small else len(key or b""),
        key_sha256=None if small else sha256(key or b"").hexdigest(),
        headers_left_out=not few,
    )
    return encode_reference(reference), key if small else None, inbound if few else ()


def _evidence_key(key: bytes | None) -> bytes | None:
    """The key of a decision on a whole record: what no `prospect_id` can be is not repeated."""
    return key if key is None or is_prospect(key) else b"sha256:" + sha256(key).hexdigest().encode()


def _held(transfer: Transfer, decision: PartnerDecision, reason: Reason) -> PartnerDecision:
    """The same decision where what it released can't be written: `too-large` for the partner's topic, or the prospect
    was served to so many parties that no more are kept (`history-overflow`).
    """
    why: tuple[Reason, ...] = (reason,)
    quarantined = {
        channel: decision.quarantined.get(channel, why)
        for channel in transfer.channels
        if channel in decision.quarantined or channel in decision.released
    }
    return replace(decision, released=(), quarantined=quarantined, release=None)


def _log(record: Record, transfer: Transfer, decision: PartnerDecision, decision_id: str) -> None:
    """One line about one decision. Its partner stands in the decision record: here it could be any text."""
    about = {
        "event_id": transfer.event_id,
        "decision_id": decision_id,
        "rule": " ".join(decision.rule_errors) or None,
        "released": len(decision.released),
        "held": len(decision.quarantined),
    }
    level, message = (
        (logging.ERROR, "a rule raised: what it was asked about is held")
        if decision.rule_errors
        else (logging.DEBUG, "decided")
    )
    logger.log(level, message, extra=place_of(record) | about)
