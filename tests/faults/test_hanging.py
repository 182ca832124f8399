"""A transaction whose markers were lost is ended again, as it had ended: neither loses nor doubles what it wrote.

Seen of Kafka 4.3.0: a broker that shuts down completes a transaction whose markers it has not written. Here such a one
is made on purpose: records and offsets that come after the end of their transaction, to a broker that lets them.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.conftest import Namespace
from tests.support.clients import open_producer, read_all
from tests.support.managed_kafka import How, ManagedKafka
from tests.support.topics import admin_of, make_topics
from transfer_gate.kafka.batches import Batches
from transfer_gate.kafka.coordinator import Committed, TransactionHangs
from transfer_gate.kafka.requests import DescribeTransaction
from transfer_gate.kafka.transaction import TransactionalWriter, _open_at
from transfer_gate.local.kafka import LocalKafka

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Log:
    """Topics of one test, and the transactional id of their partition."""

    def __init__(self, servers: str, names: Namespace) -> None:
        self.servers = servers
        self.group = names.app_id
        self.input, self.output, self.partner, self.strays = (
            f"{names.topic_prefix}{name}" for name in ("prospect-transfers", "decisions", "partner.acme", "strays")
        )

    @asynccontextmanager
    async def owner(
        self, topics: Sequence[str] | None = None, former: Sequence[str] = ()
    ) -> AsyncIterator[TransactionalWriter]:
        """The owner of the partition, from now on; by default it writes to all outputs."""
        writer = TransactionalWriter({"bootstrap_servers": self.servers}, f"{self.group}-0", self.group, 10.0)
        try:
            written = (self.output, self.partner) if topics is None else tuple(topics)
            await writer.fence(written, (self.strays,), tuple(former))
            yield writer
        finally:
            await writer.close()

    async def leave_hanging(self, topic: str, *, commit: bool, offset: int | None, partition: int = 0) -> None:
        """Commit "first" with offset 1; then end a transaction whose record "second", and whose `offset`, stay without
        markers.
        """
        async with self.owner() as writer:
            await write(writer, output(topic, b"first", partition), {self.input: 1})
            await writer._add_partitions([topic], partition)
            await writer._end(commit=commit)
            await until_state(writer, "CompleteCommit" if commit else "CompleteAbort")
            await writer._produce(output(topic, b"second", partition))
            assert await _open_at(writer._client, [(topic, partition)], time.monotonic() + 10), "it does not hang"
            if offset is not None:
                await writer._commit_offsets({self.input: offset}, 0, "")

    async def committed_in(self, topic: str) -> list[bytes | None]:
        return [record.value async for record in read_all(self.servers, [topic], 2)]


async def write(writer: TransactionalWriter, batches: Batches, offsets: Mapping[str, int]) -> None:
    """One transaction, with offsets of partition 0."""
    await writer.produce(batches)
    await writer.commit(0, offsets)


async def until_state(writer: TransactionalWriter, wanted: str) -> None:
    """Wait until the coordinator says so: before, markers of this transaction would be those of what follows it."""
    state = ""
    while state != wanted:
        described = DescribeTransaction(writer._transactional_id)
        response = await writer._until_done(described, lambda response: int(response.states[0][0]))
        state = response.states[0][2]


def output(topic: str, value: bytes, partition: int = 0) -> Batches:
    batches = Batches(partition, int(time.time() * 1000))
    batches.add(topic, b"p-1", value)
    return batches


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    with LocalKafka(tmp_path_factory.mktemp("hanging")) as broker:
        async with admin_of(broker.bootstrap_servers) as admin:
            verify = {"transaction.partition.verification.enable": "false"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", verify)])
        yield broker.bootstrap_servers


@pytest_asyncio.fixture(loop_scope="module")
async def log(servers: str, namespace: Namespace) -> Log:
    made = Log(servers, namespace)
    await make_topics(servers, {name: {} for name in (made.input, made.output, made.partner, made.strays)}, 2)
    return made


COMMIT_OR_ABORT = pytest.mark.parametrize(
    ("commit", "values"),
    [(True, [b"first", b"second", b"third"]), (False, [b"first", b"third"])],
    ids=["a commit", "an abort"],
)


@COMMIT_OR_ABORT
async def test_what_hangs_is_ended_as_its_transaction_was(log: Log, commit: bool, values: list[bytes]) -> None:
    await log.leave_hanging(log.output, commit=commit, offset=2)
    reached = 2 if commit else 1
    async with log.owner() as writer:
        assert await writer.committed((log.input,), 0) == {log.input: Committed(reached, "")}
        await write(writer, output(log.output, b"third"), {log.input: reached + 1})
    assert await log.committed_in(log.output) == values


@COMMIT_OR_ABORT
async def test_a_record_that_hangs_alone_is_ended_before_anything_follows_it(
    log: Log, commit: bool, values: list[bytes]
) -> None:
    """The markers of the offsets were written, that of the record was not: the commit of "third" would commit it."""
    await log.leave_hanging(log.partner, commit=commit, offset=None)
    async with log.owner() as writer:
        await writer.committed((log.input,), 0)
        await write(writer, output(log.partner, b"third"), {log.input: 3})
    assert await log.committed_in(log.partner) == values


@pytest.mark.parametrize("offset", [2, None], ids=["offsets hang too", "it hangs alone"])
async def test_what_hangs_on_the_topic_of_a_partner_that_the_registry_has_lost_is_ended(
    log: Log, offset: int | None
) -> None:
    await log.leave_hanging(log.partner, commit=True, offset=offset)
    async with log.owner([log.output], [log.partner]) as writer:
        await writer.committed((log.input,), 0)
    assert await log.committed_in(log.partner) == [b"first", b"second"]


async def test_a_stray_that_hangs_in_another_partition_is_ended(log: Log) -> None:
    await log.leave_hanging(log.strays, commit=True, offset=None, partition=1)
    async with log.owner() as writer:
        await writer.committed((log.input,), 0)
    assert await log.committed_in(log.strays) == [b"first", b"second"]


@pytest.mark.parametrize("how", ["forbidden", "refused", "not offered"])
async def test_on_a_cluster_that_hides_how_transactions_end_a_partition_with_one_that_hangs_stops(
    log: Log, servers: str, namespace: Namespace, how: How
) -> None:
    """To guess could release what was aborted; and what was learned of an earlier transaction does not count."""
    async with ManagedKafka(servers, how).running() as cluster:
        hidden = Log(cluster.bootstrap_servers, namespace)
        async with hidden.owner() as writer:
            writer._was_committed = True
            await log.leave_hanging(log.output, commit=False, offset=2)
            await writer.fence((log.output, log.partner), (log.strays,))
            with pytest.raises(TransactionHangs, match=f"partition 0 of {log.output} hang"):
                await writer.committed((log.input,), 0)


async def test_an_open_transaction_of_another_owner_is_left_alone(log: Log) -> None:
    """It writes on, and commits."""
    async with log.owner() as writer:
        await write(writer, output(log.output, b"zero"), {log.input: 1})
    async with open_producer(log.servers, f"{log.group}-1") as other, other.transaction():
        await other.send_and_wait(log.strays, b"one", partition=0)
        async with log.owner() as writer:
            await writer.committed((log.input,), 0)
            await write(writer, output(log.output, b"first"), {log.input: 2})
        await other.send_and_wait(log.strays, b"two", partition=0)
    assert await log.committed_in(log.strays) == [b"one", b"two"]
    assert await log.committed_in(log.output) == [b"zero", b"first"]


@pytest.mark.parametrize("offset", [2, None], ids=["offsets hang too", "it hangs alone"])
async def test_a_partition_is_not_taken_over_when_nobody_knows_how_the_transaction_ended(
    log: Log, offset: int | None
) -> None:
    await log.leave_hanging(log.output, commit=True, offset=offset)
    async with log.owner():
        pass  # it fences, and dies before it reads the offsets
    async with log.owner() as writer:
        with pytest.raises(TransactionHangs, match=f"partition 0 of {log.output} hang in a transaction of {log.group}"):
            await writer.committed((log.input,), 0)
