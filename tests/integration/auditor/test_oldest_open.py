"""The auditor looks at what is open in quarantine again and again, and each time reads only what is new."""

import datetime as dt

from aiokafka import AIOKafkaProducer

from tests.support.clients import open_producer
from tests.support.topics import make_topics
from transfer_gate.auditor.open_work import OldestOpen
from transfer_gate.kafka.session import open_session
from transfer_gate.records import headers, ids
from transfer_gate.records.ledger import LedgerEntry, State, encode_entry
from transfer_gate.settings import Settings

AT = "2026-11-24T10:00:00Z"


async def hold(settings: Settings, producer: AIOKafkaProducer, offset: int, attempt: int = 1) -> int:
    """Quarantine the transfer at an offset; returns the broker's time of it, ms."""
    topics, partner = settings.topics, "acme"
    ours = headers.of_quarantine(
        (),
        quarantine_id=ids.quarantine_id(topics.transfers, 0, offset, partner),
        stage="policy",
        partner_id=partner,
        reasons={"email": ["electronic-optin"]},
        source=(topics.transfers, 0, offset, 0),
        decision_id=ids.decision_id(topics.transfers, 0, offset, partner, attempt),
        revision="r",
        consent_offset=0,
        quarantined_at=AT,
        first_quarantined_at=AT,
        attempt=attempt,
    )
    sent = await producer.send_and_wait(topics.quarantine, b"{}", b"p1", partition=0, headers=ours)
    return int(sent.timestamp)


async def settle(settings: Settings, producer: AIOKafkaProducer, offset: int, state: State, attempt: int) -> None:
    """Say in the ledger what became of the transfer at an offset."""
    key = ids.quarantine_id(settings.topics.transfers, 0, offset, "acme").encode()
    entry = LedgerEntry(state=state, attempt=attempt, at=dt.datetime.fromisoformat(AT))
    await producer.send_and_wait(settings.topics.ledger, encode_entry(entry), key, partition=0)


async def test_the_oldest_open_record_is_followed_from_look_to_look(settings: Settings) -> None:
    configs = {"message.timestamp.type": "LogAppendTime"}
    await make_topics(
        settings.bootstrap_servers, {settings.topics.quarantine: configs, settings.topics.ledger: {}}, partitions=1
    )
    async with open_session(settings) as session:
        oldest = OldestOpen()
        assert await oldest.since_ms(session) is None
        async with open_producer(settings.bootstrap_servers) as producer:
            first = await hold(settings, producer, 0)
            second = await hold(settings, producer, 1)
            assert await oldest.since_ms(session) == first
            await settle(settings, producer, 0, "replayed", 2)
            assert await oldest.since_ms(session) == second
            # Decided again and held again: the record of the first attempt is no longer the open one.
            again = await hold(settings, producer, 1, attempt=2)
            await settle(settings, producer, 1, "open", 2)
            assert await oldest.since_ms(session) == again
            await settle(settings, producer, 1, "discarded", 2)
            assert await oldest.since_ms(session) is None
        assert await OldestOpen().since_ms(session) is None
