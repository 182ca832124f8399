"""The published schemas: equal to the code, valid themselves, of one mind with what reads and writes the records."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, get_args

import jsonschema
import msgspec
import pytest
import yaml
from jsonschema.protocols import Validator

from tests.support.command_line import CommandLine
from tests.support.registry_sample import EXAMPLE, ROOT
from transfer_gate.kafka.catalogue import catalogue
from transfer_gate.model.registry import Notice, Partner, Policy
from transfer_gate.model.reviewed import Reviewed
from transfer_gate.model.topics import PartyTopicKind, Topics
from transfer_gate.records import headers
from transfer_gate.records.audit_events import AuditEvent
from transfer_gate.records.consents import decode_consent
from transfer_gate.records.decisions import DecisionRecord
from transfer_gate.records.deliveries import DeliveryReport
from transfer_gate.records.input_json import UnreadableRecord
from transfer_gate.records.ledger import LedgerEntry
from transfer_gate.records.released import ReleasedRecord
from transfer_gate.records.suppressions import Acknowledgement, SuppressionRecord
from transfer_gate.records.transfers import decode_transfer
from transfer_gate.registry import load_registry
from transfer_gate.registry.parse import parse_object
from transfer_gate.registry.yamlfile import load
from transfer_gate.schemas.export import ASYNCAPI, exported
from transfer_gate.schemas.records import schema_id, schemas

FOLDER: Final = ROOT / "schemas"
SCHEMAS: Final = schemas()
Path_ = tuple[str | int, ...]


def _of_struct(kind: type[msgspec.Struct]) -> Callable[[Any], object]:
    return lambda value: msgspec.json.decode(msgspec.json.encode(value), type=kind)


def _consent(value: Any) -> object:
    key = value.get("prospect_id") if isinstance(value, dict) else None
    return decode_consent(msgspec.json.encode(value), str(key).encode())


def _of_registry(kind: type[Reviewed]) -> Callable[[Any], object]:
    def read(value: Any) -> object:
        found, problems = parse_object(kind, value)
        if problems:
            raise ValueError(problems)
        return found

    return read


#: Schema to the code that reads such records; the others have no reader here.
READERS: Final[dict[str, Callable[[Any], object]]] = {
    "transfer": lambda value: decode_transfer(msgspec.json.encode(value)),
    "consent-event": _consent,
    "released-record": _of_struct(ReleasedRecord),
    "suppression": _of_struct(SuppressionRecord),
    "acknowledgement": _of_struct(Acknowledgement),
    "decision-record": _of_struct(DecisionRecord),
    "ledger-entry": _of_struct(LedgerEntry),
    "audit-act": _of_struct(AuditEvent),
    "delivery-report": _of_struct(DeliveryReport),
    "registry-partner": _of_registry(Partner),
    "registry-notice": _of_registry(Notice),
    "registry-policy": _of_registry(Policy),
}


def validator(name: str) -> Validator:
    return jsonschema.Draft202012Validator(SCHEMAS[name], format_checker=jsonschema.FormatChecker())


def reads(name: str, value: Any) -> bool:
    try:
        READERS[name](value)
    except (UnreadableRecord, msgspec.ValidationError, ValueError):
        return False
    return True


def examples(kind: str, version: str = "*") -> list[Any]:
    found = sorted(FOLDER.glob(f"examples/{version}/*/{kind}/*.json"))
    return [pytest.param(path, id=f"{path.parents[1].name}-{path.stem}") for path in found]


def test_the_committed_files_are_what_the_code_says() -> None:
    """`schema export --check`, in the suite: nobody edits a generated file, nobody forgets to generate it."""
    committed = {path.name: path.read_bytes() for path in (*FOLDER.glob("*.schema.json"), FOLDER / ASYNCAPI)}
    assert committed == exported()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    """Valid by its dialect, under its own name, with a description of everything that has a name."""
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == schema_id(name) == f"urn:transfer-gate:schema:v1:{name}"
    for part in (schema, *schema.get("$defs", {}).values()):
        assert part["title"]
        assert part["description"]


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("kind", ["valid", "invalid"])
def test_every_schema_has_examples_of_both_kinds(name: str, kind: str) -> None:
    """A schema without examples is not explained, and not tested."""
    assert list((FOLDER / "examples" / "v1" / name / kind).glob("*.json"))


@pytest.mark.parametrize("path", examples("valid"))
def test_a_valid_example_of_any_version_is_valid_and_read(path: Path) -> None:
    """The compatibility corpus: what producers and partners have written their code by is accepted for ever."""
    name, value = path.parents[1].name, json.loads(path.read_bytes())
    validator(name).validate(value)
    if name in READERS:
        READERS[name](value)


@pytest.mark.parametrize("path", examples("invalid", "v1"))
def test_an_invalid_example_is_refused_by_schema_and_code(path: Path) -> None:
    """Who validates before sending is told the same as the gate would say."""
    name, value = path.parents[1].name, json.loads(path.read_bytes())
    assert not validator(name).is_valid(value)
    if name in READERS:
        assert not reads(name, value)


#: Records that the gate or its commands write.
WRITTEN: Final[dict[str, type[msgspec.Struct]]] = {
    "released-record": ReleasedRecord,
    "suppression": SuppressionRecord,
    "decision-record": DecisionRecord,
    "ledger-entry": LedgerEntry,
    "audit-act": AuditEvent,
}


@pytest.mark.parametrize(("name", "kind"), WRITTEN.items())
def test_what_is_written_is_valid(name: str, kind: type[msgspec.Struct]) -> None:
    """A record that the gate encodes is valid by the schema that its readers have."""
    for path in (FOLDER / "examples" / "v1" / name / "valid").glob("*.json"):
        written = msgspec.json.encode(msgspec.json.decode(path.read_bytes(), type=kind))
        validator(name).validate(json.loads(written))


def _places(value: Any, above: Path_ = ()) -> Iterator[Path_]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, part in parts:
        yield (*above, step)
        yield from _places(part, (*above, step))


#: Of every JSON type, at the edges; a time without offset is the classic mistake.
WRONG: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    "2026-10-05T09:59:00",
    "2026-10-05T09:59:00Z",
    [],
    ["x"],
    {},
    {"x": 1},
)


@pytest.mark.parametrize("name", READERS)
def test_schema_and_code_agree_on_every_small_change(name: str) -> None:
    """Each valid example with one place removed or replaced by another value is accepted by both or by neither."""
    check, compared = validator(name), 0
    agreed = {(True, True), (False, False)} | ({(False, True)} if name in WRITTEN else set())
    for path in (FOLDER / "examples" / "v1" / name / "valid").glob("*.json"):
        text = path.read_bytes()
        for place in _places(json.loads(text)):
            for wrong in (..., *WRONG):
                value = parent = json.loads(text)
                for step in place[:-1]:
                    parent = parent[step]
                if wrong is ...:
                    del parent[place[-1]]
                else:
                    parent[place[-1]] = wrong
                accepted = check.is_valid(value), reads(name, value)
                # What the gate writes is described more closely than a reader of it has to insist on.
                assert accepted in agreed, (path.stem, place, wrong)
                compared += 1
    assert compared > 100


def test_the_released_record_is_closed_at_every_level() -> None:
    """What a partner may have, and nothing more: only the attributes have names that the schema does not list."""
    schema = SCHEMAS["released-record"]
    objects = [part for part in (schema, *schema["$defs"].values()) if part.get("type") == "object"]
    assert len(objects) == 9
    assert all(part["additionalProperties"] is False for part in objects)


def test_every_header_of_quarantine_is_described() -> None:
    """A header that the gate writes can't be missing from the published schema."""
    ours = {value for name, value in vars(headers).items() if name.isupper() and str(value).startswith("tg-")}
    described = set(SCHEMAS["quarantine-headers"]["properties"])
    asked = {headers.REPLAY_ACTION, headers.REPLAY_WHY, headers.RAW}
    elsewhere = {headers.PREFIX, headers.TRANSFER_ID, headers.SOURCE_LIFE}  # on partner topics, on the strays
    assert described == ours - elsewhere - asked
    assert set(SCHEMAS["replay-headers"]["properties"]) == described | asked


