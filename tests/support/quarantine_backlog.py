"""A quarantine of any size, written as the gate writes it but much faster: for commands that have to cope with many."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.producer.message_accumulator import BatchBuilder

from tests.support.events import CHANNELS, Events
from tests.support.registry import PARTNERS
from tests.support.workers import Installation
from transfer_gate.records import headers, ids
from transfer_gate.records.ledger import LedgerEntry, encode_entry

#: Reasons of e-mail and of SMS; a record has one of these pairs.
REASONS: Final[Sequence[tuple[Sequence[str], Sequence[str]]]] = (
    (("electronic-optin",), ("electronic-optin", "not-withdrawn")),
    (("partner-named-at-consent",), ("partner-named-at-consent",)),
    (("consent-proof-individual", "form-not-deceptive"), ("consent-proof-individual",)),
    (("not-withdrawn",), ("not-withdrawn",)),
    (("retention-three-years",), ("retention-three-years",)),
)
_LATER_MS: Final = 1000
_BATCH: Final = 150
_BATCH_BYTES: Final = 1 << 18
_NAME: Final = "p-0123456789"


class Backlog:
    """`each` records a partition, evenly over `span` before `now`, the oldest first; every second one was replayed.

    They are of readable transfers to one of three partners. Record n of a partition has offset n. `keep_times` comes
    before.
    """

    def __init__(self, place: Installation, each: int, now: dt.datetime, span: dt.timedelta) -> None:
        self.place = place
        self.each = each
        self.span = span
        self._begin_ms = int((now - span).timestamp() * 1000)
        events = Events(now.replace(microsecond=0))
        self._transfers = {partner: events.transfer(_NAME, f"t-{_NAME}", (partner,)) for partner in PARTNERS}
        self._replayed = encode_entry(LedgerEntry(state="replayed", attempt=1, at=now, run="plan-7", released=CHANNELS))

    @property
    def records(self) -> int:
        """In all partitions."""
        return self.each * self.place.partitions

    def quarantine_id(self, partition: int, number: int) -> str:
        """Of record `number` of a partition."""
        return ids.quarantine_id(self.place.topics.transfers, partition, number, _partner(number))

    def prospect(self, partition: int, number: int) -> str:
        """Whom a record is about: everybody has one."""
        return f"p-{partition:02}{number:08}"

    async def write(self, partitions: Iterable[int] | None = None) -> None:
        """Write it, or some partitions of it."""
        async with AIOKafkaProducer(
            bootstrap_servers=self.place.bootstrap_servers, max_batch_size=_BATCH_BYTES, acks="all"
        ) as producer:
            for partition in range(self.place.partitions) if partitions is None else partitions:
                for start in range(0, self.each, _BATCH):
                    held, told = producer.create_batch(), producer.create_batch()
                    for number in range(start, min(start + _BATCH, self.each)):
                        self._append(held, told, partition, number)
                    sent = [
                        await producer.send_batch(batch, topic, partition=partition)
                        for batch, topic in ((held, self.place.topics.quarantine), (told, self.place.topics.ledger))
                        if batch.record_count()
                    ]
                    for one in sent:
                        await one

    def time_ms(self, number: int) -> int:
        """When a record was held, ms since the epoch."""
        return self._begin_ms + int(self.span.total_seconds() * 1000) * number // self.each

    def told_ms(self) -> Iterator[int]:
        """When each entry of the ledger of a partition was written."""
        return (self.time_ms(number) + _LATER_MS for number in range(1, self.each, 2))

    def state(self, number: int) -> str:
        """What the ledger says of record `number` of any partition."""
        return "replayed" if number % 2 else "open"

    def _append(self, held: BatchBuilder, told: BatchBuilder, partition: int, number: int) -> None:
        quarantine_id, partner = self.quarantine_id(partition, number), _partner(number)
        topic, at_ms = self.place.topics.transfers, self.time_ms(number)
        at = dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat()
        email, sms = REASONS[number % len(REASONS)]
        who = self.prospect(partition, number)
        appended = held.append(
            timestamp=at_ms,
            key=who.encode(),
            value=self._transfers[partner].replace(_NAME.encode(), who.encode()),
            headers=headers.of_quarantine(
                (),
                quarantine_id=quarantine_id,
                stage="policy",
                partner_id=partner,
                reasons={"email": email, "sms": sms},
                source=(topic, partition, number, at_ms),
                decision_id=ids.decision_id(topic, partition, number, partner),
                revision="sha256:0a1b2c",
                consent_offset=0,
                quarantined_at=at,
            ),
        )
        assert appended is not None, "a batch is too small"
        if number % 2:
            told.append(timestamp=at_ms + _LATER_MS, key=quarantine_id.encode(), value=self._replayed, headers=[])


def _partner(number: int) -> str:
    return PARTNERS[number % len(PARTNERS)]


async def keep_times(place: Installation) -> None:
    """Create the quarantine topic so that it keeps the times that it is given; brokers would stamp everything with now.

    Comes before `apply_topics`: a setting that is changed later reaches brokers after the first records.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=place.bootstrap_servers)
    await admin.start()
    try:
        kept = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
        await admin.create_topics([NewTopic(place.topics.quarantine, place.partitions, 1, topic_configs=kept)])
    finally:
        await admin.close()
