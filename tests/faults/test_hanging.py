"""A transaction whose markers were lost is ended again, as it had ended: neither loses nor doubles what it wrote.

Seen of Kafka 4.3.0: a broker that shuts down completes a transaction whose markers it has not written. Here such a one
is made on purpose: records and offsets that come after the end of their transaction, to a broker that lets them.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.conftest import FreshKafka
from tests.support.faults_clients import read_all
from tests.support.stream_topics import admin_of, make_topics
from transfer_gate.stream.batches import Batches
from transfer_gate.stream.transaction import Committed, TransactionalWriter, TransactionHangs

INPUT: Final = "prospect-transfers"
OUTPUT: Final = "transfer-decisions"
GROUP: Final = "gate"


@pytest.fixture
async def servers(fresh_kafka: FreshKafka) -> str:
    servers = fresh_kafka().bootstrap_servers
    await make_topics(servers, {INPUT: {}, OUTPUT: {}}, 1)
    async with admin_of(servers) as admin:
        verify = {"transaction.partition.verification.enable": "false"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", verify)])
    return servers


@asynccontextmanager
async def owner(servers: str) -> AsyncIterator[TransactionalWriter]:
    """The owner of the partition, from now on."""
    writer = TransactionalWriter({"bootstrap_servers": servers}, f"{GROUP}-0", GROUP, 10.0)
    try:
        await writer.fence((OUTPUT,))
        yield writer
    finally:
        await writer.close()


def output(value: bytes) -> Batches:
    batches = Batches(0, int(time.time() * 1000))
    batches.add(OUTPUT, b"p-1", value)
    return batches


async def leave_hanging(servers: str, *, commit: bool) -> None:
    """Commit "first" with offset 1; then end a transaction whose record "second" and offset 2 stay without markers."""
    async with owner(servers) as writer:
        await writer.commit(output(b"first"), {INPUT: 1}, dict)
        await writer._add_partitions([OUTPUT], 0)
        await writer._end(commit=commit)
        await writer._add_partitions([OUTPUT], 0)  # waits until the coordinator holds the one before for ended
        await writer._end(commit=commit)
        await writer._produce(output(b"second"))
        await writer._commit_offsets({INPUT: 2}, 0, {})


async def committed_outputs(servers: str) -> list[bytes | None]:
    return [record.value async for record in read_all(servers, [OUTPUT], 1)]


@pytest.mark.parametrize(
    ("commit", "offset", "values"),
    [(True, 2, [b"first", b"second", b"third"]), (False, 1, [b"first", b"third"])],
    ids=["a commit", "an abort"],
)
async def test_what_hangs_is_ended_as_its_transaction_was(
    servers: str, commit: bool, offset: int, values: list[bytes]
) -> None:
    await leave_hanging(servers, commit=commit)
    async with owner(servers) as writer:
        assert await writer.committed((INPUT,), 0) == {INPUT: Committed(offset, "")}
        await writer.commit(output(b"third"), {INPUT: offset + 1}, dict)
    assert await committed_outputs(servers) == values


async def test_a_partition_is_not_taken_over_when_nobody_knows_how_the_transaction_ended(servers: str) -> None:
    await leave_hanging(servers, commit=True)
    async with owner(servers):
        pass  # it fences, and dies before it reads the offsets
    async with owner(servers) as writer:
        with pytest.raises(TransactionHangs, match="hang in a transaction of gate-0"):
            await writer.committed((INPUT,), 0)
