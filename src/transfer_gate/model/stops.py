"""Contact stops: addresses and numbers that must not be used, whoever's prospect it is (contract section 3a)."""

import datetime as dt
from typing import Final

from msgspec import Struct

from transfer_gate.model.terms import Channel, PartyId, Token


class ContactStop(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One stop of one contact point. An empty part of its scope means all; without `since` no consent overcomes it."""

    since: dt.datetime | None = None
    channels: tuple[Channel, ...] = ()
    party_ids: tuple[PartyId, ...] = ()
    purposes: tuple[Token, ...] = ()


class ContactStops(Struct, frozen=True, gc=False, kw_only=True):
    """The stops of the contact points of one transfer, as they stood when the gate began to decide."""

    email: tuple[ContactStop, ...] = ()
    phone: tuple[ContactStop, ...] = ()


NO_STOPS: Final = ContactStops()
