"""Folding consent events into the state of a prospect (contract section 3).

The fold is a join: commutative, associative, idempotent. Events may arrive late, twice or in any order, and the state
is the same to the byte. It has no clock: which consents lie in the future is for the decision to say (rules.md 1.3).
"""

import bisect
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from msgspec.structs import asdict, replace

from transfer_gate.model.consent import (
    ConsentEvent,
    ConsentGiven,
    Erasure,
    Event,
    Objection,
    Resolution,
    Restriction,
    RestrictionLifted,
    Scope,
    Withdrawal,
)
from transfer_gate.model.state import (
    BOUNDS,
    Bounds,
    KeptConsent,
    KeptEvent,
    Opposition,
    ProspectState,
    content_of,
    order_of_event,
    order_of_opposition,
    order_of_version,
)
from transfer_gate.policy.bounds import UNREADABLE_ON_TOP, carry, cleared, compacted, fits, history_records, widened
from transfer_gate.policy.legal_time import utc

Word = TypeVar("Word", bound=str)
Kept = TypeVar("Kept", bound=KeptConsent | KeptEvent)


def fold(
    state: ProspectState,
    event: ConsentEvent,
    offset: int,  # noqa: ARG001 - see below
    received_at: dt.datetime | None = None,
    bounds: Bounds = BOUNDS,
) -> ProspectState:
    """The state after one more readable event, which stood at `offset` of `consent-events`.

    Returns the very same object when the event changes nothing. The offset of a readable event leaves no trace: a
    repeated event has another one, and must give the same state.

    An event that is dated after its receipt, `received_at` (the broker's timestamp), counts at its receipt, of
    repetitions at the earliest; None is a receipt that is not known, and never before the event's date.

    What would exceed `bounds` is not added; the state is marked instead, and an opposition widens (`policy.bounds`).
    """
    if state.overflowed and isinstance(event, ConsentGiven):
        return _beyond(state, event, received_at)  # no consent is looked at any more
    after = _added(state, event, received_at)
    if after is state:
        return state
    if state.overflowed and (after.history_resolved is not state.history_resolved or erases(state, after)):
        return cleared(after, bounds)
    if fits(after, bounds, state, event):
        return after
    if not state.overflowed or isinstance(event, Resolution):
        smaller = compacted(after, received_at)
        if fits(smaller, bounds, after) or (
            isinstance(event, Resolution) and history_records(smaller) < history_records(state)
        ):
            return smaller
    if isinstance(event, Erasure) and erases(state, after):
        return cleared(after, bounds)
    return _beyond(state, event, received_at)


def _beyond(state: ProspectState, event: ConsentEvent, received_at: dt.datetime | None) -> ProspectState:
    """The state after an event that is not added to it, with all that it forbids."""
    before = state
    if isinstance(event, Withdrawal | Objection):
        name = "withdrawals" if isinstance(event, Withdrawal) else "objections"
        state = widened(state, name, _opposition(event, received_at))
    elif isinstance(event, Restriction):
        restriction = _kept(event, received_at)
        newest = max((restriction, *state.restrictions), key=lambda known: known.counted_at)
        state = state if state.restrictions == (newest,) else replace(state, restrictions=(newest,))
    elif isinstance(event, ConsentGiven):
        version = _version(event, _early(event, received_at))
        if version.state == "refused":
            state = widened(state, "withdrawals", as_withdrawal(version))
        if version.proof and version.proof.proof_id in state.proofs:
            proofs = _with_act(state.proofs, version)
            state = state if proofs is state.proofs else replace(state, proofs=proofs)
    return carry(before, state if state.overflowed else replace(state, overflowed=True))


def _added(state: ProspectState, event: ConsentEvent, received_at: dt.datetime | None) -> ProspectState:
    if isinstance(event, ConsentGiven):
        return _with_consent(state, event, _early(event, received_at))
    if isinstance(event, Resolution):
        return _resolved(state, event, received_at)
    if isinstance(event, Withdrawal | Objection):
        name = "withdrawals" if isinstance(event, Withdrawal) else "objections"
        return _with(state, name, _opposition(event, received_at), order_of_opposition)
    if isinstance(event, Erasure):
        return _with(state, "erasures", _kept(event, received_at), order_of_event)
    if isinstance(event, Restriction):
        return _with(state, "restrictions", _kept(event, received_at), order_of_event)
    if isinstance(event, RestrictionLifted):
        return _with(state, "lifts", _kept(event, received_at), order_of_event)
    raise TypeError(type(event).__name__)


