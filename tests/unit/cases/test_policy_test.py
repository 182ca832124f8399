"""`policy test`: what passes, what differs, what is wrong with a file, and what build servers read."""

import copy
import json
import re
from pathlib import Path
from textwrap import dedent, indent
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.property.scenarios import CLEAN
from tests.support.command_line import CommandLine
from transfer_gate.cases.files import Expectation, WrittenCase


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys, "policy", "test")


def _write(folder: Path, cases: str, name: str = "some.yaml") -> Path:
    """A case file whose defaults, in JSON on one line, are the clean scenario: its first case stands in line 3."""
    path = folder / name
    path.write_text(f"defaults: {json.dumps(CLEAN)}\ncases:\n{indent(dedent(cases).strip(), '  ')}\n", encoding="utf-8")
    return path


def test_a_case_that_holds_passes(tmp_path: Path, command: CommandLine) -> None:
    _write(tmp_path, "- {name: clean, expect: {acme: {release: [sms, email]}}}")
    assert command(tmp_path) == (0, "1 passed, 0 failed\n", "")


@pytest.mark.parametrize(
    ("case", "difference"),
    [
        ("{expect: {acme: {release: [email]}}}", "acme: expected release of email; released email, sms"),
        ("{expect: {acme: {}}}", "acme: expected release of nothing; released email, sms"),
        ("{expect: {helios: {}}}", "helios: a decision was expected, but the transfer does not name this partner"),
        (
            "{expect: {acme: {release: [email, sms], quarantine: {sms: []}}}}",
            "acme sms: expected in quarantine for nothing; it was released",
        ),
        (
            "{expect: {acme: {release: [email, sms], quarantine: {postal: [clock-sane]}}}}",
            "acme postal: expected in quarantine for clock-sane; it was not requested",
        ),
        (
            "{expect: {acme: {release: [email, sms], contact: {email: {type: personal}}}}}",
            "acme: expected contact points email; sent email, phone",
        ),
        (
            "{expect: {acme: {release: [email, sms], contact: {email: {type: role}, phone: {}}}}}",
            "acme contact.email.type: expected role; decided personal",
        ),
        (
            "{expect: {acme: {release: [email, sms], attributes: {}}}}",
            "acme: expected attributes {}; sent {'first_name': 'Claire'}",
        ),
        (
            "{expect: {acme: {release: [email, sms], obligations: {use_before: 2026-11-04T10:00:00+01:00}}}}",
            "acme obligations.use_before: expected 2026-11-04T10:00:00+01:00; decided 2026-11-04T08:00:00Z",
        ),
        (
            "{expect: {acme: {release: [email, sms], obligations: {max_call_attempts: 4}}}}",
            "acme obligations.max_call_attempts: expected 4; decided None",
        ),
        (
            "{exactly: true, consents: [], transfer: {purpose: x, channels: [email]}, "
            "expect: {acme: {quarantine: {email: []}}}}",
            "acme email: expected exactly nothing; decided electronic-optin",
        ),
        (
            "{consents: [], transfer: {channels: [email]}, expect: {acme: {quarantine: {email: [clock-sane]}}}}",
            "acme email: expected clock-sane; decided electronic-optin",
        ),
        (
            "{transfer: {purpose: null}, expect: {acme: {release: [email]}}}",
            "acme: expected release of email; released nothing",
        ),
    ],
)
def test_a_difference_is_told_and_fails(tmp_path: Path, command: CommandLine, case: str, difference: str) -> None:
    path = _write(tmp_path, f"- {{name: wrong, {case.removeprefix('{')}")
    code, out, _ = command(path)
    assert out.splitlines()[:2] == [f"FAILED {path}:3: wrong", f"  {difference}"]
    assert out.splitlines()[-1] == "0 passed, 1 failed"
    assert code == 1


def test_a_failure_tells_the_facts_that_settled_it_and_no_contact_point(tmp_path: Path, command: CommandLine) -> None:
    path = _write(
        tmp_path, "- {name: late, transfer: {collected_at: 2020-01-01T00:00:00Z}, expect: {acme: {release: [sms]}}}"
    )
    code, out, _ = command(path)
    assert code == 1
    assert "acme sms: retention-three-years failed on event.collected_at = 2020-01-01T00:00:00Z" in out
    assert "courriel.example" not in out
    assert "+336" not in out


def test_lists_replace_mappings_merge_and_null_removes(tmp_path: Path, command: CommandLine) -> None:
    path = _write(
        tmp_path,
        """
        - name: a list replaces
          transfer: {channels: [sms]}
          expect: {acme: {release: [sms]}}
        - name: a mapping merges
          transfer: {contact: {phone: {type: landline}}}
          expect: {acme: {release: [email, sms], contact: {email: {type: personal}, phone: {type: landline}}}}
        - name: null removes
          transfer: {contact: {phone: null}, channels: [email]}
          expect: {acme: {release: [email], contact: {email: {}, phone: null}, attributes: {first_name: Claire}}}
        - name: null removes inside a list too
          consents: [{event_id: w, prospect_id: p-1, type: objection, event_time: 2026-01-01T00:00:00Z, scope: null}]
          exactly: true
          transfer: {channels: [postal]}
          expect: {acme: {quarantine: {postal: [not-objected]}}}
        - name: null removes an object of the registry
          registry: {partners: {acme: null}}
          expect: {acme: {quarantine: {email: [partner-unknown]}}}
        - name: null removes all consents
          consents: null
          expect: {acme: {quarantine: {email: [electronic-optin]}}}
        - name: the time of a case goes before that of the defaults
          at: 2030-01-01T00:00:00Z
          expect: {acme: {quarantine: {email: [retention-three-years]}}}
        """,
    )
    assert command(path) == (0, "7 passed, 0 failed\n", "")


