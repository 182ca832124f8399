"""All partitions of an installation in one hand: fenced, with what the group has committed and what their logs hold."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import GateError, RefusedByGuard
from transfer_gate.gate.integrity.logs import require_same_log
from transfer_gate.gate.integrity.offsets import (
    lacking_offsets,
    offsets_lost,
    offsets_set,
    read_evidence,
    require_nothing_skipped,
)
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice, Tables, restore
from transfer_gate.kafka.coordinator import Committed, Fenced, RoundFailed
from transfer_gate.kafka.topic_watch import Identities, TopicWatch
from transfer_gate.kafka.transaction import TransactionalWriter
from transfer_gate.records.commit_notes import CommitNote, identity_after
from transfer_gate.records.state import STATE_FORMAT, format_too_new
from transfer_gate.settings import Settings


class Held(Struct):
    """One partition: its writer, its tables, what the group has committed of its inputs, and the note beside it.

    `noted` is False where the group never committed anything there.
    """

    number: int
    writer: TransactionalWriter
    tables: Tables
    committed: dict[str, int]
    note: CommitNote
    noted: bool


class AllPartitions:
    """Every partition of an installation, as a worker would own it: an earlier owner can't commit any more.

    An async context; the connections are closed at its end.
    """

    def __init__(self, settings: Settings, options: Mapping[str, Any], book: Rulebook, count: int) -> None:
        self.settings = settings
        self.options = options
        self.book = book
        self.held: dict[int, Held] = {}
        self._writers = {
            number: TransactionalWriter(
                options, f"{settings.app_id}-{number}", settings.app_id, settings.transaction_timeout_seconds
            )
            for number in range(count)
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers.values():
            await writer.close()

    async def fence(self) -> None:
        """Shut every worker out. Raises OffsetsLost where the brokers forgot the group, RoundFailed, AccessDenied."""
        book = self.book
        topics = book.outputs
        async with self._watch() as watch:
            identities = await watch.look()
            former = await watch.others(book.former_outputs, topics)
        # States of a partition go to the changelog of others, too.
        everywhere = (book.strays, book.changelog)
        await asyncio.gather(*(writer.fence(topics, everywhere, former) for writer in self._writers.values()))
        known = await self._writers[0].committed_anywhere()
        lacking = await lacking_offsets(self._writers[0], self.options, book, identities, known)
        if lacking:
            raise offsets_lost(book.transfers, min(lacking), lacking)

    async def read(self) -> None:
        """Read what is committed, and the tables. Call it after `fence`, and after the topics have their new count.

        Raises HistoryLost when a log is not the one that was committed to, OffsetMoved, StateTooNew.
        """
        async with self._watch() as watch:
            identities = await watch.look()
        ids = {topic: found.topic_id for topic, found in identities.items()}
        noted = self.book.noted
        known = await self._writers[0].committed_anywhere()
        evidence = await read_evidence(self.settings, self.options, identities, known, self._writers)
        found = await asyncio.gather(*(writer.committed(noted, number) for number, writer in self._writers.items()))
        for (number, writer), committed in zip(self._writers.items(), found, strict=True):
            note = evidence.note(number, committed)
            evidence.require(number, committed)
            committed.pop(self.book.ledger, None)
            if note.state_format > STATE_FORMAT:
                raise format_too_new(f"the group's note of partition {number}", note.state_format)
            self._require_same_logs(number, note, identities)
            moved = offsets_set(committed, note, ids)
            for topic in (self.book.consents, self.book.strays):
                require_nothing_skipped(topic, number, moved.get(topic))
            tables = Tables(MemorySlice(), MemorySlice())
            self.held[number] = Held(number, writer, tables, *_begun_anew(committed, note, ids), bool(committed))
        for topic, which in ((self.book.changelog, 0), (self.book.ledger, 1)):
            slices = {number: held.tables[which] for number, held in self.held.items()}
            reaches = {number: held.note.ledger if which else held.note.changelog for number, held in self.held.items()}
            await restore(self.options, topic, slices, reaches, rack=self.settings.client_rack)

    @asynccontextmanager
    async def _watch(self) -> AsyncIterator[TopicWatch]:
        book = self.book
        watch = TopicWatch(self.options, (*book.inputs, book.changelog, book.ledger))
        try:
            await watch.start()
            yield watch
        finally:
            await watch.close()

    def _require_same_logs(self, number: int, note: CommitNote, identities: Identities) -> None:
        for topic, reach in ((self.book.changelog, note.changelog), (self.book.ledger, note.ledger)):
            require_same_log(topic, number, note.topics.get(topic), identities[topic].topic_id, reach.end)


def _begun_anew(
    committed: Mapping[str, Committed], note: CommitNote, ids: Mapping[str, str]
) -> tuple[dict[str, int], CommitNote]:
    """Committed offsets and note, with an input topic that was made anew since at its beginning and in its next life,
    as a worker takes it over.
    """
    lives = {topic: identity_after(note.topics.get(topic), topic_id) for topic, topic_id in ids.items()}
    anew = {topic for topic, life in note.topics.items() if topic in lives and life.topic_id != lives[topic].topic_id}
    offsets = {topic: 0 if topic in anew else found.offset for topic, found in committed.items()}
    return offsets, replace(note, topics={**note.topics, **lives})


def in_words(error: RoundFailed) -> GateError:
    """What a user is told of a transaction that did not end in a commit."""
    if isinstance(error, Fenced):
        return RefusedByGuard(
            "a worker was started meanwhile, or another `topics grow`",
            do="stop it, and run this command again: it goes on where it stopped",
        )
    return GateError(f"the cluster did not take a transaction: {error}", do="run the command again: it goes on")
