"""`doctor` names every fault of identity that would keep a worker from deciding, on one set of topics."""

import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from tests.integration.conftest import EXAMPLE_REGISTRY
from tests.support.clients import open_producer
from tests.support.topics import delete_group, make_topics
from transfer_gate.doctor import Finding, examine
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.topic_watch import Identities, TopicWatch
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.model.registry import Registry
from transfer_gate.records.commit_notes import CommitNote, LogIdentity
from transfer_gate.records.state import STATE_FORMAT
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: How many records each topic holds, in partition 0.
RECORDS = 3
FORMER = "AAAAAAAAAAAAAAAAAAAAAA"


class Prepared:
    """Topics of two partitions with a few records, and a group of which each test commits what it likes."""

    def __init__(self, settings: Settings, registry: Registry, identities: Identities) -> None:
        self.settings = settings
        self.topics = settings.topics
        self.order = Rulebook.of(settings.topics, registry).registry_order
        self.identities = identities

    def note(self, **given: object) -> CommitNote:
        """What a worker would note now, but for what is `given`."""
        lives = {topic: LogIdentity(found.topic_id, 0, 0) for topic, found in self.identities.items()}
        whole = {"life": "a", "partitions": 2, "topics": lives, "registry": self.order, "state_format": STATE_FORMAT}
        return CommitNote(**{**whole, **given})  # type: ignore[arg-type]

    def on_former(self, topic: str, **given: object) -> CommitNote:
        """A note of when `topic` was another one of the name."""
        return self.note(topics={**self.note().topics, topic: LogIdentity(FORMER)}, **given)

    async def commit(self, note: CommitNote | None, offsets: Mapping[str, int] | None = None) -> None:
        """Let the group have committed just this, of partition 0."""
        told = {self.topics.transfers: RECORDS, self.topics.consents: RECORDS} if offsets is None else offsets
        # A group that never was can't be deleted.
        await self._commit({self.topics.transfers: 0}, "")
        await delete_group(self.settings.bootstrap_servers, self.settings.app_id)
        await self._commit(told, "" if note is None else str(note))

    async def _commit(self, offsets: Mapping[str, int], text: str) -> None:
        if not offsets:
            return
        places = {TopicPartition(topic, 0): OffsetAndMetadata(at, text) for topic, at in offsets.items()}
        group, servers = self.settings.app_id, self.settings.bootstrap_servers
        consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign(list(places))
            await consumer.commit(places)
        finally:
            await consumer.stop()

    async def findings(self) -> dict[str, Finding]:
        """What `doctor` finds of what commits noted, by check."""
        found, answered = await examine(self.settings)
        assert answered
        named = {finding.check: finding for finding in found if finding.check in CHECKS}
        assert all(finding.do for finding in named.values() if finding.status != "ok")
        return named


CHECKS = {
    "commits",
    "partition count",
    "topic identity",
    "registry order",
    "state format",
    "group members",
    "group offsets",
    "log ends",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prepared(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prepared]:
    """Topics with RECORDS records each in partition 0; the changelog has a state there."""
    name = f"doctor-{uuid.uuid4().hex[:10]}"
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        bootstrap_servers=bootstrap_servers,
        security_protocol="PLAINTEXT",
        topic_prefix=f"{name}.",
        app_id=name,
        registry=EXAMPLE_REGISTRY,
        data_dir=Path(tmp_path_factory.mktemp("data")),
        partitions=2,
    )
    registry = load_registry(EXAMPLE_REGISTRY)
    await apply_topics(settings, registry)
    topics = settings.topics
    watched = (*topics.inputs(), topics.changelog, topics.ledger)
    async with open_producer(bootstrap_servers) as producer:
        for topic in watched:
            for number in range(RECORDS):
                await producer.send_and_wait(topic, b"{}", key=b"%d" % number, partition=0)
    watch = TopicWatch(client_options(settings), watched)
    await watch.start()
    identities = await watch.look()
    await watch.close()
    yield Prepared(settings, registry, identities)


async def test_logs_that_are_those_of_the_last_commit_are_in_order(prepared: Prepared) -> None:
    await prepared.commit(prepared.note(changelog_end=RECORDS, ledger_end=RECORDS))
    found = await prepared.findings()
    assert {check: finding.status for check, finding in found.items()} == {"commits": "ok"}


async def failure(prepared: Prepared, check: str, *words: str) -> None:
    """Just this check fails, in these words."""
    found = await prepared.findings()
    assert {name: finding.status for name, finding in found.items()} == {check: "FAIL"}
    text = f"{found[check].found} -> {found[check].do}"
    assert all(word in text for word in words), text


async def test_another_partition_count_than_noted_fails(prepared: Prepared) -> None:
    await prepared.commit(prepared.note(partitions=1))
    await failure(prepared, "partition count", "under 1 partitions, and the topics have 2 now")


