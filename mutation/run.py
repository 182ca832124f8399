"""`make mutate`: break the decision in every small way, and see that the tests notice.

Works in a copy of the project under build/, so that a run that is cut off leaves nothing broken behind. A run ends
after `--minutes`; the next one goes on where it ended, and begins anew when the sources of the decision have changed.
"""

import argparse
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build" / "mutation"
TREE: Final = BUILD / "tree"
SESSION: Final = BUILD / "session.sqlite"
#: What the session was made of: after a change, its mutations stand in the wrong places.
MADE_OF: Final = BUILD / "session.sha256"
SOCKET: Final = BUILD / "warm.socket"
CONFIG: Final = ROOT / "mutation" / "cosmic-ray.toml"
COPIED: Final = ("src", "tests", "examples", "schemas", "docs", "mutation", "pyproject.toml")
RESULTS: Final = """
    SELECT m.module_path, m.start_pos_row, m.operator_name, r.worker_outcome, r.test_outcome, r.diff, m.occurrence
    FROM mutation_specs m JOIN work_results r ON r.job_id = m.job_id
    ORDER BY m.module_path, m.start_pos_row, m.operator_name, m.occurrence
"""


def main() -> int:
    """Run for a while, then report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=600, help="stop after so long; the next run goes on")
    parser.add_argument("--again", action="store_true", help="try the survivors again: the tests have changed")
    parser.add_argument("--report", action="store_true", help="only report")
    asked = parser.parse_args()
    if not asked.report:
        _copy()
        if not SESSION.exists() or not MADE_OF.exists() or MADE_OF.read_text() != _sources():
            SESSION.unlink(missing_ok=True)
            _cosmic_ray("cosmic-ray", "init", CONFIG, SESSION)
            _cosmic_ray("cr-filter-operators", SESSION, CONFIG)
            MADE_OF.write_text(_sources())
        if asked.again:
            with sqlite3.connect(SESSION) as session:
                session.execute("DELETE FROM work_results WHERE test_outcome = 'SURVIVED'")
        with _warm():
            _cosmic_ray("cosmic-ray", "exec", CONFIG, SESSION, seconds=60 * asked.minutes)
    return _report()


def _sources() -> str:
    """A fingerprint of what is mutated and how."""
    files = (*sorted((ROOT / "src/transfer_gate/policy").glob("*.py")), *sorted((ROOT / "mutation").glob("*.*")))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def _copy() -> None:
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, TREE / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, TREE / name)


def _environment() -> dict[str, str]:
    """In which the tests run: with the project's own Python, and the copy before the installed package."""
    return os.environ | {
        "PATH": os.pathsep.join((str(ROOT / ".venv" / "bin"), os.environ["PATH"])),
        # mutation/ holds the entry point by which Cosmic Ray finds our operators.
        "PYTHONPATH": os.pathsep.join(str(TREE / name) for name in ("src", "mutation", ".")),
        "WARM_SOCKET": str(SOCKET),
    }


@contextmanager
def _warm() -> Iterator[None]:
    """While it is open, the quickest tests are kept warm (mutation/warm.py)."""
    SOCKET.unlink(missing_ok=True)
    command = [ROOT / ".venv" / "bin" / "python", TREE / "mutation" / "warm.py", SOCKET]
    process = subprocess.Popen(command, cwd=TREE, env=_environment())
    try:
        while not SOCKET.exists():
            if process.poll() is not None:
                sys.exit("mutation/warm.py ended before it answered")
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def _cosmic_ray(program: str, *arguments: Path | str, seconds: float | None = None) -> None:
    """Run one of the programs of Cosmic Ray in the copy."""
    command = [Path(sys.executable).parent / program, *arguments]
    process = subprocess.Popen(command, cwd=TREE, env=_environment())
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait()
        return
    if status:
        sys.exit(f"{program} ended with {status}")


def _report() -> int:
    with sqlite3.connect(SESSION) as session:
        rows = session.execute(RESULTS).fetchall()
        total = session.execute("SELECT count(*) FROM work_items").fetchone()[0]
    outcomes: Counter[str] = Counter()
    for path, line, operator, worker, test, diff, _ in rows:
        if worker.endswith("SKIPPED"):
            total -= 1
            continue
        survived = test.endswith("SURVIVED")
        outcomes["survived" if survived else "killed"] += 1
        if survived:
            print(f"{path}:{line} {operator}", *_changed(diff or ""), sep="\n  ")
    tried = outcomes["killed"] + outcomes["survived"]
    print(f"{tried} of {total} mutants tried: {outcomes['killed']} killed, {outcomes['survived']} survived", end="")
    print(f", {outcomes['killed'] / tried:.1%} killed" if tried else "")
    return 0


def _changed(diff: str) -> list[str]:
    """The lines of a diff that differ."""
    return [line[:100] for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


if __name__ == "__main__":
    sys.exit(main())
