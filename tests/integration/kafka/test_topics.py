"""`topics apply` on a real broker: creates what is missing, changes nothing that exists."""

import asyncio
import json
import os
import subprocess

import pytest
from aiokafka import AIOKafkaProducer

from transfer_gate.errors import InvalidInput
from transfer_gate.kafka.catalogue import LARGE_MESSAGE
from transfer_gate.kafka.cluster import NewTopic
from transfer_gate.kafka.session import open_session
from transfer_gate.kafka.topics import apply_topics, check_topics
from transfer_gate.model.registry import Registry
from transfer_gate.settings import Settings


async def configs(settings: Settings, topic: str) -> dict[str, str]:
    """Settings in force of one topic."""
    async with open_session(settings) as session:
        return (await session.cluster.configs([topic]))[topic]


async def checked(settings: Settings, registry: Registry) -> int:
    """What a worker does before its start."""
    async with open_session(settings) as session:
        return await check_topics(session, registry)


async def create(settings: Settings, topic: str, partitions: int, **given: str) -> None:
    """Create one topic by hand."""
    topics = [NewTopic(name=topic, partitions=partitions, replication=1, configs=given)]
    async with open_session(settings) as session:
        assert await session.cluster.create(topics) == {}


async def test_a_first_run_creates_every_topic_and_a_second_changes_nothing(
    settings: Settings, registry: Registry
) -> None:
    """Afterwards nothing differs from the catalogue, and the gate may start on two partitions."""
    first = await apply_topics(settings, registry)
    assert {report.action for report in first} == {"created"}
    second = await apply_topics(settings, registry)
    assert {report.action for report in second} == {"exists"}
    assert [report.topic for report in second] == [report.topic for report in first]
    assert all(not report.differences for report in (*first, *second))
    assert await checked(settings, registry) == 2
    async with open_session(settings) as session:
        found = await session.cluster.topics()
    shared = {found[topic].partitions for topic in settings.topics.of_prospects(registry)}
    assert shared == {2}
    assert found[settings.topics.audit].partitions == 1


async def test_topics_are_cleaned_up_as_the_contract_says(settings: Settings, registry: Registry) -> None:
    """Own state is compacted, quarantine lives by the time of quarantine, evidence and withdrawals are kept."""
    await apply_topics(settings, registry)
    topics = settings.topics
    assert (await configs(settings, topics.changelog))["cleanup.policy"] == "compact"
    assert (await configs(settings, topics.ledger))["cleanup.policy"] == "compact"
    quarantine = await configs(settings, topics.quarantine)
    assert (quarantine["cleanup.policy"], quarantine["message.timestamp.type"]) == ("delete", "LogAppendTime")
    consents = await configs(settings, topics.consents)
    assert (consents["cleanup.policy"], consents["retention.ms"]) == ("delete", "-1")
    assert int((await configs(settings, topics.decisions))["retention.ms"]) > 5 * 365 * 86_400_000


async def test_the_largest_input_record_fits_into_quarantine_with_its_headers(
    settings: Settings, registry: Registry
) -> None:
    """Kafka's own limit counts headers too, so quarantine and partner topics need more room than the input topic."""
    await apply_topics(settings, registry)
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, max_request_size=4 * 1024 * 1024)
    await producer.start()
    try:
        largest = b"x" * 1_048_000
        await producer.send_and_wait(settings.topics.transfers, largest)
        for topic in (
            settings.topics.quarantine,
            settings.topics.replay,
            settings.topics.partners(registry)["lumen-telecom"],
        ):
            await producer.send_and_wait(topic, largest, headers=[("tg-reasons", b"r" * 20_000)])
    finally:
        await producer.stop()


async def test_a_larger_input_limit_makes_more_room_behind_it(settings: Settings, registry: Registry) -> None:
    """An operator raised the input topic to 16 MiB before: what comes in must still go out."""
    raised = 16 * 1024 * 1024
    await create(settings, settings.topics.transfers, 2, **{"max.message.bytes": str(raised)})
    await apply_topics(settings, registry)
    for topic in (settings.topics.quarantine, settings.topics.partners(registry)["acme-assurances"]):
        assert int((await configs(settings, topic))["max.message.bytes"]) > raised
    assert int((await configs(settings, settings.topics.changelog))["max.message.bytes"]) == LARGE_MESSAGE


