"""Folding consent events into the state of a prospect (contract section 3).

The fold is a join: commutative, associative, idempotent. Events may arrive late, twice or in any order, and the state
is the same to the byte. It has no clock: which consents lie in the future is for the decision to say (rules.md 1.3).
"""

import bisect
import datetime as dt
from typing import Final, Literal, TypeVar

import msgspec
from msgspec.structs import replace

from transfer_gate.model.consent import (
    Consent,
    ConsentEvent,
    ConsentGiven,
    Erasure,
    Objection,
    Resolution,
    Restriction,
    RestrictionLifted,
    Scope,
    Withdrawal,
)
from transfer_gate.model.state import FutureLift, KeptConsent, Opposition, ProspectState
from transfer_gate.policy.legal_time import utc

#: Of equal times in one record the graver state wins (contract section 3).
STATE_RANK: Final = {"given": 0, "renewed": 0, "refused": 1, "expired": 2, "invalidated": 3}

Word = TypeVar("Word", bound=str)

_encode = msgspec.json.Encoder(order="sorted").encode


def fold(
    state: ProspectState,
    event: ConsentEvent,
    offset: int,  # noqa: ARG001 - see below
    received_at: dt.datetime | None = None,
) -> ProspectState:
    """The state after one more readable event, which stood at `offset` of `consent-events`.

    Returns the very same object when the event changes nothing. The offset of a readable event leaves no trace: a
    repeated event has another one, and must give the same state.

    An event that is dated after its receipt, `received_at` (the broker's timestamp), counts at its receipt, of
    repetitions at the earliest; None is a receipt that is not known, and never before the event's date. Repetitions of
    an opposition that is dated in the future may count at their own receipt: later, and so graver.
    """
    counted = utc(event.event_time)
    if received_at is not None and received_at < counted:
        counted = utc(received_at)
    match event:
        case ConsentGiven():
            return _with_consent(state, event, counted)
        case Withdrawal():
            withdrawals = _with_opposition(state.withdrawals, event, counted)
            return state if withdrawals is state.withdrawals else replace(state, withdrawals=withdrawals)
        case Objection():
            objections = _with_opposition(state.objections, event, counted)
            return state if objections is state.objections else replace(state, objections=objections)
        case Erasure():
            newest = _newest(state.erased_at, counted)
            return state if newest == state.erased_at else replace(state, erased_at=newest)
        case Restriction():
            newest = _newest(state.restricted_at, counted)
            return state if newest == state.restricted_at else replace(state, restricted_at=newest)
        case RestrictionLifted():
            if received_at is None or counted < event.event_time:
                return _with_future_lift(state, event, counted)
            if any((lift.event_time, lift.event_id) == (counted, event.event_id) for lift in state.future_lifts):
                return state  # repeated after its date: it counts at its earliest receipt
            newest = _newest(state.lifted_at, counted)
            return state if newest == state.lifted_at else replace(state, lifted_at=newest)
        case Resolution():
            resolved = tuple(sorted({*state.resolved, *event.resolves}))
            return state if resolved == state.resolved else replace(state, resolved=resolved)


def erases(before: ProspectState, after: ProspectState) -> bool:
    """Whether what was folded in between is an erasure that is news; one that is told again says nothing of what came
    since."""
    return after.erased_at != before.erased_at


def without_key(state: ProspectState) -> ProspectState:
    """The state after an erasure that is news: what its key sealed can't be read any more (GDPR 17).

    Apart from `fold`, because a key is no consent event: folding the history anew must not destroy the keys made since.
    """
    return state if state.sealing_key is None else replace(state, sealing_key=None)


def fold_unreadable(state: ProspectState, offset: int) -> ProspectState:
    """The state after an event at `offset` that can't be read, and so might have been a withdrawal."""
    if offset in state.unreadable:
        return state
    return replace(state, unreadable=tuple(sorted((*state.unreadable, offset))))


