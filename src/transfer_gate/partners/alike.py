"""Transfers of the shape of real ones, about invented people.

Each is built anew from an allow-list: words are kept only where the registry or the schema knows them (partners,
channels, purposes, kinds, countries); all else is made up, to the same length. Nothing is copied and then cleaned.
"""

import datetime as dt
from typing import Any, Final

from transfer_gate.model.registry import Registry
from transfer_gate.model.transfer import INVENTED, SPECIMEN, AttributeValue, Contact, Transfer

_DAY: Final = dt.timedelta(days=1)
_LONGEST_MAILBOX: Final = 64
_ADULTS: Final = (1950, 50)
_STEP: Final = 37


class Inventor:
    """Makes up transfers at `now`; the same real prospect becomes the same invented one, by order of appearance."""

    def __init__(self, registry: Registry, now: dt.datetime) -> None:
        policy, notices = registry.policy, registry.notices.values()
        self._now = now
        self._parties = {*registry.partners, *policy.own_parties}
        self._words = {
            "direct_marketing",
            *policy.own_purposes,
            *policy.related_offers,
            *(word for notice in notices for word in notice.purposes),
            *(word for partner in registry.partners.values() for word in partner.categories),
        }
        self._notices = set(registry.notices)
        self._attributes = set(policy.attributes)
        self._people: dict[str, int] = {}
        self._made = 0

    def invent(self, real: Transfer) -> dict[str, Any]:
        """A transfer with the fields, partners, channels, countries and sizes of `real`, and none of its person."""
        person = self._people.setdefault(real.prospect_id, len(self._people))
        self._made += 1
        made: dict[str, Any] = {
            "event_id": f"{INVENTED}event-{self._made}",
            "requested_at": self._now,
            "prospect_id": f"{INVENTED}{person}",
            "partner_ids": list(dict.fromkeys(self._party(p, n) for n, p in enumerate(real.partner_ids))),
            "channels": real.channels,
            "purpose": self._word(real.purpose),
            "offer_category": None if real.offer_category is None else self._word(real.offer_category),
            "use_until": self._time(real.use_until, real),
            "notice_version": self._notice(real.notice_version),
            "collected_at": self._time(real.collected_at, real),
            "source_restricted": real.source_restricted,
            "contact": None if real.contact is None else _contact(real.contact, person),
            "attributes": None if real.attributes is None else self._attributes_like(real.attributes),
        }
        if real.subject is not None:
            made["subject"] = _present(
                kind=real.subject.kind,
                country=real.subject.country,
                birth_date=None if real.subject.birth_date is None else _birth_date(person),
                job=None if real.subject.job is None else "invented",
            )
        if real.source is not None:
            chain = [self._party(party, number) for number, party in enumerate(real.source.chain)]
            made["source"] = _present(role=real.source.role, chain=chain)
        if real.last_active_contact is not None:
            last = real.last_active_contact
            made["last_active_contact"] = _present(
                at=self._time(last.at, real), type=last.type, measured_with_consent=last.measured_with_consent
            )
        if real.partner_roles is not None:
            roles = enumerate(real.partner_roles.items())
            made["partner_roles"] = {self._party(party, number): role for number, (party, role) in roles}
        if real.bloctel is not None:
            made["bloctel"] = _present(listed=real.bloctel.listed, checked_at=self._time(real.bloctel.checked_at, real))
        if real.contract is not None:
            made["contract"] = _present(
                holder=None if real.contract.holder is None else self._party(real.contract.holder, 0),
                status=real.contract.status,
                object=None if real.contract.object is None else self._word(real.contract.object),
                ends_at=self._time(real.contract.ends_at, real),
            )
        if real.inbound_request is not None:
            request = real.inbound_request
            made["inbound_request"] = _present(
                at=self._time(request.at, real),
                partner_ids=[self._party(party, number) for number, party in enumerate(request.partner_ids)],
                object=None if request.object is None else self._word(request.object),
                proof_id=None if request.proof_id is None else f"{INVENTED}proof-{self._made}",
                proof_kept_until=self._time(request.proof_kept_until, real),
            )
        return _present(**made)

    def _party(self, party: str, number: int) -> str:
        return party if party in self._parties else f"invented-party-{number}"

    def _word(self, word: str) -> str:
        return word if word in self._words else "invented"

    def _notice(self, version: str | None) -> str | None:
        return version if version is None or version in self._notices else "invented"

    def _time(self, time: dt.datetime | None, real: Transfer) -> dt.datetime | None:
        """As many whole days from now as `time` was from the request: its hour would tell people apart."""
        return None if time is None else self._now + round((time - real.requested_at) / _DAY) * _DAY

    def _attributes_like(self, attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
        return {
            name if name in self._attributes else f"invented_{number}": _value_like(value)
            for number, (name, value) in enumerate(attributes.items())
        }


def _value_like(value: AttributeValue) -> AttributeValue:
    if isinstance(value, bool):
        return False
    return "x" * len(value) if isinstance(value, str) else 0


def _birth_date(person: int) -> dt.date:
    first, years = _ADULTS
    return dt.date(first + person * _STEP % years, 1 + person % 12, 1 + person % 28)


def _contact(real: Contact, person: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if real.email is not None:
        mailbox = f"person-{person}"
        padding = max(0, min(len(real.email.value) - len("@example.org"), _LONGEST_MAILBOX) - len(mailbox))
        made["email"] = _present(value=f"{mailbox}{'x' * padding}@example.org", type=real.email.type)
    if real.phone is not None:
        made["phone"] = _present(value=f"+3363998{person % 10_000:04d}", type=real.phone.type)
    if real.postal is not None:
        postal = real.postal
        made["postal"] = _present(
            lines=[SPECIMEN, *("x" * max(1, len(line)) for line in postal.lines[1:])],
            postal_code=None if postal.postal_code is None else "00000",
            city=None if postal.city is None else "x" * max(1, len(postal.city)),
            country=postal.country,
        )
    return made


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
