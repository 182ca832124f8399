"""`transfer-gate partner new`: what it writes holds by the gate's own loader and schema; nothing is overwritten."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import jsonschema
import pytest
import yaml

from tests.support.command_line import CommandLine
from tests.support.processes import running
from tests.support.registry_sample import EXAMPLE
from transfer_gate.model.transfer import INVENTED, is_reserved_address, is_reserved_number
from transfer_gate.records.released import decode_released
from transfer_gate.registry import load_registry

GIVEN: Final = (
    "--legal-name", "Nouvelle Mutuelle SA", "--registration-no", "900000077", "--country", "NO", "--category",
    "insurance", "--contract-id", "K-77", "--contract-from", "2026-01-01T00:00:00+01:00", "--no-onward",
    "--suppression-endpoint", "https://nouvelle.example/suppression", "--listed-from", "2026-01-01T00:00:00+01:00",
    "--field", "first_name",
)  # fmt: skip
WRITTEN: Final = {
    "CHECKLIST.md", "acls.txt", "topics.yaml", "user.yaml", "kit/README.md", "kit/consumer.py",
    "kit/released-record.schema.json", "kit/suppressions.jsonl", "kit/transfers.jsonl",
}  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """`transfer-gate partner new` beside a copy of the example registry; nobody is at the terminal."""
    shutil.copytree(EXAMPLE, tmp_path / "registry")
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys, "partner", "new")


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_file_is_read_by_the_gate_and_the_rest_of_the_registry_stays(run: CommandLine, tmp_path: Path) -> None:
    before = below(tmp_path / "registry")
    code, out, err = run("nouvelle", *GIVEN)
    assert code == 0, err
    after = below(tmp_path / "registry")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"partners/nouvelle.yaml"}
    partner = load_registry(tmp_path / "registry").partners["nouvelle"]
    assert (partner.status, partner.country, partner.registration_no) == ("rehearsal", "NO", "900000077")
    assert set(below(tmp_path / "partner-nouvelle")) == WRITTEN
    assert len(out.splitlines()) == len(WRITTEN) + 1


def test_without_a_terminal_it_names_what_is_missing_and_writes_nothing(run: CommandLine, tmp_path: Path) -> None:
    before = below(tmp_path)
    code, out, err = run("nouvelle", *GIVEN[2:-6])
    assert (code, out) == (2, "")
    assert "--legal-name" in err
    assert "--listed-from" in err
    assert "--country" not in err
    assert below(tmp_path) == before


def test_on_a_terminal_it_asks_for_what_is_missing(run: CommandLine, tmp_path: Path) -> None:
    """What is given is not asked for; an answer of several words is a list; the result is that of the options."""
    answers = {
        "Name of the company": "Nouvelle Mutuelle SA", "Number in the trade register": "900000077", "Country": "NO",
        "What it deals in": "insurance, energy", "Reference of the contract": "K-77",
        "On the published list": "2026-01-01T00:00:00+01:00", "pass prospects on": "y",
        "listens for withdrawals": "https://nouvelle.example/suppression",
    }  # fmt: skip
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "transfer_gate", "partner", "new", "nouvelle", "--contract-from", GIVEN[11]]
    with (
        running(command, cwd=tmp_path, stdin=secondary, stdout=subprocess.PIPE, stderr=secondary) as process,
        os.fdopen(primary, "r+b", buffering=0) as terminal,
    ):
        os.close(secondary)
        shown = ""
        for question, answer in answers.items():
            while question not in shown or not shown.rstrip().endswith((":", "]:")):
                shown += terminal.read(4096).decode()
            shown = ""
            terminal.write(answer.encode() + b"\n")
        assert process.wait(60) == 0
    partner = load_registry(tmp_path / "registry").partners["nouvelle"]
    assert (partner.status, partner.country, partner.legal_name) == ("rehearsal", "NO", "Nouvelle Mutuelle SA")
    assert partner.categories == ("insurance", "energy")
    assert partner.contract is not None
    assert partner.contract.no_onward


@pytest.mark.parametrize("there", ["registry/partners/nouvelle.yaml", "partner-nouvelle/kit/consumer.py"])
def test_nothing_is_overwritten_and_nothing_is_written_beside(run: CommandLine, tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_text("mine", encoding="utf-8")
    before = below(tmp_path)
    code, _, err = run("nouvelle", *GIVEN)
    assert code == 5, err
    assert there in err
    assert below(tmp_path) == before


@pytest.mark.parametrize(
    ("party", "wrong"),
    [("../../b", ()), ("nouvelle", ("--country", "France")), ("nouvelle", ("--contract-from", "yesterday"))],
)
def test_what_the_loader_refuses_is_not_written(
    run: CommandLine, tmp_path: Path, party: str, wrong: tuple[str, ...]
) -> None:
    before = below(tmp_path)
    code, _, err = run(party, *GIVEN, *wrong)
    assert code == 2, err
    assert below(tmp_path) == before


def test_the_samples_are_records_of_invented_people(run: CommandLine, tmp_path: Path) -> None:
    run("nouvelle", *GIVEN)
    kit = tmp_path / "partner-nouvelle" / "kit"
    validator = jsonschema.Draft202012Validator(json.loads((kit / "released-record.schema.json").read_text()))
    lines = (kit / "transfers.jsonl").read_bytes().splitlines()
    for line in lines:
        validator.validate(json.loads(line))
        record = decode_released(line)
        assert record is not None
        assert record.prospect_id.startswith(INVENTED)
        assert record.contact.email is None or is_reserved_address(record.contact.email.value)
        assert record.contact.phone is None or is_reserved_number(record.contact.phone.value)
        assert record.contact.postal is None or record.contact.postal.lines[0] == "SPECIMEN"
    transfers = [json.loads(line)["transfer_id"] for line in lines]
    assert transfers[0] == transfers[-1], "one is repeated, for the partner's test"
    assert len(set(transfers)) == len(transfers) - 1


def test_rights_are_by_whole_names_and_equal_in_both_forms(run: CommandLine, tmp_path: Path) -> None:
    run("nouvelle", *GIVEN)
    made = tmp_path / "partner-nouvelle"
    acls = yaml.safe_load((made / "user.yaml").read_text())["spec"]["authorization"]["acls"]
    granted = {(acl["resource"]["type"], acl["resource"]["name"], *acl["operations"]) for acl in acls}
    assert {acl["resource"]["patternType"] for acl in acls} == {"literal"}
    words = [line.split() for line in (made / "acls.txt").read_text().splitlines()]
    assert granted == {(w[-2].removeprefix("--"), w[-1], w[w.index("--operation") + 1]) for w in words}
    topics = [topic["metadata"]["name"] for topic in yaml.safe_load_all((made / "topics.yaml").read_text())]
    assert {name for kind, name, _ in granted if kind == "topic"} == set(topics)


def test_the_checklist_ticks_what_the_registry_shows(run: CommandLine, tmp_path: Path) -> None:
    run("nouvelle", *GIVEN)
    text = (tmp_path / "partner-nouvelle" / "CHECKLIST.md").read_text()
    assert "- [x] the contract forbids to pass prospects on" in text
    assert "- [ ] a notice in force names it: none does" in text
    assert "- [ ] the suppression address was tried" in text


def test_a_partner_without_kafka_gets_a_topic_of_reports_and_a_user_for_the_program_that_delivers(
    run: CommandLine, tmp_path: Path
) -> None:
    code, _, err = run("nouvelle", *GIVEN, "--delivery-hours", "8")
    assert code == 0, err
    partner = load_registry(tmp_path / "registry").partners["nouvelle"]
    assert partner.delivery is not None
    assert partner.delivery.sla_hours == 8
    made = tmp_path / "partner-nouvelle"
    users = list(yaml.safe_load_all((made / "user.yaml").read_text()))
    assert [user["metadata"]["name"] for user in users] == ["courier-nouvelle"]
    words = [line.split() for line in (made / "acls.txt").read_text().splitlines()]
    assert {(w[-1], w[w.index("--operation") + 1]) for w in words} == {
        ("partner.nouvelle", "Read"), ("deliveries.nouvelle", "Write"), ("courier-nouvelle", "Read"),
    }  # fmt: skip
    topics = {
        topic["metadata"]["name"]: topic["spec"] for topic in yaml.safe_load_all((made / "topics.yaml").read_text())
    }
    assert topics["deliveries.nouvelle"]["partitions"] == 1
    assert "deliveries.nouvelle" in (made / "CHECKLIST.md").read_text()
