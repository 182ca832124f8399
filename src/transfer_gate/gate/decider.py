"""The decision on one input record: read, joined with the state of its prospect, decided. Total but for the table."""

import datetime as dt
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from transfer_gate.errors import GateError
from transfer_gate.gate.inbox import Record, place_of
from transfer_gate.gate.overlay import Overlay
from transfer_gate.kafka.sizes import unheld
from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.registry import Registry
from transfer_gate.model.terms import Channel, Reason
from transfer_gate.model.transfer import Transfer
from transfer_gate.observe.logs import summary
from transfer_gate.policy.decide import decide_by
from transfer_gate.policy.view import view_of
from transfer_gate.records.forms import is_unidentified
from transfer_gate.records.headers import Stage
from transfer_gate.records.partitioner import Placement
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer

logger = logging.getLogger(__name__)

#: In the metric of rules that raised: the record could not be decided for a reason outside the rules.
OUTSIDE_RULES: Final = "gate"


class Only(NamedTuple):
    """The part of a transfer that is quarantined: one partner, some channels."""

    partner_id: str
    channels: tuple[Channel, ...]


class RecordDecision(NamedTuple):
    """What is to become of an input record: `decisions` about its `transfer`, or one `reason` for quarantine."""

    stage: Stage
    transfer: Transfer | None = None
    decisions: Sequence[PartnerDecision] = ()
    reason: Reason = "undecodable"


class Decider:
    """Decides by one registry on the states of one round of a partition, at one time `at` (UTC)."""

    def __init__(
        self, registry: Registry, placement: Placement, states: Overlay, at: dt.datetime, partition: int
    ) -> None:
        self._placement = placement
        self._partition = partition
        self._view = view_of(registry)
        self._unidentified = self._view.nobody
        self._states = states
        self._at = at
        #: Rules that raised, or OUTSIDE_RULES, to number of times; for metrics.
        self.rule_errors: Counter[str] = Counter()

    def is_misplaced(self, key: bytes | None) -> bool:
        """Whether the prospect of this key is decided in another partition."""
        return self._placement.misplaced(key, self._partition)

    def decide(self, record: Record, only: Only | None = None) -> RecordDecision:
        """What is decided about an input record; `only` of one partner and some channels in a replay.

        Raises GateError when the table can't be read: that is no defect of the record's, and deciding has to wait.
        """
        try:
            return self._decide(record, only)
        except GateError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect must neither release, lose nor stop the stream
            logger.error(  # noqa: TRY400 - only a defect's kind is logged
                "a transfer could not be decided: it is held", extra=place_of(record) | {"error": summary(error)}
            )
            self.rule_errors[OUTSIDE_RULES] += 1
            return RecordDecision("policy", reason="rule-error")

    def _decide(self, record: Record, only: Only | None) -> RecordDecision:
        why = unheld(record)
        if why is not None:
            return RecordDecision("decode" if why == "undecodable" else "schema", reason=why)
        try:
            transfer = decode_transfer(record.value, record.headers)
        except Undecodable:
            return RecordDecision("decode", reason="undecodable")
        except SchemaInvalid:
            return RecordDecision("schema", reason="schema-invalid")
        if only is not None:
            transfer = replace(transfer, partner_ids=(only.partner_id,), channels=only.channels)
        key = record.key
        if key is None or transfer.prospect_id.encode() != key:
            return RecordDecision("schema", transfer, held_alone(transfer, "key-mismatch"))
        if self._placement.misplaced(key, self._partition):
            return RecordDecision("schema", transfer, held_alone(transfer, "key-misplaced"))
        if is_unidentified(transfer.prospect_id, self._unidentified):
            return RecordDecision("schema", transfer, held_alone(transfer, "prospect-unidentified"))
        decisions = decide_by(self._view, transfer, self._states.get(key), self._at)
        for decision in decisions:
            if decision.rule_errors:
                self.rule_errors.update(decision.rule_errors)
        return RecordDecision("policy", transfer, decisions)


def held_alone(transfer: Transfer, reason: Reason) -> list[PartnerDecision]:
    """Decisions about a transfer that can't be joined with its prospect, so that nothing else is evaluated."""
    reasons: dict[Channel, tuple[Reason, ...]] = dict.fromkeys(transfer.channels, (reason,))
    return [
        PartnerDecision(partner_id=partner, released=(), quarantined=reasons, release=None)
        for partner in transfer.partner_ids
    ]