def test_null_is_an_error_exactly_where_the_how_to_says_so(tmp_path: Path, command: CommandLine) -> None:
    clean: dict[str, Any] = {"name": "clean", "expect": {"acme": {"release": ["email", "sms"]}}}
    refused = {field for field in WrittenCase.model_fields if "must be" in _said_of(tmp_path, command, clean, field)}
    for field in Expectation.model_fields:
        case = copy.deepcopy(clean)
        case["expect"]["acme"][field] = None
        if "must be" in _said_of(tmp_path, command, case):
            refused.add(field)
    how_to = (Path(__file__).parents[3] / "docs" / "how-to" / "case-files.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"there it is\s+an error: ([^.]+)\.", how_to)
    assert refused == set(re.findall(r"`(\w+)`", listed))


def _said_of(folder: Path, command: CommandLine, case: dict[str, Any], null: str | None = None) -> str:
    """What is wrong with a case, of which one field is null."""
    return command(_write(folder, f"- {json.dumps(case | ({null: None} if null else {}))}"))[2]


def test_the_offset_of_an_event_is_its_position(tmp_path: Path, command: CommandLine) -> None:
    path = _write(
        tmp_path,
        """
        - name: resolved
          transfer: {channels: [postal]}
          consents:
            - {event_id: r, prospect_id: p-1, type: restriction_lifted, event_time: 2026-01-01T00:00:00Z}
            - {type: withdrawal}
            - {event_id: q, prospect_id: p-1, type: resolution, event_time: 2026-01-02T00:00:00Z, resolves: [1]}
          expect: {acme: {release: [postal]}}
        - name: another one resolved
          transfer: {channels: [postal]}
          consents:
            - {type: withdrawal}
            - {event_id: q, prospect_id: p-1, type: resolution, event_time: 2026-01-02T00:00:00Z, resolves: [1]}
          expect: {acme: {quarantine: {postal: [consent-unreadable]}}}
        """,
    )
    assert command(path) == (0, "2 passed, 0 failed\n", "")


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ("- {name: x, expects: {}}", "3: cases[0].expects: unknown key; did you mean expect?"),
        ("- {name: x, expect: {acme: {released: [email]}}}", "3: cases[0].expect.acme.released: unknown key"),
        ("- {name: x, expect: {acme: {release: [fax]}}}", "3: cases[0].expect.acme.release[0]: must be one of email"),
        (
            "- {name: x, expect: {acme: {quarantine: {sms: [not-objectd]}}}}",
            "3: cases[0].expect.acme.quarantine.sms[0]: no such reason; did you mean not-objected?",
        ),
        ("- {name: x, expect: {acme: {quarantine: {sms: [3]}}}}", "3: cases[0].expect.acme.quarantine.sms[0]: no such"),
        ("- {name: x, expect: {acme: {quarantine: {fax: []}}}}", "3: cases[0].expect.acme.quarantine.fax"),
        ("- {name: x}", "3: cases[0].expect: is required"),
        ("- {name: x, expect: {}}", "3: cases[0].expect: must name a partner, as in {acme: {release: [email]}}\n"),
        ("- {name: x, expect: {'': {}}}", "3: cases[0].expect: a partner's id must not be empty\n"),
        ("- {name: x, expect: null}", "3: cases[0].expect: must be a mapping\n"),
        ("- {name: x, expect: [acme]}", "3: cases[0].expect: must be a mapping\n"),
        ("- {name: x, expect: {acme: null}}", "3: cases[0].expect.acme: must be a mapping\n"),
        ("- {name: x, expect: {acme: {release: email}}}", "3: cases[0].expect.acme.release: must be a list\n"),
        ("- {name: '', expect: {acme: {}}}", "3: cases[0].name: must not be empty\n"),
        ("- {expect: {acme: {}}}", "3: cases[0].name: is required"),
        ("- {name: x, at: 2026-10-05, expect: {acme: {}}}", "3: cases[0].at: must be a date and time with an offset"),
        ("- {name: x, at: null, expect: {acme: {}}}", "3: cases[0]: at: required, here or in the defaults"),
        ("- {name: x, registry: null, expect: {acme: {}}}", "3: cases[0]: registry: required"),
        ("- {name: x, transfer: null, expect: {acme: {}}}", "3: cases[0]: transfer: required"),
        (
            "- name: x\n  registry: {partners: {acme: {status: happy}}}\n  expect: {acme: {}}",
            "4: cases[0].registry.partners.acme.status: must be one of active, rehearsal, paused, suspended",
        ),
        (
            "- {name: x, registry: {policy: {jurisdiction: null}}, expect: {acme: {}}}",
            "3: cases[0].registry.policy.jurisdiction: is required",
        ),
        ("- {name: x, consents: [withdrawal], expect: {acme: {}}}", "3: cases[0].consents[0]: must be a mapping"),
        ("- {name: x, exactly: yes, expect: {acme: {}}}", "3: cases[0].exactly: must be true or false"),
        ("- {name: x, name: y, expect: {acme: {}}}", "3: name: stands twice"),
        ("- [", "not YAML"),
        ("nothing", "cases: must be a list"),
    ],
)
def test_a_wrong_file_is_told_with_file_line_and_field(
    tmp_path: Path, command: CommandLine, cases: str, message: str
) -> None:
    path = _write(tmp_path, cases)
    code, out, err = command(path)
    assert (code, out) == (2, "")
    assert f"{path}:" in err
    assert message in err
    assert "Traceback" not in err


