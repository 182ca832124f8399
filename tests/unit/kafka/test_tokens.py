"""One provider gives all clients of a process their token, in time, and does not besiege a token server that fails."""

import asyncio
import base64
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.token_server import AUDIENCE, TokenServer
from transfer_gate.errors import InvalidInput
from transfer_gate.gate.faust.app import _credentials
from transfer_gate.kafka import tokens
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.token_sources import UNKNOWN_LIFETIME, MskSigner, OAuthClient, provider_of
from transfer_gate.kafka.tokens import Token, TokenProvider, TokenUnavailable, message
from transfer_gate.settings import Settings


class Source:
    """A source by the test's clock, whose next answers are given."""

    subject = "client gate"

    def __init__(self) -> None:
        self.extensions: dict[str, str] = {}
        self.now = 1000.0
        self.fails = False
        self.fetched = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def fetch(self) -> Token:
        assert self.may_answer.wait(10)
        self.fetched += 1
        if self.fails:
            raise TokenUnavailable("away", do="wait")
        return Token(f"token-{self.fetched}", 100)

    def clock(self) -> float:
        return self.now


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def provider(source: Source) -> TokenProvider:
    return TokenProvider(source, source.clock)


async def test_a_token_serves_until_it_is_time_for_the_next(source: Source, provider: TokenProvider) -> None:
    assert [await provider.token() for _ in range(3)] == ["token-1"] * 3
    source.now += 100 * tokens.RENEW_AT - 1
    assert await provider.token() == "token-1"
    source.now += 1
    assert await provider.token() == "token-2"


async def test_a_token_serves_until_its_end_while_none_can_be_had(source: Source, provider: TokenProvider) -> None:
    await provider.token()
    source.fails = True
    source.now += 90
    assert await provider.token() == "token-1"
    assert source.fetched == 2
    source.now += 6  # the last five seconds may be too short for its way
    with pytest.raises(TokenUnavailable, match="away"):
        await provider.token()


async def test_attempts_are_further_and_further_apart(source: Source, provider: TokenProvider) -> None:
    """Clients ask ten times a second; what they hear between attempts is the reason."""
    source.fails = True
    attempts: list[float] = []
    began = source.now
    while source.now < began + 300:
        with pytest.raises(TokenUnavailable, match="away") as caught:
            await provider.token()
        assert caught.value.do == "wait"
        attempts = [*attempts, source.now] if source.fetched > len(attempts) else attempts
        source.now += 0.1
    waits = [after - before for before, after in pairwise(attempts)]
    assert waits[0] < 1
    assert tokens.LONGEST_WAIT / 2 <= min(waits[-5:]) <= max(waits) <= tokens.LONGEST_WAIT + 0.2
    source.fails = False
    source.now += tokens.LONGEST_WAIT
    assert (await provider.token()).startswith("token-")


async def test_a_token_that_brokers_refuse_is_not_shown_again(source: Source, provider: TokenProvider) -> None:
    """The next one comes after a wait, which grows as long as none is accepted."""
    for waited in (tokens.FIRST_WAIT, 2 * tokens.FIRST_WAIT, 4 * tokens.FIRST_WAIT):
        token = await provider.token()
        assert "refuse the token of client gate (invalid_token" in provider.refused(token, "invalid_token").message
        source.now += waited / 2 - 0.01
        with pytest.raises(TokenUnavailable, match="refuse the token"):
            await provider.token()
        source.now += waited / 2 + 0.02
    assert await provider.token() == "token-4"
    provider.accepted()
    provider.refused("token-4", "invalid_token")
    source.now += tokens.FIRST_WAIT
    assert await provider.token() == "token-5"


async def test_the_refusal_of_an_older_token_leaves_the_present_one(source: Source, provider: TokenProvider) -> None:
    await provider.token()
    source.now += 80
    assert await provider.token() == "token-2"
    provider.refused("token-1", "invalid_token")
    assert await provider.token() == "token-2"


