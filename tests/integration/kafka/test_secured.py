"""On a Kafka with TLS, SCRAM and ACLs the gate works with exactly its documented rights, and names a missing one."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import re
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import trustme
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAuthorizationFailedError

from tests.support.access import Right, documented
from tests.support.delivery import PartnerTopic, Receiver, camel, kafka_connect
from tests.support.ingest_service import IngestService, opt_outs, signed
from tests.support.processes import running
from tests.support.secured_kafka import SecuredKafka
from tests.support.secured_place import Place
from tests.support.workers import Worker
from transfer_gate.doctor.examine import examine
from transfer_gate.errors import BrokerUnavailable
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.access import AccessDenied
from transfer_gate.kafka.clients import client_options, connected
from transfer_gate.kafka.session import open_session
from transfer_gate.kafka.topics import apply_topics, check_topics
from transfer_gate.local.loopback import free_port
from transfer_gate.partners.kit import kit
from transfer_gate.partners.manifests import acknowledgement_topic, suppression_topic
from transfer_gate.settings import PREFIX, Settings
from transfer_gate.verify.account import verify

RIGHTS: Final = documented("transfer-gate-worker")
ON_TOPICS: Final = sorted(right for right in RIGHTS if right.kind == "topic")
ON_OTHERS: Final = sorted(right for right in RIGHTS if right.kind != "topic")


def title(right: Right) -> str:
    return f"{right.operation} {right.kind} {right.name}"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    broker = SecuredKafka(
        tmp_path_factory.mktemp("secured"),
        ["worker", "auditor", "operator", "tenant", "topics", "transfer-source", "importer", "ingest", "partner"],
    )
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def new_place(secured: SecuredKafka, tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Place]]:
    made: list[Place] = []

    def make(connection: dict[str, Any]) -> Place:
        made.append(Place(secured, tmp_path, connection))
        return made[-1]

    yield make
    for place in made:
        place.installation.close()


@pytest.fixture
def place(secured: SecuredKafka, new_place: Callable[[dict[str, Any]], Place]) -> Place:
    return new_place(secured.scram("worker"))


@pytest.mark.parametrize("by", ["password", "certificate"])
async def test_a_worker_works_with_exactly_its_documented_rights(
    by: str, secured: SecuredKafka, new_place: Callable[[dict[str, Any]], Place]
) -> None:
    """By SCRAM, and by a client certificate whose key has a password."""
    place = new_place(secured.scram("worker") if by == "password" else secured.certificate("worker", "k3y"))
    await place.grant(RIGHTS)
    await place.send()
    worker = place.installation.start_worker()
    await worker.until(lambda: worker.metric("transfer_gate_decisions_total") > 1, "deciding")
    assert (await worker.terminate())[0] == 0, worker.tail()
    assert "lacks" not in worker.tail()
    unseen = "not compared: the brokers' limits of timeouts (DescribeConfigs on the cluster)"
    assert worker.log.read_text(encoding="utf-8").count(unseen) == 1


@pytest.mark.parametrize("missing", ON_TOPICS, ids=title)
async def test_a_right_on_a_topic_that_is_missing_is_named_at_the_start(missing: Right, place: Place) -> None:
    """Before the first record, although only a restore or a rare record may need it. Describe alone is kept."""
    await place.grant(RIGHTS - {missing} | {missing._replace(operation="Describe")})
    with pytest.raises(AccessDenied) as caught:
        async with open_session(place.settings(**place.connection)) as session:
            await check_topics(session, place.registry)
    assert re.search(f"lacks {missing.operation} on topic {re.escape(place.named(missing).name)}", caught.value.message)
    assert "docs/reference/access.md" in caught.value.do


@pytest.mark.parametrize("missing", ON_OTHERS, ids=title)
async def test_a_worker_that_lacks_another_right_stops_and_names_it(missing: Right, place: Place) -> None:
    await place.grant(RIGHTS - {missing})
    worker = place.installation.start_worker()
    assert await worker.ended() == 1, worker.tail()
    name = place.named(missing).name
    assert f"lacks {missing.operation} on {missing.kind} {name}" in worker.tail()
    assert "Traceback" not in worker.tail()


@pytest.mark.parametrize(
    "taken",
    [
        Right("topic", "prospect-transfers", False, "Read"),
        Right("topic", "transfers-quarantine", False, "Write"),
        Right("group", "transfer-gate", False, "Read"),
    ],
    ids=title,
)
async def test_a_right_that_is_taken_away_stops_the_worker_and_is_named(taken: Right, place: Place) -> None:
    """Nothing is skipped: what it could not write is decided again by whoever starts next."""
    assert taken in RIGHTS
    await place.grant(RIGHTS)
    worker = place.installation.start_worker()
    await worker.until_ready()
    await place.deny(taken)
    await place.send()
    assert await worker.ended() == 1, worker.tail()
    assert f"lacks {taken.operation} on {taken.kind} {place.named(taken).name}" in worker.tail()
    assert "Traceback" not in worker.tail()


async def test_a_principal_without_rights_is_told_nothing_of_any_topic(place: Place) -> None:
    """The broker does not say whether they exist, and the message does not pretend that they don't."""
    await place.grant(set())
    with pytest.raises(AccessDenied, match=r"lacks DescribeConfigs, Read on topic \S*prospect-transfers"):
        async with open_session(place.settings(**place.connection)) as session:
            await check_topics(session, place.registry)


