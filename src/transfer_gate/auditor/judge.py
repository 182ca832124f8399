"""One released record against everything that it must follow from. Pure: the caller has read what it takes.

Words of a verdict name fields and ids of events and decisions, never a value of the record.
"""

import datetime as dt
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import Struct

from transfer_gate.auditor.prohibitions import Way, forbidden, real_person
from transfer_gate.gate.decider import Only, RecordDecision
from transfer_gate.gate.replays import decide_again
from transfer_gate.kafka import ConsumerRecord
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.model.terms import Instant
from transfer_gate.model.topics import Topics
from transfer_gate.model.transfer import Contact, Transfer
from transfer_gate.policy.view import view_of
from transfer_gate.records import headers, ids
from transfer_gate.records.decisions import DecisionPolicy, SourcePlace
from transfer_gate.records.input_json import UnreadableRecord
from transfer_gate.records.released import ReleasedRecord
from transfer_gate.records.transfers import decode_transfer

Outcome = Literal["ok", "leak", "stray", "unexplained", "revision-unknown", "source-gone"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


class Verdict(Struct, frozen=True):
    """`why` is for people: ids and offsets, nothing of the prospect. Empty for `ok`."""

    outcome: Outcome
    why: str = ""


OK: Final = Verdict("ok")


class ConsentSeen(Struct, frozen=True):
    """See `records.decisions`."""

    offset: int
    topic_id: str | None = None


class Decision(Struct, frozen=True, kw_only=True):
    """The part of a decision record that explains a released record; other fields may come and go."""

    decision_id: str
    decided_at: Instant
    source: SourcePlace
    event_id: str | None
    prospect_id: str | None
    partner_id: str | None
    released: tuple[str, ...]
    quarantined: dict[str, Any]
    consent: ConsentSeen
    policy: DecisionPolicy
    input_sha256: str
    attempt: int


class Decided(Struct, frozen=True):
    """A decision that released something, and its offset in `transfer-decisions`."""

    offset: int
    decision: Decision


class Released(Struct, frozen=True):
    """A record of a partner's topic: as it stands there, and as it reads."""

    record: ConsumerRecord
    body: ReleasedRecord
    #: Decisions below this offset of `transfer-decisions` were written before this record could be read.
    decided_below: int


_DECISION: Final = msgspec.json.Decoder(Decision)


def decision_of(record: ConsumerRecord) -> Decided | None:
    """A decision that released something; None for any other, and for what is no decision: it explains nothing."""
    try:
        decision = _DECISION.decode(record.value or b"")
    except msgspec.DecodeError:
        return None
    return Decided(record.offset, decision) if decision.released else None


def milliseconds(time: dt.datetime) -> int:
    """Since the epoch, rounded down, as Kafka counts."""
    return int(time.timestamp() * 1000)


#: What policy.yaml allows clocks to differ by when it says nothing, for decisions whose registry is not at hand.
_SKEW: Final = dt.timedelta(seconds=300)


class Source(Struct, frozen=True):
    """The transfer that was decided; `gone` when retention has deleted it, neither when it never was there. `moved`: it
    stands in another partition than its decision, as a replay may be decided elsewhere once the topics have grown.
    """

    record: ConsumerRecord | None = None
    gone: bool = False
    moved: bool = False


class Case(Struct, frozen=True, kw_only=True):
    """Everything about one released record.

    `state`: consent as of the offset that the decision says it saw; `whole`: whether the consent events before it are
    all there. `later`: the state after those, too, that the decision did not see although they had been acknowledged.
    """

    released: Released
    decision: Decision
    source: Source
    state: ProspectState
    whole: bool
    later: ProspectState
    #: The same with events in other partitions that the gate could know of, and with those still on their way home.
    elsewhere: ProspectState = EMPTY
    on_their_way: ProspectState = EMPTY
    #: `state` and the events of other partitions that had come home by the decision.
    with_strays: ProspectState = EMPTY


class Judge:
    """Knows the topics and the registries, by revision."""

    def __init__(self, topics: Topics, registries: Mapping[str, Registry], partner_topics: Mapping[str, str]) -> None:
        self._topics = topics
        self._registries = registries
        #: Party id to topic.
        self._partner_topics = partner_topics

    def judge(self, case: Case) -> Verdict:
        """The first that holds of: leak, stray, unexplained, source-gone, revision-unknown, ok."""
        for state, when in (
            (case.state, "that it saw"),
            (case.later, "that was acknowledged before it"),
            (case.elsewhere, "in another partition than its key's"),
        ):
            reason = self.forbidden(case, state)
            if reason is not None:
                return Verdict("leak", f"{reason}: a consent event {when} forbids it{_of(case.decision)}")
        real = self._real_on_rehearsal(case)
        if real is not None:
            text = f"partner-on-rehearsal: {real} is not that of an invented person"
            return Verdict("leak", f"{text}{_of(case.decision)}")
        reason = self.forbidden(case, case.on_their_way)
        if reason is not None:
            return Verdict("stray", f"{reason}: a consent event was still on its way home{_of(case.decision)}")
        astray = self._unlike_decision(case.released, case.decision) or self._source_astray(case)
        if astray:
            return Verdict("unexplained", f"{astray}{_of(case.decision)}")
        if case.source.gone:
            return Verdict("source-gone", f"its transfer is deleted{_of(case.decision)}")
        return self._again(case)

    def forbidden(self, case: Case, state: ProspectState) -> str | None:
        """Why one of the released channels may not go, given this state."""
        body, registry = case.released.body, self._registries.get(case.decision.policy.revision)
        brands, skew = frozenset({body.partner_id}), _SKEW
        if registry is not None:
            view = view_of(registry)
            file = view.partners.get(body.partner_id)
            brands, skew = file.brands if file is not None else brands, view.clock_skew
        parties, purposes = (None, None) if registry is None else _known_words(registry)
        if registry is not None and body.partner_id in registry.partners:
            number = registry.partners[body.partner_id].registration_no
            brands = brands if number is None else brands | {number}
        horizon = case.decision.decided_at + skew
        reasons = (
            forbidden(state, Way(channel, body.partner_id, brands, body.purpose, parties, purposes), horizon)
            for channel in body.channels
        )
        return next((reason for reason in reasons if reason is not None), None)

    def _real_on_rehearsal(self, case: Case) -> str | None:
        """The field that shows a real person, where the registry of the decision had the partner on rehearsal."""
        registry = self._registries.get(case.decision.policy.revision)
        partner = None if registry is None else registry.partners.get(case.released.body.partner_id)
        return real_person(case.released.body) if partner is not None and partner.status == "rehearsal" else None

    def _unlike_decision(self, released: Released, decision: Decision) -> str | None:
        body, record, place = released.body, released.record, decision.source
        sent = dict(record.headers)
        unlike = {
            "decision_id": decision.decision_id
            == ids.decision_id(place.name, place.partition, place.offset, body.partner_id, decision.attempt),
            "event_id": body.event_id == decision.event_id,
            "partner_id": body.partner_id == decision.partner_id,
            "prospect_id": body.prospect_id == decision.prospect_id,
            "channels": body.channels == decision.released,
            "released_at": body.released_at == decision.decided_at,
            "policy": (body.policy.revision, body.policy.jurisdiction)
            == (decision.policy.revision, decision.policy.jurisdiction),
            "transfer_id": body.transfer_id == ids.transfer_id(body.event_id, body.partner_id),
            "key": record.key == body.prospect_id.encode(),
            "topic": self._partner_topics.get(body.partner_id) == record.topic,
            headers.DECISION_ID: sent.get(headers.DECISION_ID) == decision.decision_id.encode(),
            headers.TRANSFER_ID: sent.get(headers.TRANSFER_ID) == body.transfer_id.encode(),
        }
        names = [name for name, like in unlike.items() if not like]
        return f"not what the decision says: {', '.join(names)}" if names else None

    def _source_astray(self, case: Case) -> str | None:
        place, source = case.decision.source, case.source
        here = place.partition == case.released.record.partition
        if place.topic != self._topics.transfers or not (here or source.moved):
            return "the decision names a source elsewhere"
        if source.record is None:
            return None if source.gone else "there is no transfer where the decision says"
        if sha256(source.record.value or b"").hexdigest() != case.decision.input_sha256:
            return "the transfer is not the one that was decided (input_sha256)"
        return None

    def _again(self, case: Case) -> Verdict:
        record = case.source.record
        try:
            transfer = decode_transfer(record.value, record.headers) if record else decode_transfer(None)
        except UnreadableRecord:
            return Verdict("unexplained", f"the transfer can't be read{_of(case.decision)}")
        asked = _asked(transfer, case.decision)
        if asked is None or record is None or record.key != transfer.prospect_id.encode():
            return Verdict("unexplained", f"the transfer does not ask for this{_of(case.decision)}")
        body = case.released.body
        registry = self._registries.get(case.decision.policy.revision)
        if registry is None:
            beyond = _beyond(body, transfer)
            if beyond:
                return Verdict("unexplained", f"not in the transfer: {beyond}{_of(case.decision)}")
            return Verdict("revision-unknown", f"registry {case.decision.policy.revision}{_of(case.decision)}")
        at = case.decision.decided_at
        unlike = _unlike(body, decide_again(record, asked, case.state, registry, at), transfer)
        if unlike and case.with_strays is not EMPTY:
            unlike = _unlike(body, decide_again(record, asked, case.with_strays, registry, at), transfer)
        if not unlike:
            return OK
        text = f"decided again, it differs in {unlike}"
        if not case.whole:
            return Verdict("source-gone", f"{text}; consent events before it are deleted{_of(case.decision)}")
        return Verdict("unexplained", f"{text} (gate {case.decision.policy.gate_version}){_of(case.decision)}")


def _asked(transfer: Transfer, decision: Decision) -> Only | None:
    """The part of the transfer that this decision is about; None when it did not ask for that."""
    if (transfer.event_id, transfer.prospect_id) != (decision.event_id, decision.prospect_id):
        return None
    if decision.partner_id not in transfer.partner_ids:
        return None
    about = {*decision.released, *decision.quarantined}
    # A replay decides again what was held: maybe some of the channels.
    channels = tuple(channel for channel in transfer.channels if channel in about)
    if len(channels) != len(about) or (decision.attempt == 1 and channels != transfer.channels):
        return None
    return Only(decision.partner_id, channels)


def _unlike(body: ReleasedRecord, decided: RecordDecision, transfer: Transfer) -> str:
    """Fields in which the record differs from a fresh decision by the same evidence; empty when there is none."""
    fresh = next(iter(decided.decisions), None)
    if fresh is None or fresh.release is None:
        return "channels"
    like = {
        "channels": body.channels == fresh.released,
        "contact": body.contact == fresh.release.contact,
        "attributes": body.attributes == fresh.release.attributes,
        "obligations": body.obligations == fresh.release.obligations,
        "purpose": body.purpose == transfer.purpose,
        "offer_category": body.offer_category == transfer.offer_category,
    }
    return ", ".join(name for name, same in like.items() if not same)


def _beyond(body: ReleasedRecord, transfer: Transfer) -> str:
    """What the record holds that the transfer does not: as far as it shows without the registry."""
    contact, given = body.contact, transfer.contact or Contact()
    attributes = transfer.attributes or {}
    within = {
        "contact": all(getattr(contact, name) in (None, getattr(given, name)) for name in ("email", "phone", "postal")),
        "attributes": all(name in attributes and attributes[name] == value for name, value in body.attributes.items()),
        "purpose": body.purpose == transfer.purpose,
        "offer_category": body.offer_category == transfer.offer_category,
    }
    return ", ".join(name for name, holds in within.items() if not holds)


def _of(decision: Decision) -> str:
    return f"; decision {decision.decision_id}"


def _known_words(registry: Registry) -> tuple[frozenset[str], frozenset[str]]:
    """The parties and the purposes that the registry knows, trimmed and in lower case (rules.md 1.4)."""
    policy, notices = registry.policy, registry.notices.values()
    lists = [notice.partner_list.party_ids for notice in notices if notice.partner_list]
    numbers = [partner.registration_no for partner in registry.partners.values() if partner.registration_no]
    parties = [*registry.partners, *numbers, *policy.own_parties, *(party for named in lists for party in named)]
    declared = [purpose for notice in notices for purpose in notice.purposes]
    purposes = ["direct_marketing", *policy.own_purposes, *declared]
    return frozenset(word.strip().lower() for word in parties), frozenset(word.strip().lower() for word in purposes)