async def test_all_threads_and_loops_share_one_request(source: Source, provider: TokenProvider) -> None:
    """Faust's consumer has a loop of its own; a caller that is cancelled takes nothing from the others."""
    source.may_answer.clear()
    here = [asyncio.create_task(provider.token()) for _ in range(3)]
    there = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(provider.token())))
    await asyncio.sleep(0)
    here[0].cancel()
    source.may_answer.set()
    assert await asyncio.gather(*here[1:], there) == ["token-1"] * 3
    assert source.fetched == 1


def settings(server: TokenServer, **given: Any) -> Settings:
    """Of a client of the server."""
    known = {**server.settings("gate"), "security_protocol": "SASL_SSL", **given}
    return Settings(_env_file=None, **known)  # type: ignore[call-arg]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TokenServer]:
    made = TokenServer(tmp_path / "tokens")
    # RFC 6749 wants both form-encoded, and Authlib takes them as they are: with these it shows.
    made.register("gate", "s3cret+%/: é")
    made.start()
    yield made
    made.stop()


def source_of(settings: Settings) -> OAuthClient:
    source = provider_of(settings)._source
    assert isinstance(source, OAuthClient)
    return source


def test_a_token_is_asked_for_with_scope_audience_and_a_secret_of_any_letters(server: TokenServer) -> None:
    server.lifetime = 321
    token = source_of(settings(server, sasl_oauth_audience="kafka-of-house")).fetch()
    assert token.lifetime == 321
    assert tokens.claims_of(token.value)["aud"] == AUDIENCE
    asked = {"grant_type": "client_credentials", "scope": "kafka.connect", "audience": "kafka-of-house"}
    assert server.issued == [asked]


def test_a_secret_is_read_anew_for_every_token(server: TokenServer) -> None:
    source = source_of(settings(server))
    server.change_secret("gate", "an0ther")
    with pytest.raises(TokenUnavailable, match=r"refuses client gate or its secret \(invalid_client\)") as caught:
        source.fetch()
    assert "s3cret" not in f"{caught.value}{caught.value.do}{caught.value!r}"
    server.register("gate", "an0ther")
    assert source.fetch().value
    (server.folder / "gate.secret").unlink()
    with pytest.raises(TokenUnavailable, match="SASL_OAUTH_CLIENT_SECRET_FILE"):
        source.fetch()


def test_all_clients_of_a_process_share_a_provider(server: TokenServer) -> None:
    first, second = (client_options(settings(server)) for _ in range(2))
    assert first["sasl_mechanism"] == "OAUTHBEARER"
    assert first["sasl_oauth_token_provider"] is second["sasl_oauth_token_provider"]
    other = client_options(settings(server, sasl_oauth_scope="other"))
    assert other["sasl_oauth_token_provider"] is not first["sasl_oauth_token_provider"]


def test_fausts_consumer_has_the_same_provider_and_tls(server: TokenServer) -> None:
    options = client_options(settings(server))
    credentials: Any = _credentials(options)
    assert credentials.oauth_cb is options["sasl_oauth_token_provider"]
    assert credentials.ssl_context is options["ssl_context"]
    assert credentials.protocol.value == "SASL_SSL"


def test_a_file_that_can_not_be_used_is_refused_at_the_start(server: TokenServer) -> None:
    for name, word in (("sasl_oauth_client_secret_file", "CLIENT_SECRET_FILE"), ("sasl_oauth_cafile", "OAUTH_CAFILE")):
        with pytest.raises(InvalidInput, match=word):
            client_options(settings(server, **{name: server.folder / "absent"}))


class Odd(BaseHTTPRequestHandler):
    """Answers with what the path says: a status and a body."""

    def do_POST(self) -> None:
        status, body = urllib.parse.unquote(self.path[1:]).split(" ", 1)
        self.send_response(int(status))
        self.send_header("Location", "/200 {}")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def answered(odd: str, folder: Path, status: int, body: str) -> Token:
    """What a fetch makes of such an answer."""
    (folder / "secret").write_text("s3cret")
    url = odd + urllib.parse.quote(f"{status} {body}")
    return OAuthClient(url, "gate", folder / "secret", "", "", None, ()).fetch()