async def test_topics_are_created_with_exactly_the_documented_rights(place: Place) -> None:
    settings = await place.give("topics", documented("transfer-gate-topics"))
    assert {report.action for report in await apply_topics(settings, place.registry)} == {"created"}
    assert {report.action for report in await apply_topics(settings, place.registry)} == {"exists"}


async def test_an_operator_checks_and_proves_with_exactly_the_documented_rights(place: Place) -> None:
    """`verify` and `doctor`; and what an operator may not: write to a partner."""
    await place.grant(RIGHTS)
    settings = await place.give("operator", documented("transfer-gate-operator"))
    await place.send()
    worker = place.installation.start_worker()
    await worker.until(lambda: worker.metric("transfer_gate_decisions_total") > 1, "deciding")
    counts = (await verify(settings, place.registry, wait_seconds=60)).counts
    assert (counts.released, counts.quarantined, counts.missing) == (2, 2, 0)
    assert (await worker.terminate())[0] == 0, worker.tail()
    findings, answered = await examine(settings)
    assert answered
    assert [finding for finding in findings if finding.status == "FAIL" or "not allowed" in finding.found] == []
    assert {"clock": "ok", "broker": "ok", "transactions": "ok"}.items() <= {
        one.check: one.status for one in findings
    }.items()
    async with AIOKafkaProducer(**client_options(settings), acks="all") as producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(f"{place.topics.prefix}partner.acme", b"{}", key=b"p-1")


async def test_the_auditor_explains_what_went_out_with_exactly_its_documented_rights(
    place: Place, tmp_path: Path
) -> None:
    await place.grant(RIGHTS)
    settings = await place.give("auditor", documented("transfer-gate-auditor"))
    await place.send()
    worker = place.installation.start_worker()
    await worker.until(lambda: worker.metric("transfer_gate_decisions_total") > 1, "deciding")
    port = free_port()
    given = settings.model_dump(exclude_unset=True) | {"metrics_port": port, "data_dir": tmp_path / "auditor"}
    environment = {**os.environ, **{f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}}
    command = [sys.executable, "-m", "transfer_gate", "audit", "--follow"]
    auditor = Worker(command, environment, tmp_path / "auditor.log", port)
    place.installation.workers.append(auditor)
    await auditor.until_ready()
    outcomes = auditor.metric_by_labels("transfer_gate_audit_records_total")
    assert outcomes['transfer_gate_audit_records_total{outcome="ok"}'] == 1
    assert sum(outcomes.values()) == 1
    assert (await auditor.terminate())[0] == 0, auditor.tail()


async def test_doctor_says_what_a_managed_cluster_hides_and_which_right_is_missing(place: Place) -> None:
    """Its principal may read and describe topics and groups, as a provider gives it, and nothing of the cluster."""
    await place.grant(RIGHTS)
    given = {right for right in documented("transfer-gate-operator") if right.operation != "DescribeConfigs"}
    settings = await place.give("tenant", {right for right in given if right.kind in ("topic", "group")})
    findings, answered = await examine(settings)
    assert answered
    warned = {finding.check: (finding.found, finding.do) for finding in findings if finding.status == "warn"}
    assert [finding for finding in findings if finding.status == "FAIL"] == []
    hidden = {
        "broker limits": ("transaction.max.timeout.ms", "DescribeConfigs on the cluster"),
        "topic settings": (place.topics.consents, "DescribeConfigs on these topics"),
        "transactions": ("KIP-664", f"Describe on transactional id {place.topics.app_id}-*"),
        "clock": ("DESCRIBE on the cluster", "by hand"),
    }
    for check, (what, right) in hidden.items():
        found, do = warned[check]
        assert (what in found, right in do) == (True, True), (check, found, do)


