"""One round: fold consents, decide transfers, and lay out everything that the transaction will write. No I/O.

A round works on an overlay: the table itself changes only after the commit, so that a failed transaction leaves
no trace.
"""

import datetime as dt
import logging
from collections import Counter
from collections.abc import Sequence

from transfer_gate.model.decision import PartnerDecision
from transfer_gate.model.reasons import Reason
from transfer_gate.model.state import ProspectState
from transfer_gate.model.terms import Channel
from transfer_gate.model.transfer import Transfer
from transfer_gate.policy.decide import decide
from transfer_gate.policy.fold import fold, fold_unreadable
from transfer_gate.stream.batches import Batches
from transfer_gate.stream.inbox import Record
from transfer_gate.stream.outputs import Output, Outputs, Rulebook
from transfer_gate.stream.slices import Slice
from transfer_gate.wire.decode import SchemaInvalid, Undecodable, Unreadable, decode_consent, decode_transfer
from transfer_gate.wire.state import decode_state, encode_state

logger = logging.getLogger(__name__)

#: In the metric of rules that raised: the record could not be decided for a reason outside the rules.
OUTSIDE_RULES = "gate"


class Round:
    """What one transaction of one partition will write. `at` (UTC) is when the gate began to decide."""

    def __init__(self, book: Rulebook, table: Slice, partition: int, at: dt.datetime) -> None:
        self._book = book
        self._table = table
        self._at = at
        self._outputs = Outputs(book, at)
        self._states: dict[bytes, ProspectState] = {}
        self._changed: set[bytes] = set()
        self.changes: dict[bytes, bytes | None] = {}
        self.batches = Batches(partition, int(at.timestamp() * 1000))
        self.unreadable_consents = 0
        self.rule_errors: Counter[str] = Counter()

    @property
    def outcomes(self) -> Counter[tuple[str, str]]:
        """(party id or "", "released" or the first reason) to number of channels."""
        return self._outputs.outcomes

    def fold(self, records: Sequence[Record], position: int) -> None:
        """Apply consent events to the overlay; copy those that can't be read to quarantine (contract section 3)."""
        for record in records:
            key = record.key
            try:
                event = decode_consent(record.value, key)
            except Unreadable:
                self.unreadable_consents += 1
                if key is not None:
                    self._put(key, fold_unreadable(self._state(key), record.offset))
                self.batches.add(*self._outputs.of_unreadable_consent(record, position))
            else:
                about = event.prospect_id.encode()
                self._put(about, fold(self._state(about), event, record.offset))

    def decide(self, records: Sequence[Record], position: int) -> None:
        """Decide transfers with every consent event below `position` of the consent topic applied."""
        add = self.batches.add
        for record in records:
            try:
                outputs = self._decide(record, position)
            except Exception as error:  # noqa: BLE001 - a defect of ours must neither release, lose nor stop the stream
                logger.error(  # noqa: TRY400 - a traceback could show the record
                    "transfer at offset %d could not be decided: %s", record.offset, type(error).__name__
                )
                self.rule_errors[OUTSIDE_RULES] += 1
                outputs = self._outputs.of_whole(record, position, "policy", "rule-error")
            for output in outputs:
                add(*output)

    def close(self) -> None:
        """Add the changelog records of every state that changed."""
        for key in self._changed:
            value = encode_state(self._states[key])
            self.changes[key] = value
            self.batches.add(self._book.changelog, key, value)

    def _decide(self, record: Record, position: int) -> list[Output]:
        try:
            transfer = decode_transfer(record.value)
        except Undecodable:
            return self._outputs.of_whole(record, position, "decode", "undecodable")
        except SchemaInvalid:
            return self._outputs.of_whole(record, position, "schema", "schema-invalid")
        key = record.key
        if key is None or transfer.prospect_id.encode() != key:
            held = mismatched(transfer)
            return self._outputs.of_decisions(record, transfer, held, position, "schema")
        decisions = decide(transfer, self._state(key), self._book.registry, self._at)
        for decision in decisions:
            if decision.rule_errors:
                self.rule_errors.update(decision.rule_errors)
        return self._outputs.of_decisions(record, transfer, decisions, position)

    def _state(self, key: bytes) -> ProspectState:
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = decode_state(self._table.get(key))
        return state

    def _put(self, key: bytes, state: ProspectState) -> None:
        if state is not self._states[key]:
            self._states[key] = state
            self._changed.add(key)


def mismatched(transfer: Transfer) -> list[PartnerDecision]:
    """Verdict on a transfer whose key is not its prospect: it can't be joined, so nothing else is evaluated."""
    reasons: dict[Channel, tuple[Reason, ...]] = dict.fromkeys(transfer.channels, ("key-mismatch",))
    return [
        PartnerDecision(partner_id=partner, released=(), quarantined=reasons, release=None)
        for partner in transfer.partner_ids
    ]
