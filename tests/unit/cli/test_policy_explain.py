"""`policy explain`: what was decided, by which rules and facts; as text and as JSON; without the person's data."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.property.scenarios import CLEAN, CONSENT
from tests.support.command_line import CommandLine
from transfer_gate.policy.catalogue import RULES
from transfer_gate.records.transfers import Undecodable, decode_transfer

AT = "2026-10-05T10:00:00+02:00"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys, "policy", "explain")


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "registry"
    for kind in ("partners", "notices"):
        (folder / kind).mkdir(parents=True)
        for name, content in CLEAN["registry"][kind].items():
            (folder / kind / f"{name}.yaml").write_text(json.dumps(content))
    (folder / "policy.yaml").write_text(
        json.dumps(CLEAN["registry"]["policy"] | {"published_at": "2026-01-01T00:00:00Z"})
    )
    return folder


@pytest.fixture
def event(tmp_path: Path) -> Path:
    transfer = copy.deepcopy(CLEAN["transfer"])
    transfer["channels"] = ["email", "live_call"]
    transfer["offer_category"] = "renewable"
    path = tmp_path / "event.json"
    path.write_text(json.dumps(transfer, indent="\t"))
    return path


def _consents(folder: Path, *events: object, name: str = "consents.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return path


def test_every_rule_is_told_with_its_facts_and_its_article(
    tmp_path: Path, event: Path, registry: Path, command: CommandLine
) -> None:
    code, out, err = command(
        "--event", event, "--consents", _consents(tmp_path, CONSENT), "--registry", registry, "--at", AT
    )
    assert (code, err) == (0, "")
    assert "  email: held: sector-ban-messages" in out
    assert "  live_call: held: phone-named-pro-and-offer, sector-ban-home-works" in out
    reference = "[L223-8, L242-16-1 (the contract is void); settled]"
    assert f"FAILED  sector-ban-messages - Home works may not be sold by e-mail or SMS {reference}" in out
    assert "event.offer_category = renewable; own contract = false" in out
    assert "n/a     phone-optin: not for email" in out
    assert "n/a     phone-optout-bloctel: in force from 2016-06-01 until 2026-08-10" in out
    assert "held    jurisdiction-covered [–]: policy.jurisdiction = FR; event.subject.country = FR" in out
    for secret in ("courriel.example", "+336", "Lilas", "Claire", "Lyon"):
        assert secret not in out


def test_another_time_gives_the_verdict_of_that_time(
    tmp_path: Path, event: Path, registry: Path, command: CommandLine
) -> None:
    transfer = json.loads(event.read_text())
    transfer |= {"channels": ["email"], "use_until": "2025-07-01T23:59:59+02:00"}
    transfer |= {"requested_at": "2025-06-01T00:00:00Z", "collected_at": "2025-03-10T14:00:00+01:00"}
    event.write_text(json.dumps(transfer))
    consents = _consents(tmp_path, CONSENT | {"event_time": "2025-03-10T14:00:00+01:00"})
    arguments = ("--event", event, "--consents", consents, "--registry", registry, "--at")
    assert "email: released" in command(*arguments, "2025-06-02T00:00:00Z")[1]
    assert "email: held: use-window-open, electronic-optin, sector-ban-messages" in command(*arguments, AT)[1]


def test_json_is_complete(tmp_path: Path, event: Path, registry: Path, command: CommandLine) -> None:
    consents = _consents(tmp_path, CONSENT)
    code, out, _ = command(
        "--event", event, "--consents", consents, "--registry", registry, "--at", AT, "--output", "json"
    )
    assert code == 0
    told = json.loads(out)
    assert told["event_id"] == "t-1"
    assert told["at"] == "2026-10-05T08:00:00Z"
    assert told["policy"]["jurisdiction"] == "FR"
    (partner,) = told["partners"]
    assert partner["quarantined"]["email"] == ["sector-ban-messages"]
    (email, call) = partner["channels"]
    assert [email["kind"], email["basis"], email["consent_record"], email["notice"]] == [
        "consumer",
        "consent",
        "r-1",
        "n-1",
    ]
    assert len(email["rules"]) == len(call["rules"]) == len(RULES)
    (failed,) = [rule for rule in email["rules"] if rule["verdict"] == "failed"]
    assert failed["facts"] == {"event.offer_category": "renewable", "own contract": False}
    assert {rule["verdict"] for rule in email["rules"]} == {"held", "failed", "not applicable"}
    assert not any(rule["facts"] for rule in email["rules"] if rule["verdict"] == "not applicable")
    assert "courriel.example" not in out


def test_a_release_tells_what_the_partner_has_to_respect(
    tmp_path: Path, event: Path, registry: Path, command: CommandLine
) -> None:
    transfer = json.loads(event.read_text()) | {"offer_category": "insurance"}
    event.write_text(json.dumps(transfer))
    _, out, _ = command(
        "--event", event, "--consents", _consents(tmp_path, CONSENT), "--registry", registry, "--at", AT
    )
    assert "live_call: released" in out
    assert "to respect: use_before = 2026-11-04T08:00:00Z" in out
    assert "max_call_attempts = 4" in out


def test_events_that_cannot_be_read_count_and_are_named(
    tmp_path: Path, event: Path, registry: Path, command: CommandLine
) -> None:
    consents = _consents(tmp_path, CONSENT, {"type": "withdrawal"}, "?")
    code, out, err = command("--event", event, "--consents", consents, "--registry", registry, "--at", AT)
    assert code == 0
    assert "FAILED  consent-unreadable (the gate itself)" in out
    assert "can't be read, by position: 1, 2" in err


@pytest.mark.parametrize("name", ["consents.json", "consents.yaml"])
def test_consents_may_be_a_list_in_json_or_yaml(
    tmp_path: Path, event: Path, registry: Path, command: CommandLine, name: str
) -> None:
    path = tmp_path / name
    path.write_text(json.dumps([CONSENT]) if name.endswith("json") else yaml.safe_dump([CONSENT]))
    _, out, _ = command("--event", event, "--consents", path, "--registry", registry, "--at", AT)
    assert "consent record r-1" in out


def test_one_event_alone_and_an_empty_file_are_lists_too(
    tmp_path: Path, event: Path, registry: Path, command: CommandLine
) -> None:
    arguments = ("--event", event, "--registry", registry, "--at", AT, "--consents")
    assert "consent record r-1" in command(*arguments, _consents(tmp_path, CONSENT))[1]
    assert "no relevant consent" in command(*arguments, _consents(tmp_path))[1]


def test_without_consents_and_without_a_time_it_decides_as_of_now(
    event: Path, registry: Path, command: CommandLine
) -> None:
    code, out, _ = command("--event", event, "--registry", registry)
    assert code == 0
    assert "no relevant consent" in out


def test_a_company_has_no_basis_and_needs_no_notice(event: Path, registry: Path, command: CommandLine) -> None:
    transfer = json.loads(event.read_text()) | {
        "subject": {"kind": "legal_person", "country": "FR"},
        "channels": ["email"],
    }
    transfer["contact"]["email"]["type"] = "role"
    del transfer["notice_version"]
    event.write_text(json.dumps(transfer))
    _, out, _ = command("--event", event, "--registry", registry, "--at", AT)
    assert "seen as: a legal person; no legal basis needed; no relevant consent; no notice" in out


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("--event", "{", "event"),
        ("--event", "[]", "not a transfer"),
        ("--event", '{"event_id": "t"}', "not a transfer: Object missing required field `requested_at`"),
        ("--event", None, "can't be read"),
        ("--consents", "just words", "not a list of consent events"),
        ("--consents", None, "can't be read"),
    ],
)
def test_a_wrong_file_is_told_and_is_exit_2(
    tmp_path: Path, event: Path, registry: Path, command: CommandLine, option: str, content: str | None, message: str
) -> None:
    wrong = tmp_path / "wrong"
    if content is not None:
        wrong.write_text(content)
    files = {"--event": event, "--registry": registry, option: wrong}
    code, out, err = command(*(part for pair in files.items() for part in pair), "--at", AT)
    assert (code, out) == (2, "")
    assert message in err or message == "event"
    assert str(wrong) in err
    assert "Traceback" not in err


@pytest.mark.parametrize("at", ["tomorrow", "2026-10-05", "2026-10-05T10:00:00", "2026-13-05T10:00:00Z"])
def test_a_wrong_time_is_told(event: Path, registry: Path, command: CommandLine, at: str) -> None:
    code, _, err = command("--event", event, "--registry", registry, "--at", at)
    assert code == 2
    assert f"--at {at}" in err


def test_a_wrong_registry_is_told(event: Path, tmp_path: Path, command: CommandLine) -> None:
    assert command("--event", event, "--registry", tmp_path / "none")[0] == 2


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_at_the_end_of_the_calendar_is_explained_too(
    tmp_path: Path, registry: Path, command: CommandLine, time: str
) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(CLEAN["transfer"] | {"requested_at": time, "collected_at": time}))
    code, out, err = command("--event", path, "--registry", registry, "--at", AT)
    assert (code, err) == (0, "")
    assert "event.requested_at = " in out


@pytest.mark.parametrize("arguments", [(), ("--event", "a", "--decision", "b"), ("--decision", "b", "--consents", "c")])
def test_what_to_explain_must_be_clear(arguments: tuple[str, ...], command: CommandLine) -> None:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert "--event" in err


def test_a_decision_needs_a_broker(registry: Path, command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFER_GATE_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    code, out, err = command("--decision", "d-1", "--registry", registry)
    assert (code, out) == (6, "")
    assert "no answer from the Kafka cluster at 127.0.0.1:1" in err
    assert "Traceback" not in err


_BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "broken",
    [
        lambda text: text[:-1] + ",}",
        lambda text: _BOM.decode() + text,
        lambda text: text.replace('"direct_marketing"', "NaN"),
        lambda text: text.replace('"', "'"),
        lambda text: text[:-1] + "/* a comment */}",
        lambda text: "# a comment\n" + text,
        lambda text: text[:-1] + ',"purpose":"direct_marketing"}',
        lambda text: text.encode("utf-16").decode("latin-1"),
        lambda _: "",
    ],
    ids=[
        "comma",
        "bom",
        "nan",
        "single quotes",
        "comment inside",
        "comment before",
        "named twice",
        "utf-16",
        "nothing",
    ],
)
def test_an_event_that_the_worker_cannot_decode_is_undecodable_here_too(
    tmp_path: Path, registry: Path, command: CommandLine, broken: Callable[[str], str]
) -> None:
    text = broken(json.dumps(CLEAN["transfer"]))
    path = tmp_path / "event.json"
    path.write_bytes(text.encode("latin-1") if text.startswith("\u00ff\u00fe") else text.encode())
    with pytest.raises(Undecodable):
        decode_transfer(path.read_bytes())
    code, out, err = command("--event", path, "--registry", registry, "--at", AT)
    assert (code, out) == (2, "")
    assert "undecodable" in err

    withdrawal = {"event_id": "w-1", "prospect_id": "p-1", "type": "withdrawal", "event_time": "2026-09-01T00:00:00Z"}
    withdrawal["purpose"] = "direct_marketing"
    text = broken(json.dumps(withdrawal))
    if not text:
        return
    path.write_bytes(text.encode("latin-1") if text.startswith("\u00ff\u00fe") else text.encode())
    event = tmp_path / "transfer.json"
    event.write_text(json.dumps(CLEAN["transfer"] | {"channels": ["email"]}))
    code, out, err = command("--event", event, "--consents", path, "--registry", registry, "--at", AT)
    assert code == 0
    assert "email: held: consent-unreadable" in out
    assert "can't be read" in err


def test_one_broken_line_among_json_lines_is_one_unreadable_event(
    tmp_path: Path, event: Path, registry: Path, command: CommandLine
) -> None:
    path = tmp_path / "consents.jsonl"
    path.write_text(json.dumps(CONSENT) + "\n" + '{"event_id": "w-1",}\n')
    _, out, err = command("--event", event, "--consents", path, "--registry", registry, "--at", AT)
    assert "by position: 1" in err
    assert "consent record r-1" in out


def test_the_examples_from_the_field_are_what_the_worker_says(
    tmp_path: Path, event: Path, registry: Path, command: CommandLine
) -> None:
    """A list with a trailing comma inside was read as YAML once, and the withdrawal with it."""
    path = tmp_path / "consents.json"
    path.write_text("[" + json.dumps(CONSENT) + ",\n" + '{"event_id":"w-1","prospect_id":"p-1",}]')
    _, out, err = command("--event", event, "--consents", path, "--registry", registry, "--at", AT)
    assert "by position: 0" in err
    assert "consent-unreadable" in out


def test_a_prospect_that_is_nobody_is_not_explained(tmp_path: Path, registry: Path, command: CommandLine) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(CLEAN["transfer"] | {"prospect_id": " Undefined"}))
    code, out, err = command("--event", path, "--registry", registry, "--at", AT)
    assert (code, out) == (2, "")
    assert "prospect-unidentified" in err
