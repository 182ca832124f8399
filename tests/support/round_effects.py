"""One stream partition without Faust and without a broker: what a round does to the world is recorded, in order.

Everything between the inboxes and the writer is the real thing. An effect is one line of text, so that a test shows the
whole list of a round.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord

from tests.support.events import CHANNELS, Events
from tests.support.registry import write_registry
from transfer_gate.gate import partition as partition_module
from transfer_gate.gate.inbox import Fetched, Offsets, Record
from transfer_gate.gate.integrity.logs import Watermark
from transfer_gate.gate.monitoring import Meter
from transfer_gate.gate.partition import Partition, Shared, Writer
from transfer_gate.gate.round import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.produce import Place, Written
from transfer_gate.model.topics import Topics
from transfer_gate.records.commit_notes import CommitNote
from transfer_gate.records.decisions import DecisionRecord
from transfer_gate.records.ledger import decode_entry
from transfer_gate.records.partitioner import ANYWHERE, Placement
from transfer_gate.records.quarantined import decode_quarantined
from transfer_gate.records.released import ReleasedRecord
from transfer_gate.records.state import prospect_of
from transfer_gate.records.suppressions import SuppressionRecord
from transfer_gate.registry import load_registry

NOW: Final = dt.datetime(2026, 11, 24, 9, tzinfo=dt.UTC)
_NOW_MS: Final = int(NOW.timestamp() * 1000)
#: key, value, headers
Sending = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


class Effects(list[str]):
    """Lines about what happened, in order; `name` shortens the topics of an installation."""

    def __init__(self, book: Rulebook) -> None:
        super().__init__()
        self.book = book
        self._names = {
            getattr(book, name): name
            for name in ("consents", "transfers", "replay", "strays", "quarantine", "decisions", "changelog", "ledger")
        }
        self._names |= {topic: f"partner.{party}" for party, topic in book.partner_topics.items()}
        self._names |= {topic: f"suppressions.{party}" for party, topic in book.suppression_topics.items()}

    def name(self, topic: str) -> str:
        """`partner.acme`, `changelog`, … whatever the prefix and the app id."""
        return self._names[topic]

    def produced(self, topic: str, partition: int, record: Any) -> None:
        """A record of a transaction: topic, key, what it is."""
        name = self.name(topic)
        place = name if not partition else f"{name}/{partition}"
        of = prospect_of(record.key or b"")
        key = "" if record.key is None or name == "ledger" else (of or record.key).decode() + " "
        self.append(f"produce {place} {key}{_what(name, record) if of is None else 'served'}")

    def committing(self, offsets: Mapping[str, int], note: str) -> None:
        """Offsets of a transaction, and the note that stands beside each."""
        noted = dict(part.split("=") for part in note.split())
        reached = " ".join(
            f"{self.name(topic)}={end}" for topic, end in offsets.items() if self.name(topic) != "ledger"
        )
        self.append(f"note {reached}; changelog={noted['changelog']} ledger={noted['ledger']}")


def _what(name: str, record: Any) -> str:
    if record.value is None:
        return "removed" if name == "changelog" else "no value"
    if name.startswith("partner."):
        return " ".join(msgspec.json.decode(record.value, type=ReleasedRecord).channels)
    if name.startswith("suppressions."):
        notice = msgspec.json.decode(record.value, type=SuppressionRecord)
        stopped = [f"{each.cause} {' '.join(each.channels)}".strip() for each in notice.stopped]
        return f"version {notice.version}: " + (", ".join(stopped) or "nothing stopped")
    if name == "decisions":
        decided = msgspec.json.decode(record.value, type=DecisionRecord)
        held = [f"{channel}:{reasons[0]}" for channel, reasons in decided.quarantined.items()]
        return f"attempt {decided.attempt}: " + " ".join([*decided.released, *held])
    if name == "quarantine":
        found = decode_quarantined(record.headers)
        return f"{found.stage}: {found.reason}"
    if name == "ledger":
        entry = decode_entry(record.value)
        return f"{entry.state} at {entry.attempt}"
    return "state" if name == "changelog" else "event"


class Clock:
    """Stands still until it is set; UTC."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self.now = NOW

    def __call__(self) -> dt.datetime:
        self._effects.append("clock")
        return self.now


