"""`ingest` on a real broker: what a platform sends is on `consent-events` before it is answered with 200."""

import asyncio
import base64
import gzip
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import pytest_asyncio
import yaml

from tests.support.clients import partition_of, read_all
from tests.support.ingest_service import SOURCES, IngestService, opt_outs, post, post_all, signed
from transfer_gate.gate.inbox import Record
from transfer_gate.kafka.topics import apply_topics
from transfer_gate.records.consents import Unreadable, decode_consent, is_readable
from transfer_gate.registry import load_registry
from transfer_gate.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGISTRY: Final = Path(__file__).parents[3] / "examples" / "registry"
TOKEN: Final = {"authorization": "Bearer another-token-of-the-tests"}
PASSWORD: Final = {"authorization": f"Basic {base64.b64encode(b'onetrust:a-password-of-the-tests').decode()}"}
FROM_DIDOMI: Final = TOKEN | {"x-forwarded-for": "203.0.113.9, 35.159.1.63"}
CREDENTIALS: Final = """\
source: partner-portal
authentication: {client_credentials: {client_id: portal, secret_file: client-secret}}
largest_body_kib: 1
regulation: {constant: gdpr}
events:
  - name: out
    fields:
      type: {constant: objection}
      prospect_id: {column: who}
      event_time: {column: at}
"""


class Ingest(IngestService):
    """The service with the settings of its installation."""

    def __init__(self, settings: Settings, folder: Path, sources: Path) -> None:
        self.settings = settings
        names = (
            "bootstrap_servers",
            "security_protocol",
            "topic_prefix",
            "app_id",
            "registry",
            "ingest_trusted_proxies",
        )
        environment = {f"TRANSFER_GATE_{name.upper()}": str(getattr(settings, name)) for name in names}
        super().__init__(environment, folder, sources)

    async def events(self) -> list[Record]:
        """Everything on `consent-events`."""
        topic = self.settings.topics.consents
        return [record async for record in read_all(self.settings.bootstrap_servers, [topic], 2)]

    async def of(self, key: str | None) -> list[Record]:
        """What stands there under a key."""
        wanted = None if key is None else key.encode()
        return [record for record in await self.events() if record.key == wanted]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingest(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ingest]:
    folder = tmp_path_factory.mktemp("ingest")
    sources = folder / "sources"
    sources.mkdir()
    for file in SOURCES.glob("*.yaml"):
        (sources / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    (sources / "portal.yaml").write_text(CREDENTIALS, encoding="utf-8")
    unique = uuid.uuid4().hex[:12]
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        bootstrap_servers=bootstrap_servers,
        security_protocol="PLAINTEXT",
        topic_prefix=f"t{unique}-",
        app_id=f"gate-{unique}",
        registry=REGISTRY,
        partitions=2,
        ingest_trusted_proxies="127.0.0.0/8",
    )
    await apply_topics(settings, load_registry(REGISTRY))
    async with Ingest(settings, folder, sources) as service:
        await service.start()
        yield service
        assert await service.stop() == 0, service.log()


def case(source: str, name: str) -> bytes:
    """The body of a case that is shipped with a source."""
    cases = yaml.safe_load((SOURCES / f"{source}.cases.yaml").read_text(encoding="utf-8"))["cases"]
    return json.dumps(next(one["body"] for one in cases if one["name"] == name)).encode()


async def test_what_platforms_send_is_in_the_partition_of_its_person(ingest: Ingest) -> None:
    body = case("didomi", "each purpose that was answered is a consent event").replace(b"p-000123", b"p-didomi")
    status, told, _ = await post(ingest, "didomi", body, FROM_DIDOMI)
    assert (status, told) == (200, {"events": 2, "unreadable": 0, "passed_over": 1, "other_regulation": 0})
    body = case("onetrust", "each purpose of a receipt is a consent event").replace(b"p-000123", b"p-onetrust")
    assert (await post(ingest, "onetrust", body, PASSWORD))[0] == 200
    body = opt_outs("p-signed-1", "p-signed-2", "p-signed-3")
    assert (await post(ingest, "signed", body, signed(body)))[0] == 200
    for person, count in {"p-didomi": 2, "p-onetrust": 2, "p-signed-1": 1, "p-signed-2": 1, "p-signed-3": 1}.items():
        records = await ingest.of(person)
        assert len(records) == count
        assert {record.partition for record in records} == {partition_of(person.encode(), 2)}
        assert all(is_readable(record.value, record.key) for record in records)


