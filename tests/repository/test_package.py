"""The pure wheel: what is in it, and that it works without the repository. Long form: tests/install."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from transfer_gate.starter import starter_files

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ROOT / "src" / "transfer_gate"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the pure wheel, as pip would lay it into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "HATCH_BUILD_HOOK_ENABLE_MYPYC"}
    subprocess.run(build, cwd=ROOT, env=environment, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "packages")
    return folder / "packages"


def test_every_module_and_every_file_beside_one_is_in_it(unpacked: Path) -> None:
    def below(folder: Path) -> set[str]:
        return {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    packed = below(unpacked / "transfer_gate")
    assert below(SOURCES) <= packed
    assert {path for path in packed if path.startswith("local/registry/")} == {
        f"local/registry/{name}" for name in below(ROOT / "examples" / "registry")
    }


def test_it_lays_out_an_installation_that_passes_its_checks_without_the_repository(
    unpacked: Path, tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": str(unpacked), "PYTHONSAFEPATH": "1"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "transfer_gate", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [sys.executable, "-c", "import transfer_gate; print(transfer_gate.__file__)"]
    imported = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert imported.startswith(str(unpacked)), "the test would look at the sources"
    assert len(run("init", "new").splitlines()) == len(starter_files())
    assert run("registry", "check", "--strict", "new/registry").startswith("sha256:")
    assert run("policy", "test", "--registry", "new/registry", "new/cases").endswith("4 passed, 0 failed\n")
