"""Clients never talk in clear by accident, and their secrets come from files."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
    UnknownError,
)
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequest_v4, MetadataRequest_v5
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.kafka.access import AccessDenied, NotOffered, broker_errors
from transfer_gate.kafka.clients import client_options
from transfer_gate.kafka.session import open_session
from transfer_gate.settings import Settings, load_settings


def settings(**given: Any) -> Settings:
    """Settings without an environment."""
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]


def sasl(password_file: Path, protocol: str = "SASL_SSL") -> Settings:
    """Settings with credentials."""
    return settings(
        security_protocol=protocol,
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="gate",
        sasl_password_file=password_file,
    )


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_every_protocol_with_tls_checks_the_brokers_name(protocol: str, tmp_path: Path) -> None:
    """aiokafka would talk in clear without a context."""
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    given = sasl(secret) if protocol == "SASL_SSL" else settings(security_protocol="SSL")
    options = client_options(given)
    context = options["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert options["security_protocol"] == protocol


def test_the_password_comes_from_its_file_without_the_newline(tmp_path: Path) -> None:
    """Blanks inside or at the ends belong to it."""
    secret = tmp_path / "password"
    secret.write_text(" s3 cret \n")
    options = client_options(sasl(secret))
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("gate", " s3 cret ")
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_password_file_that_gives_none_is_refused(content: bytes | None, tmp_path: Path) -> None:
    """Missing, empty, not text: the message names the setting and never what is inside."""
    secret = tmp_path / "password"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(InvalidInput, match="SASL_PASSWORD_FILE"):
        client_options(sasl(secret))


def test_incomplete_credentials_are_refused_even_past_validation() -> None:
    """A copy of settings is not validated again."""
    with pytest.raises(InvalidInput, match="SASL_PLAINTEXT"):
        client_options(settings().model_copy(update={"security_protocol": "SASL_PLAINTEXT"}))


def test_a_ca_file_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    """The message names the file."""
    ca = tmp_path / "ca.pem"
    ca.write_text("nothing")
    for file in (ca, tmp_path / "absent.pem"):
        with pytest.raises(InvalidInput, match=file.name):
            client_options(settings(security_protocol="SSL", ssl_cafile=file))


@pytest.mark.parametrize("error", [KafkaConnectionError("x"), UnknownError("x"), ConnectionRefusedError()])
async def test_errors_of_the_broker_become_one_message(error: Exception) -> None:
    """With exit code 6 and something to do."""
    with pytest.raises(BrokerUnavailable) as caught:
        async with broker_errors(client_options(settings(bootstrap_servers="127.0.0.1:1"))):
            raise error
    assert "127.0.0.1:1" in caught.value.message
    assert caught.value.do


async def test_a_session_reads_its_secrets_once(tmp_path: Path) -> None:
    """Its connections are made later, and more than one; reading the file again would be InvalidInput."""
    secret = tmp_path / "password"
    secret.write_text("s3cret")
    given = sasl(secret, "SASL_PLAINTEXT").model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    async with open_session(given) as session:
        secret.unlink()
        for call in (
            session.cluster.topics(),
            session.reader.bounds({"topic": 1}, committed_only=True),
            session.producer.write("topic", 0, None, b""),
        ):
            with pytest.raises(BrokerUnavailable, match="connection refused"):
                await call


async def test_a_missing_right_is_named_and_is_no_missing_broker() -> None:
    """The list that grants it is named too."""
    with pytest.raises(AccessDenied, match="a right on topic a, b") as caught:
        async with broker_errors(client_options(settings())):
            raise TopicAuthorizationFailedError({"b", "a"})
    assert "docs/reference/access.md" in caught.value.do


@pytest.mark.parametrize("error", [IncompatibleBrokerVersion("unknown"), NotImplementedError("no version of it")])
async def test_a_request_that_the_brokers_do_not_know_is_named_apart(error: Exception) -> None:
    """Who can do without it catches this alone."""
    with pytest.raises(NotOffered, match="does not offer a request"):
        async with broker_errors(client_options(settings())):
            raise error


async def test_errors_of_ours_pass_unchanged() -> None:
    """A defect is not the broker's fault."""
    with pytest.raises(ValueError, match="ours"):
        async with broker_errors(client_options(settings())):
            raise ValueError("ours")


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Path]:
    """A client certificate and its key."""
    issued = trustme.CA().issue_cert("gate.example")
    files = {"ssl_certfile": tmp_path / "gate.crt", "ssl_keyfile": tmp_path / "gate.key"}
    issued.cert_chain_pems[0].write_to_path(files["ssl_certfile"])
    issued.private_key_pem.write_to_path(files["ssl_keyfile"])
    return files


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_a_client_certificate_is_shown_to_every_broker_that_asks(
    protocol: str, certificate: dict[str, Path], tmp_path: Path
) -> None:
    """Beside a password too, where the cluster wants both."""
    (tmp_path / "password").write_text("s3cret")
    given = sasl(tmp_path / "password").model_dump(exclude_unset=True) if protocol == "SASL_SSL" else {}
    options = client_options(settings(**{**given, "security_protocol": protocol}, **certificate))
    assert options["ssl_context"].check_hostname