async def test_doctor_names_a_right_that_it_lacks(place: Place) -> None:
    await place.grant(set())
    group = Right("group", "transfer-gate", False, "Describe")
    settings = await place.give("operator", documented("transfer-gate-operator") - {group})
    findings, answered = await examine(settings)
    assert answered
    refused = [finding for finding in findings if finding.status == "FAIL"]
    named = f"lacks Describe on group {place.named(group).name}"
    assert [(finding.check, named in finding.found) for finding in refused] == [("rights", True)]


async def test_upstream_can_ask_for_a_transfer_and_not_make_one(place: Place) -> None:
    """Whoever may write requests may write neither to a partner nor a consent."""
    await place.grant(RIGHTS)
    settings = await place.give("transfer-source", documented("transfer-source"))
    async with AIOKafkaProducer(**client_options(settings), acks="all") as producer:
        await producer.send_and_wait(place.topics.transfers, b"{}", key=b"p-2")
        for topic in (f"{place.topics.prefix}partner.acme", place.topics.consents):
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(topic, b"{}", key=b"p-2")


async def test_consents_are_imported_with_exactly_the_documented_rights(place: Place, tmp_path: Path) -> None:
    """It writes consent events and its audit events, and reads neither events nor states."""
    await place.grant(RIGHTS)
    settings = await place.give("importer", documented("transfer-gate-importer"))
    environment = {
        f"{PREFIX}{name.upper()}": str(value) for name, value in settings.model_dump(exclude_unset=True).items()
    }
    sample = Path(__file__).parents[3] / "examples" / "consents"
    command = [sys.executable, "-m", "transfer_gate", "consent", "import", str(sample / "crm-export.csv")]
    options = ["--mapping", str(sample / "crm-mapping.yaml"), "--work-dir", str(tmp_path)]
    for more, code, told in (([], 4, "1 of 6 rows were rejected"), (["--dry-run"], 2, "or no right to see them")):
        process = await asyncio.create_subprocess_exec(
            *command, *options, *more, env=os.environ | environment, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert (process.returncode, told in errors.decode()) == (code, True), errors.decode()


async def test_webhooks_are_taken_with_exactly_the_documented_rights(place: Place, tmp_path: Path) -> None:
    """Over HTTPS. Without Write it ends, and names the right."""
    await place.grant(RIGHTS)
    rights = documented("transfer-gate-ingest")
    settings = await place.give("ingest", {right for right in rights if right.operation != "Write"})
    environment = {
        f"{PREFIX}{name.upper()}": str(value) for name, value in settings.model_dump(exclude_unset=True).items()
    }
    certificate = trustme.CA().issue_cert("localhost")
    certfile, keyfile = tmp_path / "ingest.crt", tmp_path / "ingest.key"
    certfile.write_bytes(certificate.cert_chain_pems[0].bytes())
    keyfile.write_bytes(certificate.private_key_pem.bytes())
    environment |= {f"{PREFIX}INGEST_CERTFILE": str(certfile), f"{PREFIX}INGEST_KEYFILE": str(keyfile)}
    async with IngestService(environment, tmp_path, name="without") as without:
        await without.start(ready=False)
        assert await without.ended() != 0
        assert "no right to write it" in without.log()
    await place.give("ingest", rights)
    body = opt_outs("p-1")
    tls = ssl.create_default_context(cadata=certificate.cert_chain_pems[0].bytes().decode())
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    async with IngestService(environment, tmp_path) as service, aiohttp.ClientSession() as session:
        await service.start()
        address = f"{service.address.replace('http', 'https')}/ingest/signed"
        async with session.post(address, data=body, headers=signed(body), ssl=tls) as got:
            assert got.status == 200
        assert await service.stop() == 0, service.log()
    with pytest.raises(TopicAuthorizationFailedError):
        async with AIOKafkaProducer(**client_options(settings), acks="all") as producer:
            await producer.send_and_wait(place.topics.transfers, b"{}", key=b"p-2")


async def test_the_consumer_of_a_partner_kit_logs_in_and_works_with_the_rights_of_its_partner(
    place: Place, tmp_path: Path
) -> None:
    """Of its own topics it reads, and it may write nothing but acknowledgements."""
    await place.grant(RIGHTS)
    now = dt.datetime.now(dt.UTC)
    partner = place.registry.partners["acme"]
    stops, acks = suppression_topic(place.topics, partner), acknowledgement_topic(place.topics, partner)
    admin = client_options(place.admin)
    client = AIOKafkaAdminClient(**admin)
    await client.start()
    await client.create_topics([NewTopic(stops, 1, 1), NewTopic(acks, 1, 1)])
    await client.close()
    rights = {
        Right("topic", "partner.acme", False, "Read"),
        Right("topic", stops.removeprefix(place.topics.prefix), False, "Read"),
        Right("topic", acks.removeprefix(place.topics.prefix), False, "Write"),
        Right("group", "partner-acme", False, "Read"),
    }
    settings = await place.give("partner", rights)
    login, program, store = tmp_path / "login.json", tmp_path / "consumer.py", tmp_path / "store.db"
    assert settings.sasl_password_file is not None
    assert settings.ssl_cafile is not None
    login.write_text(
        json.dumps(
            {
                "security_protocol": settings.security_protocol,
                "sasl_mechanism": settings.sasl_mechanism,
                "sasl_plain_username": settings.sasl_username,
                "sasl_plain_password": settings.sasl_password_file.read_text().strip(),
                "ssl_cafile": str(settings.ssl_cafile),
            }
        )
    )
    files = kit(place.topics, place.registry, partner, now)
    program.write_text(files["consumer.py"], encoding="utf-8")
    record, notice = files["transfers.jsonl"].splitlines()[1], files["suppressions.jsonl"].strip()
    async with AIOKafkaProducer(**admin, acks="all") as producer:
        await producer.send_and_wait(f"{place.topics.prefix}partner.acme", record.encode(), key=b"p-1")
        await producer.send_and_wait(stops, notice.encode(), key=b"p-1")
    command = [sys.executable, str(program), settings.bootstrap_servers, str(store), str(login)]
    messages = tmp_path / "messages"
    transfer_id = json.loads(record)["transfer_id"]
    async with AIOKafkaConsumer(acks, **admin, auto_offset_reset="earliest") as reader:
        with messages.open("wb") as log, running(command, stdout=log, stderr=log) as process:
            deadline = time.monotonic() + 60
            found: dict[Any, Any] = {}
            # The two topics have no common order: either may be taken first.
            while not (found and transfers_in(store) == [transfer_id]):
                found = found or await reader.getmany(timeout_ms=200)
                assert process.poll() is None, messages.read_text()
                assert time.monotonic() < deadline, messages.read_text()
                await asyncio.sleep(0.05)
    ((acknowledged,),) = found.values()
    assert json.loads(acknowledged.value)["notice_id"] == json.loads(notice)["notice_id"]
    with contextlib.closing(sqlite3.connect(store)) as opened:
        assert opened.execute("SELECT prospect_id FROM stops").fetchall() == [(json.loads(notice)["prospect_id"],)]


def transfers_in(store: Path) -> list[str]:
    """What the consumer has taken; nothing while it has not made its tables."""
    with contextlib.closing(sqlite3.connect(store, timeout=10)) as opened:
        try:
            return [transfer_id for (transfer_id,) in opened.execute("SELECT transfer_id FROM transfers")]
        except sqlite3.OperationalError:
            return []


@pytest.fixture
async def feed(secured: SecuredKafka, tmp_path: Path) -> PartnerTopic:
    made = PartnerTopic(secured, tmp_path, "partner")
    await made.make()
    return made


async def test_kafka_connect_writes_each_released_record_to_a_file(feed: PartnerTopic) -> None:
    """Nothing of an aborted transaction, nothing lost by kill -9, and what comes again is the same line."""
    file = feed.folder / "transfers.jsonl"
    settings = {**feed.settings, "DELIVERY_FILE": str(file)}

    def arrived() -> bool:
        return file.exists() and set(feed.released.values()) <= set(file.read_bytes().splitlines())

    await feed.release(30)
    with kafka_connect(feed.folder, "files.properties", settings) as connect:
        await connect.until(arrived, "delivering")
    await feed.release(30)
    with kafka_connect(feed.folder, "files.properties", settings) as connect:
        await connect.until(arrived, "delivering what came while it was away")
    assert set(file.read_bytes().splitlines()) == set(feed.released.values())


async def test_camel_posts_each_released_record_until_it_is_taken_and_reports_it(feed: PartnerTopic) -> None:
    """Killed in the middle, and the receiver away for a while, in both partitions; one record it refuses for good."""
    await feed.release(60)
    refused = next(iter(feed.released))

    def answer(number: int, transfer: Mapping[str, Any]) -> int:
        if transfer["transfer_id"] == refused:
            return 422
        return 503 if number in (5, 6, 40, 41) else 202

    receiver = Receiver(answer)
    with receiver.open() as address:
        settings = {**feed.settings, "DELIVERY_ADDRESS": address, "DELIVERY_TOKEN": "a-token-of-the-tests"}
        with camel(feed.folder, "http.yaml", settings) as program:
            await program.until(lambda: len(receiver.taken) > 20, "delivering")
        await feed.release(20)
        wanted = set(feed.released) - {refused}
        with camel(feed.folder, "http.yaml", settings) as program:
            await program.until(lambda: wanted <= set(receiver.taken), "delivering the rest")
            reports = await feed.reported_of(program, len(feed.released))
    assert set(receiver.taken) == wanted
    assert receiver.bodies == {transfer: {feed.released[transfer]} for transfer in wanted}
    assert {headers["Idempotency-Key"] for headers in receiver.headers} == wanted
    assert {headers["Authorization"] for headers in receiver.headers} == {"Bearer a-token-of-the-tests"}
    assert {name for headers in receiver.headers for name in headers if name.lower().startswith("tg-")} == set()
    assert {(key, report["transfer_id"], report["state"]) for key, report in reports} == {
        (transfer, transfer, "failed" if transfer == refused else "delivered") for transfer in feed.released
    }
    assert "prospect-" not in program.log.read_text(encoding="utf-8"), "nothing of a person is logged"


async def test_camel_writes_each_released_record_to_a_file_of_its_own(feed: PartnerTopic) -> None:
    folder = feed.folder / "drop"
    await feed.release(5)
    with camel(feed.folder, "files.yaml", {**feed.settings, "DELIVERY_FOLDER": str(folder)}) as program:
        await program.until(lambda: folder.exists() and len(list(folder.glob("[!.]*"))) == 5, "delivering")
        reports = await feed.reported_of(program, 5)
    assert {file.stem: file.read_bytes() for file in folder.iterdir()} == feed.released
    assert {(key, report["state"], report["ref"]) for key, report in reports} == {
        (transfer, "delivered", f"{transfer}.json") for transfer in feed.released
    }


def in_clear(secured: SecuredKafka) -> dict[str, Any]:
    return {"bootstrap_servers": secured.scram("worker")["bootstrap_servers"], "security_protocol": "PLAINTEXT"}


def wrong_password(secured: SecuredKafka) -> dict[str, Any]:
    connection = secured.scram("worker")
    connection["sasl_password_file"].write_text("wr0ng")
    return connection


def untrusted(secured: SecuredKafka) -> dict[str, Any]:
    return {**secured.scram("worker"), "ssl_cafile": None}


def other_mechanism(secured: SecuredKafka) -> dict[str, Any]:
    return {**secured.scram("worker"), "sasl_mechanism": "SCRAM-SHA-256"}


def no_certificate(secured: SecuredKafka) -> dict[str, Any]:
    return {**secured.certificate("worker"), "ssl_certfile": None, "ssl_keyfile": None}


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        (in_clear, "it closes the connection: that port may not speak PLAINTEXT"),
        (wrong_password, "it refuses the user worker or the password"),
        (other_mechanism, "it does not offer SCRAM-SHA-256"),
        (untrusted, "its certificate is not trusted: unable to get local issuer certificate"),
        (no_certificate, "or want a client certificate"),
    ],
)
# aiokafka leaves the transport of a failed TLS handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_connection_that_is_refused_says_why(
    connection: Callable[[SecuredKafka], dict[str, Any]], words: str, secured: SecuredKafka
) -> None:
    settings = Settings(_env_file=None, **connection(secured))  # type: ignore[call-arg]
    with pytest.raises(BrokerUnavailable) as caught:
        async with open_session(settings) as session:
            await session.cluster.brokers()
    assert words in caught.value.message
    assert "wr0ng" not in str(caught.value)


async def test_a_client_ends_at_once_while_the_broker_waits_for_records(place: Place) -> None:
    """A broker answers the end of TLS after the fetch that it is busy with; event loops would wait 30 s for it."""
    await place.grant(RIGHTS)
    options = client_options(place.settings(**place.connection))
    async with asyncio.timeout(10):
        for _ in range(3):
            async with connected(AIOKafkaConsumer(**options, fetch_max_wait_ms=60_000)) as consumer:
                consumer.assign([TopicPartition(place.topics.transfers, 0)])
                await consumer.getmany(timeout_ms=100)