@pytest.mark.parametrize("log", ["changelog", "ledger"])
async def test_a_log_of_the_gates_own_that_was_made_anew_fails(prepared: Prepared, log: str) -> None:
    topic = getattr(prepared.topics, log)
    await prepared.commit(prepared.on_former(topic, changelog_end=1, ledger_end=1))
    await failure(prepared, "topic identity", topic, "deleted and made anew", "stop all workers")


@pytest.mark.parametrize("topic", ["transfers", "consents"])
async def test_an_input_that_was_made_anew_is_worth_a_warning(prepared: Prepared, topic: str) -> None:
    """A worker goes on with it from its beginning; what stood unread on the former one is gone."""
    name = getattr(prepared.topics, topic)
    await prepared.commit(prepared.on_former(name))
    found = await prepared.findings()
    assert {check: finding.status for check, finding in found.items()} == {"topic identity": "warn"}
    assert f"{name} was deleted and made anew" in found["topic identity"].found


@pytest.mark.parametrize(
    ("topic", "noted", "words"),
    [
        ("consents", RECORDS - 1, f"was set to {RECORDS}, but only events below {RECORDS - 1} are applied"),
        ("strays", 0, f"was set to {RECORDS}, but only events below 0 are applied"),
        ("transfers", RECORDS + 4, f"back to {RECORDS}, or deleted, but transfers below {RECORDS + 4} are decided"),
    ],
)
async def test_an_offset_that_was_set_by_hand_to_where_it_must_not_be_fails(
    prepared: Prepared, topic: str, noted: int, words: str
) -> None:
    name = getattr(prepared.topics, topic)
    note = prepared.note(offsets={name: noted})
    note = note if topic != "transfers" else prepared.note(offsets={name: noted}, topics=without_epochs(note))
    await prepared.commit(note, {prepared.topics.transfers: RECORDS, prepared.topics.consents: RECORDS, name: RECORDS})
    await failure(prepared, "group offsets", name, words, "kafka-consumer-groups")


def without_epochs(note: CommitNote) -> dict[str, LogIdentity]:
    """Its topics as a version noted them that knew no leader epochs."""
    return {topic: life._replace(epoch=-1) for topic, life in note.topics.items()}


async def test_an_older_registry_than_noted_fails(prepared: Prepared) -> None:
    await prepared.commit(prepared.note(registry="2999-01-01T00:00:00.000000+00:00/other"))
    await failure(prepared, "registry order", "older than", "--allow-older-registry")


async def test_a_note_of_a_newer_format_of_states_fails(prepared: Prepared) -> None:
    await prepared.commit(prepared.note(state_format=STATE_FORMAT + 1))
    await failure(prepared, "state format", f"states of format {STATE_FORMAT + 1}", "run the newer version")


async def test_a_changelog_that_ends_before_its_note_fails(prepared: Prepared) -> None:
    await prepared.commit(prepared.note(changelog_end=RECORDS + 1))
    await failure(prepared, "log ends", f"ends at offset {RECORDS}", "fold")


async def test_consents_that_end_before_what_was_folded_fail(prepared: Prepared) -> None:
    note = prepared.note(topics={})  # as of a version that noted no epoch
    await prepared.commit(note, {prepared.topics.transfers: RECORDS, prepared.topics.consents: RECORDS + 9})
    await failure(prepared, "log ends", f"ends at offset {RECORDS}, but events up to {RECORDS + 9} were applied")


async def test_an_input_whose_noted_leader_epoch_ends_before_the_offset_fails(prepared: Prepared) -> None:
    """It lost its tail; under a newer epoch it may be longer than the offset by now."""
    await prepared.commit(prepared.note(), {prepared.topics.transfers: RECORDS + 9, prepared.topics.consents: RECORDS})
    await failure(prepared, "log ends", "under leader epoch 0", f"ends at {RECORDS} now")


async def test_states_without_offsets_of_the_group_fail(prepared: Prepared) -> None:
    await prepared.commit(None, {})
    await failure(prepared, "group offsets", "no offset of", "(likewise partition 1)", "offsets.retention.minutes")


async def test_strays_that_are_not_folded_yet_are_worth_a_warning(prepared: Prepared) -> None:
    await prepared.commit(prepared.note())
    found, _ = await examine(prepared.settings)
    (strays,) = [finding for finding in found if finding.check == "strays"]
    assert (strays.status, f"{RECORDS} in partition 0" in strays.found) == ("warn", True)


async def test_members_that_work_on_other_topics_fail(prepared: Prepared) -> None:
    """Two gates under one APP_ID."""
    await prepared.commit(prepared.note())
    other = f"{prepared.settings.app_id}-other"
    await make_topics(prepared.settings.bootstrap_servers, {other: {}}, 1)
    stranger = AIOKafkaConsumer(
        other,
        bootstrap_servers=prepared.settings.bootstrap_servers,
        group_id=prepared.settings.app_id,
        enable_auto_commit=False,
    )
    await stranger.start()
    try:
        await failure(prepared, "group members", other, "APP_ID of its own")
    finally:
        await stranger.stop()