class SettableWatermark:
    """High watermarks of consents and strays that a test sets. `fails` is raised instead of an answer."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self.consents = self.strays = 0
        self.first = 0
        self.fails: Exception | None = None

    async def ends(self, _partition: int) -> tuple[int, ...]:
        self._effects.append("watermark")
        if self.fails is not None:
            raise self.fails
        return self.consents, self.strays

    async def begin(self, _partition: int) -> tuple[int, ...]:
        self._effects.append("beginning")
        return self.first, 0


class RecordingWriter:
    """In the place of TransactionalWriter: keeps the log ends as a broker does, marker after every transaction.

    `fails` maps a step, `produce` or `commit`, to what is raised instead of doing it.
    """

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        #: Offset after the last record or marker, by topic.
        self.ends: dict[str, int] = {}
        #: Of the transaction that is open.
        self._open: list[Record] = []
        self.fails: dict[str, Exception] = {}
        #: Of committed transactions.
        self.written: list[Record] = []
        self.offsets: dict[str, int] = {}

    async def produce(self, batches: Batches, *elsewhere: Batches) -> Mapping[Place, Written]:
        if "produce" in self.fails:
            raise self.fails["produce"]
        self._open = []
        found: dict[Place, Written] = {}
        for part in (batches, *elsewhere):
            for topic, record in _records_of(part):
                place = topic, part.partition
                first = self.ends.get(topic, 0)
                begin, end = found.get(place, (first, first))
                found[place] = Written(begin, end + 1)
                self._open.append(_as_consumed(topic, part.partition, end, record))
                self._effects.produced(topic, part.partition, record)
        return found

    async def commit(self, partition: int, offsets: Mapping[str, int], note: str) -> None:
        assert partition == 0
        self._effects.committing(offsets, note)
        if "commit" in self.fails:
            raise self.fails["commit"]
        self._effects.append("commit")
        self.ends |= {record.topic: record.offset + 2 for record in self._open}
        self.written += self._open
        self.offsets |= {topic: end for topic, end in offsets.items() if self._effects.name(topic) != "ledger"}


def _records_of(batches: Batches) -> Iterator[tuple[str, Any]]:
    for topic, built in batches.close().items():
        for builder, _ in built:
            builder.set_producer_state(0, 0, 0)
            for record in records_in(builder.build()):
                yield topic, record


def records_in(data: bytes | bytearray) -> Iterator[Any]:
    """Records of a record batch (magic 2), as it goes to a broker."""
    batches = MemoryRecords(bytes(data))
    while (batch := batches.next_batch()) is not None:
        yield from batch


def _as_consumed(topic: str, partition: int, offset: int, record: Any) -> Record:
    key, value = record.key, record.value
    return ConsumerRecord(
        topic, partition, offset, record.timestamp, 0, key, value, None,
        -1 if key is None else len(key), -1 if value is None else len(value), tuple(record.headers),
    )  # fmt: skip


class RecordingSlice(MemorySlice):
    """A table that records its changes. `fails` is raised by every read."""

    __slots__ = ("_effects", "_name", "fails")

    def __init__(self, effects: Effects, name: str) -> None:
        super().__init__()
        self._effects = effects
        self._name = name
        self.fails: Exception | None = None

    def get(self, key: bytes) -> bytes | None:
        if self.fails is not None:
            raise self.fails
        return super().get(key)

    def update(self, changes: Mapping[bytes, bytes | None], position: int) -> None:
        super().update(changes, position)
        self._effects.append(f"table {self._name} up to {position}")

    @property
    def content(self) -> tuple[int, dict[bytes, bytes]]:
        """Position and states."""
        return self.position, dict(self.items())


class RecordingMeter(Meter):
    """Counts, and records that it does."""

    def __init__(self, book: Rulebook, effects: Effects) -> None:
        super().__init__(book)
        self._effects = effects

    def round(self, *given: Any) -> None:
        super().round(*given)
        self._effects.append("counted")


class RecordedRound:
    """A real round whose steps are recorded. It is wrapped, because a compiled class can't be inherited from."""

    def __init__(self, work: Round, effects: Effects) -> None:
        self._work = work
        self._effects = effects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def fold(self, records: Sequence[Record]) -> int:
        return self._folded(records, self._work.fold)

    def fold_strays(self, records: Sequence[Record]) -> int:
        return self._folded(records, self._work.fold_strays)

    def _folded(self, records: Sequence[Record], fold: Callable[[Sequence[Record]], int]) -> int:
        done = len(records)
        try:
            done = fold(records)
        finally:
            self._did("fold", records[:done])  # also where it fails
        return done

    def decide(self, records: Sequence[Record], position: int) -> int:
        done = self._work.decide(records, position)
        self._did("decide", records[:done], position)
        return done

    def replay(self, records: Sequence[Record], position: int) -> int:
        done = self._work.replay(records, position)
        self._did("decide", records[:done], position)
        return done

    def _did(self, verb: str, records: Sequence[Record], position: int | None = None) -> None:
        if records:
            offsets = " ".join(str(record.offset) for record in records)
            known = "" if position is None else f" knowing consents below {position}"
            self._effects.append(f"{verb} {self._effects.name(records[0].topic)} {offsets}{known}")


