"""What is about to be sent of a person."""

from collections.abc import Sequence

from msgspec import Struct

from transfer_gate.model.terms import Channel
from transfer_gate.model.transfer import AttributeValue, Contact
from transfer_gate.policy.view import NoticeFile


class Payload(Struct, frozen=True, gc=False):
    """What is about to be sent of the person over the released channels, and the notices of all these."""

    channels: Sequence[Channel]
    notices: Sequence[NoticeFile | None]
    contact: Contact
    attributes: dict[str, AttributeValue]
