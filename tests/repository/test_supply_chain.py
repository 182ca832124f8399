"""What is installed is pinned by hash, and SECURITY.md says what each direct dependency is for."""

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=; ]", one)[0] for one in requirements}


def test_security_md_names_every_direct_dependency_and_no_other() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    table = page[page.index("| package | for |") :]
    told = {
        name
        for row in re.findall(r"^\| (`[^|]*) \|", table, flags=re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    # `local` is for development; of the others the library and the extra that brings it.
    extras = {extra: names(given) for extra, given in PROJECT["optional-dependencies"].items() if extra != "local"}
    assert told == names(PROJECT["dependencies"]) | extras.keys() | set().union(*extras.values())


@pytest.mark.parametrize("file", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_every_locked_requirement_has_a_version_and_a_hash_and_comes_from_no_named_place(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    entries = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ").splitlines()
    assert entries
    for entry in entries:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry
    assert not [line for line in lines if "://" in line or "index-url" in line]
