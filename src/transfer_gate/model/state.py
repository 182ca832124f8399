"""The folded consent state of one prospect: the value of the Faust table and of its changelog.

The state is a join semilattice over the consent events of the prospect: folding the same events in any order and any
repetition gives the same state. It holds no clock: which consents lie in the future is the decision's question.
"""

import datetime as dt

from msgspec import Struct

from transfer_gate.model.consent import Consent
from transfer_gate.model.terms import Channel, Identifier, PartyId, Token


class Opposition(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A withdrawal or an objection at its counted time; an empty part of its scope means all. Of equal scopes only the
    newest is kept.
    """

    event_time: dt.datetime
    event_id: Identifier
    channels: tuple[Channel, ...] = ()
    party_ids: tuple[PartyId, ...] = ()
    purposes: tuple[Token, ...] = ()


class KeptConsent(Consent, frozen=True, kw_only=True):
    """One version of a consent record with its counted time, where that is not its `event_time`: a version that is
    dated after its receipt counts at its receipt.
    """

    received_at: dt.datetime | None = None

    @property
    def counted_at(self) -> dt.datetime:
        """The earlier of `event_time` and receipt (rules.md 1.1)."""
        return self.event_time if self.received_at is None else self.received_at


class FutureLift(Struct, frozen=True, gc=False, kw_only=True):
    """A lift of a restriction that is dated after its receipt, or whose receipt is not known: left out until
    `event_time`, then it counts at its receipt.
    """

    event_time: dt.datetime
    event_id: Identifier
    received_at: dt.datetime


class SealingKey(Struct, frozen=True, gc=False, kw_only=True):
    """The key under which payloads in quarantine are encrypted, itself encrypted under a master key (`wire.sealing`).

    `key_id` is random and names the key in the header `tg-encryption`; `master_id` names the master key; `wrapped` is
    base64.
    """

    key_id: str
    master_id: str
    wrapped: str


class ProspectState(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Everything the gate remembers of one prospect. Times are UTC.

    - `consents`: every version of every record, by (record_id, counted time, state rank, event_id); a version that is
      dated in the future today replaces its predecessor only when its time has come, so none can be thrown away.
    - `withdrawals`, `objections`: by scope.
    - `erased_at`, `restricted_at`, `lifted_at`: the newest of each kind, by counted time; `future_lifts`: lifts
      dated after their receipt, by (event_time, event_id).
    - `proofs`: proof id to the earliest counted time under it (rules.md 1.3, *act*).
    - `unreadable`, `resolved`: offsets of `consent-events`; the prospect is blocked by unreadable ones not
      resolved.
    - `sealing_key`: opens the payloads of this prospect in quarantine; gone after an erasure. Folding leaves it alone.
    """

    consents: tuple[KeptConsent, ...] = ()
    withdrawals: tuple[Opposition, ...] = ()
    objections: tuple[Opposition, ...] = ()
    erased_at: dt.datetime | None = None
    restricted_at: dt.datetime | None = None
    lifted_at: dt.datetime | None = None
    future_lifts: tuple[FutureLift, ...] = ()
    proofs: dict[str, dt.datetime] = {}
    unreadable: tuple[int, ...] = ()
    resolved: tuple[int, ...] = ()
    sealing_key: SealingKey | None = None

    def lifted_by(self, horizon: dt.datetime) -> dt.datetime | None:
        """When the restriction was lifted last, lifts that are dated after `horizon` left out."""
        lifts = [lift.received_at for lift in self.future_lifts if lift.event_time <= horizon]
        return max((*lifts, self.lifted_at) if self.lifted_at is not None else lifts, default=None)

    def blocked(self) -> bool:
        """Whether an unreadable consent event, which might have been a withdrawal, stands unresolved."""
        return bool(self.unreadable) and not set(self.unreadable) <= set(self.resolved)


class StateNumber(Struct, frozen=True, gc=False):
    """The number of a state's format, all that an older reader may read of it; a state without one is of format 1."""

    format: int = 1


EMPTY = ProspectState()
