"""A request to hand one prospect to one or more partners (contract section 2).

Only the fields that the contract marks as required are required here, and a contact point must hold its value. Any
other member may be absent or null: the rules that need it fail (rules.md 1.2). Unknown fields are ignored and never
forwarded. Patterns and what types can't say are held by `records.forms`, whenever a transfer is decoded.
"""

import datetime as dt
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from transfer_gate.model.terms import Channel, Identifier, Instant, PartyId, Token

SubjectKind = Literal["consumer", "professional", "legal_person"]
Country = Annotated[str, Meta(description="ISO 3166-1 alpha-2.", extra_json_schema={"pattern": "^[A-Z]{2}$"})]
AttributeValue = str | bool | int | float


class LastActiveContact(Struct, frozen=True, gc=False, kw_only=True):
    """The last sign of life of the person; `open` and `delivery` don't prolong retention."""

    at: Instant | None = None
    type: Literal["click", "reply", "order", "login", "inbound_call", "form", "open", "delivery"] | None = None
    measured_with_consent: bool | None = None


class Subject(Struct, frozen=True, gc=False, kw_only=True):
    """Who the prospect is."""

    kind: SubjectKind | None = None
    birth_date: dt.date | None = None
    country: Country | None = None
    job: Token | None = None


class EmailPoint(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An e-mail address (RFC 5321 form, checked only as far as routing by domain needs)."""

    value: Annotated[str, Meta(max_length=320, extra_json_schema={"pattern": r"^[^@\s]+@[^@\s]+$"})]
    type: Literal["personal", "professional", "role"] | None = None


class PhonePoint(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A telephone number in E.164."""

    value: Annotated[str, Meta(extra_json_schema={"pattern": r"^\+[1-9][0-9]{1,14}$"})]
    type: Literal["mobile", "landline", "professional"] | None = None


class PostalPoint(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A postal address."""

    lines: Annotated[tuple[str, ...], Meta(min_length=1)]
    postal_code: str | None = None
    city: str | None = None
    country: Country | None = None


class Contact(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The points at which the person can be reached."""

    email: EmailPoint | None = None
    phone: PhonePoint | None = None
    postal: PostalPoint | None = None


class Source(Struct, frozen=True, gc=False, kw_only=True):
    """How the data came to the sender; `chain` starts with the collector."""

    role: Literal["primary_collector", "reseller"] | None = None
    chain: tuple[PartyId, ...] = ()


class Bloctel(Struct, frozen=True, gc=False, kw_only=True):
    """Result of the last check against the Bloctel opposition list (abolished on 2026-08-11)."""

    listed: bool | None = None
    checked_at: Instant | None = None


class Contract(Struct, frozen=True, gc=False, kw_only=True):
    """A contract of the prospect with a party."""

    holder: PartyId | None = None
    status: Literal["ongoing", "ended"] | None = None
    object: Token | None = None
    ends_at: Instant | None = None


class InboundRequest(Struct, frozen=True, gc=False, kw_only=True):
    """The prospect asked these partners to call back about this category."""

    at: Instant | None = None
    partner_ids: tuple[PartyId, ...] = ()
    object: Token | None = None
    proof_id: Identifier | None = None
    proof_kept_until: Instant | None = None


class Transfer(Struct, frozen=True, gc=False, kw_only=True):
    """One request to hand a prospect to one or more partners."""

    event_id: Identifier
    requested_at: Instant
    prospect_id: Identifier
    partner_ids: Annotated[
        tuple[PartyId, ...], Meta(min_length=1, max_length=50, extra_json_schema={"uniqueItems": True})
    ]
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1, extra_json_schema={"uniqueItems": True})]
    purpose: Token
    offer_category: Token | None = None
    use_until: Instant | None = None
    notice_version: Identifier | None = None
    collected_at: Instant | None = None
    last_active_contact: LastActiveContact | None = None
    subject: Subject | None = None
    contact: Contact | None = None
    attributes: dict[str, AttributeValue] | None = None
    source: Source | None = None
    source_restricted: bool | None = None
    partner_roles: dict[str, Literal["controller", "processor"]] | None = None
    bloctel: Bloctel | None = None
    contract: Contract | None = None
    inbound_request: InboundRequest | None = None


# The marked space of invented people, the only ones that a partner on rehearsal receives: this is the one place that
# says what the mark is. A prospect is invented when the `prospect_id` begins with `INVENTED` and every contact point of
# the transfer is reserved: an address in a domain for documentation (RFC 2606, RFC 6761), a number for fiction (Arcep,
# decision 2018-0881), a postal address whose first line is `SPECIMEN`. The points are looked at, too, because a real
# person under a marked id must not go out.

#: What the id of every invented prospect begins with; upper and lower case differ.
INVENTED: Final = "tg-invented-"
#: First line of the postal address of an invented prospect.
SPECIMEN: Final = "SPECIMEN"
DOMAINS: Final = frozenset({"example.org", "example.com", "example.net"})
TOP_LEVEL: Final = (".example", ".test", ".invalid")
#: Mobile and land-line numbers for audiovisual works, without their last four digits.
NUMBERS: Final = ("+3363998", "+3319900", "+3326191", "+3335301", "+3346571", "+3353649")
_DIGITS: Final = len("+33639980000")


def is_invented(transfer: Transfer) -> bool:
    """Whether the transfer is about an invented person, by its id and all its contact points."""
    contact = transfer.contact
    if not transfer.prospect_id.startswith(INVENTED):
        return False
    if contact is None:
        return True
    return (
        (contact.email is None or is_reserved_address(contact.email.value))
        and (contact.phone is None or is_reserved_number(contact.phone.value))
        and (contact.postal is None or contact.postal.lines[0] == SPECIMEN)
    )


def is_reserved_address(address: str) -> bool:
    """Whether the domain of an e-mail address is reserved, so that no mail to it arrives."""
    domain = address.rpartition("@")[2].lower()
    return domain in DOMAINS or domain.endswith(TOP_LEVEL)


def is_reserved_number(number: str) -> bool:
    """Whether a number in E.164 is reserved for fiction."""
    return len(number) == _DIGITS and number.startswith(NUMBERS)
