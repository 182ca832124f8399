"""Camel takes every route of `examples/delivery`, also the one to an SFTP server, which no test has."""

from pathlib import Path

import trustme

from tests.support.delivery import camel

SETTINGS = {
    "DELIVERY_BROKERS": "127.0.0.1:9",
    "DELIVERY_USER": "courier-example-partner",
    "DELIVERY_TOPIC": "partner.example-partner",
    "DELIVERY_GROUP": "courier-example-partner",
    "DELIVERY_REPORTS": "deliveries.example-partner",
    "DELIVERY_ADDRESS": "https://partner.example/transfers",
    "DELIVERY_TOKEN": "a-token",
    "DELIVERY_FOLDER": "drop",
    "DELIVERY_SFTP": "partner.example:22/drop",
    "DELIVERY_SFTP_USER": "drop",
    # Routes are made and not started, and the program ends after a second.
    "CAMEL_MAIN_AUTO_STARTUP": "false",
    "CAMEL_MAIN_DURATION_MAX_SECONDS": "1",
    "JAVA_TOOL_OPTIONS": "-Dorg.slf4j.simpleLogger.log.org.apache.camel.impl.engine=info",
}


async def test_every_route_is_made(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "password").write_text("a-password", encoding="utf-8")
    trustme.CA().cert_pem.write_to_path(secrets / "ca.pem")
    with camel(tmp_path, "*.yaml", SETTINGS) as program:
        assert await program.ended() == 0
    log = program.log.read_text(encoding="utf-8")
    assert "Routes stopped (total:3)" in log, log
