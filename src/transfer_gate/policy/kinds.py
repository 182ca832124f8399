"""What the person is on a channel, and on which legal basis that channel may be used (rules.md 1.5)."""

from collections.abc import Set as AbstractSet
from typing import Final, Literal

from transfer_gate.model.addresses import canonical_domain
from transfer_gate.model.terms import CHANNELS, Channel
from transfer_gate.model.transfer import Contact, Subject, SubjectKind

Basis = Literal["consent", "legitimate_interest", "request", "none"]

#: Basis by kind and channel; None for a live call to a consumer, whose basis hangs on more than that.
BASIS: Final[dict[tuple[SubjectKind, Channel], Basis | None]] = {
    **{("consumer", channel): "consent" for channel in CHANNELS},
    ("consumer", "live_call"): None,
    ("consumer", "postal"): "legitimate_interest",
    **{("professional", channel): "legitimate_interest" for channel in CHANNELS},
    **{("legal_person", channel): "none" for channel in CHANNELS},
}


def is_consumer(subject: Subject, contact: Contact, free_mail_domains: AbstractSet[str]) -> bool:
    """Whether the person is a consumer on every channel: said to be one, or not said to be anything, or has a free-mail
    address, whatever is said."""
    if subject.kind is None or subject.kind == "consumer":
        return True
    if contact.email is None:
        return False
    domain = canonical_domain(contact.email.value.rpartition("@")[2])
    return domain is None or domain in free_mail_domains


def kind_on(channel: Channel, subject: Subject, contact: Contact) -> SubjectKind:
    """The kind on a channel of a person who is not a consumer everywhere: a personal address or number makes one."""
    kind = subject.kind or "consumer"
    if channel == "postal":
        return kind
    if channel == "email":
        address = contact.email.type if contact.email else None
        if kind == "legal_person" and address == "role":
            return "legal_person"
        return "professional" if address in ("professional", "role") else "consumer"
    number = contact.phone.type if contact.phone else None
    if kind == "legal_person" and number in ("professional", "landline"):
        return "legal_person"
    return "professional" if number == "professional" else "consumer"