class Heart:
    """A partition of which every effect is recorded. It has fetched both consent topics up to their end: nothing."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        book: Rulebook,
        *,
        round_records: int = 100,
        writer: Writer | None = None,
        watermark: Watermark | None = None,
        effects: Effects | None = None,
        first: bool = False,
    ) -> None:
        self.book = book
        self._first = first
        self.effects = Effects(book) if effects is None else effects
        self.events = Events(NOW)
        self.clock = Clock(self.effects)
        self.recorder = RecordingWriter(self.effects)
        self.watermark = SettableWatermark(self.effects)
        self._writer: Writer = self.recorder if writer is None else writer
        self._watermark: Watermark = self.watermark if watermark is None else watermark
        self.consent_table = RecordingSlice(self.effects, "consent")
        self.ledger_table = RecordingSlice(self.effects, "ledger")
        self._ends: dict[str, int] = {}
        self.shared = Shared(
            book=book,
            watermark=self._watermark,
            meter=RecordingMeter(book, self.effects),
            round_records=round_records,
            inbox_records=1000,
            clock=self.clock,
            timer=lambda: 0.0,  # no round takes long, however slow the machine is
        )
        #: How much of a round its owners take.
        self.share = self.shared.memory.share(0)
        monkeypatch.setattr(partition_module, "Round", self._new_round)
        self.partition = self.take_over()

    def take_over(self, committed: Mapping[str, int] | None = None) -> Partition:
        """A new owner of the same tables, from these committed offsets."""
        self.partition = Partition(
            0,
            self.shared,
            Tables(self.consent_table, self.ledger_table),
            self._writer,
            Offsets.of(self.book, committed or {}),
            CommitNote("a-life"),
            first=self._first,
        )
        return self.partition

    def _new_round(self, *given: Any, **more: Any) -> RecordedRound:
        return RecordedRound(Round(*given, **more), self.effects)

    async def begin(self) -> "Heart":
        """Fetch both consent topics, in which nothing stands."""
        self.pass_markers(self.book.consents, 0)
        self.pass_markers(self.book.strays, 0)
        await self.partition.work()
        self.effects.clear()
        return self

    def acknowledge(self, topic: str, *sent: Sending) -> list[Record]:
        """Records as the broker holds them, at the end of an input topic; those of consents raise the watermark."""
        records = []
        for key, value, headers in sent:
            offset = self._ends.get(topic, 0)
            self._ends[topic] = offset + 1
            records.append(
                ConsumerRecord(
                    topic, 0, offset, _NOW_MS, 0, key, value, None,
                    -1 if key is None else len(key), -1 if value is None else len(value), tuple(headers),
                )
            )  # fmt: skip
        self.watermark.consents = max(self.watermark.consents, self._ends.get(self.book.consents, 0))
        self.watermark.strays = max(self.watermark.strays, self._ends.get(self.book.strays, 0))
        return records

    def fetch(self, records: Sequence[Record]) -> None:
        """Give the partition records that were acknowledged."""
        self.partition.receive(records[0].topic, Fetched.of(records, records[-1].offset + 1))

    def pass_markers(self, topic: str, end: int) -> None:
        """Fetch of an input topic up to `end`, where no record stands."""
        self.partition.receive(topic, Fetched.of([], end))

    def bring(self, topic: str, *sent: Sending) -> None:
        """Acknowledge and fetch."""
        self.fetch(self.acknowledge(topic, *sent))

    def consent(self, prospect: str) -> Sending:
        """Lets e-mail and SMS of this prospect go to every partner."""
        return prospect.encode(), self.events.consent(prospect, f"c-{prospect}"), ()

    def withdrawal(self, prospect: str, at: dt.datetime = NOW) -> Sending:
        """Ends it."""
        return prospect.encode(), Events(at).against("withdrawal", prospect, f"w-{prospect}"), ()

    def objection(self, prospect: str) -> Sending:
        """Forbids every use."""
        return prospect.encode(), self.events.against("objection", prospect, f"o-{prospect}"), ()

    def erasure(self, prospect: str, at: dt.datetime = NOW) -> Sending:
        """Forbids every use, and asks for the data to be erased."""
        return prospect.encode(), Events(at).against("erasure", prospect, f"e-{prospect}"), ()

    def consent_again(self, prospect: str) -> Sending:
        """A new act, of now."""
        later = Events(NOW + dt.timedelta(days=30))
        return prospect.encode(), later.consent(prospect, f"c2-{prospect}", record_id="r-2"), ()

    def transfer(
        self,
        prospect: str,
        event_id: str = "t",
        partners: Sequence[str] = ("acme",),
        channels: Sequence[str] = CHANNELS,
    ) -> Sending:
        """A request that only a consent releases."""
        return prospect.encode(), self.events.transfer(prospect, event_id, partners, channels), ()

    def back(self, number: int = -1, run: str = "run-1", *, action: str = "replay") -> Sending:
        """The n-th quarantined record, as `replay run` sends it back."""
        held = [record for record in self.recorder.written if record.topic == self.book.quarantine][number]
        headers = [*held.headers, ("tg-replay-run", run.encode()), ("tg-replay-action", action.encode())]
        return held.key, held.value, headers

    async def round(self) -> list[str]:
        """Work until there is only to wait; returns, and forgets, the effects."""
        await self.partition.work()
        effects = list(self.effects)
        self.effects.clear()
        return effects


def book_of(folder: Path, topics: Topics | None = None, placement: Placement = ANYWHERE) -> Rulebook:
    """Three active partners as of NOW."""
    return Rulebook.of(topics or Topics(), load_registry(write_registry(folder, NOW)), placement)
