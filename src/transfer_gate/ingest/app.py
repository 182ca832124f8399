"""The HTTP side: `POST /ingest/<source>`, answered once what the body holds is on `consent-events`.

| status | when |
|---|---|
| 200 | every event of the body is written, or is passed over on purpose |
| 401 | not who the source file says, or signed too long ago |
| 404, 405 | no such source; another method than POST |
| 408, 413, 415 | the body comes too slowly, is too large, or is compressed |
| 422 | an event is of nobody known: what was sent is kept, the other events are written |
| 503 | the brokers do not acknowledge, or too many requests are open; with `Retry-After` |
"""

import asyncio
import datetime as dt
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from transfer_gate.ingest.authentication import TOKEN_SECONDS, Authenticator, Proxies, credentials_in
from transfer_gate.ingest.publisher import Publisher, Record, Unavailable
from transfer_gate.ingest.reading import BodyReader, Reading, UnmappedRecord, unmapped
from transfer_gate.ingest.source import SourceFile
from transfer_gate.observe.metrics import INGEST_EVENTS, INGEST_OPEN_REQUESTS, INGEST_REQUESTS, INGEST_SECONDS
from transfer_gate.settings import Settings

logger = logging.getLogger(__name__)

#: How long a body may take to come, seconds.
BODY_SECONDS: Final = 10.0
#: When a sender may try again, seconds.
RETRY_SECONDS: Final = 5
#: Largest body of a request for a token, bytes.
_LARGEST_FORM: Final = 4096
#: Refused bodies that are remembered by their hash, so that a sender who repeats one does not fill quarantine.
_REMEMBERED: Final = 4096
_encode: Final = msgspec.json.Encoder().encode

#: Outcomes of requests and their status.
OUTCOMES: Final = {
    "accepted": 200,
    "unauthenticated": 401,
    "too_slow": 408,
    "too_large": 413,
    "compressed": 415,
    "of_nobody": 422,
    "disconnected": 499,
    "busy": 503,
    "unavailable": 503,
}
#: What events of bodies become, beside the types of consent events.
UNREADABLE: Final = "unreadable"
OF_NOBODY: Final = "of_nobody"
PASSED_OVER: Final = "passed_over"
OTHER_REGULATION: Final = "other_regulation"


