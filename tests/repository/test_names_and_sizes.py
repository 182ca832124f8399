"""A name leads to one place: modules and classes have names of their own, and a module is one idea of readable size."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parents[2] / "src" / "transfer_gate"
MODULES: Final = sorted(SOURCES.rglob("*.py"))
MOST_LINES: Final = 400

#: Longer, because each is one thing.
ONE_THING: Final = {
    # Every codec and both layouts of a record batch, each within bounds: cut in two, no half could be checked.
    "kafka/unpacking.py",
    # Kafka requests as the protocol has them: most of it is their fields.
    "kafka/requests.py",
}

#: Names that several modules have, and why. Modules of `cli` are named after their group of commands, and not counted.
SHARED_MODULES: Final = {
    "app": "an application of Faust; an ASGI application",
    "cases": "case files of rules; cases beside a source file of ingest",
    "catalogue": "of rules; of topics",
    "checks": "of what comes in, in two packages that take in files",
    "cluster": "`kafka` talks to one, `local` starts one",
    "consent": "the consent event; the rules about consent",
    "export": "of quarantine; of schemas",
    "headers": "declared in records; their schemas",
    "identity": "of topics and logs: compared by a worker, and by `doctor` while none runs",
    "kafka": "the substrate; the broker that `local` starts",
    "logs": "of Kafka; of the process",
    "partition": "one partition of the gate, and of the auditor, which follows the same inputs",
    "reading": "of a request's body; of a topic",
    "records": "schemas of what `records` encodes",
    "registry": "its types; the package that reads them",
    "run": "what a package does, from start to end",
    "service": "of two programs that answer on the metrics port",
    "state": "its type; its encoding",
    "topics": "their names; how they are made",
}

#: Names that several classes have, and why.
SHARED_CLASSES: Final = {
    "Case": "of a case file; of the auditor",
    "Chunk": "of an imported file; of a produce request",
    "ConsentSeen": "as a decision recorded it; as the auditor found it",
    "Counts": "of an import; of verify",
    "Difference": "between topics; between forecast and replay",
    "Feed": "what brings records to a gate; what produces them in the demo",
    "Finding": "a line of a report: of the registry, of doctor, of an explanation, of the auditor",
    "Objection": "a consent event; what a notice says of objecting",
    "Outcome": "of an ingest case; of a discard",
    "Payload": "what is sent to a partner; what is opened in quarantine",
    "Plan": "of the rules of a channel; of a replay",
    "Readers": "the auditor's of partitions; of file formats",
    "Reading": "of a request's body; of planned records",
    "Rows": "of a table on the terminal; of a file",
    "Scope": "of a consent event; of a rule",
    "Source": "of a transfer; of an import; of ingest; of what the auditor compares with",
    "Status": "of a rule; of a replay",
    "WrittenCase": "of a case file; of an ingest case",
}


def shared(places: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Names with more than one place."""
    return {name: list(found) for name, found in places.items() if len(set(found)) > 1}


def named(module: Path) -> str:
    return str(module.relative_to(SOURCES))


def test_no_two_modules_share_a_name_without_a_reason() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in MODULES:
        if module.parent.name == "cli" or (module.name == "__init__.py" and module.parent == SOURCES):
            continue
        places[module.parent.name if module.name == "__init__.py" else module.stem].append(named(module))
    found = shared(places)
    assert {name: found[name] for name in found.keys() - SHARED_MODULES.keys()} == {}


def test_no_two_classes_share_a_name_without_a_reason() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in MODULES:
        for node in ast.parse(module.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(named(module))
    found = shared(places)
    assert {name: found[name] for name in found.keys() - SHARED_CLASSES.keys()} == {}


def test_a_module_is_of_readable_size() -> None:
    long = {named(module) for module in MODULES if len(module.read_text(encoding="utf-8").splitlines()) > MOST_LINES}
    assert long <= ONE_THING
