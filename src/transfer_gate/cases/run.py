"""Running a case: through the same decoding, folding and rules as the worker."""

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from transfer_gate.cases.compare import differences
from transfer_gate.cases.files import Case
from transfer_gate.cases.stops import stops_of
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.reasons import Reason
from transfer_gate.model.state import BOUNDS, Bounds, OneState, ProspectState
from transfer_gate.model.terms import Channel
from transfer_gate.policy.decide import decide
from transfer_gate.policy.explain import explain
from transfer_gate.policy.trace import plain
from transfer_gate.policy.view import view_of
from transfer_gate.records.consents import ConsentFold, Unreadable, decode_consent
from transfer_gate.records.forms import is_nobody
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer


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
    found = _differences(case)
    return Outcome(case, tuple(found), time.perf_counter() - started)


def folded(
    events: Sequence[bytes],
    prospect: bytes | None,
    received: Sequence[dt.datetime] = (),
    nobody: AbstractSet[str] = frozenset(),
    bounds: Bounds = BOUNDS,
) -> ProspectState:
    """The state of a prospect after these consent events, whose offsets are their positions.

    `received` is when each was received; without it each counts at its date. `nobody` as in `decode_consent`,
    `bounds` as in `fold`.
    """
    one, consents = OneState(prospect or b""), ConsentFold(bounds, nobody)
    for offset, raw in enumerate(events):
        consents.apply(one, prospect, raw, offset, received[offset] if offset < len(received) else None)
    return one.state


def _differences(case: Case) -> list[str]:
    try:
        transfer = decode_transfer(case.transfer)
    except (SchemaInvalid, Undecodable) as error:
        reason: Reason = "schema-invalid" if isinstance(error, SchemaInvalid) else "undecodable"
        return _of_unread(case, reason, f"the transfer is not valid: {error}")
    nobody = view_of(case.registry).nobody
    if is_nobody(transfer.prospect_id, nobody):
        return _of_unread(case, "prospect-unidentified", "the prospect_id stands for nobody")
    state = folded(case.consents, case.prospect, case.received, nobody, case.bounds)
    stops = stops_of(transfer, case.stops)
    decided = {decision.partner_id: decision for decision in decide(transfer, state, case.registry, case.at, stops)}
    found: list[str] = []
    for partner, expected in case.expect.items():
        if partner not in decided:
            found.append(f"{partner}: a decision was expected, but the transfer does not name this partner")
        else:
            found += differences(expected, decided[partner], exactly=case.exactly)
    if found:
        found += _unreadable(case, state)
        facts = {told.partner_id: told for told in explain(transfer, state, case.registry, case.at, stops)}
        for partner in case.expect:
            for channel in facts[partner].channels if partner in facts else ():
                found += [
                    f"{partner} {channel.channel}: {finding.rule} failed on "
                    + "; ".join(f"{name} = {plain(value)}" for name, value in finding.facts)
                    for finding in channel.rules
                    if finding.verdict == "failed"
                ]
    return found


def _unreadable(case: Case, state: ProspectState) -> list[str]:
    """Which consent events can't be read and why: in a case file that is a slip as a rule."""
    said = []
    for offset in sorted(set(state.unreadable) - set(state.resolved)):
        try:
            decode_consent(case.consents[offset], case.prospect)
        except Unreadable as error:
            said.append(f"consents[{offset}] can't be read: {error}")
    return said


def _of_unread(case: Case, reason: Reason, why: str) -> list[str]:
    """A transfer that is quarantined as a whole: for one reason, and nothing else, on whatever is asked for."""
    found: list[str] = []
    for partner, expected in case.expect.items():
        reasons: Mapping[Channel, tuple[Reason, ...]] = dict.fromkeys(
            (*expected.release, *expected.quarantine), (reason,)
        )
        held = PartnerDecision(partner_id=partner, released=(), quarantined=dict(reasons), release=None)
        found += differences(expected, held, exactly=case.exactly)
    return [*found, why] if found else []