class Refused(Exception):
    """A request that is answered without being read to its end: `outcome` is one of OUTCOMES."""

    def __init__(self, outcome: str, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.outcome, self.why, self.headers = outcome, why, headers


class SourceEndpoint:
    """What answers the requests of one source."""

    def __init__(
        self, file: SourceFile, authenticator: Authenticator, nobody: frozenset[str], publisher: Publisher
    ) -> None:
        self.name = file.name
        self.authenticator = authenticator
        self._reader = BodyReader(file.source, nobody)
        self._largest = file.source.largest_body_kib << 10
        self._publisher = publisher
        self._refused: OrderedDict[bytes, None] = OrderedDict()

    async def take(self, request: Request, address: str | None) -> tuple[str, Reading]:
        """Read a request, and write what it holds: `accepted` or `of_nobody`. Raises Refused, Unavailable."""
        fault = self.authenticator.fault_in_head(address, request.headers, time.time())
        if fault is not None:
            raise Refused("unauthenticated", fault, self.authenticator.challenge())
        body = await _body(request, self._largest)
        fault = self.authenticator.fault_in_body(request.headers, body, time.time())
        if fault is not None:
            raise Refused("unauthenticated", fault, self.authenticator.challenge())
        reading = self._reader.read(body, dt.datetime.now(dt.UTC))
        await self._write(reading, body)
        return "accepted" if reading.of_nobody is None else "of_nobody", reading

    async def _write(self, reading: Reading, body: bytes) -> None:
        kept = reading.of_nobody
        digest = sha256(body).digest() if kept is not None else b""
        records: list[Record] = [(event.key, event.value) for event in reading.events]
        records += [(record.key, record.value) for record in reading.unreadable]
        if kept is not None and digest not in self._refused:
            records.append((kept.key, kept.value))
        if records:
            too_large = await self._publisher.write(records)
            if too_large:
                await self._write_without_bodies([records[place][0] for place in too_large], body)
        if kept is not None:
            self._refused[digest] = None
            if len(self._refused) > _REMEMBERED:
                self._refused.popitem(last=False)
        self._count(reading)

    async def _write_without_bodies(self, keys: list[bytes | None], body: bytes) -> None:
        """What a topic does not take because of its size still blocks its prospect."""
        now, reason = dt.datetime.now(dt.UTC), "larger than consent-events takes (max.message.bytes)"
        small: list[UnmappedRecord] = [
            unmapped(self.name, reason, body, now, prospect_id=None if key is None else key.decode(), part=b"")
            for key in keys
        ]
        logger.error("an event is larger than consent-events takes", extra={"source": self.name})
        if await self._publisher.write([(record.key, record.value) for record in small]):
            raise Unavailable

    def _count(self, reading: Reading) -> None:
        for event in reading.events:
            INGEST_EVENTS.labels(self.name, event.kind).inc()
        for record in reading.unreadable:
            INGEST_EVENTS.labels(self.name, UNREADABLE).inc()
            logger.warning(
                "an event could not be mapped: its person is blocked until it is resolved",
                extra={"source": self.name, "event_id": record.event_id, "reason": record.reason},
            )
        if reading.passed_over:
            INGEST_EVENTS.labels(self.name, PASSED_OVER).inc(reading.passed_over)
        if reading.other_regulation:
            INGEST_EVENTS.labels(self.name, OTHER_REGULATION).inc(reading.other_regulation)
        if reading.of_nobody is not None:
            INGEST_EVENTS.labels(self.name, OF_NOBODY).inc()
            logger.warning(
                "an event is of nobody known: it was refused, and is kept in quarantine",
                extra={"source": self.name, "event_id": reading.of_nobody.event_id, "reason": reading.of_nobody.reason},
            )


class Ingest:
    """Answers requests of all sources."""

    def __init__(self, settings: Settings, endpoints: list[SourceEndpoint]) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._proxies = Proxies(settings.ingest_proxies)
        self._most = settings.ingest_max_open_requests
        self._open = 0

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [Route("/ingest/{source}", self._post, methods=["POST"])]
        if any(endpoint.authenticator.issues_tokens for endpoint in self._endpoints.values()):
            routes.append(Route("/ingest/{source}/token", self._token, methods=["POST"]))
        return Starlette(routes=routes)

    async def _post(self, request: Request) -> Response:
        endpoint = self._endpoints.get(request.path_params["source"])
        if endpoint is None:
            return _answer(404, {"error": "no such source"})
        begun = time.monotonic()
        outcome, response = await self._bounded(endpoint, request)
        INGEST_REQUESTS.labels(endpoint.name, outcome).inc()
        INGEST_SECONDS.observe(time.monotonic() - begun)
        return response

    async def _bounded(self, endpoint: SourceEndpoint, request: Request) -> tuple[str, Response]:
        if self._open >= self._most:
            return "busy", _later("too many requests are open")
        self._open += 1
        INGEST_OPEN_REQUESTS.set(self._open)
        try:
            return await self._taken(endpoint, request)
        finally:
            self._open -= 1
            INGEST_OPEN_REQUESTS.set(self._open)

    async def _taken(self, endpoint: SourceEndpoint, request: Request) -> tuple[str, Response]:
        try:
            outcome, reading = await endpoint.take(request, self._address(request))
        except Refused as refused:
            if refused.outcome == "unauthenticated":
                logger.warning(
                    "a request is not who its source says", extra={"source": endpoint.name, "reason": refused.why}
                )
            status = OUTCOMES[refused.outcome]
            return refused.outcome, _answer(status, {"error": refused.why}, refused.headers)
        except ClientDisconnect:
            return "disconnected", _answer(OUTCOMES["disconnected"], {"error": "disconnected"})
        except Unavailable:
            return "unavailable", _later("consent events can't be written now")
        told: dict[str, object] = {
            "events": len(reading.events),
            "unreadable": len(reading.unreadable),
            "passed_over": reading.passed_over,
            "other_regulation": reading.other_regulation,
        }
        if reading.of_nobody is not None:
            told["error"] = reading.of_nobody.reason
        return outcome, _answer(OUTCOMES[outcome], told)

    async def _token(self, request: Request) -> Response:
        """The token endpoint of OAuth 2.0 for client credentials (RFC 6749, section 4.4)."""
        endpoint = self._endpoints.get(request.path_params["source"])
        if endpoint is None or not endpoint.authenticator.issues_tokens:
            return _answer(404, {"error": "no such source"})
        try:
            form = parse_qs((await _body(request, _LARGEST_FORM)).decode("latin-1"), max_num_fields=10)
        except (Refused, ValueError, ClientDisconnect):
            return _answer(400, {"error": "invalid_request"})
        if form.get("grant_type") != ["client_credentials"]:
            return _answer(400, {"error": "unsupported_grant_type"})
        given = credentials_in(request.headers.get("authorization", ""))
        if given is None:
            given = form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
        token = endpoint.authenticator.token(self._address(request), *given, time.time())
        if token is None:
            logger.warning("a request for a token is not who its source says", extra={"source": endpoint.name})
            return _answer(401, {"error": "invalid_client"}, {"www-authenticate": 'Basic realm="transfer-gate"'})
        told = {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}
        return _answer(200, told, {"cache-control": "no-store"})

    def _address(self, request: Request) -> str | None:
        peer = request.client.host if request.client is not None else None
        return self._proxies.client(peer, request.headers)


async def _body(request: Request, largest: int) -> bytes:
    """The body, bounded in size and time. Raises Refused."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused("compressed", "send the body without Content-Encoding")
    declared = request.headers.get("content-length", "0")
    if len(declared) > 18 or not declared.isdecimal() or int(declared) > largest:
        raise Refused("too_large", f"more than {largest >> 10} KiB", {"connection": "close"})
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > largest:
                    raise Refused("too_large", f"more than {largest >> 10} KiB", {"connection": "close"})
    except TimeoutError:
        raise Refused("too_slow", "the body did not come in time", {"connection": "close"}) from None
    return bytes(found)


def _later(why: str) -> Response:
    return _answer(503, {"error": why}, {"retry-after": str(RETRY_SECONDS)})


def _answer(status: int, told: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(_encode(told), status, headers, "application/json")