@pytest.mark.parametrize(
    ("reasons", "partner"), [({"sms": ["electronic-optin"]}, "acme-assurances"), ({"*": ["undecodable"]}, None)]
)
def test_the_headers_that_the_gate_writes_are_valid(reasons: dict[str, list[str]], partner: str | None) -> None:
    """Of a record held by policy, and of one that could not be read."""
    written = headers.of_quarantine(
        [("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
        quarantine_id="4b1f5be6-6a63-5f0e-8f0b-9a1d3a1c2b3d",
        stage="policy" if partner else "decode",
        partner_id=partner,
        reasons=reasons,
        source=("prospect-transfers", 0, 7, 1791187140000),
        decision_id="77f5d2a0-9c1b-5b34-8a52-3a1c9f0d2e11",
        revision="sha256:f08496d54fbb9dee506094b5d5d147a9",
        consent_offset=0,
        quarantined_at="2026-10-05T08:00:00.25Z",
    )
    as_text = {name: (value or b"").decode() for name, value in written}
    validator("quarantine-headers").validate(as_text)
    content = SCHEMAS["quarantine-headers"]["properties"][headers.REASONS]["contentSchema"]
    jsonschema.Draft202012Validator(content).validate(json.loads(as_text[headers.REASONS]))


def test_the_sample_registry_is_valid_by_its_schemas() -> None:
    """An editor that checks YAML by these schemas finds nothing wrong with the sample."""
    for kind in ("partner", "notice"):
        for path in (EXAMPLE / f"{kind}s").glob("*.yaml"):
            validator(f"registry-{kind}").validate(load(path).value)
    validator("registry-policy").validate(load(EXAMPLE / "policy.yaml").value)


def test_asyncapi_is_valid() -> None:
    """By the meta-schema of AsyncAPI 3.0.0."""
    meta = json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_bytes())
    document = yaml.safe_load((FOLDER / ASYNCAPI).read_bytes())
    jsonschema.Draft7Validator(meta).validate(document)


def test_asyncapi_says_how_each_topic_is_cleaned_up() -> None:
    """As `topics apply` sets it, for every topic that it creates."""
    channels = yaml.safe_load((FOLDER / ASYNCAPI).read_bytes())["channels"]
    registry = load_registry(EXAMPLE)
    specs = catalogue(Topics(), registry, partitions=None, replication=None)
    told = {
        name: channel["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] for name, channel in channels.items()
    }
    assert told == {spec.role: [spec.configs["cleanup.policy"]] for spec in specs}
    of_parties = get_args(PartyTopicKind)
    named = {spec.name for spec in specs if spec.role not in of_parties}
    assert {channel["address"] for channel in channels.values()} == named | {
        f"{kind}.{{party_id}}" for kind in of_parties
    }


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (target for key, target in value.items() if key == "$ref")
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def test_every_reference_of_asyncapi_leads_somewhere() -> None:
    """To a part of the document, or to a schema beside it."""
    document = yaml.safe_load((FOLDER / ASYNCAPI).read_bytes())
    references = list(_references(document))
    assert len(references) > 20
    for reference in references:
        if reference.startswith("#/"):
            place = document
            for step in reference[2:].split("/"):
                place = place[step]
        else:
            assert (FOLDER / reference).is_file()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`transfer-gate schema export`."""
    return CommandLine(monkeypatch, capsys, "schema", "export")


def test_export_writes_and_check_finds_what_differs(run: CommandLine, tmp_path: Path) -> None:
    """A fresh export passes; a file that was edited, removed or left over is named, exit 1."""
    folder = tmp_path / "new" / "schemas"
    code, out, _ = run(folder)
    assert code == 0
    assert out.splitlines() == [str(folder / name) for name in exported()]
    assert run("--check", folder)[0] == 0
    (folder / "transfer.schema.json").write_text("{}", encoding="utf-8")
    (folder / "case-file.schema.json").unlink()
    (folder / "old.schema.json").write_bytes(b"\xff")
    code, out, err = run("--check", folder)
    assert (code, out) == (1, "")
    for line in (
        "transfer.schema.json: differs from the code",
        "case-file.schema.json: is missing",
        "old.schema.json: no longer exported",
    ):
        assert line in err
    assert ASYNCAPI not in err


def test_export_into_something_that_is_no_folder(run: CommandLine, tmp_path: Path) -> None:
    """An error of the user, exit 2."""
    (tmp_path / "file").touch()
    assert run(tmp_path / "file")[0] == 2
