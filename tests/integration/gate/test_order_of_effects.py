"""The real writer and the real watermarks have the same effects, in the same order, as those that stand for them in
tests/unit/gate/test_round_effects.py: what is proven there is so on a broker.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import EndTxnRequest, TxnOffsetCommitRequest

from tests.conftest import Namespace
from tests.support.clients import open_producer, read_all
from tests.support.round_effects import Effects, Heart, book_of, records_in
from tests.support.topics import make_topics
from transfer_gate.kafka.transaction import TransactionalWriter
from transfer_gate.kafka.watermarks import Watermarks
from transfer_gate.model.topics import Topics


class RecordedWatermarks(Watermarks):
    """Records that it is asked."""

    effects: Effects

    async def ends(self, partition: int) -> tuple[int, ...]:
        self.effects.append("watermark")
        return await super().ends(partition)


def record_requests(writer: TransactionalWriter, effects: Effects) -> None:
    """Record every request that changes something, when it was answered. What is sent again, because a broker did not
    know a new topic yet, counts once in a transaction.
    """
    send = writer._client.send
    sent = Effects(effects.book)

    async def recorded(node: int, request: Any, **given: Any) -> Any:
        response = await send(node, request, **given)
        lines = Effects(effects.book)
        if isinstance(request, ProduceRequest):
            for topic, partitions in request._topics:
                for number, data in partitions:
                    for record in records_in(data):
                        lines.produced(topic, number, record)
        elif isinstance(request, TxnOffsetCommitRequest):
            found = {topic: (offset, note) for topic, ((_, offset, note),) in request._topics}
            (note,) = {note for _, note in found.values()}
            lines.committing({topic: offset for topic, (offset, _) in found.items()}, note)
        elif isinstance(request, EndTxnRequest):
            lines.append("commit" if request._transaction_result else "abort")
        effects.extend(line for line in lines if line not in sent)
        sent.extend(lines)
        if isinstance(request, EndTxnRequest):
            sent.clear()
        return response

    writer._client.send = recorded


async def two_rounds(heart: Heart, producer: AIOKafkaProducer | None = None) -> Sequence[Sequence[str]]:
    """A release beside a record that is held and an event that can't be read; then a withdrawal and what it holds."""
    book = heart.book
    await heart.begin()
    rounds = []
    for sent in (
        {
            book.consents: [heart.consent("p-1"), (b"p-2", b"{", ())],
            book.transfers: [heart.transfer("p-1", "t-1"), heart.transfer("p-2", "t-2")],
        },
        {book.consents: [heart.withdrawal("p-1")], book.transfers: [heart.transfer("p-1", "t-3")]},
    ):
        for topic, sendings in sent.items():
            if producer is not None:
                for key, value, _ in sendings:
                    await producer.send_and_wait(topic, value, key, partition=0)
            heart.bring(topic, *sendings)
        rounds.append(await heart.round())
    return rounds


async def test_a_round_has_the_effects_on_a_broker_that_it_has_without_one(
    bootstrap_servers: str, namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics(namespace.topic_prefix, namespace.app_id)
    book = book_of(tmp_path, topics)
    outputs = book.outputs
    await make_topics(bootstrap_servers, {topic: {} for topic in (*book.inputs, *outputs)}, 1)

    without = Heart(monkeypatch, book)
    expected = await two_rounds(without)
    assert [effects[-3:-2] for effects in expected] == [["commit"]] * 2

    effects = Effects(book)
    options = {"bootstrap_servers": bootstrap_servers, "client_id": namespace.app_id}
    writer = TransactionalWriter(options, f"{namespace.app_id}-0", namespace.app_id, 20.0)
    watermarks = RecordedWatermarks(options, (book.consents, book.strays))
    watermarks.effects = effects
    try:
        await watermarks.start()
        await writer.fence(outputs, (book.strays,))
        record_requests(writer, effects)
        heart = Heart(monkeypatch, book, writer=writer, watermark=watermarks, effects=effects)
        async with open_producer(bootstrap_servers) as producer:
            assert await two_rounds(heart, producer) == expected
        await writer.fence(outputs, (book.strays,))  # waits until the markers of the last transaction are written
        assert {t: found.offset for t, found in (await writer.committed(book.inputs, 0)).items()} == (
            without.recorder.offsets
        )
    finally:
        await writer.close()
        await watermarks.close()
    assert heart.consent_table.content == without.consent_table.content
    for topic in outputs:
        found = [record.value async for record in read_all(bootstrap_servers, [topic], 1)]
        assert found == [record.value for record in without.recorder.written if record.topic == topic]