async def test_whoever_is_not_the_source_writes_nothing(ingest: Ingest) -> None:
    body = opt_outs("p-stranger")
    now = time.time()
    refused: dict[str, tuple[str, dict[str, str], str]] = {
        "no token": ("didomi", {"x-forwarded-for": "35.159.1.63"}, "credentials"),
        "another token": ("didomi", FROM_DIDOMI | {"authorization": "Bearer a-token-of-nobody"}, "credentials"),
        "another address": ("didomi", TOKEN | {"x-forwarded-for": "203.0.113.9"}, "address"),
        # What stands before the last hop is what the client says of itself.
        "a forged address": ("didomi", TOKEN | {"x-forwarded-for": "35.159.1.63, 203.0.113.9"}, "address"),
        "no address": ("didomi", TOKEN | {"x-forwarded-for": "unknown"}, "address"),
        "another password": ("onetrust", {"authorization": "Basic b25ldHJ1c3Q6b25ldHJ1c3Q="}, "credentials"),
        "not signed": ("signed", {}, "signature"),
        "signed by another": ("signed", signed(body, key=b"x" * 32), "signature"),
        "signed for another body": ("signed", signed(opt_outs("p-other")), "signature"),
        "signed long ago": ("signed", signed(body, at=now - 301), "replay-window"),
        "signed for tomorrow": ("signed", signed(body, at=now + 400), "replay-window"),
        "no access token": ("partner-portal", {"authorization": f"Bearer {int(now) + 60}.AAAA"}, "credentials"),
    }
    for name, (source, headers, why) in refused.items():
        status, told, answered = await post(ingest, source, body, headers)
        assert (status, told) == (401, {"error": why}), name
        assert ("www-authenticate" in answered) == (source != "signed"), name
    assert await ingest.of("p-stranger") == []
    assert await ingest.metric("transfer_gate_ingest_requests_total", source="didomi", outcome="unauthenticated") == 5


async def test_a_source_gets_an_access_token_for_its_secret(ingest: Ingest) -> None:
    """As OAuth 2.0 has it for client credentials, by either secret of a rotation."""
    address = f"{ingest.address}/ingest/partner-portal/token"
    form = {"grant_type": "client_credentials", "client_id": "portal", "client_secret": "the-old-secret-of-a-client"}
    basic = {"authorization": f"Basic {base64.b64encode(b'portal:the-new-secret-of-a-client').decode()}"}
    async with aiohttp.ClientSession() as session:
        async with session.post(address, data=form) as answer:
            first = await answer.json()
            assert (answer.status, first["token_type"], first["expires_in"]) == (200, "Bearer", 3600)
        async with session.post(address, data={"grant_type": "client_credentials"}, headers=basic) as answer:
            assert answer.status == 200
        for wrong in ({"client_secret": "a-secret-of-nobody"}, {"client_id": "other"}):
            async with session.post(address, data=form | wrong) as answer:
                assert (answer.status, await answer.json()) == (401, {"error": "invalid_client"})
        async with session.post(address, data=form | {"grant_type": "password"}) as answer:
            assert (answer.status, await answer.json()) == (400, {"error": "unsupported_grant_type"})
    body = json.dumps({"who": "p-token", "at": "2026-09-14T08:30:11Z"}).encode()
    headers = {"authorization": f"Bearer {first['access_token']}"}
    assert (await post(ingest, "partner-portal", body, headers))[0] == 200
    forged = str(int(time.time()) + 9999) + "." + first["access_token"].partition(".")[2]
    assert (await post(ingest, "partner-portal", body, {"authorization": f"Bearer {forged}"}))[0] == 401
    assert len(await ingest.of("p-token")) == 1


async def test_an_event_that_can_not_be_mapped_blocks_its_person(ingest: Ingest) -> None:
    body = case("didomi", "a purpose that the mapping does not know blocks the person").replace(b"p-000123", b"p-odd")
    status, told, _ = await post(ingest, "didomi", body, FROM_DIDOMI)
    assert (status, told["unreadable"], told["events"]) == (200, 1, 0)
    (record,) = await ingest.of("p-odd")
    with pytest.raises(Unreadable) as caught:
        decode_consent(record.value, record.key)
    assert caught.value.prospects == (b"p-odd",)
    assert json.loads(record.value or b"")["body"].encode() == body


