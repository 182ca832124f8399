"""JSON Schemas (2020-12) of everything that others read or write, generated from the code that reads and writes it;
each header as the text that its bytes are in UTF-8.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from pydantic import BaseModel

from transfer_gate.model.consent import ConsentEvent
from transfer_gate.model.registry import Notice, Partner, Policy
from transfer_gate.model.terms import CHANNELS, REASONS
from transfer_gate.model.transfer import Transfer
from transfer_gate.records import quarantined, released, replay_requests, suppressions
from transfer_gate.records.audit_events import AuditEvent
from transfer_gate.records.decisions import ANY_CHANNEL, DecisionRecord
from transfer_gate.records.deliveries import DeliveryReport
from transfer_gate.records.headers import REPLAY_ACTION, Header
from transfer_gate.records.ledger import LedgerEntry
from transfer_gate.records.released import ReleasedRecord
from transfer_gate.records.suppressions import Acknowledgement, SuppressionRecord

Schema: TypeAlias = dict[str, Any]
#: Version of the shapes: what a reader of version 1 can read stays version 1.
VERSION: Final = "v1"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
#: `format` only annotates in 2020-12, and a time without an offset must not pass.
_INSTANT: Final = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"


def schemas() -> dict[str, Schema]:
    """Name of each schema, such as `transfer`, to the schema."""
    return {name: build(name) for name, build in _BUILDERS.items()}


def schema_id(name: str) -> str:
    """The `$id` of a schema: a name, not an address (RFC 8141)."""
    return f"urn:transfer-gate:schema:{VERSION}:{name}"


def _transfer(name: str) -> Schema:
    schema = _with_nulls(_of_structs(name, Transfer))
    has_live_call = {
        "properties": {"channels": {"contains": {"const": "live_call"}}},
        "required": ["channels"],
    }
    with_category = {
        "properties": {"offer_category": {"type": "string"}},
        "required": ["offer_category"],
    }
    return schema | {"if": has_live_call, "then": with_category}


def _consent(name: str) -> Schema:
    about = "A consent, withdrawal, objection, erasure, restriction or resolution; its prospect_id is the record's key."
    return _with_nulls(_of_structs(name, ConsentEvent, title="ConsentEvent", description=about))


def _with_nulls(schema: Schema) -> Schema:
    """The schema, with null allowed for every optional member: it is as if absent (contract section 2)."""
    for part in _parts(schema):
        for name, member in part.get("properties", {}).items():
            if name not in part.get("required", ()) and isinstance(member.get("type"), str):
                member["type"] = [member["type"], "null"]
    return schema


def _released(name: str) -> Schema:
    return _closed(name, ReleasedRecord)


def _closed(name: str, kind: Any) -> Schema:
    schema = _of_structs(name, kind)
    for part in _parts(schema):
        if "properties" in part:
            part["additionalProperties"] = False
    return schema


def _decision(name: str) -> Schema:
    schema = _of_structs(name, DecisionRecord)
    schema["properties"]["quarantined"]["propertyNames"] = {"enum": [*CHANNELS, ANY_CHANNEL]}
    return schema


def _ledger_entry(name: str) -> Schema:
    schema = _of_structs(name, LedgerEntry)
    schema["properties"]["quarantined"]["propertyNames"] = {"enum": [*CHANNELS, ANY_CHANNEL]}
    return schema


def _of_model(model: type[BaseModel]) -> Callable[[str], Schema]:
    return lambda name: _finished(name, model.model_json_schema())


def _case_file(name: str) -> Schema:
    anything = {"type": "object"}
    instant = {"type": "string", "format": "date-time"}
    channels = {"type": "array", "items": {"enum": list(CHANNELS)}}
    objects = {"type": "object", "additionalProperties": anything}
    parts: Schema = {
        "at": {"description": "Decision time.", **instant},
        "registry": {
            "description": "Objects of the registry, by id.",
            "type": "object",
            "properties": {"partners": objects, "notices": objects, "policy": anything},
            "additionalProperties": False,
        },
        "transfer": {
            "description": "The transfer; see transfer.schema.json.",
            **anything,
        },
        "consents": {
            "description": "Consent events in arrival order; offsets count from 0. See consent-event.schema.json. "
            "`received_at`: when it was received; default: the decision time.",
            "type": "array",
            "items": anything,
        },
        "stops": {
            "description": "Contact stops, in plain.",
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "email": {"type": "string"},
                    "phone": {"type": "string"},
                    "scope": {},
                    "since": {},
                    "source": {"enum": ["opposition", "house", "register", "bounce"]},
                    "reason": {"type": "string"},
                },
                "oneOf": [{"required": ["email"]}, {"required": ["phone"]}],
                "additionalProperties": False,
            },
        },
    }
    outcome = {
        "description": "What is expected for one partner.",
        "type": "object",
        "properties": {
            "release": {
                "description": "Exactly these channels are released.",
                **channels,
            },
            "quarantine": {
                "description": "Channel to reasons that it must have.",
                "type": "object",
                "propertyNames": {"enum": list(CHANNELS)},
                "additionalProperties": {
                    "type": "array",
                    "items": {"enum": list(REASONS)},
                },
            },
            "contact": {"description": "Exactly this is sent.", **anything},
            "attributes": {"description": "Exactly these are sent.", **anything},
            "obligations": {"description": "Compared where given.", **anything},
        },
        "additionalProperties": False,
    }
    own: Schema = {
        "name": {
            "description": "One line that says what the case shows.",
            "type": "string",
            "minLength": 1,
        },
        "exactly": {
            "description": "Whether a channel may have no other reasons.",
            "type": "boolean",
            "default": False,
        },
        "expect": {
            "description": "By partner.",
            "type": "object",
            "additionalProperties": outcome,
        },
    }
    case = {
        "type": "object",
        "properties": own | parts,
        "required": ["name", "expect"],
        "additionalProperties": False,
    }
    return _finished(
        name,
        {
            "title": "CaseFile",
            "description": "Cases for `policy test`; `defaults` are merged under every case, null removes a field.",
            "type": "object",
            "properties": {
                "defaults": {
                    "type": "object",
                    "properties": parts,
                    "additionalProperties": False,
                },
                "cases": {"type": "array", "items": case},
            },
            "required": ["cases"],
            "additionalProperties": False,
        },
    )


_BUILDERS: Final[Mapping[str, Callable[[str], Schema]]] = {
    "transfer": _transfer,
    "consent-event": _consent,
    "released-record": _released,
    "suppression": lambda name: _closed(name, SuppressionRecord),
    "acknowledgement": lambda name: _of_structs(name, Acknowledgement),
    "decision-record": _decision,
    "delivery-report": lambda name: _of_structs(name, DeliveryReport),
    "quarantine-headers": lambda name: _finished(name, quarantine_headers()),
    "replay-headers": lambda name: _finished(name, replay_headers()),
    "ledger-entry": _ledger_entry,
    "audit-act": lambda name: _of_structs(name, AuditEvent),
    "registry-partner": _of_model(Partner),
    "registry-notice": _of_model(Notice),
    "registry-policy": _of_model(Policy),
    "case-file": _case_file,
}


def _of_structs(name: str, kind: Any, **top: str) -> Schema:
    (found,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    own = found.get("$ref", "").removeprefix("#/$defs/")
    schema = components.pop(own) if own else found
    return _finished(name, {**top, **schema, "$defs": components})


def _finished(name: str, schema: Schema) -> Schema:
    """The schema under its `$id`; times with their offset, docstrings as running text, nothing empty."""
    for part in _parts(schema):
        if part.get("format") == "date-time":
            part["pattern"] = _INSTANT
        if isinstance(part.get("description"), str):
            part["description"] = " ".join(inspect.cleandoc(part["description"]).split())
        enums = [option.get("enum") for option in part.get("anyOf", ())]
        if enums and all(enums):
            del part["anyOf"]
            part["enum"] = [word for enum in enums for word in enum]
    if not schema.get("$defs", True):
        del schema["$defs"]
    return {"$schema": DIALECT, "$id": schema_id(name), **schema}


def _parts(schema: Any) -> Iterator[Schema]:
    """Every schema inside a schema, itself first."""
    if isinstance(schema, dict):
        yield schema
        for value in list(schema.values()):
            yield from _parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _parts(value)


def release_headers() -> Schema:
    """Headers of a record of a partner's topic."""
    return _plain(released.HEADERS)