def _with_future_lift(state: ProspectState, event: RestrictionLifted, counted: dt.datetime) -> ProspectState:
    lift = FutureLift(event_time=utc(event.event_time), event_id=event.event_id, received_at=counted)
    lifts = {(known.event_time, known.event_id): known for known in state.future_lifts}
    known = lifts.get((lift.event_time, lift.event_id))
    if known is not None and known.received_at <= counted:
        return state
    lifts[lift.event_time, lift.event_id] = lift
    return replace(state, future_lifts=tuple(lifts[place] for place in sorted(lifts)))


def _with_consent(state: ProspectState, event: ConsentGiven, counted: dt.datetime) -> ProspectState:
    consent = _version(event, counted)
    consents = state.consents
    same = next((known for known in consents if _is_repeated(known, consent)), None)
    if same is None or consent.counted_at < same.counted_at:
        ordered = [known for known in consents if known is not same]
        bisect.insort(ordered, consent, key=_order)
        consents = tuple(ordered)
    proofs = state.proofs
    proof_id = consent.proof.proof_id if consent.proof else None
    if proof_id is not None and (proof_id not in proofs or counted < proofs[proof_id]):
        proofs = dict(sorted({**proofs, proof_id: counted}.items()))
    if consents is state.consents and proofs is state.proofs:
        return state
    return replace(state, consents=consents, proofs=proofs)


def _is_repeated(known: KeptConsent, consent: KeptConsent) -> bool:
    """Whether both are the same event, whenever they were received."""
    return (
        known.event_id == consent.event_id
        and known.record_id == consent.record_id
        and replace(known, received_at=None) == replace(consent, received_at=None)
    )


def _version(event: ConsentGiven, counted: dt.datetime) -> KeptConsent:
    """What the state keeps of a consent event: everything but the prospect, times in UTC."""
    members = {name: getattr(event, name) for name in Consent.__struct_fields__}
    members["event_time"] = utc(event.event_time)
    if event.proof is not None and event.proof.kept_until is not None:
        members["proof"] = replace(event.proof, kept_until=utc(event.proof.kept_until))
    if event.guardian is not None and event.guardian.event_time is not None:
        members["guardian"] = replace(event.guardian, event_time=utc(event.guardian.event_time))
    if counted < members["event_time"]:
        members["received_at"] = counted
    return KeptConsent(**members)


def _order(consent: KeptConsent) -> tuple[str, dt.datetime, int, str, bytes]:
    # Two events that share everything down to the id but differ in content are a defect of the source; their bytes
    # decide, so that the order of arrival does not.
    return (consent.record_id, consent.counted_at, STATE_RANK[consent.state], consent.event_id, _encode(consent))


def _with_opposition(
    known: tuple[Opposition, ...], event: Withdrawal | Objection, counted: dt.datetime
) -> tuple[Opposition, ...]:
    scope = event.scope or Scope()
    new = Opposition(
        event_time=counted,
        event_id=event.event_id,
        channels=_part(scope.channels),
        party_ids=_part(scope.party_ids),
        purposes=_part(scope.purposes),
    )
    by_scope = {_scope(opposition): opposition for opposition in known}
    old = by_scope.get(_scope(new))
    if old is not None and (old.event_time, old.event_id) >= (new.event_time, new.event_id):
        return known
    by_scope[_scope(new)] = new
    return tuple(by_scope[scope] for scope in sorted(by_scope))


def _scope(opposition: Opposition) -> tuple[tuple[str, ...], ...]:
    return (opposition.channels, opposition.party_ids, opposition.purposes)


def _part(part: tuple[Word, ...] | Literal["all"] | None) -> tuple[Word, ...]:
    # A source that writes ["all"] means everything: read as the name of one party, it would lose an objection.
    if part is None or part == "all" or "all" in part:
        return ()
    return tuple(sorted(set(part)))


def _newest(known: dt.datetime | None, time: dt.datetime) -> dt.datetime:
    return time if known is None or time > known else known