def erases(before: ProspectState, after: ProspectState) -> bool:
    """Whether what was folded in between is an erasure that is news; one that is repeated says nothing of what came
    since, not even where its date has come meanwhile."""
    if after.erasures is before.erasures or after.erased_at is None:
        return False
    return before.erased_at is None or after.erased_at > before.erased_at


def without_key(state: ProspectState) -> ProspectState:
    """The state after an erasure that is news: what its key sealed can't be read any more (GDPR 17).

    Apart from `fold`, because a key is no consent event: folding the history anew must not destroy the keys made since.
    """
    return state if state.sealing_key is None else replace(state, sealing_key=None)


def fold_unreadable(state: ProspectState, offset: int, bounds: Bounds = BOUNDS) -> ProspectState:
    """The state after an event at `offset` that can't be read, and so might have been a withdrawal."""
    if offset in state.unreadable:
        return state
    after = replace(state, unreadable=tuple(sorted((*state.unreadable, offset))))
    if fits(after, bounds):
        return after
    if not state.overflowed:
        smaller = compacted(after, None)
        if fits(smaller, bounds):
            return smaller
    # A resolution of the history does not cover this event: it blocks its prospect by itself, on top of the bounds.
    kept = after if len(after.unreadable) <= UNREADABLE_ON_TOP else state
    return kept if kept.overflowed else replace(kept, overflowed=True)


def _resolved(state: ProspectState, event: Resolution, received_at: dt.datetime | None) -> ProspectState:
    resolved = tuple(sorted({*state.resolved, *event.resolves}))
    if resolved != state.resolved:
        state = replace(state, resolved=resolved)
    if not event.history:
        return state
    resolution, known = _kept(event, received_at), state.history_resolved
    # A repetition must not settle what came since.
    if known is not None and (resolution.event_id == known.event_id or resolution.counted_at <= known.counted_at):
        return state
    return replace(state, history_resolved=resolution)


def _with(state: ProspectState, name: str, event: Kept, order: Callable[[Kept], Any]) -> ProspectState:
    known: tuple[Kept, ...] = getattr(state, name)
    events = joined(known, event, order)
    return state if events is known else replace(state, **{name: events})


def joined(
    known: tuple[Kept, ...],
    event: Kept,
    order: Callable[[Kept], Any],
    content: Callable[[Kept], bytes] | None = None,
) -> tuple[Kept, ...]:
    """Events in `order` with one more, each once and with its earliest receipt; the same object if that is known.

    `content` orders and distinguishes those that `order` does not.
    """
    if not known:
        return (event,)
    key = order(event)
    place = bisect.bisect_left(known, key, key=order)
    end = place
    if place < len(known) and order(known[place]) == key:
        end = place + 1
        if content is not None:
            end = bisect.bisect_right(known, key, end, key=order)
            own = content(event)
            place = bisect.bisect_left(known, own, place, end, key=content)
            end = place + 1 if place < end and content(known[place]) == own else place
    if end == place:
        return (*known[:place], event, *known[place:])
    if event.counted_at >= known[place].counted_at:
        return known
    return (*known[:place], event, *known[place + 1 :])


def _with_consent(state: ProspectState, event: ConsentGiven, early: dt.datetime | None) -> ProspectState:
    consent = _version(event, early)
    consents = joined(state.consents, consent, order_of_version, content_of)
    proofs = _with_act(state.proofs, consent)
    if consents is state.consents and proofs is state.proofs:
        return state
    return replace(state, consents=consents, proofs=proofs)


def _with_act(proofs: dict[str, dt.datetime], consent: KeptConsent) -> dict[str, dt.datetime]:
    """The proofs with the act of a consent, if it is the earliest; the same object if it is not."""
    proof_id = consent.proof.proof_id if consent.proof else None
    if proof_id is None:
        return proofs
    known = proofs.get(proof_id)
    return proofs if known is not None and known <= consent.counted_at else {**proofs, proof_id: consent.counted_at}


