"""`make mutate`: break the decision in every small way, and see that the tests notice.

Works in copies of the project under build/, one for each core, so that a run that is cut off leaves nothing broken
behind. A run ends after `--minutes`; the next one goes on where it ended, and begins anew when the sources of the
decision have changed.
"""

import argparse
import hashlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build" / "mutation"
#: What the sessions were made of: after a change, their mutations stand in the wrong places.
MADE_OF: Final = BUILD / "sessions.sha256"
CONFIG: Final = ROOT / "mutation" / "cosmic-ray.toml"
COPIED: Final = ("src", "tests", "examples", "schemas", "docs", "mutation", "pyproject.toml")
#: What changes nothing that a test could notice: how big a cache is, and how a class of values may be called.
UNNOTICEABLE: Final = re.compile(r"lru_cache\(maxsize|MAX_VIEWS|kw_only=True|slots=True")
RESULTS: Final = """
    SELECT m.module_path, m.start_pos_row, m.operator_name, r.worker_outcome, r.test_outcome, r.diff, m.occurrence
    FROM mutation_specs m JOIN work_results r ON r.job_id = m.job_id
    ORDER BY m.module_path, m.start_pos_row, m.operator_name, m.occurrence
"""


class Part(NamedTuple):
    """One copy of the project, and the mutants that are tried in it."""

    tree: Path
    session: Path
    socket: Path

    @classmethod
    def of(cls, number: int) -> Self:
        """The `number`-th of them."""
        return cls(BUILD / f"tree-{number}", BUILD / f"session-{number}.sqlite", BUILD / f"warm-{number}.socket")

    def environment(self) -> dict[str, str]:
        """In which the tests run: with the project's own Python, and the copy before the installed package."""
        return os.environ | {
            "PATH": os.pathsep.join((str(ROOT / ".venv" / "bin"), os.environ["PATH"])),
            # mutation/ holds the entry point by which Cosmic Ray finds our operators.
            "PYTHONPATH": os.pathsep.join(str(self.tree / name) for name in ("src", "mutation", ".")),
            "WARM_SOCKET": str(self.socket),
        }

    def cosmic_ray(self, program: str, *arguments: Path | str) -> subprocess.Popen[bytes]:
        """Start one of the programs of Cosmic Ray in the copy."""
        command = [Path(sys.executable).parent / program, *arguments]
        return subprocess.Popen(command, cwd=self.tree, env=self.environment())


PARTS: Final = tuple(map(Part.of, range(max(1, os.cpu_count() or 1))))


def main() -> int:
    """Run for a while, then report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=600, help="stop after so long; the next run goes on")
    parser.add_argument("--again", action="store_true", help="try the survivors again: the tests have changed")
    parser.add_argument("--report", action="store_true", help="only report")
    asked = parser.parse_args()
    if not asked.report:
        for part in PARTS:
            _copy(part.tree)
        if not MADE_OF.exists() or MADE_OF.read_text() != _sources():
            _begin()
        if asked.again:
            for part in PARTS:
                with sqlite3.connect(part.session) as session:
                    session.execute("DELETE FROM work_results WHERE test_outcome = 'SURVIVED'")
        with ExitStack() as stack:
            for part in PARTS:
                stack.enter_context(_warm(part))
            _try(60 * asked.minutes)
    return _report()


def _begin() -> None:
    """Make the sessions: all mutants in each, and then to each its share."""
    MADE_OF.unlink(missing_ok=True)
    first = PARTS[0]
    first.session.unlink(missing_ok=True)
    _until_done(first.cosmic_ray("cosmic-ray", "init", CONFIG, first.session))
    _until_done(first.cosmic_ray("cr-filter-operators", first.session, CONFIG))
    with sqlite3.connect(first.session) as session:
        _skip_unnoticeable(session)
    for part in PARTS[1:]:
        shutil.copy(first.session, part.session)
    for number, part in enumerate(PARTS):
        with sqlite3.connect(part.session) as session:
            others = f"SELECT job_id FROM work_items WHERE rowid % {len(PARTS)} != {number}"  # noqa: S608 - two numbers
            for table in ("work_results", "mutation_specs", "work_items"):
                session.execute(f"DELETE FROM {table} WHERE job_id IN ({others})")  # noqa: S608 - a name of our own
    MADE_OF.write_text(_sources())


def _skip_unnoticeable(session: sqlite3.Connection) -> None:
    specs = session.execute("SELECT job_id, module_path, start_pos_row FROM mutation_specs").fetchall()
    lines = {path: (PARTS[0].tree / path).read_text(encoding="utf-8").splitlines() for _, path, _ in specs}
    skipped = [job for job, path, row in specs if UNNOTICEABLE.search(lines[path][row - 1])]
    session.executemany(
        "INSERT OR IGNORE INTO work_results (job_id, worker_outcome) VALUES (?, 'SKIPPED')", [(job,) for job in skipped]
    )


def _try(seconds: float) -> None:
    """Try the mutants of all parts side by side, for so long at most."""
    until = time.monotonic() + seconds
    running = [part.cosmic_ray("cosmic-ray", "exec", CONFIG, part.session) for part in PARTS]
    try:
        for process in running:
            if process.wait(max(0.0, until - time.monotonic())):
                sys.exit(f"cosmic-ray ended with {process.returncode}")
    except subprocess.TimeoutExpired:
        pass
    finally:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait()


def _until_done(process: subprocess.Popen[bytes]) -> None:
    if process.wait():
        sys.exit(f"{process.args} ended with {process.returncode}")


def _sources() -> str:
    """A fingerprint of what is mutated and how; the shares are as many as the cores."""
    files = (*sorted((ROOT / "src/transfer_gate/policy").glob("*.py")), *sorted((ROOT / "mutation").glob("*.*")))
    content = b"\0".join(file.read_bytes() for file in files if file.is_file())
    return hashlib.sha256(b"%d\0" % len(PARTS) + content).hexdigest()


def _copy(tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)


@contextmanager
def _warm(part: Part) -> Iterator[None]:
    """While it is open, the quickest tests are kept warm (mutation/warm.py)."""
    part.socket.unlink(missing_ok=True)
    command = [ROOT / ".venv" / "bin" / "python", part.tree / "mutation" / "warm.py", part.socket]
    process = subprocess.Popen(command, cwd=part.tree, env=part.environment())
    try:
        while not part.socket.exists():
            if process.poll() is not None:
                sys.exit("mutation/warm.py ended before it answered")
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def _report() -> int:
    rows, total = [], 0
    for part in PARTS:
        with sqlite3.connect(part.session) as session:
            rows += session.execute(RESULTS).fetchall()
            total += session.execute("SELECT count(*) FROM work_items").fetchone()[0]
    rows.sort(key=lambda row: row[:2])
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
