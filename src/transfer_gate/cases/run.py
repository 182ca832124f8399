"""Run a case through the same decoding, folding and rules as the worker; compare, and report what differs."""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec

from transfer_gate.cases.files import Case, Expectation
from transfer_gate.cases.written_stops import stops_of
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.state import BOUNDS, Bounds, OneState, ProspectState
from transfer_gate.model.terms import Channel, Reason
from transfer_gate.model.transfer import Contact
from transfer_gate.policy.decide import decide
from transfer_gate.policy.explain import explain, plain
from transfer_gate.policy.view import view_of
from transfer_gate.records.consents import ConsentFold, Unreadable, decode_consent
from transfer_gate.records.forms import is_unidentified
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer


def differences(expected: Expectation, decided: PartnerDecision, *, exactly: bool) -> list[str]:
    """Every difference as a sentence; none when the decision is as expected.

    Released channels must be exactly those listed. A channel listed under `quarantine` must have the reasons listed,
    and with `exactly` no others. Contact points and attributes must be exactly those listed; what is listed of a
    contact point or of the obligations is compared, times as instants.
    """
    return [f"{decided.partner_id}{difference}" for difference in _differences(expected, decided, exactly)]


def _differences(expected: Expectation, decided: PartnerDecision, exactly: bool) -> Iterator[str]:
    if set(expected.release) != set(decided.released):
        yield f": expected release of {_listed(expected.release)}; released {_listed(decided.released)}"
    for channel, reasons in expected.quarantine.items():
        held = decided.quarantined.get(channel)
        if held is None:
            was = "released" if channel in decided.released else "not requested"
            yield f" {channel}: expected in quarantine for {_listed(reasons)}; it was {was}"
            continue
        missing = [reason for reason in reasons if reason not in held]
        more = [reason for reason in held if reason not in reasons] if exactly else []
        if missing or more:
            only = "exactly " if exactly else ""
            yield f" {channel}: expected {only}{_listed(reasons)}; decided {_listed(held)}"
    for channel, held in decided.quarantined.items():
        if channel in expected.release:
            yield f" {channel}: held for {_listed(held)}"
    yield from _sent(expected, decided)


def _sent(expected: Expectation, decided: PartnerDecision) -> Iterator[str]:
    release = decided.release
    if expected.contact is not None:
        contact = msgspec.to_builtins(release.contact if release else Contact())
        points = _present(expected.contact)
        if contact.keys() != points.keys():
            yield f": expected contact points {_listed(points)}; sent {_listed(contact)}"
        for point in sorted(contact.keys() & points.keys()):
            yield from _compared(f" contact.{point}", points[point], contact[point])
    if expected.attributes is not None:
        attributes = release.attributes if release else {}
        if _present(expected.attributes) != attributes:
            yield f": expected attributes {_present(expected.attributes)}; sent {attributes}"
    if expected.obligations is not None:
        obligations = msgspec.to_builtins(release.obligations) if release else {}
        yield from _compared(" obligations", expected.obligations, obligations)


def _present(expected: Mapping[str, Any]) -> dict[str, Any]:
    """What is expected to be there: null says, as everywhere in case files, that something is not."""
    return {name: value for name, value in expected.items() if value is not None}


def _compared(place: str, expected: Any, decided: Any) -> Iterator[str]:
    """Differences between what is given and what was decided; in mappings only what is given is compared."""
    if isinstance(expected, Mapping) and isinstance(decided, Mapping):
        for name, value in expected.items():
            yield from _compared(f"{place}.{name}", value, decided.get(name))
    elif _value(expected) != _value(decided):
        yield f"{place}: expected {expected}; decided {decided}"


def _value(value: Any) -> Any:
    """Times as instants, lists and tuples alike."""
    if isinstance(value, str):
        try:
            instant = msgspec.convert(value, dt.datetime)
        except msgspec.ValidationError:
            return value
        return instant if instant.tzinfo else value
    return [_value(member) for member in value] if isinstance(value, list | tuple) else value


def _listed(words: Any) -> str:
    return ", ".join(words) or "nothing"


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """How a case ended: it passed when there are no `differences`, which are sentences; `seconds` of elapsed time."""

    case: Case
    differences: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.differences


def run(case: Case) -> CaseOutcome:
    """Decide the case and compare."""
    started = time.perf_counter()
    found = _differences_of(case)
    return CaseOutcome(case, tuple(found), time.perf_counter() - started)


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


def _differences_of(case: Case) -> list[str]:
    try:
        transfer = decode_transfer(case.transfer)
    except (SchemaInvalid, Undecodable) as error:
        reason: Reason = "schema-invalid" if isinstance(error, SchemaInvalid) else "undecodable"
        return _of_unread(case, reason, f"the transfer is not valid: {error}")
    nobody = view_of(case.registry).nobody
    if is_unidentified(transfer.prospect_id, nobody):
        return _of_unread(case, "prospect-unidentified", "the prospect_id identifies no person")
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
        facts = {
            explained.partner_id: explained for explained in explain(transfer, state, case.registry, case.at, stops)
        }
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


def lines(outcomes: Sequence[CaseOutcome]) -> Iterator[str]:
    """Each failed case with its place and every difference, then the counts."""
    for outcome in outcomes:
        if not outcome.passed:
            yield f"FAILED {outcome.case.path}:{outcome.case.line}: {outcome.case.name}"
            yield from (f"  {difference}" for difference in outcome.differences)
    failed = sum(not outcome.passed for outcome in outcomes)
    yield f"{len(outcomes) - failed} passed, {failed} failed"


def junit(outcomes: Sequence[CaseOutcome]) -> bytes:
    """The same as JUnit XML: a suite for each file."""
    root = ET.Element("testsuites")
    for path, group in _by_file(outcomes).items():
        suite = ET.SubElement(
            root,
            "testsuite",
            name=str(path),
            tests=str(len(group)),
            failures=str(sum(not outcome.passed for outcome in group)),
            errors="0",
            time=f"{sum(outcome.seconds for outcome in group):.6f}",
        )
        for outcome in group:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=_printable(str(path)),
                name=_printable(outcome.case.name),
                file=str(path),
                line=str(outcome.case.line),
                time=f"{outcome.seconds:.6f}",
            )
            if not outcome.passed:
                failure = ET.SubElement(case, "failure", message=_printable(outcome.differences[0]))
                failure.text = _printable("\n".join(outcome.differences))
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _by_file(outcomes: Sequence[CaseOutcome]) -> dict[Path, list[CaseOutcome]]:
    groups: dict[Path, list[CaseOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.case.path, []).append(outcome)
    return groups


def _printable(text: str) -> str:
    # XML 1.0 has no place for most control characters, not even escaped.
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
