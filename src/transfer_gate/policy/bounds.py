"""What a prospect's state keeps is bounded (contract section 3, "Bounds"): the history of one prospect stops no other.

Within the bounds folding is a join. A state that is full is first freed of what no rule can ask for again
(`compacted`); where that is not enough, what comes is not added, the state is marked `overflowed`, and every transfer
of the prospect is quarantined. An opposition is never dropped: it widens to one that covers it (`widened`).
"""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from transfer_gate.model.state import (
    EMPTY,
    STATE_RANK,
    Bounds,
    KeptConsent,
    KeptEvent,
    Opposition,
    ProspectState,
    order_of_opposition,
)

#: So many unreadable events are kept of a prospect whose state is full: each is to be resolved by itself.
UNREADABLE_ON_TOP: Final = 64
#: Stands for the id of the opposition that others were widened to.
WIDENED: Final = "history-overflow"
#: Receipts of events run backwards by no more than this (a stray keeps its own on its way home), and no decision is
#: made for a time so long before the receipt of an event that it counts.
_SETTLED: Final = dt.timedelta(days=1)

#: States whose size is remembered: those that cost most to measure, and of these the last few.
_LARGE_BYTES: Final = 8 << 10
_REMEMBERED: Final = 4
#: What an event adds to a state at most, beside twice its own size as JSON (its proof id is kept once more).
_MEMBERS_BYTES: Final = 256

_encode = msgspec.json.Encoder().encode
Kept = TypeVar("Kept", bound=KeptEvent)
Place = tuple[dt.datetime, int, str]
Scope = tuple[tuple[str, ...], ...]

# By identity, because equality would compare every event; each entry keeps its state, so that no id is used twice. The
# size, and whether it is exact or one that the state's is not above.
_sizes: dict[int, tuple[ProspectState, int, bool]] = {}


def fits(
    state: ProspectState, bounds: Bounds, before: ProspectState | None = None, added: msgspec.Struct | None = None
) -> bool:
    """Whether a state is within its bounds; `before` is the state that it was made of, by adding the event `added`, if
    one was.

    A large state is measured when it is first seen, which takes milliseconds; those that are made of it, by what
    changed.
    """
    if history_records(state) > bounds.history_records:
        return False
    known = _sizes.get(id(before))
    if known is not None and before is known[0]:
        _, size, exact = known
        if added is not None and size + 2 * len(_encode(added)) + _MEMBERS_BYTES <= bounds.state_bytes:
            del _sizes[id(before)]
            _remember(state, size + 2 * len(_encode(added)) + _MEMBERS_BYTES, exact=False)
            return True
        if exact:
            size = size_after(before, size, state)
            _remember(state, size, exact=True)
            return size <= bounds.state_bytes
    size = len(_encode(state))
    if size > _LARGE_BYTES:
        # What does not fit is not kept, and the next event is added to `before` once more.
        if before is not None and before != EMPTY:
            _remember(before, size_after(state, size, before), exact=True)
        _remember(state, size, exact=True)
    return size <= bounds.state_bytes


def _remember(state: ProspectState, size: int, *, exact: bool) -> None:
    _sizes.pop(id(state), None)
    if len(_sizes) >= _REMEMBERED:
        _sizes.pop(next(iter(_sizes)))
    _sizes[id(state)] = state, size, exact


def carry(before: ProspectState, after: ProspectState) -> ProspectState:
    """Give back `after`, made of `before`, with its size remembered if that of `before` is."""
    known = _sizes.get(id(before))
    if after is not before and known is not None and known[0] is before and known[2]:
        _remember(after, size_after(before, known[1], after), exact=True)
    return after


def size_after(before: ProspectState, size: int, after: ProspectState) -> int:
    """Size as JSON of a state that was made of one of `size` bytes, by what only one of them has; neither is empty."""
    for name in before.__struct_fields__:
        known, now = getattr(before, name), getattr(after, name)
        if known is now:
            continue
        if known and now and isinstance(known, tuple):
            size += _bytes_beyond(now, known) - _bytes_beyond(known, now)
        elif known and now and isinstance(known, dict):
            size += _bytes_of(now.items() - known.items()) - _bytes_of(known.items() - now.items())
        else:
            size += _bytes_of([(name, now)] if now else ()) - _bytes_of([(name, known)] if known else ())
    return size


def _bytes_beyond(events: Sequence[object], others: Sequence[object]) -> int:
    """Bytes, with a comma each, of the elements that the others have not; equal ones that are two cancel out."""
    known = set(map(id, others))
    return sum(len(_encode(event)) + 1 for event in events if id(event) not in known)


def _bytes_of(members: Iterable[tuple[str, object]]) -> int:
    """Bytes of members of an object, with a comma each."""
    return sum(len(_encode({name: value})) - 1 for name, value in members)


def history_records(state: ProspectState) -> int:
    """How many versions of consents, other events, and offsets of unreadable events and their resolutions a state
    keeps."""
    return (
        len(state.consents)
        + len(state.withdrawals)
        + len(state.objections)
        + len(state.erasures)
        + len(state.restrictions)
        + len(state.lifts)
        + len(state.unreadable)
        + len(state.resolved)
    )