def jwt(payload: str) -> str:
    return f"e30.{base64.urlsafe_b64encode(payload.encode()).decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize(
    ("body", "lifetime"),
    [
        ('{"access_token": "t", "token_type": "Bearer", "expires_in": 60}', 60),
        ('{"access_token": "t", "expires_in": "3599"}', 3599),
        ('{"access_token": "opaque"}', UNKNOWN_LIFETIME),
        (f'{{"access_token": "{jwt("[]")}"}}', UNKNOWN_LIFETIME),
        ('{"access_token": "t", "expires_in": -5}', 0),
    ],
)
def test_how_long_a_token_is_good_is_what_the_server_says(odd: str, tmp_path: Path, body: str, lifetime: float) -> None:
    assert answered(odd, tmp_path, 200, body).lifetime == lifetime


def test_a_server_that_does_not_say_how_long_leaves_it_to_the_token(odd: str, tmp_path: Path) -> None:
    token = jwt(f'{{"exp": {time.time() + 500}}}')
    assert 440 < answered(odd, tmp_path, 200, f'{{"access_token": "{token}"}}').lifetime <= 500


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, "<html>", "answers without a token"),
        (200, '{"access_token": ""}', "answers without a token"),
        (200, '{"access_token": "a\\u0001b"}', "answers without a token"),
        (302, "", r"refuses the request \(HTTP 302\)"),
        (400, '{"error": "invalid_scope", "error_description": "s3cret"}', r"refuses the request \(invalid_scope\)"),
        (400, '{"error": "s3cret is no client"}', r"refuses the request \(HTTP 400\)"),
        (401, "", r"refuses client gate or its secret \(HTTP 401\)"),
        (503, "sorry", r"fails \(HTTP 503\)"),
    ],
)
def test_an_answer_that_is_no_token_is_named_and_not_repeated(
    odd: str, tmp_path: Path, status: int, body: str, words: str
) -> None:
    """Redirections are not followed: the secret goes to no other server."""
    with pytest.raises(TokenUnavailable, match=words) as caught:
        answered(odd, tmp_path, status, body)
    assert "s3cret" not in f"{caught.value}{caught.value.do}"


def test_extensions_follow_the_token() -> None:
    """RFC 7628, section 3.1."""
    shown = {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"}
    assert message("t", shown) == b"n,,\x01auth=Bearer t\x01logicalCluster=lkc-1\x01identityPoolId=pool-1\x01\x01"


@pytest.mark.filterwarnings("ignore:datetime.datetime.utc")  # botocore's
async def test_amazon_msk_is_shown_a_request_signed_with_the_credentials_of_the_aws_chain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As its library makes it, offline. That MSK takes it can't be tested here."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    given = {"security_protocol": "SASL_SSL", "sasl_mechanism": "AWS_MSK_IAM", "sasl_aws_region": "eu-west-3"}
    options = client_options(Settings(_env_file=None, **given))  # type: ignore[arg-type,call-arg]
    assert options["sasl_mechanism"] == "OAUTHBEARER"
    provider = options["sasl_oauth_token_provider"]
    token = await provider.token()
    url = urllib.parse.urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    asked = urllib.parse.parse_qs(url.query)
    assert url.netloc == "kafka.eu-west-3.amazonaws.com"
    assert asked["Action"] == ["kafka-cluster:Connect"]
    assert asked["X-Amz-Credential"][0].startswith("AKIAEXAMPLE/")
    assert asked["X-Amz-Expires"] == ["900"]
    assert "s3cret" not in url.query
    assert await provider.token() == token
    assert 890 <= provider._source.fetch().lifetime <= 900


async def test_an_aws_chain_without_credentials_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(TokenUnavailable, match="AWS gives no credentials"):
        await TokenProvider(MskSigner("eu-west-3")).token()
