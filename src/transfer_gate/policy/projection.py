"""What may travel: only the points of released channels, only declared and allowed attributes (rules.md section 5)."""

from collections.abc import Sequence
from typing import Final

from transfer_gate.model.terms import Channel
from transfer_gate.model.transfer import AttributeValue, Contact
from transfer_gate.policy.facts import Facts
from transfer_gate.policy.payload import Payload
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
