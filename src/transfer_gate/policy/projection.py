"""What may travel: only the points of released channels, only declared and allowed attributes (rules.md section 5)."""

from collections.abc import Sequence
from typing import Final

from transfer_gate.model.terms import Channel
from transfer_gate.model.transfer import AttributeValue, Contact
from transfer_gate.policy.facts import Facts, Payload
from transfer_gate.policy.view import NoticeFile

_NONE: Final[dict[str, AttributeValue]] = {}


def project(f: Facts, channels: Sequence[Channel], notices: Sequence[NoticeFile | None]) -> Payload:
    """The part of the transfer that the partner may have over these channels; `notices` holds the n of every one of
    them."""
    names = f.partner.forwardable if f.partner is not None else frozenset()
    for notice in notices:
        names = names & notice.attributes if notice is not None else frozenset()
    attributes = {name: value for name, value in (f.event.attributes or _NONE).items() if name in names}
    email = phone = postal = None
    for channel in channels:
        if channel == "email":
            email = f.contact.email
        elif channel == "postal":
            postal = f.contact.postal
        else:
            phone = f.contact.phone
    return Payload(channels, notices, Contact(email=email, phone=phone, postal=postal), attributes)


def is_projection(f: Facts) -> bool:
    """Whether the record about to be sent is what section 5 allows, and nothing more; true when nothing is.

    Written as the text says it and apart from `project`, whose defects it is there to catch.
    """
    sent = f.payload
    if sent is None:
        return True
    contact, channels = f.contact, sent.channels
    texts_or_calls = "sms" in channels or "automated_call" in channels or "live_call" in channels
    if (
        sent.contact.email is not (contact.email if "email" in channels else None)
        or sent.contact.phone is not (contact.phone if texts_or_calls else None)
        or sent.contact.postal is not (contact.postal if "postal" in channels else None)
    ):
        return False
    allowed = {}
    for name, value in (f.event.attributes or _NONE).items():
        if f.partner is not None and name in f.partner.fields and name in f.view.known_attributes:
            for notice in sent.notices:
                if notice is None or name not in notice.attributes:
                    break
            else:
                allowed[name] = value
    return sent.attributes == allowed
