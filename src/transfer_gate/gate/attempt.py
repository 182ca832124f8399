"""What is decided about an input record, and which of its decisions it is."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.reasons import Reason
from transfer_gate.model.transfer import Transfer
from transfer_gate.records import headers


class RecordDecision(Struct, frozen=True, gc=False):
    """What is to become of an input record: `decisions` about its `transfer`, or one `reason` to hold it whole."""

    stage: headers.Stage
    transfer: Transfer | None = None
    decisions: Sequence[PartnerDecision] = ()
    reason: Reason = "undecodable"


class Attempt(Struct, frozen=True, gc=False):
    """Which decision of a record this is, `number` from 1, and what a redecision of a quarantined record goes on from;
    `topic_id`, of the topic in which it stood at first, where that was not the first of its name.
    """

    number: int = 1
    first_quarantined_at: str | None = None
    run: str | None = None
    topic_id: str | None = None


FIRST_ATTEMPT: Final = Attempt()