async def test_an_event_of_nobody_is_refused_and_kept_once_and_the_others_count(ingest: Ingest) -> None:
    body = opt_outs("p-known", "undefined")
    for _ in range(2):
        status, told, _ = await post(ingest, "signed", body, signed(body))
        assert (status, told["events"], told["error"]) == (
            422,
            1,
            "prospect_id identifies no person; its prospect is not known",
        )
    assert [is_readable(record.value, record.key) for record in await ingest.of("p-known")] == [True, True]
    kept = [json.loads(record.value or b"") for record in await ingest.of(None)]
    assert [one["body"].encode() for one in kept if one["source"] == "signed"] == [body]
    hostile = b'{"events": [\xff'
    status, told, _ = await post(ingest, "signed", hostile, signed(hostile))
    assert (status, told["error"]) == (422, "the body is not JSON in UTF-8")
    kept = [json.loads(record.value or b"") for record in await ingest.of(None)]
    assert [base64.b64decode(one["body_base64"]) for one in kept if "body_base64" in one] == [hostile]


async def test_what_is_no_request_of_a_source_is_refused(ingest: Ingest) -> None:
    body = gzip.compress(opt_outs("p-1"))
    assert (await post(ingest, "signed", body, signed(body) | {"content-encoding": "gzip"}))[0] == 415
    assert (await post(ingest, "nobody", b"{}"))[0] == 404
    assert (await post(ingest, "signed/token", b"{}"))[0] == 404
    large = opt_outs("p-1") + b" " * (257 << 10)
    assert (await post(ingest, "signed", large, signed(large)))[0] == 413

    async def endless() -> AsyncIterator[bytes]:
        """Without Content-Length."""
        yield large

    async with aiohttp.ClientSession() as session:
        async with session.post(f"{ingest.address}/ingest/signed", data=endless()) as answer:
            assert answer.status == 413
        async with session.get(f"{ingest.address}/ingest/signed") as got:
            assert got.status == 405
        async with session.get(f"{ingest.address}/metrics") as got:
            assert got.status == 404


async def test_many_at_once_are_each_written_and_each_counted(ingest: Ingest) -> None:
    people = [f"p-many-{number}" for number in range(200)]
    bodies = [(body, signed(body)) for body in map(opt_outs, people)]
    before = await ingest.metric("transfer_gate_ingest_events_total", source="signed", became="withdrawal")
    assert set(await post_all(ingest, "signed", bodies)) == {200}
    keys = [record.key for record in await ingest.events()]
    assert all(keys.count(person.encode()) == 1 for person in people)
    after = await ingest.metric("transfer_gate_ingest_events_total", source="signed", became="withdrawal")
    assert after - before == 200
    assert await ingest.metric("transfer_gate_ingest_open_requests") == 0


async def test_nothing_personal_is_in_log_or_metrics(ingest: Ingest) -> None:
    """Of people in bodies that were taken, blocked and refused, neither ids nor what was sent."""
    for kind in ("opt-out", "marker-kind"):
        body = json.dumps({"events": [{"kind": kind, "person": "marker-person", "at": "marker-time"}]}).encode()
        await post(ingest, "signed", body, signed(body))
    body = b'{"events": [{"person": {"marker-person": 1}}]}'
    assert (await post(ingest, "signed", body, signed(body)))[0] == 422
    lines = [json.loads(line) for line in ingest.log().splitlines()]
    said = [line for line in lines if line["event"].startswith("an event could not be mapped")]
    assert any(line["source"] == "signed" and line["reason"] and uuid.UUID(line["event_id"]) for line in said)
    assert "marker" not in ingest.log()
    assert "marker" not in (await ingest.get("/metrics"))[1]


async def test_it_ends_where_the_topic_is_not_right(ingest: Ingest, tmp_path: Path) -> None:
    settings = ingest.settings.model_copy(update={"topic_prefix": f"none-{uuid.uuid4().hex[:8]}-"})
    service = Ingest(settings, tmp_path, SOURCES)
    await service.start(ready=False)
    assert await asyncio.wait_for(service.ended(), 60) == 2
    assert "no topic none-" in service.log()
    assert "Traceback" not in service.log()


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("INGEST_SECRETS", "nowhere", "didomi-token can't be read"),
        ("INGEST_SOURCES", "nowhere", "nowhere: can't be read"),
        ("INGEST_HOST", "192.0.2.1", "consents would come in clear"),
        ("INGEST_CERTFILE", "nowhere.pem", "INGEST_CERTFILE and TRANSFER_GATE_INGEST_KEYFILE go together"),
    ],
)
async def test_what_is_set_wrongly_is_named_and_ends_it(
    ingest: Ingest, tmp_path: Path, setting: str, value: str, told: str
) -> None:
    settings = ingest.settings.model_copy(update={"ingest_trusted_proxies": ""})
    service = Ingest(settings, tmp_path, SOURCES)
    service._environment[f"TRANSFER_GATE_{setting}"] = value
    with pytest.raises(AssertionError):
        await service.start()
    assert await service.ended() == 2
    assert told in service.log()
    assert "Traceback" not in service.log()
