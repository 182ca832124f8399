"""With tokens of a real token server the gate logs in to a real Kafka, again and again, and says why when it can't."""

import asyncio
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.support.access import documented
from tests.support.secured_kafka import SecuredKafka
from tests.support.secured_place import Place
from tests.support.token_server import AUDIENCE, TokenServer
from tests.support.workers import Worker
from transfer_gate.doctor.examine import examine
from transfer_gate.errors import BrokerUnavailable
from transfer_gate.kafka.session import open_session
from transfer_gate.settings import PREFIX, Settings
from transfer_gate.verify.account import verify

RIGHTS: Final = documented("transfer-gate-worker")
#: Short enough that a test outlives several; Kafka takes no second login within a second.
SHORT_LIFE: Final = 8
SECRET: Final = "s3cret+of/the=worker"  # noqa: S105 - of a server that lives as long as this test


@pytest.fixture(scope="module")
def shared_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    server = TokenServer(tmp_path_factory.mktemp("tokens"))
    server.register("worker", SECRET)
    server.register("operator", "s3cret-of-the-operator")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def secured(shared_tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"), ["worker", "operator"], shared_tokens)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def tokens(shared_tokens: TokenServer) -> Iterator[TokenServer]:
    """As it is at first, whatever a test changes."""
    yield shared_tokens
    shared_tokens.lifetime, shared_tokens.audience = 3600, AUDIENCE
    shared_tokens.register("worker", SECRET)
    shared_tokens.stop()
    shared_tokens.start()


@pytest.fixture
def place(secured: SecuredKafka, tokens: TokenServer, tmp_path: Path) -> Iterator[Place]:
    made = Place(secured, tmp_path, secured.oauth("worker"))
    yield made
    made.installation.close()


async def decides(place: Place, worker: Worker) -> None:
    """Send a transfer to two partners, and wait until both are decided."""
    before = worker.metric("transfer_gate_decisions_total")
    await place.send()
    await worker.until(lambda: worker.metric("transfer_gate_decisions_total") > before + 1, "deciding")


async def issued(worker: Worker, tokens: TokenServer, more: int) -> None:
    """Wait until the server has issued so many more tokens."""
    wanted = len(tokens.issued) + more
    await worker.until(lambda: len(tokens.issued) >= wanted, f"given {more} more tokens")


async def logs(worker: Worker, words: str) -> None:
    """Wait until these words stand in its log."""
    await worker.until(lambda: words in worker.log.read_text(encoding="utf-8"), f"logging: {words}")


async def test_worker_and_commands_log_in_with_tokens(place: Place, tokens: TokenServer, secured: SecuredKafka) -> None:
    """With the rights of the client that a token names, and one token for all connections of a process."""
    await place.grant(RIGHTS)
    await place.give("operator", documented("transfer-gate-operator"))
    before = len(tokens.issued)
    worker = place.installation.start_worker()
    await decides(place, worker)
    assert (await worker.terminate())[0] == 0, worker.tail()
    assert tokens.issued[before:] == [{"grant_type": "client_credentials", "scope": "kafka.connect"}]
    settings = place.settings(**secured.oauth("operator"), partitions=1)
    counts = (await verify(settings, place.registry, wait_seconds=60)).counts
    assert (counts.released, counts.quarantined, counts.missing) == (2, 2, 0)
    findings, answered = await examine(settings)
    assert answered
    assert [finding for finding in findings if finding.status == "FAIL"] == []
    assert len(tokens.issued) == before + 2


async def test_connections_log_in_again_before_their_token_ends(place: Place, tokens: TokenServer) -> None:
    """Nothing is cut, nothing rejoins: every connection has a new token before the brokers' patience ends."""
    await place.grant(RIGHTS)
    tokens.lifetime = SHORT_LIFE
    worker = place.installation.start_worker()
    await worker.until_ready()
    rebalances = worker.metric("transfer_gate_rebalances_total")
    for _ in range(3):
        await issued(worker, tokens, 1)
        await decides(place, worker)
    assert worker.metric("transfer_gate_rebalances_total") == rebalances
    assert re.findall(r"\[(?:error|warning) +\] (.{20})", worker.log.read_text(encoding="utf-8")) == [
        "payloads in quaranti"
    ], worker.tail()
    assert (await worker.terminate())[0] == 0, worker.tail()


async def test_a_worker_outlives_a_token_server_that_is_away(place: Place, tokens: TokenServer) -> None:
    """Its token ends, its connections are cut, its partitions are lost; then it goes on where it stood."""
    await place.grant(RIGHTS)
    tokens.lifetime = SHORT_LIFE
    worker = place.installation.start_worker()
    await decides(place, worker)
    tokens.stop()
    # It tries in time; then its token ends, and no connection can be made.
    await logs(worker, "no new token to log in to Kafka with")
    await logs(worker, "TokenUnavailable: the token server")
    await place.send()
    before = worker.metric("transfer_gate_decisions_total")
    tokens.start()
    await worker.until(lambda: worker.metric("transfer_gate_decisions_total") > before + 1, "deciding", 90)
    counts = (await verify(place.admin, place.registry, wait_seconds=60)).counts
    assert (counts.released, counts.missing) == (4, 0)
    assert (await worker.terminate())[0] == 0, worker.tail()
    assert SECRET not in worker.log.read_text(encoding="utf-8")


async def test_a_secret_that_is_replaced_is_used_from_the_next_token_on(place: Place, tokens: TokenServer) -> None:
    await place.grant(RIGHTS)
    tokens.lifetime = SHORT_LIFE
    worker = place.installation.start_worker()
    await worker.until_ready()
    tokens.register("worker", "an0ther-s3cret")
    await issued(worker, tokens, 2)
    await decides(place, worker)
    assert (await worker.terminate())[0] == 0, worker.tail()


async def test_a_worker_whose_tokens_are_refused_goes_on_when_they_are_taken_again(
    place: Place, tokens: TokenServer
) -> None:
    await place.grant(RIGHTS)
    tokens.lifetime = SHORT_LIFE
    worker = place.installation.start_worker()
    await decides(place, worker)
    tokens.audience = "another-service"
    await logs(worker, "the brokers refuse the token of client worker")
    await place.send()
    tokens.audience = AUDIENCE
    before = worker.metric("transfer_gate_decisions_total")
    await worker.until(lambda: worker.metric("transfer_gate_decisions_total") > before + 1, "deciding", 90)
    assert (await worker.terminate())[0] == 0, worker.tail()


def expired(tokens: TokenServer, _folder: Path) -> dict[str, Any]:
    tokens.lifetime = -60  # brokers allow clocks 30 s
    return {}


def wrong_audience(tokens: TokenServer, _folder: Path) -> dict[str, Any]:
    tokens.audience = "another-service"
    return {}


def wrong_secret(tokens: TokenServer, _folder: Path) -> dict[str, Any]:
    tokens.change_secret("worker", "an0ther-s3cret")
    return {}


def wrong_client(_tokens: TokenServer, _folder: Path) -> dict[str, Any]:
    return {"sasl_oauth_client_id": "stranger"}


def wrong_scope(_tokens: TokenServer, _folder: Path) -> dict[str, Any]:
    return {"sasl_oauth_scope": "everything"}


def wrong_path(tokens: TokenServer, _folder: Path) -> dict[str, Any]:
    return {"sasl_oauth_token_url": f"{tokens.url}/elsewhere"}


def away(tokens: TokenServer, _folder: Path) -> dict[str, Any]:
    tokens.stop()
    return {}


def untrusted(_tokens: TokenServer, folder: Path) -> dict[str, Any]:
    trustme.CA().cert_pem.write_to_path(folder / "another-ca.pem")
    return {"sasl_oauth_cafile": folder / "another-ca.pem"}


Fault = Callable[[TokenServer, Path], dict[str, Any]]


@pytest.mark.parametrize(
    ("fault", "words", "do"),
    [
        (expired, r"refuse the token of client worker \(invalid_token; .*, expired \d\d s ago by the clock", "clocks"),
        (
            wrong_audience,
            r"refuse the token of client worker \(invalid_token; it says: aud another-service",
            "audience",
        ),
        (wrong_secret, r"refuses client worker or its secret \(invalid_client\)", "SASL_OAUTH_CLIENT_SECRET_FILE"),
        (wrong_client, r"refuses client stranger or its secret \(invalid_client\)", "SASL_OAUTH_CLIENT_ID"),
        (wrong_scope, r"refuses the request \(invalid_scope\)", "SASL_OAUTH_SCOPE"),
        (wrong_path, r"refuses the request \(HTTP 404\)", "SASL_OAUTH_TOKEN_URL"),
        (away, r"the token server 127\.0\.0\.1:\d+ does not answer: connection refused", "SASL_OAUTH_TOKEN_URL"),
        (untrusted, r"does not answer: its certificate is not trusted: unable to get", "SASL_OAUTH_CAFILE"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_login_that_fails_says_why(
    fault: Fault, words: str, do: str, secured: SecuredKafka, tokens: TokenServer, tmp_path: Path
) -> None:
    given = {**secured.oauth("worker"), **fault(tokens, tmp_path)}
    given["sasl_oauth_extensions"] = f"test={fault.__name__.replace('_', '-')}"  # a provider of its own
    settings = Settings(_env_file=None, **given)  # type: ignore[call-arg]
    with pytest.raises(BrokerUnavailable, match=words) as caught:
        async with open_session(settings) as session:
            await session.cluster.brokers()
    assert do in caught.value.do
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("fault", "words"), [(wrong_secret, "or its secret"), (wrong_audience, "aud another-service")])
@pytest.mark.parametrize("command", [["worker"], ["verify"]], ids=" ".join)
async def test_a_command_whose_login_fails_ends_with_the_code_of_brokers_that_are_away(
    fault: Fault, words: str, command: list[str], place: Place, tokens: TokenServer, tmp_path: Path
) -> None:
    fault(tokens, tmp_path)
    settings = place.settings(**place.connection).model_dump(exclude_unset=True)
    environment = {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "transfer_gate",
        *command,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said = "".join(part.decode() for part in await process.communicate())
    assert (process.returncode, words in said) == (6, True), said
    assert "Traceback" not in said
    assert SECRET not in said