def _version(event: ConsentGiven, early: dt.datetime | None) -> KeptConsent:
    """What the state keeps of a consent event: everything but the prospect, times in UTC."""
    members = asdict(event)
    del members["prospect_id"]
    members["event_time"] = utc(event.event_time)
    if event.proof is not None and event.proof.kept_until is not None:
        members["proof"] = replace(event.proof, kept_until=utc(event.proof.kept_until))
    if event.guardian is not None and event.guardian.event_time is not None:
        members["guardian"] = replace(event.guardian, event_time=utc(event.guardian.event_time))
    return KeptConsent(**members, received_at=early)


def _kept(event: Event, received_at: dt.datetime | None) -> KeptEvent:
    return KeptEvent(event_time=utc(event.event_time), event_id=event.event_id, received_at=_early(event, received_at))


def _opposition(event: Withdrawal | Objection, received_at: dt.datetime | None) -> Opposition:
    scope = event.scope or Scope()
    return Opposition(
        event_time=utc(event.event_time),
        event_id=event.event_id,
        received_at=_early(event, received_at),
        channels=_part(scope.channels),
        party_ids=_part(scope.party_ids),
        purposes=_part(scope.purposes),
    )


def _early(event: ConsentGiven | Event, received_at: dt.datetime | None) -> dt.datetime | None:
    """The receipt of an event that is dated after it; None where it counts at its date."""
    return utc(received_at) if received_at is not None and received_at < event.event_time else None


def _part(part: tuple[Word, ...] | Literal["all"] | None) -> tuple[Word, ...]:
    # A source that writes ["all"] means everything: read as the name of one party, it would lose an objection.
    if part is None or part == "all" or "all" in part:
        return ()
    return tuple(sorted(set(part)))


def join(state: ProspectState, other: ProspectState) -> ProspectState:
    """The state that knows every event of both, each with its earliest receipt.

    The sealing key is that of `state`, where it has one: a prospect has one key.
    """
    return ProspectState(
        consents=_events(state.consents, other.consents, order_of_version, content_of),
        withdrawals=_events(state.withdrawals, other.withdrawals, order_of_opposition),
        objections=_events(state.objections, other.objections, order_of_opposition),
        erasures=_events(state.erasures, other.erasures, order_of_event),
        restrictions=_events(state.restrictions, other.restrictions, order_of_event),
        lifts=_events(state.lifts, other.lifts, order_of_event),
        proofs=_earliest(state.proofs, other.proofs),
        unreadable=tuple(sorted({*state.unreadable, *other.unreadable})),
        resolved=tuple(sorted({*state.resolved, *other.resolved})),
        overflowed=state.overflowed or other.overflowed,
        history_resolved=_latest(state.history_resolved, other.history_resolved),
        sealing_key=state.sealing_key or other.sealing_key,
    )


def _events(
    known: tuple[Kept, ...],
    more: tuple[Kept, ...],
    order: Callable[[Kept], Any],
    content: Callable[[Kept], bytes] | None = None,
) -> tuple[Kept, ...]:
    for event in more:
        known = joined(known, event, order, content)
    return known


def _latest(known: KeptEvent | None, more: KeptEvent | None) -> KeptEvent | None:
    return max((event for event in (known, more) if event is not None), key=_counted_at, default=None)


def _counted_at(event: KeptEvent) -> dt.datetime:
    return event.counted_at


def _earliest(known: Mapping[str, dt.datetime], more: Mapping[str, dt.datetime]) -> dict[str, dt.datetime]:
    ids = sorted({*known, *more})
    return {name: min(times[name] for times in (known, more) if name in times) for name in ids}


def as_withdrawal(refused: KeptConsent) -> Opposition:
    """What a refused consent withdraws (contract section 3)."""
    return Opposition(
        event_time=refused.event_time,
        event_id=refused.event_id,
        received_at=refused.received_at,
        channels=refused.channels,
        party_ids=_everything_or(refused.party_ids),
        purposes=_everything_or(refused.purposes),
    )


def _everything_or(words: tuple[str, ...]) -> tuple[str, ...]:
    # As in the scope of a withdrawal: ["all"] read as the name of one party would lose a refusal.
    return () if "all" in words else words
