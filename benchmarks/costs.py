"""What an event of the sample costs inside a round, without Kafka, and where it goes: python -m benchmarks.costs

Every figure is the best of several passes over the same transfers, so that neighbours on the machine count little.
The stages are run one after the other over everything, with cold caches: their sum is more than the whole.
"""

import datetime as dt
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiokafka.structs import ConsumerRecord

from benchmarks.clients import lines
from benchmarks.events import sampled
from transfer_gate.gate.decider import RecordDecision
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.keys import Keys
from transfer_gate.gate.outputs import Output, Outputs
from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.recalls import Recalls
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.gate.worker import GC_THRESHOLDS
from transfer_gate.kafka.batches import Batches
from transfer_gate.model.state import ProspectState
from transfer_gate.model.topics import Topics
from transfer_gate.policy.decide import decide
from transfer_gate.policy.written import is_compiled
from transfer_gate.records.input_json import UnreadableRecord
from transfer_gate.records.sealing import UNSEALED
from transfer_gate.records.state import decode_state
from transfer_gate.records.transfers import decode_transfer
from transfer_gate.registry import load_registry

PROSPECTS: Final = 20_000
TRANSFERS: Final = 40_000
ROUND: Final = 2000
PASSES: Final = 5


def microseconds(work: Callable[[], object], events: int) -> float:
    """The best pass, per event."""
    best = float("inf")
    for _ in range(PASSES):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best / events * 1e6


def _records(path: Path, topic: str) -> list[Record]:
    return [
        ConsumerRecord(topic, 0, offset, 0, 0, key, value, None, len(key), len(value), ())
        for offset, (key, value) in enumerate(lines.read(path))
    ]


def _readable(record: Record) -> bool:
    try:
        decode_transfer(record.value)
    except UnreadableRecord:
        return False
    return True


def _bytes_of(batches: Batches) -> list[bytes]:
    return [bytes(builder.build()) for built in batches.close().values() for builder, _ in built]


def main() -> None:
    """Measure and print."""
    gc.set_threshold(*GC_THRESHOLDS)
    now = dt.datetime.now(dt.UTC)
    with tempfile.TemporaryDirectory() as name:
        events = sampled(Path(name), PROSPECTS, TRANSFERS)
        book = Rulebook.of(Topics(), load_registry(events.registry))
        consents = _records(events.consents, book.consents)
        transfers = list(filter(_readable, _records(events.transfers, book.transfers)))
    tables, position = Tables(MemorySlice(), MemorySlice()), len(consents)
    folding = Round(book, tables, 0, now)
    folding.fold(consents)
    folding.close()
    tables.consent.update(folding.changes, position)

    def whole() -> None:
        for start in range(0, len(transfers), ROUND):
            work = Round(book, tables, 0, now)
            work.decide(transfers[start : start + ROUND], position)
            work.close()
            _bytes_of(work.batches)

    decoded = [decode_transfer(record.value) for record in transfers]
    states = [decode_state(tables.consent.get(record.key or b"")) for record in transfers]
    decided = [
        RecordDecision("policy", transfer, decide(transfer, state, book.registry, now))
        for transfer, state in zip(decoded, states, strict=True)
    ]
    keys, recalls = Keys(UNSEALED, Overlay(tables.consent), now.date()), Recalls(book, tables.consent, now)
    outputs = Outputs(book, now, keys, recalls)
    laid_out = [outputs.of(each, record, position) for each, record in zip(decided, transfers, strict=True)]

    def packed() -> Batches:
        batches = Batches(0, 0)
        for records in laid_out:
            for record in records:
                batches.add(*record)
        return batches

    def looked_up() -> list[ProspectState]:
        return [decode_state(tables.consent.get(record.key or b"")) for record in transfers]

    def encoded() -> list[list[Output]]:
        return [outputs.of(each, record, position) for each, record in zip(decided, transfers, strict=True)]

    stages: dict[str, Callable[[], object]] = {
        "decode the transfer": lambda: [decode_transfer(record.value) for record in transfers],
        "find and decode the state": looked_up,
        "decide": lambda: [decide(t, s, book.registry, now) for t, s in zip(decoded, states, strict=True)],
        "lay out and encode outputs": encoded,
        "pack them into batches": packed,
        "the same, closed with CRC": lambda: _bytes_of(packed()),
    }
    partners = sum(len(transfer.partner_ids) for transfer in decoded) / len(decoded)
    print(f"{'compiled' if is_compiled() else 'interpreted'}, {partners:.2f} partners an event")
    print(f"{'a round of ' + format(ROUND, ','):<28}{microseconds(whole, len(transfers)):8.1f} µs an event")
    for title, stage in stages.items():
        print(f"  {title:<26}{microseconds(stage, len(transfers)):8.1f}")


if __name__ == "__main__":
    main()
