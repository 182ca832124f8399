"""Bytes of the input topics to model (contract sections 2 and 3).

JSON per RFC 8259, UTF-8 only. Exceptions name places; of a wrong word of a closed list msgspec quotes the word, which
helps who wrote a case file, and which nobody else should be shown: see `without_values`.
"""

import datetime as dt
import re
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
import orjson

from transfer_gate.model.consent import ConsentEvent, Scope
from transfer_gate.model.terms import UTC
from transfer_gate.model.transfer import Transfer
from transfer_gate.records.forms import fault_in, is_nobody
from transfer_gate.records.json_names import names_twice, quotes_of_consent, quotes_of_transfer

_TRANSFER: Final = msgspec.json.Decoder(Transfer)
_CONSENT: Final = msgspec.json.Decoder[ConsentEvent](ConsentEvent)


#: 2000-01-01 in Paris: what is dated before stands for "no date" (contract section 3).
FIRST_EVENT_TIME: Final = dt.datetime(1999, 12, 31, 23, tzinfo=UTC)
#: Members whose own members are names of others' choice: null there is a value, and no value that fits.
_MAPS: Final = frozenset({"attributes", "partner_roles"})
_TWICE: Final = "a member is named twice (RFC 8259 section 4)"


class UnreadableRecord(Exception):
    """An input record that can't be read; the text says where."""


class Undecodable(UnreadableRecord):
    """Not JSON: reason `undecodable`."""


class SchemaInvalid(UnreadableRecord):
    """JSON, but not of the shape that the contract asks for: reason `schema-invalid`."""


class Unreadable(UnreadableRecord):
    """A consent event that can't be read and might have been a withdrawal: reason `consent-unreadable`.

    `prospects` are those whom it marks: the record's key, and the prospect that the body names where it names another.
    """

    def __init__(self, text: str, prospects: tuple[bytes, ...] = ()) -> None:
        super().__init__(text)
        self.prospects = prospects


def decode_transfer(raw: bytes | None) -> Transfer:
    """Read one record of `prospect-transfers`.

    Raises Undecodable when it is not JSON in UTF-8 or names a member twice, SchemaInvalid when it is not a transfer.
    """
    if raw is None:
        raise Undecodable("no value (tombstone)")
    try:
        if not raw.isascii():
            raw.decode()  # msgspec skips unknown fields without looking at their bytes
        transfer = _TRANSFER.decode(raw)
        if raw.count(b'"') != quotes_of_transfer(transfer) and names_twice(raw):
            raise Undecodable(_TWICE)
    except msgspec.ValidationError as error:
        # It stopped at the first field that did not fit, perhaps before the place where the JSON itself breaks off.
        if not _is_json(raw):
            raise Undecodable("malformed JSON") from None
        transfer = _transfer_with_nulls(raw, str(error))
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise Undecodable(_told(error)) from None
    fault = fault_in(transfer)
    if fault is not None:
        raise SchemaInvalid(fault)
    return transfer


def _transfer_with_nulls(raw: bytes, fault: str) -> Transfer:
    """Read again what did not fit as it stands: a null member is absent. `fault` is what did not fit."""
    try:
        if names_twice(raw):
            raise Undecodable(_TWICE)
        if b"null" not in raw:
            raise SchemaInvalid(fault)
        return msgspec.convert(_without_nulls(msgspec.json.decode(raw)), Transfer)
    except msgspec.ValidationError as error:
        raise SchemaInvalid(str(error)) from None
    except (msgspec.DecodeError, RecursionError, MemoryError, ValueError) as error:
        raise Undecodable(_told(error)) from None