def suppression_headers() -> Schema:
    """Headers of a record of a suppression topic."""
    return _plain(suppressions.HEADERS)


def quarantine_headers() -> Schema:
    """Headers of a record of the quarantine topic."""
    return {
        "title": "QuarantineHeaders",
        "description": "The gate's headers of a quarantined record, beside the inbound headers of its source.",
        "type": "object",
        "properties": _texts(quarantined.HEADERS),
        "required": _required(quarantined.HEADERS),
    }


def replay_headers() -> Schema:
    """Headers of a record of the replay topic: those of the quarantine record that is sent back, and what is asked."""
    rewraps = {"properties": {REPLAY_ACTION: {"const": "rewrap"}}, "required": [REPLAY_ACTION]}
    return {
        "title": "ReplayHeaders",
        "description": "Headers of a record sent back to the gate, beside the inbound headers of its source.",
        "type": "object",
        "properties": _texts((*quarantined.HEADERS, *replay_requests.HEADERS)),
        "if": rewraps,
        "else": {"required": _required(quarantined.HEADERS)},
    }


def _plain(headers: Iterable[Header]) -> Schema:
    texts = {header.name: {"type": "string", "description": header.about} for header in headers}
    return {"type": "object", "properties": texts, "required": _required(headers)}


def _texts(headers: Iterable[Header]) -> Schema:
    return {header.name: {"description": header.about, "type": "string", **header.schema} for header in headers}


def _required(headers: Iterable[Header]) -> list[str]:
    return [header.name for header in headers if not header.optional]
