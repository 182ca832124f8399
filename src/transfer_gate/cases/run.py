"""Running a case: through the same decoding, folding and rules as the worker."""

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from transfer_gate.cases.files import Case, Expectation
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.model.transfer import Transfer
from transfer_gate.policy.decide import decide
from transfer_gate.policy.explain import explain
from transfer_gate.policy.fold import fold, fold_unreadable
from transfer_gate.policy.trace import plain
from transfer_gate.wire.decode import SchemaInvalid, Undecodable, Unreadable, decode_consent, decode_transfer


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended: it passed when there are no `differences`, which are sentences; `seconds` of elapsed time."""

    case: Case
    differences: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.differences


def run(case: Case) -> Outcome:
    """Decide the case and compare."""
    started = time.perf_counter()
    differences = _differences(case)
    return Outcome(case, tuple(differences), time.perf_counter() - started)


def folded(events: tuple[bytes, ...], prospect: bytes | None) -> ProspectState:
    """The state of a prospect after these consent events, whose offsets are their positions."""
    state = EMPTY
    for offset, raw in enumerate(events):
        try:
            state = fold(state, decode_consent(raw, prospect), offset)
        except Unreadable:
            state = fold_unreadable(state, offset)
    return state


def _differences(case: Case) -> list[str]:
    try:
        transfer = decode_transfer(case.transfer)
    except (SchemaInvalid, Undecodable) as error:
        return [
            difference for partner in case.expect for difference in _of_unread(case, partner, case.expect[partner], error)
        ]
    state = folded(case.consents, case.prospect)
    decisions = {decision.partner_id: decision for decision in decide(transfer, state, case.registry, case.at)}
    found: list[str] = []
    for partner, expected in case.expect.items():
        if partner not in decisions:
            found.append(f"{partner}: expected a decision, but the transfer does not name this partner")
        else:
            found += _of_partner(case, transfer, state, decisions[partner], expected)
    return found