def test_an_error_in_the_defaults_is_told_once_and_there(tmp_path: Path, command: CommandLine) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(
        "defaults:\n"
        "  at: 2026-10-05T10:00:00Z\n"
        "  transfer: {}\n"
        "  registry:\n"
        "    policy: {jurisdiction: FR, list_changes: lax}\n"
        "cases:\n"
        "  - {name: a, expect: {acme: {}}}\n"
        "  - {name: b, expect: {acme: {}}}\n"
    )
    code, _, err = command(path)
    assert code == 2
    assert err.count("list_changes") == 1
    assert f"{path}:5: defaults.registry.policy.list_changes: must be one of strict, inform_and_object" in err


def test_everything_wrong_in_all_files_is_told_at_once(tmp_path: Path, command: CommandLine) -> None:
    _write(tmp_path, "- {name: x}\n- {nam: y, expect: {acme: {}}}", "a.yaml")
    _write(tmp_path, "- {name: x, expect: {}}", "b.yml")
    code, _, err = command(tmp_path, tmp_path / "missing")
    assert code == 2
    for place in (
        "a.yaml:3: cases[0].expect",
        "a.yaml:4: cases[1].nam",
        "b.yml:3: cases[0].expect",
        "missing: no such",
    ):
        assert place in err


def test_no_case_is_exit_3(tmp_path: Path, command: CommandLine) -> None:
    (tmp_path / "readme.txt").write_text("no cases here")
    assert command(tmp_path)[0] == 3
    _write(tmp_path, "[]")
    assert command(tmp_path)[0] == 3


def test_no_path_is_a_usage_error(command: CommandLine) -> None:
    assert command()[0] == 2


def test_a_transfer_that_cannot_be_read_says_where(tmp_path: Path, command: CommandLine) -> None:
    path = _write(tmp_path, "- {name: x, transfer: {channels: [fax]}, expect: {acme: {release: [email]}}}")
    code, out, _ = command(path)
    assert code == 1
    assert "the transfer is not valid: Invalid enum value 'fax' - at `$.channels[0]`" in out


def test_a_consent_event_that_cannot_be_read_is_told_where_a_case_fails(tmp_path: Path, command: CommandLine) -> None:
    path = _write(
        tmp_path,
        """
        - name: a slip
          consents:
            - {event_id: c, prospect_id: p-1, type: consent, event_time: 2026-01-01T00:00:00Z, record_id: r, state: no}
            - {event_id: w, prospect_id: p-1, type: withdrawal, event_time: 2026-01-01T00:00:00Z}
          expect: {acme: {release: [email]}}
        """,
    )
    code, out, _ = command(path)
    assert code == 1
    assert "  consents[0] can't be read: Invalid enum value 'no' - at `$.state`" in out
    assert "consents[1]" not in out


def test_junit_has_a_suite_for_each_file_and_a_failure_for_each_difference(
    tmp_path: Path, command: CommandLine
) -> None:
    _write(tmp_path, "- {name: good, expect: {acme: {release: [email, sms]}}}", "a.yaml")
    _write(tmp_path, '- {name: "bad \\u0007 <b>", expect: {acme: {release: [email]}}}', "b.yaml")
    report = tmp_path / "report.xml"
    assert command(tmp_path, "--junit", report)[0] == 1
    suites = ET.parse(report).getroot().findall("testsuite")  # noqa: S314 - written by the command above
    assert [(suite.get("tests"), suite.get("failures")) for suite in suites] == [("1", "0"), ("1", "1")]
    (case,) = suites[1].findall("testcase")
    assert case.get("name") == "bad \ufffd <b>"
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("message") == "acme: expected release of email; released email, sms"


def test_a_junit_file_that_cannot_be_written_is_told(tmp_path: Path, command: CommandLine) -> None:
    path = _write(tmp_path, "- {name: good, expect: {acme: {release: [email, sms]}}}")
    code, _, err = command(path, "--junit", tmp_path / "no" / "report.xml")
    assert code == 2
    assert "can't be written" in err
