"""The folded consent state of one prospect: the value of the Faust table and of its changelog.

The state is a join semilattice over the consent events of the prospect: folding the same events in any order and any
repetition gives the same state. It holds no clock: which consents lie in the future is the decision's question.
"""

import datetime as dt
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.model.consent import Consent, KeptDuration
from transfer_gate.model.terms import Channel, Identifier, PartyId, Token

#: Of equal times in one record the graver state wins (contract section 3).
STATE_RANK: Final = {"given": 0, "renewed": 0, "refused": 1, "expired": 2, "invalidated": 3}

_encode = msgspec.json.Encoder(order="sorted").encode


class KeptEvent(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An erasure, a restriction or a lift of one. `received_at` is its earliest receipt, where that is before its date:
    there it counts (rules.md 1.1).
    """

    event_time: dt.datetime
    event_id: Identifier
    received_at: dt.datetime | None = None

    @property
    def counted_at(self) -> dt.datetime:
        """The earlier of `event_time` and receipt (rules.md 1.1)."""
        return self.event_time if self.received_at is None else self.received_at


class Opposition(KeptEvent, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A withdrawal or an objection; an empty part of its scope means all."""

    channels: tuple[Channel, ...] = ()
    party_ids: tuple[PartyId, ...] = ()
    purposes: tuple[Token, ...] = ()


class KeptConsent(Consent, frozen=True, kw_only=True):
    """One version of a consent record with its counted time, where that is not its `event_time`: a version that is
    dated after its receipt counts at its receipt.
    """

    validity: KeptDuration | None = None
    received_at: dt.datetime | None = None

    @property
    def counted_at(self) -> dt.datetime:
        """The earlier of `event_time` and receipt (rules.md 1.1)."""
        return self.event_time if self.received_at is None else self.received_at


class SealingKey(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The key under which payloads in quarantine are encrypted, itself encrypted under a master key
    (`records.sealing`).

    `key_id` is random and names the key in the header `tg-encryption`; `master_id` names the master key; `wrapped` is
    base64. `used`: the day (UTC) on which it sealed last, kept only where no consent event is known of its prospect, so
    that it can be dropped one day; None where it is unknown.
    """

    key_id: str
    master_id: str
    wrapped: str
    used: dt.date | None = None


class ProspectState(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Everything the gate remembers of one prospect. Times are UTC.

    Every event stands here once, with its earliest receipt where that is before its date. Which of them counts most is
    asked when a decision is made: a repetition with an earlier receipt may make another one the newest, and a consent
    that is dated in the future today replaces its predecessor only when its time has come.

    - `consents`: the versions of all records, by (record_id, event_time, state rank, event_id).
    - `withdrawals`, `objections`: by (event_time, event_id, scope).
    - `erasures`, `restrictions`, `lifts`: by (event_time, event_id).
    - `proofs`: proof id to the earliest counted time under it (rules.md 1.3, *act*).
    - `unreadable`, `resolved`: offsets of `consent-events`; the prospect is blocked by unreadable ones not
      resolved.
    - `overflowed`: more came than is kept, and every transfer is quarantined, until an erasure or a resolution of the
      history (`policy.bounds`); `history_resolved` is the newest of these.
    - `sealing_key`: opens the payloads of this prospect in quarantine; gone after an erasure. Folding leaves it alone.
    """

    consents: tuple[KeptConsent, ...] = ()
    withdrawals: tuple[Opposition, ...] = ()
    objections: tuple[Opposition, ...] = ()
    erasures: tuple[KeptEvent, ...] = ()
    restrictions: tuple[KeptEvent, ...] = ()
    lifts: tuple[KeptEvent, ...] = ()
    proofs: dict[str, dt.datetime] = {}
    unreadable: tuple[int, ...] = ()
    resolved: tuple[int, ...] = ()
    overflowed: bool = False
    history_resolved: KeptEvent | None = None
    sealing_key: SealingKey | None = None

    @property
    def erased_at(self) -> dt.datetime | None:
        """Counted time of the newest erasure."""
        return max([event.counted_at for event in self.erasures]) if self.erasures else None

    @property
    def restricted_at(self) -> dt.datetime | None:
        """Counted time of the newest restriction."""
        return max([event.counted_at for event in self.restrictions]) if self.restrictions else None

    def lifted_by(self, horizon: dt.datetime) -> dt.datetime | None:
        """When the restriction was lifted last, lifts that are dated after `horizon` left out."""
        return max([lift.counted_at for lift in self.lifts if lift.event_time <= horizon], default=None)

    def blocked(self) -> bool:
        """Whether an unreadable consent event, which might have been a withdrawal, stands unresolved."""
        return bool(self.unreadable) and not set(self.unreadable) <= set(self.resolved)


#: Stands for the id of an event of a former state, which did not keep it.
_NOT_KEPT = "-"


class FormerState(ProspectState, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A state of format 1 or 2: of each kind but consents the newest only, at its counted time."""

    erased_at: dt.datetime | None = None  # was a member, is worked out
    restricted_at: dt.datetime | None = None
    lifted_at: dt.datetime | None = None
    future_lifts: tuple[KeptEvent, ...] = ()

    def renewed(self) -> ProspectState:
        """The same in the format of now."""
        lifts = [replace(lift, received_at=_if_before(lift.received_at, lift.event_time)) for lift in self.future_lifts]
        return ProspectState(
            consents=tuple(sorted(self.consents, key=lambda version: (order_of_version(version), content_of(version)))),
            withdrawals=tuple(sorted(self.withdrawals, key=order_of_opposition)),
            objections=tuple(sorted(self.objections, key=order_of_opposition)),
            erasures=_newest(self.erased_at),
            restrictions=_newest(self.restricted_at),
            lifts=tuple(sorted((*lifts, *_newest(self.lifted_at)), key=order_of_event)),
            proofs=self.proofs,
            unreadable=self.unreadable,
            resolved=self.resolved,
            sealing_key=self.sealing_key,
        )


def order_of_event(event: KeptEvent) -> tuple[dt.datetime, str]:
    """The key that distinguishes and orders erasures, restrictions and lifts."""
    return event.event_time, event.event_id


def order_of_opposition(opposition: Opposition) -> tuple[dt.datetime, str, tuple[tuple[str, ...], ...]]:
    """The key that distinguishes and orders oppositions."""
    scope = (opposition.channels, opposition.party_ids, opposition.purposes)
    return opposition.event_time, opposition.event_id, scope


def order_of_version(consent: KeptConsent) -> tuple[str, dt.datetime, int, str]:
    """The order of versions of consents; `content_of` distinguishes what it does not."""
    return consent.record_id, consent.event_time, STATE_RANK[consent.state], consent.event_id


def content_of(consent: KeptConsent) -> bytes:
    """What orders versions that share everything down to the id but differ in content, a defect of the source."""
    return _encode(consent if consent.received_at is None else replace(consent, received_at=None))


def _if_before(received_at: dt.datetime | None, event_time: dt.datetime) -> dt.datetime | None:
    return received_at if received_at is not None and received_at < event_time else None


def _newest(time: dt.datetime | None) -> tuple[KeptEvent, ...]:
    return () if time is None else (KeptEvent(event_time=time, event_id=_NOT_KEPT),)


class Bounds(Struct, frozen=True, gc=False, kw_only=True):
    """How much a prospect's state keeps (contract section 3): events and offsets, and bytes of the whole as JSON; what
    oppositions widen to comes on top.
    """

    history_records: int = 1000
    state_bytes: int = 512 << 10


class StateNumber(Struct, frozen=True, gc=False):
    """The number of a state's format, all that an older reader may read of it; a state without one is of format 1."""

    format: int = 1


EMPTY = ProspectState()
BOUNDS: Final = Bounds()


class States(Protocol):
    """States by prospect (record key), into which consent events are folded."""

    def get(self, prospect: bytes, /) -> ProspectState:
        """The state of a prospect; EMPTY where nothing is known."""

    def put(self, prospect: bytes, state: ProspectState, /) -> None:
        """Replace it."""


class OneState:
    """The state of one prospect; what concerns others is left out."""

    def __init__(self, prospect: bytes, state: ProspectState = EMPTY) -> None:
        self._prospect = prospect
        self.state = state

    def get(self, prospect: bytes, /) -> ProspectState:
        """See `States`."""
        return self.state if prospect == self._prospect else EMPTY

    def put(self, prospect: bytes, state: ProspectState, /) -> None:
        """See `States`."""
        if prospect == self._prospect:
            self.state = state
