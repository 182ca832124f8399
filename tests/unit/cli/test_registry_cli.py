"""`transfer-gate registry check` and `registry diff`: what goes where, and the exit codes."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine
from tests.support.registry_sample import EXAMPLE
from transfer_gate.registry import load_registry


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """`transfer-gate registry` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys, "registry")


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """A registry with one warning."""
    folder = shutil.copytree(EXAMPLE, tmp_path / "doubtful")
    file = folder / "partners/acme-assurances.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("role: controller", "role: processor"), encoding="utf-8")
    return folder


@pytest.fixture
def wrong(doubtful: Path) -> Path:
    """A registry with two errors."""
    (doubtful / "policy.yaml").unlink()
    (doubtful / "partners/lumen-telecom.yaml").write_text("party_id: lumen-telecom\n  x: 1\n", encoding="utf-8")
    return doubtful


def test_check_prints_the_revision_and_nothing_else_on_stdout(run: CommandLine) -> None:
    """A script can take the revision from stdout."""
    assert run("check", EXAMPLE) == (0, f"{load_registry(EXAMPLE).revision}\n", "0 errors, 0 warnings\n")


def test_check_takes_the_folder_from_the_settings(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DIR it checks what the worker would load."""
    monkeypatch.setenv("TRANSFER_GATE_REGISTRY", str(EXAMPLE))
    assert run("check")[0] == 0
    monkeypatch.delenv("TRANSFER_GATE_REGISTRY")
    code, out, err = run("check")
    assert (code, out) == (2, "")
    assert "registry: no such folder" in err


def test_a_warning_does_not_fail(run: CommandLine, doubtful: Path) -> None:
    """It is said on stderr, and the revision is printed."""
    code, out, err = run("check", doubtful)
    assert (code, out) == (0, f"{load_registry(doubtful).revision}\n")
    assert err.startswith(f"warning: {doubtful}/partners/acme-assurances.yaml:10: role: ")


def test_a_warning_fails_when_asked_to(run: CommandLine, doubtful: Path) -> None:
    """For a gate in CI."""
    assert run("check", "--strict", doubtful)[0] == 1


def test_errors_are_told_with_file_line_and_field(run: CommandLine, wrong: Path) -> None:
    """All of them, exit 2, no revision, no traceback."""
    code, out, err = run("check", wrong)
    assert (code, out) == (2, "")
    assert f"error: {wrong}/partners/lumen-telecom.yaml:2: not YAML" in err
    assert f"error: {wrong}/policy.yaml:1: is missing" in err
    assert err.endswith("2 errors, 0 warnings\n")


@pytest.mark.parametrize(("kind", "code", "found"), [("doubtful", 0, (0, 1)), ("wrong", 2, (2, 0))])
def test_json_is_one_object(
    run: CommandLine, request: pytest.FixtureRequest, kind: str, code: int, found: tuple[int, int]
) -> None:
    """Findings included, on stdout; the exit code is the same."""
    folder = request.getfixturevalue(kind)
    done, out, err = run("check", "--output", "json", folder)
    told = json.loads(out)
    assert (done, err) == (code, "")
    assert (len(told["errors"]), len(told["warnings"])) == found
    assert (told["revision"] is None) == (code == 2)
    for finding in (*told["errors"], *told["warnings"]):
        assert {"file", "line", "field", "what"} < finding.keys()


def test_diff_says_what_changed(run: CommandLine, doubtful: Path) -> None:
    """In words, by object, with the rules that read it."""
    code, out, _ = run("diff", EXAMPLE, doubtful)
    assert code == 0
    assert out == (
        "Partner acme-assurances (Acme Assurances SA)\n"
        "  role under the GDPR: was controller, is now processor [partner-role-controller]\n"
    )


def test_diff_of_equal_registries_says_so(run: CommandLine) -> None:
    """Silence could be a failure."""
    assert run("diff", EXAMPLE, EXAMPLE)[:2] == (0, "nothing changed\n")


def test_diff_as_json(run: CommandLine, doubtful: Path) -> None:
    """Both revisions and every change."""
    code, out, err = run("diff", "--output", "json", EXAMPLE, doubtful)
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["before"], told["after"]) == (load_registry(EXAMPLE).revision, load_registry(doubtful).revision)
    assert [(change["name"], change["field"]) for change in told["changes"]] == [("acme-assurances", "role")]


@pytest.mark.parametrize("other", ["nope", "wrong"])
def test_diff_with_something_that_is_no_registry(run: CommandLine, request: pytest.FixtureRequest, other: str) -> None:
    """Exit 2 with what is wrong, in either place, no traceback."""
    folder = request.getfixturevalue(other) if other == "wrong" else Path(other)
    for pair in ((EXAMPLE, folder), (folder, EXAMPLE)):
        code, out, err = run("diff", *pair)
        assert (code, out) == (2, "")
        assert str(folder) in err
