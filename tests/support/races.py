"""Races of a transfer against an event that forbids it, and what the gate's outputs say of who won."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from tests.support.clients import open_reader, places_of
from tests.support.events import AGAINST, CHANNELS, Against
from tests.support.registry import PARTNERS
from tests.support.workers import Installation


@dataclass(slots=True)
class Race:
    """A transfer of one prospect that was produced when `against` was acknowledged, at `offset` of the consent topic.

    Without `against` nothing forbids the transfer: it has to be released. `offset` is then that of whatever must
    not count, or -1.
    """

    prospect: str
    event_id: str
    against: Against | None
    offset: int = -1


@dataclass(slots=True)
class Outcome:
    """What the outputs say of one transfer."""

    decisions: int = 0
    released: tuple[str, ...] = ()
    reasons: set[str] = field(default_factory=set)
    #: Consent events below this offset were applied when it was decided.
    consent_offset: int = -1
    to_partner: int = 0
    to_quarantine: int = 0
    header_reasons: set[str] = field(default_factory=set)


class Observer:
    """Reads decisions, partner topics and quarantine as they are committed, and keeps what they say by event id."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}

    @asynccontextmanager
    async def watching(self, place: Installation) -> AsyncIterator["Observer"]:
        """Read in the background."""
        topics = place.topics
        partner_topics = [f"{topics.prefix}partner.{party}" for party in PARTNERS]
        async with open_reader(place.bootstrap_servers) as reader:
            outputs = places_of([topics.decisions, topics.quarantine, *partner_topics], place.partitions)
            reader.assign(outputs)
            await reader.seek_to_end(*outputs)
            for output in outputs:
                await reader.position(output)  # from here on nothing is missed

            async def read() -> None:
                while True:
                    for where, records in (await reader.getmany(timeout_ms=100, max_records=2000)).items():
                        for record in records:
                            if where.topic == topics.decisions:
                                self._decision(record.value)
                            elif where.topic == topics.quarantine:
                                self._quarantine(record.value, dict(record.headers))
                            else:
                                self._of(orjson.loads(record.value)["event_id"]).to_partner += 1
                    await asyncio.sleep(0)

            task = asyncio.create_task(read())
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _of(self, event_id: str) -> Outcome:
        return self.outcomes.setdefault(event_id, Outcome())

    def _decision(self, value: bytes) -> None:
        decision = orjson.loads(value)
        outcome = self._of(decision["event_id"])
        outcome.decisions += 1
        outcome.released += tuple(decision["released"])
        for reasons in decision["quarantined"].values():
            outcome.reasons.update(reasons)
        outcome.consent_offset = decision["consent"]["offset"]

    def _quarantine(self, value: bytes, headers: dict[str, bytes]) -> None:
        if headers["tg-stage"] != b"policy":
            return  # the copy of a consent event, or a transfer that can't be read: neither is a race
        outcome = self._of(orjson.loads(value)["event_id"])
        outcome.to_quarantine += 1
        for reasons in orjson.loads(headers["tg-reasons"]).values():
            outcome.header_reasons.update(reasons)

    def undecided(self, races: Iterable[Race]) -> list[Race]:
        """Those that have not come out whole: the decision and what follows from it."""
        return [race for race in races if not self._whole(self.outcomes.get(race.event_id))]

    @staticmethod
    def _whole(outcome: Outcome | None) -> bool:
        if outcome is None or not outcome.decisions:
            return False
        return bool(outcome.to_partner or not outcome.released) and bool(outcome.to_quarantine or not outcome.reasons)

    async def until_decided(self, races: Sequence[Race], place: Installation, patience: float) -> None:
        """Wait until every race came out. Raises AssertionError after `patience` seconds without progress."""
        left, since = self.undecided(races), time.monotonic()
        while left:
            await asyncio.sleep(0.05)
            place.assert_none_gave_up()
            now = self.undecided(left)
            if len(now) < len(left):
                left, since = now, time.monotonic()
            waited = time.monotonic() - since
            assert waited < patience, f"{len(left)} of {len(races)} are never decided:\n{place.tails()}"


@dataclass(slots=True)
class Tally:
    """How races ended."""

    races: int = 0
    leaks: list[Race] = field(default_factory=list)
    #: Released nothing, but not for the one right reason, or told differently by header and decision, or not once.
    wrong: list[tuple[Race, Outcome]] = field(default_factory=list)
    #: Not released though nothing stood against it.
    withheld: list[tuple[Race, Outcome]] = field(default_factory=list)
    #: How many races had nothing against them.
    free: int = 0


def tally(races: Iterable[Race], observer: Observer) -> Tally:
    """Judge every race by all that was written of it."""
    result = Tally()
    for race in races:
        outcome = observer.outcomes[race.event_id]
        if race.against is None:
            result.free += 1
            free = outcome.decisions == outcome.to_partner == 1 and sorted(outcome.released) == sorted(CHANNELS)
            if not free or outcome.to_quarantine or outcome.consent_offset <= race.offset:
                result.withheld.append((race, outcome))
            continue
        result.races += 1
        if outcome.released or outcome.to_partner:
            result.leaks.append(race)
            continue
        right = {AGAINST[race.against]}
        told = outcome.reasons == outcome.header_reasons == right and outcome.consent_offset > race.offset
        if not told or (outcome.decisions, outcome.to_quarantine) != (1, 1):
            result.wrong.append((race, outcome))
    return result
