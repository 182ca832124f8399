"""Schemas of the headers that the gate writes and reads, each header as the text that its bytes are in UTF-8."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from transfer_gate.records import quarantined, released, replay_requests, suppressions
from transfer_gate.records.headers import REPLAY_ACTION, Header

Schema: TypeAlias = dict[str, Any]


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
