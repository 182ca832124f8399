"""Joining two states of one prospect, as if one state had folded the events of both (`policy.fold` is a join)."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from transfer_gate.model.state import (
    KeptEvent,
    ProspectState,
    content_of,
    order_of_event,
    order_of_opposition,
    order_of_version,
)
from transfer_gate.policy.fold import Kept, joined


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
