"""Settings come from the environment and `.env`; what is wrong with them is told all at once, with what to do."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from transfer_gate.errors import InvalidInput
from transfer_gate.settings import PREFIX, Settings, load_settings
from transfer_gate.settings_table import lines

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
#: What every protocol with SASL needs.
CREDENTIALS: Final = {"SASL_MECHANISM": "SCRAM-SHA-512", "SASL_USERNAME": "gate", "SASL_PASSWORD_FILE": "password"}


#: What OAUTHBEARER needs.
OAUTH: Final = {
    "SASL_MECHANISM": "OAUTHBEARER",
    "SASL_OAUTH_TOKEN_URL": "https://login.example.org/token",
    "SASL_OAUTH_CLIENT_ID": "gate",
    "SASL_OAUTH_CLIENT_SECRET_FILE": "secret",
}


def load(monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str], env_file: Path | None = None) -> Settings:
    """Settings of an environment that holds `given`, named without their prefix."""
    for name, value in given.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    return load_settings(env_file)


def refusal(monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str], env_file: Path | None = None) -> str:
    """Why these settings are refused, and what to do."""
    with pytest.raises(InvalidInput) as caught:
        load(monkeypatch, given, env_file)
    assert caught.value.exit_code == 2
    assert "docs/reference/settings.md" in caught.value.do
    return caught.value.message


def test_an_empty_environment_gives_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {})
    assert (settings.bootstrap_servers, settings.app_id) == ("127.0.0.1:9092", "transfer-gate")
    assert (settings.store, settings.session_timeout_seconds) == ("memory://", 10)


def test_a_setting_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {"APP_ID": "gate-7", "TOPIC_PREFIX": "eu.", "MAX_ROUND_RECORDS": "50"})
    assert (settings.app_id, settings.max_round_records) == ("gate-7", 50)
    assert settings.topics.transfers == "eu.prospect-transfers"
    assert settings.topics.changelog == "eu.gate-7-consent-changelog"


def test_a_misspelt_setting_is_refused_with_the_name_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, {"TOPIC_PREFX": "eu.", "COLOUR": "blue"})
    assert "TRANSFER_GATE_TOPIC_PREFX (did you mean TRANSFER_GATE_TOPIC_PREFIX?)" in message
    assert "TRANSFER_GATE_COLOUR" in message


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("STORE", "redis://", "'memory://' or 'rocksdb://'"),
        ("METRICS_PORT", "http", "valid integer"),
        ("METRICS_PORT", "70000", "less than or equal to 65535"),
        ("APP_ID", "two words", "pattern"),
        ("APP_ID", "", "pattern"),
        ("SESSION_TIMEOUT_SECONDS", "0", "greater than or equal to 1"),
        ("MAX_ROUND_RECORDS", "0", "greater than or equal to 1"),
        ("PARTITIONS", "many", "valid integer"),
        ("SECURITY_PROTOCOL", "TLS", "'SASL_SSL'"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    message = refusal(monkeypatch, {name: value})
    assert message.startswith(f"TRANSFER_GATE_{name}: ")
    assert told in message


def test_all_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, {"STORE": "redis://", "METRICS_PORT": "http"})
    assert "TRANSFER_GATE_STORE" in message
    assert "TRANSFER_GATE_METRICS_PORT" in message


def test_no_value_is_repeated_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """It might be a password that landed in the wrong setting."""
    assert "s3cret" not in refusal(monkeypatch, {"SASL_MECHANISM": "s3cret", "METRICS_PORT": "s3cret"})


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
@pytest.mark.parametrize("missing", CREDENTIALS)
def test_sasl_with_a_part_of_its_credentials_is_refused_by_the_name_of_the_missing_one(
    monkeypatch: pytest.MonkeyPatch, protocol: str, missing: str
) -> None:
    given = {name: value for name, value in CREDENTIALS.items() if name != missing}
    message = refusal(monkeypatch, {**given, "SECURITY_PROTOCOL": protocol})
    assert message.endswith(f"{protocol} needs TRANSFER_GATE_{missing}")


@pytest.mark.parametrize("missing", [name for name in OAUTH if name != "SASL_MECHANISM"])
def test_a_login_with_tokens_names_what_it_lacks(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    given = {name: value for name, value in OAUTH.items() if name != missing}
    message = refusal(monkeypatch, {**given, "SECURITY_PROTOCOL": "SASL_SSL"})
    assert message.endswith(f"SASL_SSL needs TRANSFER_GATE_{missing}")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (OAUTH | {"SASL_USERNAME": "gate"}, "SASL_USERNAME: not used with TRANSFER_GATE_SASL_MECHANISM OAUTHBEARER"),
        (OAUTH | {"SASL_AWS_REGION": "eu-west-3"}, "SASL_AWS_REGION: not used with"),
        (CREDENTIALS | {"SASL_OAUTH_SCOPE": "s"}, "SASL_OAUTH_SCOPE: not used with"),
        ({"SASL_MECHANISM": "AWS_MSK_IAM"}, "needs TRANSFER_GATE_SASL_AWS_REGION"),
        (OAUTH | {"SASL_OAUTH_TOKEN_URL": "http://login.example.org/token"}, "the secret would travel in clear"),
        (OAUTH | {"SASL_OAUTH_TOKEN_URL": "https://me:pw@login.example.org/"}, "without user or password"),
        (OAUTH | {"SASL_OAUTH_TOKEN_URL": "login.example.org"}, "write https://host/path"),
        (OAUTH | {"SASL_OAUTH_TOKEN_URL": "file:///etc/passwd"}, "write https://host/path"),
        (OAUTH | {"SASL_OAUTH_EXTENSIONS": "logicalCluster"}, "SASL_OAUTH_EXTENSIONS: write name=value"),
        (OAUTH | {"SASL_OAUTH_EXTENSIONS": "a=b\x01auth=c"}, "SASL_OAUTH_EXTENSIONS: write name=value"),
    ],
)
def test_a_login_that_is_not_of_its_mechanism_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str], told: str
) -> None:
    assert told in refusal(monkeypatch, {**given, "SECURITY_PROTOCOL": "SASL_SSL"})


@pytest.mark.parametrize("given", [OAUTH, {"SASL_MECHANISM": "AWS_MSK_IAM", "SASL_AWS_REGION": "eu-west-3"}])
def test_a_token_goes_in_clear_over_no_network(monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str]) -> None:
    remote = {"BOOTSTRAP_SERVERS": "broker.example.org:9092", "SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
    assert "shows the token to everybody on the way" in refusal(monkeypatch, {**given, **remote})
    monkeypatch.undo()
    assert (
        load(monkeypatch, {**given, **remote, "SECURITY_PROTOCOL": "SASL_SSL"}).sasl_mechanism
        == (given["SASL_MECHANISM"])
    )


def test_extensions_are_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = "logicalCluster=lkc-1, identityPoolId=pool-1"
    settings = load(monkeypatch, {**OAUTH, "SECURITY_PROTOCOL": "SASL_SSL", "SASL_OAUTH_EXTENSIONS": pairs})
    assert settings.oauth_extensions == {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"}


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
@pytest.mark.parametrize("name", CREDENTIALS)
def test_credentials_that_would_not_be_used_are_refused(
    monkeypatch: pytest.MonkeyPatch, protocol: str, name: str
) -> None:
    message = refusal(monkeypatch, {name: CREDENTIALS[name], "SECURITY_PROTOCOL": protocol})
    assert "would not be used; set SASL_SSL" in message


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_certificates_without_tls_are_refused(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    given = CREDENTIALS if protocol.startswith("SASL") else {}
    message = refusal(monkeypatch, {**given, "SSL_CAFILE": "ca.pem", "SECURITY_PROTOCOL": protocol})
    assert f"TRANSFER_GATE_SSL_CAFILE is set but TRANSFER_GATE_SECURITY_PROTOCOL is {protocol}" in message


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_complete_credentials_are_taken(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    settings = load(monkeypatch, {**CREDENTIALS, "SECURITY_PROTOCOL": protocol})
    assert settings.security_protocol == protocol
    assert settings.sasl_password_file == Path("password")


def test_a_file_gives_settings_and_the_environment_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("TRANSFER_GATE_APP_ID=of-file\nTRANSFER_GATE_STORE=rocksdb://\nPATH_OF_OTHERS=1\n")
    settings = load(monkeypatch, {"APP_ID": "of-environment"}, env_file)
    assert (settings.app_id, settings.store) == ("of-environment", "rocksdb://")


def test_a_misspelt_or_wrong_setting_in_the_file_is_refused_like_any_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("TRANSFER_GATE_STOER=rocksdb://\n")
    assert "did you mean TRANSFER_GATE_STORE?" in refusal(monkeypatch, {}, env_file)
    env_file.write_text("TRANSFER_GATE_STORE=redis://\n")
    assert "TRANSFER_GATE_STORE" in refusal(monkeypatch, {}, env_file)


def test_a_command_tells_a_wrong_setting_in_one_message_and_exits_with_2(command: list[str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TRANSFER_GATE_STOER=rocksdb://\n")
    done = subprocess.run(
        [*command, "worker"], cwd=tmp_path, capture_output=True, check=False, encoding="utf-8", stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "did you mean TRANSFER_GATE_STORE?" in done.stderr
    assert "what to do: see docs/reference/settings.md" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == "\n".join(lines()) + "\n"


def test_every_setting_stands_on_the_page_with_its_bounds() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{PREFIX}{name.upper()}` |" in page for name in Settings.model_fields)
    assert "| `TRANSFER_GATE_METRICS_PORT` | whole number, 0 to 65,535 | `9464` |" in page
    assert "| `TRANSFER_GATE_STORE` | `memory://`, `rocksdb://` | `memory://` |" in page
    assert "| `TRANSFER_GATE_SSL_CAFILE` | path | – |" in page


def test_the_page_is_written_by_the_command_that_it_names() -> None:
    command = [sys.executable, "-m", "transfer_gate.settings_table"]
    done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    assert done.stdout == "\n".join(lines()) + "\n"


@pytest.mark.parametrize(
    "servers", ["", ",", "localhost", "localhost:", ":9092", "127.0.0.1:abc", "127.0.0.1:99999", "a:1,"]
)
def test_brokers_are_hosts_with_ports(monkeypatch: pytest.MonkeyPatch, servers: str) -> None:
    message = refusal(monkeypatch, {"BOOTSTRAP_SERVERS": servers})
    assert "BOOTSTRAP_SERVERS: write host:port" in message
    assert "clear" not in message


def test_a_file_of_settings_that_is_not_text_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"\xff\xfe\x00=")
    with pytest.raises(InvalidInput, match="can't be read: UnicodeDecodeError"):
        load(monkeypatch, {}, file)


def test_the_examples_of_the_readme_can_be_explained() -> None:
    examples = Path(__file__).parents[2] / "examples"
    command = [sys.executable, "-m", "transfer_gate", "policy", "explain", "--registry", str(examples / "registry")]
    for name in ("event", "consents"):
        command += [f"--{name}", str(examples / "explain" / ("transfer.json" if name == "event" else "consents.json"))]
    run = subprocess.run([*command, "--at", "2026-11-24T10:00:00+01:00"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "email: released" in run.stdout
    assert "sms: held" in run.stdout