def lock(key: Path, password: bytes) -> None:
    """Put a private key under a password."""
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    key.write_bytes(private.private_bytes(*form, serialization.BestAvailableEncryption(password)))


def test_the_password_of_a_key_comes_from_its_file(certificate: dict[str, Path], tmp_path: Path) -> None:
    """Without it, or with another, the key can't be used; nobody is asked on the terminal, nothing secret is told."""
    lock(certificate["ssl_keyfile"], b"k3y")
    (tmp_path / "right").write_text("k3y\n")
    (tmp_path / "wrong").write_text("0ther\n")
    client_options(settings(security_protocol="SSL", ssl_key_password_file=tmp_path / "right", **certificate))
    for given in ({}, {"ssl_key_password_file": tmp_path / "wrong"}):
        with pytest.raises(InvalidInput, match=r"SSL_KEYFILE \S*gate.key can't be used") as caught:
            client_options(settings(security_protocol="SSL", **certificate, **given))
        assert "0ther" not in str(caught.value)


def test_a_key_of_another_certificate_is_refused(certificate: dict[str, Path]) -> None:
    trustme.CA().issue_cert("other.example").private_key_pem.write_to_path(certificate["ssl_keyfile"])
    with pytest.raises(InvalidInput, match="SSL_CERTFILE"):
        client_options(settings(security_protocol="SSL", **certificate))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ssl_certfile": "c"}, "SSL_CERTFILE and TRANSFER_GATE_SSL_KEYFILE go together"),
        ({"ssl_keyfile": "k"}, "SSL_CERTFILE and TRANSFER_GATE_SSL_KEYFILE go together"),
        ({"ssl_key_password_file": "p"}, "SSL_KEY_PASSWORD_FILE is set without TRANSFER_GATE_SSL_KEYFILE"),
    ],
)
def test_half_a_client_certificate_is_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        settings(security_protocol="SSL", **given)


@pytest.mark.parametrize("name", ["ssl_certfile", "ssl_keyfile", "ssl_key_password_file"])
def test_a_certificate_that_would_not_be_used_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name.upper()} is set but TRANSFER_GATE_SECURITY_PROTOCOL"):
        settings(security_protocol="PLAINTEXT", **{name: "file"})


def test_nothing_goes_in_clear_over_a_network_unless_somebody_says_so() -> None:
    """On one machine nothing leaves it; beyond, PLAINTEXT has to be meant."""
    for local in ("127.0.0.1:9092", "localhost:9092,[::1]:9093"):
        assert settings(bootstrap_servers=local).security_protocol == "PLAINTEXT"
    for network in ("broker.example:9092", "127.0.0.1:9092,192.0.2.7:9092"):
        with pytest.raises(ValidationError, match="personal data would travel in clear"):
            settings(bootstrap_servers=network)
        assert settings(bootstrap_servers=network, security_protocol="PLAINTEXT").security_protocol == "PLAINTEXT"


def test_a_password_goes_in_clear_over_no_network() -> None:
    """SCRAM does not send it; PLAIN does."""
    given = {"sasl_username": "gate", "sasl_password_file": "password", "security_protocol": "SASL_PLAINTEXT"}
    remote = {"bootstrap_servers": "broker.example:9092"}
    with pytest.raises(ValidationError, match="shows the password"):
        settings(**given, **remote, sasl_mechanism="PLAIN")
    assert settings(**given, **remote, sasl_mechanism="SCRAM-SHA-512").sasl_username == "gate"
    assert settings(**given, sasl_mechanism="PLAIN").sasl_username == "gate"


@pytest.mark.parametrize("name", ["SASL_PASSWORD", "SSL_KEY_PASSWORD", "QUARANTINE_KEY"])
def test_a_secret_in_the_environment_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stand in every process list and crash report; the message does not repeat it."""
    monkeypatch.setenv(f"TRANSFER_GATE_{name}", "s3cret")
    with pytest.raises(InvalidInput, match=f"unknown setting: TRANSFER_GATE_{name}") as caught:
        load_settings(None)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("version", [MetadataRequest_v4, MetadataRequest_v5])
def test_no_request_for_metadata_creates_a_topic(version: type[MetadataRequest_v4 | MetadataRequest_v5]) -> None:
    """As aiokafka's own clients make them: without a word about it."""
    assert not MetadataRequest(["a-topic"]).build(version).allow_auto_topic_creation
    assert not MetadataRequest().build(version).allow_auto_topic_creation