def compacted(state: ProspectState, received_at: dt.datetime | None) -> ProspectState:
    """The state without what no rule can ask for again, whatever comes later, also what is dropped once more.

    Relies on receipts: the broker stamps them, so they do not run backwards by more than a day. `received_at` is the
    newest; decisions are made for that time or later. None (not known) drops what needs no time only. Dropped are

    - versions of a record that another one replaces, even where theirs should count at its date again;
    - of oppositions of one scope, of erasures and of restrictions those behind which another one counts, and of lifts
      those behind which one counts whose own date has passed, likewise;
    - unreadable events that are resolved, with their resolution.

    Proofs stay: an old one under a new date would pass for a new act.
    """
    settled = set(state.unreadable) & set(state.resolved)
    past = None if received_at is None else received_at - _SETTLED
    return replace(
        state,
        consents=state.consents if past is None else _without_replaced(state.consents, past),
        withdrawals=_latest(state.withdrawals, _scope),
        objections=_latest(state.objections, _scope),
        erasures=_latest(state.erasures, _alike),
        restrictions=_latest(state.restrictions, _alike),
        lifts=state.lifts if past is None else _latest(state.lifts, _alike, past),
        unreadable=tuple(offset for offset in state.unreadable if offset not in settled),
        resolved=tuple(offset for offset in state.resolved if offset not in settled),
    )


def widened(state: ProspectState, name: str, opposition: Opposition) -> ProspectState:
    """The state with an opposition that does not fit: one of all parties and purposes covers it, and all others before
    it that did not fit. `name` is `withdrawals` or `objections`.
    """
    known: tuple[Opposition, ...] = getattr(state, name)
    others = [x for x in known if x.event_id != WIDENED]
    parts = [opposition, *(x for x in known if x.event_id == WIDENED)]
    everything = any(not x.channels for x in parts)
    cover = Opposition(
        event_time=max(x.counted_at for x in parts),
        event_id=WIDENED,
        channels=() if everything else tuple(sorted({channel for x in parts for channel in x.channels})),
    )
    covering = tuple(sorted((*others, cover), key=order_of_opposition))
    return state if covering == known else replace(state, **{name: covering})


def cleared(state: ProspectState, bounds: Bounds) -> ProspectState:
    """The state after an erasure, or after an operator settled its history, in half its bounds.

    What was kept is not all there was: the event that ended a consent may be missing. So all consents are gone, and
    count when they are sent again. Oppositions stay, as one that covers them where they are many; of restrictions and
    erasures stays the newest, of proofs the newest acts. The state is still overflowed if even that is too much.
    """
    half = Bounds(history_records=bounds.history_records // 2, state_bytes=bounds.state_bytes // 2)
    erased_at = state.erased_at
    state = replace(
        compacted(state, None),
        consents=(),
        withdrawals=_after(erased_at, state.withdrawals),
        objections=_after(erased_at, state.objections),
        erasures=_newest(state.erasures),
        restrictions=_newest(state.restrictions),
        proofs=_newest_acts(state.proofs, half.state_bytes // 2),
        overflowed=False,
    )
    for name in ("withdrawals", "objections"):
        oppositions: tuple[Opposition, ...] = getattr(state, name)
        if not fits(state, half):
            state = replace(state, **{name: ()})
            for opposition in oppositions:
                state = widened(state, name, opposition)
    if not fits(state, half):
        state = replace(state, lifts=())
    return state if fits(state, bounds) else replace(state, overflowed=True)


def _without_replaced(consents: Sequence[KeptConsent], past: dt.datetime) -> tuple[KeptConsent, ...]:
    greatest: dict[str, Place] = {}
    for version in consents:
        # What takes away counts whatever its date; what gives counts for all decisions to come when that has passed.
        if version.event_time <= past or version.state not in ("given", "renewed"):
            place = _place(version, version.counted_at)
            if version.record_id not in greatest or place > greatest[version.record_id]:
                greatest[version.record_id] = place
    return tuple(
        version
        for version in consents
        if (version.event_time > past and version.state in ("given", "renewed"))
        # Sent again after its date it would count there.
        or _place(version, version.event_time) >= greatest[version.record_id]
    )


def _place(version: KeptConsent, time: dt.datetime) -> Place:
    return time, STATE_RANK[version.state], version.event_id


def _latest(
    events: Sequence[Kept], scope: Callable[[Kept], Scope], past: dt.datetime | None = None
) -> tuple[Kept, ...]:
    """Of each scope the event that counts last, and those that might count behind it when they are sent again.

    With `past`, that event is dated by then, and all that are not stay.
    """
    last: dict[Scope, Kept] = {}
    for event in events:
        if past is None or event.event_time <= past:
            known = last.get(scope(event))
            if known is None or event.counted_at > known.counted_at:
                last[scope(event)] = event
    return tuple(
        event
        for event in events
        if (known := last.get(scope(event))) is None or event is known or event.event_time > known.counted_at
    )


def _scope(x: Opposition) -> Scope:
    return x.channels, x.party_ids, x.purposes


def _alike(_: KeptEvent) -> Scope:
    return ()


def _newest(events: Sequence[Kept]) -> tuple[Kept, ...]:
    return (max(events, key=lambda event: event.counted_at),) if events else ()


def _newest_acts(proofs: dict[str, dt.datetime], most_bytes: int) -> dict[str, dt.datetime]:
    kept: dict[str, dt.datetime] = {}
    for proof_id, act in sorted(proofs.items(), key=lambda proof: proof[1], reverse=True):
        most_bytes -= len(_encode({proof_id: act}))
        if most_bytes < 0:
            break
        kept[proof_id] = act
    return kept


def _after(erased_at: dt.datetime | None, oppositions: Iterable[Opposition]) -> tuple[Opposition, ...]:
    """What an erasure does not cover: it takes away all that the others before it do."""
    return tuple(x for x in oppositions if erased_at is None or x.counted_at > erased_at)