def decode_consent(raw: bytes | None, key: bytes | None, nobody: AbstractSet[str] = frozenset()) -> ConsentEvent:
    """Read one record of `consent-events` whose record key is `key`; `nobody` are the policy's `unidentified_ids`.

    Raises Unreadable when it is not JSON, not a consent event, or not about the prospect that its key names.
    """
    keyed = () if key is None or _is_nobody(key, nobody) else (key,)
    if raw is None:
        raise Unreadable("no value (tombstone)", keyed)
    try:
        if not raw.isascii():
            raw.decode()
        event: ConsentEvent = _CONSENT.decode(raw)
        if raw.count(b'"') != quotes_of_consent(event) and names_twice(raw):
            raise Unreadable(_TWICE, keyed)
    except msgspec.ValidationError as error:
        event = _consent_with_other_words(raw, str(error), keyed, nobody)
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise Unreadable(_told(error), keyed) from None
    about = event.prospect_id.encode()
    if about != key:
        raise Unreadable("prospect_id is not the record's key", _both(keyed, event.prospect_id, nobody))
    if not keyed:
        raise Unreadable("prospect_id stands for nobody")
    if event.event_time < FIRST_EVENT_TIME:
        raise Unreadable("event_time is before 2000-01-01 (Europe/Paris)", keyed)
    return event


def is_readable(raw: bytes | None, key: bytes | None, nobody: AbstractSet[str] = frozenset()) -> bool:
    """Whether `decode_consent` reads the record."""
    try:
        decode_consent(raw, key, nobody)
    except Unreadable:
        return False
    return True


def _consent_with_other_words(
    raw: bytes, fault: str, keyed: tuple[bytes, ...], nobody: AbstractSet[str]
) -> ConsentEvent:
    """Read again what did not fit as it stands: a null member is absent, words of a scope are trimmed and folded."""
    marked = keyed
    try:
        if names_twice(raw):
            raise Unreadable(_TWICE, keyed)
        members = _without_nulls(msgspec.json.decode(raw))
        if not isinstance(members, dict):
            raise Unreadable(fault, keyed)
        if isinstance(members.get("prospect_id"), str):
            marked = _both(keyed, members["prospect_id"], nobody)
        if isinstance(members.get("scope"), dict):
            members["scope"] = _in_plain_words(members["scope"])
        event: ConsentEvent = msgspec.convert(members, ConsentEvent)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error), marked) from None
    except (msgspec.DecodeError, RecursionError, MemoryError, ValueError) as error:
        raise Unreadable(_told(error), marked) from None
    return event


def scope_in(members: Any) -> Scope:
    """The scope of a contact stop. Raises Unreadable when it is none."""
    try:
        plain = _without_nulls({} if members is None else members)
        return msgspec.convert(_in_plain_words(plain) if isinstance(plain, dict) else plain, Scope)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error)) from None


def _without_nulls(value: Any) -> Any:
    """The value without the null members of its objects."""
    if isinstance(value, dict):
        return {
            name: member if name in _MAPS else _without_nulls(member)
            for name, member in value.items()
            if member is not None
        }
    return [_without_nulls(member) for member in value] if isinstance(value, list) else value


def _in_plain_words(scope: dict[str, Any]) -> dict[str, Any]:
    """A scope whose words for everything are `all`, and whose channels are spelt as the contract does."""
    plain = dict(scope)
    for part in ("channels", "party_ids", "purposes"):
        words = scope.get(part)
        if isinstance(words, str) and words.strip().casefold() in ("all", "*"):
            plain[part] = "all"
        elif part == "channels" and isinstance(words, list) and all(isinstance(word, str) for word in words):
            folded = [word.strip().casefold() for word in words]
            plain[part] = "all" if "all" in folded or "*" in folded else folded
    return plain


def _is_nobody(key: bytes, nobody: AbstractSet[str]) -> bool:
    return is_nobody(key.decode(errors="replace"), nobody)


def _both(keyed: tuple[bytes, ...], prospect_id: str, nobody: AbstractSet[str]) -> tuple[bytes, ...]:
    """Those whom an event marks that names `prospect_id`."""
    about = prospect_id.encode(errors="surrogatepass")
    return keyed if about in keyed or is_nobody(prospect_id, nobody) else (*keyed, about)


def without_values(text: str) -> str:
    """What an UnreadableRecord says, without the word that it may quote: an input may hold personal data."""
    said, at, place = text.rpartition(" - at ")
    kind = re.split(r"['\"]", said or place, maxsplit=1)[0].rstrip()
    return f"{kind}{at}{place}" if said else kind


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def _told(error: Exception) -> str:
    return str(error) if type(error) in (msgspec.ValidationError, msgspec.DecodeError) else type(error).__name__
