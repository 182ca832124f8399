"""Records of `consent-events`: read, and folded into the states of prospects (contract section 3)."""

import datetime as dt
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from transfer_gate.model.consent import ConsentEvent, Resolution, Scope
from transfer_gate.model.state import BOUNDS, Bounds, ProspectState, States
from transfer_gate.model.terms import UTC
from transfer_gate.policy.fold import erases, fold, fold_unreadable, without_key
from transfer_gate.records.cloudevents import NotAnEnvelope, body_of, is_structured
from transfer_gate.records.forms import is_unidentified
from transfer_gate.records.headers import Headers
from transfer_gate.records.input_json import (
    NAMED_TWICE,
    UnreadableRecord,
    names_twice,
    quotes_of_consent,
    reason_of,
    without_nulls,
)
from transfer_gate.records.partitioner import beside_stray, is_stray_name

_CONSENT: Final = msgspec.json.Decoder[ConsentEvent](ConsentEvent)

#: 2000-01-01 in Paris: what is dated before stands for "no date" (contract section 3).
FIRST_EVENT_TIME: Final = dt.datetime(1999, 12, 31, 23, tzinfo=UTC)


class Unreadable(UnreadableRecord):
    """A consent event that can't be read and might have been a withdrawal: reason `consent-unreadable`.

    `prospects` are those whom it marks: the record's key, and the prospect that the body names where it names another.
    """

    def __init__(self, text: str, prospects: tuple[bytes, ...] = ()) -> None:
        super().__init__(text)
        self.prospects = prospects


class ConsentFold:
    """Folds consent events into the states of the prospects of a partition, as the gate decides by them.

    States know an event by its offset, to which `base` is added (`gate.integrity`: how many topics of the name stood
    before this one); an event that came home from another partition is given under its `stray_offset`.
    """

    def __init__(self, bounds: Bounds = BOUNDS, unidentified: AbstractSet[str] = frozenset(), base: int = 0) -> None:
        """`bounds`: how much is kept of a prospect; `unidentified`: see `decode_consent`."""
        self._bounds = bounds
        self._unidentified = unidentified
        self._base = base

    def apply(
        self,
        states: States,
        key: bytes | None,
        value: bytes | None,
        offset: int,
        received: dt.datetime | None,
        headers: Headers = (),
    ) -> None:
        """Fold one record into the states of all prospects that it concerns, as `policy.fold` says.

        A record that can't be read blocks its key, and the prospect whom it names. An erasure destroys the key that
        sealed the prospect's payloads. `received`: the broker's timestamp, see `records.state.received_at`.
        """
        try:
            event = decode_consent(value, key, self._unidentified, headers)
        except Unreadable as error:
            for prospect in error.prospects:
                states.put(prospect, self.block(states.get(prospect), offset))
            return
        about = event.prospect_id.encode()
        before = states.get(about)
        after = self.add(before, event, offset, received)
        states.put(about, without_key(after) if erases(before, after) else after)

    def add(
        self, state: ProspectState, event: ConsentEvent, offset: int, received: dt.datetime | None
    ) -> ProspectState:
        """The state after one more readable event; the very same object when it changes nothing."""
        if isinstance(event, Resolution):
            event = self._resolving(event, offset)
        return fold(state, event, offset, received, self._bounds)

    def block(self, state: ProspectState, offset: int) -> ProspectState:
        """The state after an event that can't be read."""
        return fold_unreadable(state, offset if is_stray_name(offset) else self._base + offset, self._bounds)

    def _resolving(self, event: Resolution, offset: int) -> Resolution:
        """A resolution names offsets of the topic and the partition in which it was written."""
        if is_stray_name(offset):
            return replace(event, resolves=tuple([beside_stray(offset, each) for each in event.resolves]))
        if not self._base:
            return event
        return replace(event, resolves=tuple([self._base + each for each in event.resolves]))


def decode_consent(
    raw: bytes | None, key: bytes | None, unidentified: AbstractSet[str] = frozenset(), headers: Headers = ()
) -> ConsentEvent:
    """Read one record of `consent-events` whose record key is `key`; `unidentified`: the policy's `unidentified_ids`.
    In an envelope of CloudEvents where its headers declare one.

    Raises Unreadable when it is not JSON, not a consent event, or not about the prospect that its key names.
    """
    keyed = () if key is None or _is_unidentified(key, unidentified) else (key,)
    if raw is None:
        raise Unreadable("no value (tombstone)", keyed)
    if headers and is_structured(headers):
        try:
            raw = body_of(raw)
        except NotAnEnvelope as error:
            raise Unreadable(str(error), keyed) from None
    try:
        if not raw.isascii():
            raw.decode()
        event: ConsentEvent = _CONSENT.decode(raw)
        if raw.count(b'"') != quotes_of_consent(event) and names_twice(raw):
            raise Unreadable(NAMED_TWICE, keyed)
    except msgspec.ValidationError as error:
        event = _consent_with_other_words(raw, str(error), keyed, unidentified)
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise Unreadable(reason_of(error), keyed) from None
    about = event.prospect_id.encode()
    if about != key:
        raise Unreadable("prospect_id is not the record's key", _both(keyed, event.prospect_id, unidentified))
    if not keyed:
        raise Unreadable("prospect_id identifies no person")
    if event.event_time < FIRST_EVENT_TIME:
        raise Unreadable("event_time is before 2000-01-01 (Europe/Paris)", keyed)
    return event


def is_readable(
    raw: bytes | None, key: bytes | None, unidentified: AbstractSet[str] = frozenset(), headers: Headers = ()
) -> bool:
    """Whether `decode_consent` reads the record."""
    try:
        decode_consent(raw, key, unidentified, headers)
    except Unreadable:
        return False
    return True


def _consent_with_other_words(
    raw: bytes, fault: str, keyed: tuple[bytes, ...], unidentified: AbstractSet[str]
) -> ConsentEvent:
    """Read again what did not fit as it stands: a null member is absent, words of a scope are trimmed and folded."""
    marked = keyed
    try:
        if names_twice(raw):
            raise Unreadable(NAMED_TWICE, keyed)
        members = without_nulls(msgspec.json.decode(raw))
        if not isinstance(members, dict):
            raise Unreadable(fault, keyed)
        if isinstance(members.get("prospect_id"), str):
            marked = _both(keyed, members["prospect_id"], unidentified)
        if isinstance(members.get("scope"), dict):
            members["scope"] = _in_plain_words(members["scope"])
        event: ConsentEvent = msgspec.convert(members, ConsentEvent)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error), marked) from None
    except (msgspec.DecodeError, RecursionError, MemoryError, ValueError) as error:
        raise Unreadable(reason_of(error), marked) from None
    return event


def scope_in(members: Any) -> Scope:
    """The scope of a contact stop. Raises Unreadable when it is not a scope."""
    try:
        plain = without_nulls({} if members is None else members)
        return msgspec.convert(_in_plain_words(plain) if isinstance(plain, dict) else plain, Scope)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error)) from None


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


def _is_unidentified(key: bytes, unidentified: AbstractSet[str]) -> bool:
    return is_unidentified(key.decode(errors="replace"), unidentified)


def _both(keyed: tuple[bytes, ...], prospect_id: str, unidentified: AbstractSet[str]) -> tuple[bytes, ...]:
    """Those whom an event marks that names `prospect_id`."""
    about = prospect_id.encode(errors="surrogatepass")
    return keyed if about in keyed or is_unidentified(prospect_id, unidentified) else (*keyed, about)
