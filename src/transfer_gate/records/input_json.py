"""JSON of the input topics (RFC 8259, UTF-8 only), as far as transfers and consent events have it in common; and
whether an object names a member twice, which makes it unreadable (section 4).

Exceptions name places; of a wrong word of a closed list msgspec quotes the word, which helps the author of a case file
and is to be shown to no other: see `without_values`.

A decoder keeps one of two members of a name, without an error. Parsing again, with an eye on names, costs as much as
decoding. So at first quotation marks are counted: a member has two, and two more where its value is a string. A record
that has just as many as what was read of it needs has nothing else.
"""

import json
import re
from typing import Any, Final

import msgspec
import orjson

from transfer_gate.model.consent import CallSlot, ConsentEvent, ConsentGiven, Resolution, Scope
from transfer_gate.model.transfer import Contact, Transfer

#: Members whose own members are names of others' choice: null there is a value, and no value that fits.
_MAPS: Final = frozenset({"attributes", "partner_roles"})
NAMED_TWICE: Final = "a member is named twice (RFC 8259 section 4)"


class UnreadableRecord(Exception):
    """An input record that can't be read; the text says where."""


def without_nulls(value: Any) -> Any:
    """The value without the null members of its objects."""
    if isinstance(value, dict):
        return {
            name: member if name in _MAPS else without_nulls(member)
            for name, member in value.items()
            if member is not None
        }
    return [without_nulls(member) for member in value] if isinstance(value, list) else value


def without_values(text: str) -> str:
    """The text of an UnreadableRecord without the word that it may quote: an input may hold personal data."""
    wrong, at, place = text.rpartition(" - at ")
    kind = re.split(r"['\"]", wrong or place, maxsplit=1)[0].rstrip()
    return f"{kind}{at}{place}" if wrong else kind


