"""Starts the gate with code that raises, and says in the exception's text what it was looking at. Test only.

What an event id begins with chooses what happens: `raise-`, `rule-`, and for consent events `crash-`.
"""

import datetime as dt
from unittest import mock

from transfer_gate.cli import main
from transfer_gate.gate import decider
from transfer_gate.model.consent import ConsentEvent
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.state import BOUNDS, Bounds, ProspectState
from transfer_gate.model.stops import NO_STOPS, ContactStops
from transfer_gate.model.transfer import Transfer
from transfer_gate.policy.decide import decide_by
from transfer_gate.policy.fold import fold
from transfer_gate.policy.view import RegistryView
from transfer_gate.records import consents


def _defective_decide(
    view: RegistryView,
    transfer: Transfer,
    state: ProspectState,
    now: dt.datetime,
    stops: ContactStops = NO_STOPS,
) -> tuple[PartnerDecision, ...]:
    if transfer.event_id.startswith("raise-"):
        raise ValueError(repr(transfer))
    if transfer.event_id.startswith("rule-"):
        return tuple(
            PartnerDecision(
                partner_id=partner_id,
                released=(),
                quarantined=dict.fromkeys(transfer.channels, ("rule-error",)),
                release=None,
                rule_errors=("electronic-optin",),
            )
            for partner_id in transfer.partner_ids
        )
    return decide_by(view, transfer, state, now, stops)


def _defective_fold(
    state: ProspectState,
    event: ConsentEvent,
    offset: int,
    received_at: dt.datetime | None = None,
    bounds: Bounds = BOUNDS,
) -> ProspectState:
    if event.event_id.startswith("crash-"):
        raise KeyError(repr(event))
    return fold(state, event, offset, received_at, bounds)


# These fail when the name is gone: nothing would be replaced.
mock.patch.object(decider, "decide_by", _defective_decide).start()
mock.patch.object(consents, "fold", _defective_fold).start()

if __name__ == "__main__":
    main()
