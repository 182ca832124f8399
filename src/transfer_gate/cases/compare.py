"""What was expected of a partner, against what was decided."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from transfer_gate.cases.files import Expectation
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.transfer import Contact


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