def is_json(raw: bytes) -> bool:
    """Whether the bytes are JSON at all."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def reason_of(error: Exception) -> str:
    """What a decoder found wrong; of other errors only the kind."""
    return str(error) if type(error) in (msgspec.ValidationError, msgspec.DecodeError) else type(error).__name__


#: Quotation marks of a member whose value is a string, and of a member with another value; of a string alone as many.
_STRING: Final = 4
_OTHER: Final = 2


def quotes_of_transfer(transfer: Transfer) -> int:
    """How many quotation marks the JSON of a transfer has at least. It has more where it has anything that was not
    read: unknown members, null, a second member of a name, empty lists, quotation marks in a text.
    """
    strings = (
        4  # event_id, requested_at, prospect_id, purpose
        + (transfer.offer_category is not None)
        + (transfer.use_until is not None)
        + (transfer.notice_version is not None)
        + (transfer.collected_at is not None)
    )
    # Names without a string behind them; strings in lists count as such.
    others = 2 + len(transfer.partner_ids) + len(transfer.channels) + (transfer.source_restricted is not None)
    active = transfer.last_active_contact
    if active is not None:
        strings += (active.at is not None) + (active.type is not None)
        others += 1 + (active.measured_with_consent is not None)
    subject = transfer.subject
    if subject is not None:
        others += 1
        strings += (
            (subject.kind is not None)
            + (subject.birth_date is not None)
            + (subject.country is not None)
            + (subject.job is not None)
        )
    source = transfer.source
    if source is not None:
        others += 1 + _listed(source.chain)
        strings += source.role is not None
    bloctel = transfer.bloctel
    if bloctel is not None:
        others += 1 + (bloctel.listed is not None)
        strings += bloctel.checked_at is not None
    contract = transfer.contract
    if contract is not None:
        others += 1
        strings += (
            (contract.holder is not None)
            + (contract.status is not None)
            + (contract.object is not None)
            + (contract.ends_at is not None)
        )
    request = transfer.inbound_request
    if request is not None:
        others += 1 + _listed(request.partner_ids)
        strings += (
            (request.at is not None)
            + (request.object is not None)
            + (request.proof_id is not None)
            + (request.proof_kept_until is not None)
        )
    if transfer.partner_roles is not None:
        others += 1
        strings += len(transfer.partner_roles)
    if transfer.attributes is not None:
        others += 1 + len(transfer.attributes)
        for value in transfer.attributes.values():
            others += isinstance(value, str)
    return (
        _STRING * strings + _OTHER * others + (0 if transfer.contact is None else _quotes_of_contact(transfer.contact))
    )


def _quotes_of_contact(contact: Contact) -> int:
    strings, others = 0, 1
    email, phone, postal = contact.email, contact.phone, contact.postal
    if email is not None:
        others += 1
        strings += 1 + (email.type is not None)
    if phone is not None:
        others += 1
        strings += 1 + (phone.type is not None)
    if postal is not None:
        others += 2 + len(postal.lines)
        strings += (postal.postal_code is not None) + (postal.city is not None) + (postal.country is not None)
    return _STRING * strings + _OTHER * others


def quotes_of_consent(event: ConsentEvent) -> int:
    """The same of a consent event."""
    if isinstance(event, ConsentGiven):
        return _quotes_of_given(event)
    common = 4 * _STRING  # type, event_id, prospect_id, event_time
    if isinstance(event, Resolution):
        strings = (event.by is not None) + (event.why is not None)
        return common + _OTHER * (1 + event.history) + _STRING * strings
    scope: Scope | None = getattr(event, "scope", None)
    if scope is None:
        return common
    return common + _OTHER + _of_scope(scope.channels) + _of_scope(scope.party_ids) + _of_scope(scope.purposes)


def _quotes_of_given(event: ConsentGiven) -> int:
    strings = (
        6  # the common ones, record_id, state
        + (event.lawful_basis is not None)
        + (event.indication is not None)
        + (event.partner_list_version is not None)
        + (event.notice_version is not None)
        + (event.validity is not None)
    )
    others = (
        _listed(event.purposes)
        + _listed(event.channels)
        + _listed(event.party_ids)
        + _listed(event.offer_categories)
        + _listed(event.special_categories)
        + (not event.time_precise)
    )
    proof = event.proof
    if proof is not None:
        others += 1 + (proof.individual is not None)
        strings += (
            (proof.proof_id is not None)
            + (proof.text_hash is not None)
            + (proof.collector is not None)
            + (proof.kept_until is not None)
        )
    guardian = event.guardian
    if guardian is not None:
        others += 1
        strings += (guardian.party_id is not None) + (guardian.event_time is not None) + (guardian.proof_id is not None)
    slots: tuple[CallSlot, ...] = event.call_slots
    if slots:
        others += 1
        for slot in slots:
            strings += (slot.from_ is not None) + (slot.to is not None)
    return _STRING * strings + _OTHER * others


def _listed(strings: tuple[str, ...]) -> int:
    """A name and the strings of its list, none where it is empty: then it may be absent."""
    return 1 + len(strings) if strings else 0


def _of_scope(part: tuple[str, ...] | str | None) -> int:
    if part is None:
        return 0
    return _STRING if isinstance(part, str) else _OTHER * _listed(part)


def names_twice(raw: bytes) -> bool:
    """Whether an object in this JSON, at any depth, names a member twice. Raises ValueError or RecursionError when it
    can't be parsed."""
    try:
        plain = orjson.dumps(orjson.loads(raw))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        plain = b""
    # Most programs write JSON as compactly as this: what came through a dict unchanged has lost no member.
    if plain == raw:
        return False
    # Others put white space after the colon. Where no quote stands inside a string and no white space before a colon,
    # each `":` ends a name or begins a string; those that were lost on the way through the dict named a second time.
    spaced = b" :" in raw or (b"\n" in raw and b"\n:" in raw) or (b"\t" in raw and b"\t:" in raw) or b"\r" in raw
    escaped = b"\\" in raw and (b'\\"' in raw or b"\\u002" in raw or b"\\u003" in raw)
    if not spaced and not escaped and plain and plain.count(b'":') == raw.count(b'":'):
        return False
    try:
        json.loads(raw.decode(), object_pairs_hook=_unique, parse_int=_nothing, parse_float=_nothing)
    except _NamedTwiceError:
        return True
    return False


class _NamedTwiceError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _NamedTwiceError


def _nothing(_: str) -> None:
    return None
