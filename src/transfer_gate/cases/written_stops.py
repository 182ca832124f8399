"""Contact stops as case files write them: in plain, by address or number (contract section 8)."""

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from transfer_gate.model.addresses import stopped_email
from transfer_gate.model.reviewed import Reviewed, Text
from transfer_gate.model.stops import ContactStop, ContactStops
from transfer_gate.model.terms import Instant
from transfer_gate.model.transfer import Transfer
from transfer_gate.policy.legal_time import midnight, utc
from transfer_gate.records.consents import Unreadable, scope_in
from transfer_gate.records.forms import is_phone

#: An earlier date counts as no date (contract section 3a).
_FIRST: Final = midnight(dt.date(2000, 1, 1))


class WrittenStop(Reviewed):
    """One stop; what the gate could not read of `scope` and `since` makes it stop everything."""

    email: Text | None = None
    phone: Text | None = None
    scope: Any = None
    since: Any = None
    source: Literal["opposition", "house", "register", "bounce"] = "house"
    reason: Text | None = None

    def fault(self) -> str | None:
        """What is wrong with the contact point, or None."""
        if (self.email is None) == (self.phone is None):
            return "give either email or phone"
        if self.email is not None and stopped_email(self.email) is None:
            return "email: has no canonical form"
        return "phone: not a telephone number in E.164" if self.phone and not is_phone(self.phone) else None

    def stop(self) -> ContactStop:
        """The stop that a decision counts."""
        try:
            since = utc(self.since if isinstance(self.since, dt.datetime) else msgspec.convert(self.since, Instant))
            scope = scope_in(self.scope)
        except (msgspec.ValidationError, Unreadable):
            return ContactStop()
        if since < _FIRST or since.tzinfo is None:
            return ContactStop()
        return ContactStop(
            since=since,
            channels=_part(scope.channels),
            party_ids=_part(scope.party_ids),
            purposes=_part(scope.purposes),
        )


def stops_of(transfer: Transfer, written: Iterable[WrittenStop]) -> ContactStops:
    """Those of the stops that are about the contact points of the transfer."""
    contact = transfer.contact
    email = stopped_email(contact.email.value) if contact and contact.email else None
    phone = contact.phone.value if contact and contact.phone else None
    written = tuple(written)
    return ContactStops(
        email=tuple(one.stop() for one in written if one.email and email and stopped_email(one.email) == email),
        phone=tuple(one.stop() for one in written if one.phone and one.phone == phone),
    )


def _part(part: Any) -> Any:
    return () if part is None or part == "all" else part