async def test_new_topics_take_the_count_of_those_that_exist(settings: Settings, registry: Registry) -> None:
    """Equal keys must meet: an existing input topic outranks TRANSFER_GATE_PARTITIONS, and is told of."""
    await create(settings, settings.topics.transfers, 3)
    reports = {report.topic: report for report in await apply_topics(settings, registry)}
    assert {reports[topic].partitions for topic in settings.topics.of_prospects(registry)} == {3}
    told = {
        (found.setting, found.wanted, found.found, found.refused)
        for found in reports[settings.topics.transfers].differences
    }
    assert ("partitions", "2", "3", False) in told
    assert await checked(settings, registry) == 3


async def test_an_existing_topic_is_left_as_it_is(settings: Settings, registry: Registry) -> None:
    """A changelog that would be deleted stays so, and is listed as something on which the gate can't start."""
    await create(settings, settings.topics.changelog, 2, **{"cleanup.policy": "delete"})
    reports = {report.topic: report for report in await apply_topics(settings, registry)}
    assert (await configs(settings, settings.topics.changelog))["cleanup.policy"] == "delete"
    refused = [found.setting for found in reports[settings.topics.changelog].differences if found.refused]
    assert refused == ["cleanup.policy"]
    with pytest.raises(InvalidInput, match=settings.topics.changelog):
        await checked(settings, registry)


async def test_start_is_refused_while_a_topic_is_missing(settings: Settings, registry: Registry) -> None:
    """The message names the topic and the command that creates it."""
    with pytest.raises(InvalidInput, match=settings.topics.quarantine) as refusal:
        await checked(settings, registry)
    assert "topics apply" in refusal.value.do


async def test_start_is_refused_on_another_partition_count(settings: Settings, registry: Registry) -> None:
    """A partner topic with one partition too many can't be written to beside the others."""
    odd = settings.topics.partners(registry)["helios-habitat"]
    await create(settings, odd, 3)
    await create(settings, settings.topics.transfers, 2)
    await apply_topics(settings, registry)
    with pytest.raises(InvalidInput, match=f"{odd} has partitions 3, needed is 2"):
        await checked(settings, registry)


async def test_start_is_refused_where_the_broker_takes_no_transaction_so_long(
    settings: Settings, registry: Registry
) -> None:
    """A broker's default is 15 minutes; both values are named."""
    await apply_topics(settings, registry)
    assert await checked(settings, registry) == 2
    longer = settings.model_copy(update={"transaction_timeout_seconds": 901.0})
    with pytest.raises(InvalidInput, match=r"at most 900 s .*TRANSACTION_TIMEOUT_SECONDS is 901"):
        await checked(longer, registry)


async def test_a_dry_run_creates_nothing(settings: Settings, registry: Registry) -> None:
    """It says what is missing."""
    reports = await apply_topics(settings, registry, dry_run=True)
    assert {report.action for report in reports} == {"missing"}
    async with open_session(settings) as session:
        assert not [name for name in await session.cluster.topics() if name.startswith(settings.topic_prefix)]


async def test_two_runs_at_once_do_not_get_in_each_others_way(settings: Settings, registry: Registry) -> None:
    """A topic that somebody else created meanwhile is as good as our own."""
    results = await asyncio.gather(*(apply_topics(settings, registry) for _ in range(3)))
    assert all(not report.error for reports in results for report in reports)


def test_the_command_answers_with_documented_exit_codes(command: list[str], environment: dict[str, str]) -> None:
    """0 and JSON on stdout; 2 for counts that the cluster can't give; 6 without a broker; never a traceback."""

    def run(*options: str, **changes: str) -> subprocess.CompletedProcess[str]:
        given = {**os.environ, **environment, **changes}
        return subprocess.run(
            [*command, "topics", "apply", *options], env=given, capture_output=True, text=True, check=False
        )

    impossible = run(TRANSFER_GATE_REPLICATION="3")
    assert (impossible.returncode, "REPLICATION" in impossible.stderr) == (2, True)
    applied = run("--output", "json")
    assert applied.returncode == 0, applied.stderr
    assert {topic["action"] for topic in json.loads(applied.stdout)["topics"]} == {"created"}
    unreachable = run(TRANSFER_GATE_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert unreachable.returncode == 6
    assert "what to do" in unreachable.stderr
    assert "Traceback" not in impossible.stderr + unreachable.stderr
