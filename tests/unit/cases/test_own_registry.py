"""`policy test --registry`: a registry folder under what the case files say."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.support.command_line import CommandLine
from tests.support.registry_sample import EXAMPLE

CASES: Final = """
defaults:
  at: 2026-10-05T10:00:00+02:00
  transfer:
    {event_id: t-1, requested_at: 2026-10-05T09:59:00+02:00, prospect_id: p-1, partner_ids: [acme-assurances],
     channels: [postal], purpose: direct_marketing, collected_at: 2026-09-02T10:00:00+02:00, notice_version: n-2026-09,
     subject: {kind: consumer, birth_date: 1985-06-15, country: FR}, source: {role: primary_collector, chain: [us]},
     contact: {postal: {lines: [1 rue de l'Exemple], postal_code: "75001", city: Paris, country: FR}}}
cases:
  - name: as in the folder
    exactly: true
    expect: {acme-assurances: {release: [postal]}}
  - name: with a partner that is paused
    registry: {partners: {acme-assurances: {status: paused}}}
    expect: {acme-assurances: {quarantine: {postal: [partner-paused]}}}
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.yaml").write_text(CASES, encoding="utf-8")
    return CommandLine(monkeypatch, capsys, "policy", "test")


def test_cases_without_a_registry_of_their_own_are_held_against_the_folder(run: CommandLine) -> None:
    code, out, _ = run("--registry", EXAMPLE, "cases.yaml")
    assert (code, out) == (0, "2 passed, 0 failed\n")
    assert run("cases.yaml")[0] == 2, "without the folder nobody knows the partner"


def test_what_changes_in_the_folder_changes_the_outcome(run: CommandLine, tmp_path: Path) -> None:
    own = shutil.copytree(EXAMPLE, tmp_path / "own")
    partner = own / "partners" / "acme-assurances.yaml"
    partner.write_text(partner.read_text(encoding="utf-8").replace("status: active", "status: suspended"))
    code, out, _ = run("--registry", own, "cases.yaml")
    assert code == 1
    assert "partner-known-and-contracted" in out


def test_a_folder_that_is_no_registry_is_named(run: CommandLine) -> None:
    code, out, err = run("--registry", "nowhere", "cases.yaml")
    assert (code, out) == (2, "")
    assert "nowhere: no such folder" in err
