"""What the gate would decide about quarantined records now: the gate's own round, whose output nobody writes."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from transfer_gate.gate.inbox import Record
from transfer_gate.gate.originals import NOTHING_FOUND, Found
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.records.ledger import LedgerEntry, decode_entry, encode_entry
from transfer_gate.records.quarantined import Held, held_of
from transfer_gate.records.sealing import Sealing
from transfer_gate.replay.plan import Move
from transfer_gate.replay.results import Result, result_of

#: In a forecast by channel: the payload is sealed, and there is no key for it here.
NOT_OPENABLE: Final = "not-openable"


class Forecaster:
    """Decides records of one partition, with the states of its prospects as of `at` (UTC)."""

    def __init__(
        self, book: Rulebook, sealing: Sealing, partition: int, states: Mapping[bytes, bytes], at: dt.datetime
    ) -> None:
        self._book = book
        self._sealing = sealing
        self._partition = partition
        self._at = at
        self._states = MemorySlice()
        self._states.update(states, 0)
        #: (partner, reason of now, outcome) to number of channels.
        self.moves: Counter[tuple[str | None, str, str]] = Counter()

    def results(self, records: Sequence[Record], originals: Found = NOTHING_FOUND) -> list[Result]:
        """What each of some open records would come to; `originals`: of those by reference, by offset.

        Raises KeyMissing when the gate here could not seal.
        """
        held = [held_of(record.headers) for record in records]
        ledger = MemorySlice()
        ledger.update({one.quarantine_id.encode(): self._open(one.attempt) for one in held if one.attempt > 1}, 0)
        results: list[Result] = []
        while len(results) < len(records):  # a round takes as many as it may write
            work = Round(self._book, Tables(self._states, ledger), self._partition, self._at, self._sealing)
            work.bring(originals)
            done = len(results)
            count = work.replay(records[done:], 0)
            work.close()
            for one in held[done : done + count]:
                entry = work.ledger_changes.get(one.quarantine_id.encode())
                # Without an entry the gate would take it for no record of quarantine, and leave it open.
                result = Result("refused") if entry is None else result_of(decode_entry(entry))
                self.moves.update(_moves(one, result))
                results.append(result)
        return results

    def _open(self, attempt: int) -> bytes:
        return encode_entry(LedgerEntry(state="open", attempt=attempt, at=self._at))


def moves_of(counted: Counter[tuple[str | None, str, str]]) -> tuple[Move, ...]:
    """The forecast by partner and reason, the largest first."""
    return tuple(
        Move(partner_id=partner, reason=reason, outcome=outcome, channels=channels)
        for (partner, reason, outcome), channels in sorted(counted.items(), key=lambda one: (-one[1], str(one[0])))
    )


def _moves(held: Held, result: Result) -> list[tuple[str | None, str, str]]:
    whole = "split" if result.outcome == "split" else "released"
    if result.outcome in ("erased", "refused"):
        whole = NOT_OPENABLE if result.outcome == "refused" and held.encryption is not None else result.outcome
        return [(held.partner_id, reasons[0], whole) for reasons in held.reasons.values()]
    return [
        (held.partner_id, reasons[0], result.quarantined[channel][0] if channel in result.quarantined else whole)
        for channel, reasons in held.reasons.items()
    ]
