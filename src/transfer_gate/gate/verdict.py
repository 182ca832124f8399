"""What is to become of an input record, before it is laid out as outputs."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.reasons import Reason
from transfer_gate.model.transfer import Transfer
from transfer_gate.records import headers


class Verdict(Struct, frozen=True, gc=False):
    """What is to become of an input record: `decisions` about its `transfer`, or one `reason` to hold it whole."""

    stage: headers.Stage
    transfer: Transfer | None = None
    decisions: Sequence[PartnerDecision] = ()
    reason: Reason = "undecodable"


class Again(Struct, frozen=True, gc=False):
    """What a fresh decision about a quarantined record goes on from: `attempt` is the new one, from 2;
    `topic_id`, of the topic in which it stood at first, where that was not the first of its name.
    """

    attempt: int = 1
    first_quarantined_at: str | None = None
    run: str | None = None
    topic_id: str | None = None


FIRST: Final = Again()
