"""Clients never talk in clear by accident."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from transfer_gate.errors import BrokerUnavailable, InvalidInput
from transfer_gate.settings import Settings
from transfer_gate.stream.clients import broker_errors, client_options


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


@pytest.mark.parametrize(
    "error", [KafkaConnectionError("x"), TopicAuthorizationFailedError("x"), ConnectionRefusedError()]
)
async def test_errors_of_the_broker_become_one_message(error: Exception) -> None:
    """With exit code 6 and something to do."""
    with pytest.raises(BrokerUnavailable) as caught:
        async with broker_errors(settings(bootstrap_servers="broker.example:9092")):
            raise error
    assert "broker.example:9092" in caught.value.message
    assert caught.value.do


async def test_errors_of_ours_pass_unchanged() -> None:
    """A defect is not the broker's fault."""
    with pytest.raises(ValueError, match="ours"):
        async with broker_errors(settings()):
            raise ValueError("ours")
