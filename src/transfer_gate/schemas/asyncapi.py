"""An AsyncAPI 3 document of every topic: who writes it, who reads it, what a record looks like (contract section 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from transfer_gate.model.topics import Topics
from transfer_gate.schemas.records import VERSION, Schema, release_headers, suppression_headers

#: https://www.asyncapi.com/docs/reference/specification/v3.0.0
SPECIFICATION: Final = "3.0.0"
#: https://github.com/asyncapi/bindings/tree/master/kafka
_BINDING: Final = "0.5.0"
_FORMAT: Final = "application/schema+json;version=draft-2020-12"

_PROSPECT: Final = "The prospect_id: equal keys meet in equal partitions, by Kafka's default (murmur2) partitioner."
_AS_SOURCE: Final = "The key of the source record, byte for byte; null when it had none."


@dataclass(frozen=True, slots=True)
class _Channel:
    """One topic; `gate` is what the gate does with it: it receives inputs and sends outputs."""

    address: str
    about: str
    gate: tuple[Literal["receive", "send"], ...]
    cleanup: Literal["delete", "compact"]
    #: Description of the key; None: records have none.
    key: str | None
    #: Schema of the value; None: the value is the gate's own business.
    payload: Schema | None = None
    headers: Schema | None = None


def _schema(name: str) -> Schema:
    return {"schemaFormat": _FORMAT, "schema": {"$ref": f"./{name}.schema.json"}}


def _channels(topics: Topics) -> Mapping[str, _Channel]:
    return {
        "transfers": _Channel(
            topics.transfers,
            "Requests to hand a prospect to partners.",
            ("receive",),
            "delete",
            _PROSPECT,
            _schema("transfer"),
        ),
        "consents": _Channel(
            topics.consents,
            "Consents, withdrawals, objections, erasures, as they happen.",
            ("receive",),
            "delete",
            _PROSPECT,
            _schema("consent-event"),
        ),
        "partner": _Channel(
            "partner.{party_id}",
            "What one partner may have, and nothing more. A partner's file may name another topic.",
            ("send",),
            "delete",
            _PROSPECT,
            _schema("released-record"),
            release_headers(),
        ),
        "deliveries": _Channel(
            "deliveries.{party_id}",
            "What became of released records on their way to a partner without Kafka. The program that delivers writes "
            "them, the auditor reads them. Its timestamps are the broker's.",
            ("receive",),
            "delete",
            "The transfer_id.",
            _schema("delivery-report"),
        ),
        "suppressions": _Channel(
            "suppressions.{party_id}",
            "What one partner must stop using, as of now: in each record its whole stop state for a person. A "
            "partner's file may name another topic (`suppression.topic`).",
            ("send",),
            "compact",
            _PROSPECT,
            _schema("suppression"),
            suppression_headers(),
        ),
        "suppression-acks": _Channel(
            "suppression-acks.{party_id}",
            "What one partner did about the records of its suppression topic.",
            (),
            "delete",
            _PROSPECT,
            _schema("acknowledgement"),
        ),
        "quarantine": _Channel(
            topics.quarantine,
            "What was held back: value and inbound headers of the source, plus why. Its timestamps are the broker's.",
            ("send",),
            "delete",
            _AS_SOURCE,
            {"description": "The source's value, whatever it is: it may not even be JSON."},
            _schema("quarantine-headers"),
        ),
        "replay": _Channel(
            topics.replay,
            "Quarantined records sent back for a fresh decision, or to be discarded. Commands write it.",
            ("send", "receive"),
            "delete",
            _AS_SOURCE,
            {"description": "The value of the quarantined record, byte for byte; null in a record that discards."},
            _schema("replay-headers"),
        ),
        "decisions": _Channel(
            topics.decisions,
            "One record for every decision taken: the evidence.",
            ("send",),
            "delete",
            _PROSPECT,
            _schema("decision-record"),
        ),
        "strays": _Channel(
            topics.strays,
            "Consent events that stood in another partition than their key's, on their way home.",
            ("send", "receive"),
            "delete",
            _AS_SOURCE,
            {
                "description": "The consent event, byte for byte; headers `tg-source-*` say where it stood, and when; "
                "`tg-source-life` how many topics of that name were deleted before, if any."
            },
        ),
        "changelog": _Channel(
            topics.changelog,
            "The folded consent state of each prospect.",
            ("send", "receive"),
            "compact",
            _PROSPECT,
        ),
        "ledger": _Channel(
            topics.ledger,
            "State of each quarantined record: open, replayed, discarded.",
            ("send", "receive"),
            "compact",
            "The quarantine id; an entry stands in the partition of its quarantine record.",
            _schema("ledger-entry"),
        ),
        "audit": _Channel(
            topics.audit,
            "Who did what from the command line or the console.",
            ("send", "receive"),
            "delete",
            None,
            _schema("audit-act"),
        ),
    }


def document() -> dict[str, Any]:
    """The AsyncAPI document, with the default topic names."""
    channels = _channels(Topics())
    return {
        "asyncapi": SPECIFICATION,
        "id": f"urn:transfer-gate:asyncapi:{VERSION}",
        "info": {
            "title": "transfer-gate",
            "version": VERSION.removeprefix("v"),
            "description": (
                "A streaming gatekeeper that releases prospects to partners only where the law allows, exactly once. "
                "Consumers of partner topics and of transfers-quarantine read with isolation.level=read_committed. "
                "TRANSFER_GATE_TOPIC_PREFIX goes in front of every address."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name, channel) for name, channel in channels.items()},
        "operations": {
            f"{action}{name.capitalize()}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name, channel in channels.items()
            for action in channel.gate
        },
        "components": {
            "messages": {
                name: _message(name, channel) for name, channel in channels.items() if channel.payload is not None
            }
        },
    }


def _channel(name: str, channel: _Channel) -> Schema:
    described: Schema = {"address": channel.address, "description": channel.about}
    if "{party_id}" in channel.address:
        described["parameters"] = {"party_id": {"description": "Id of the partner, as in its registry file."}}
    if channel.payload is not None:
        described["messages"] = {name: {"$ref": f"#/components/messages/{name}"}}
    configuration = {
        "topicConfiguration": {"cleanup.policy": [channel.cleanup]},
        "bindingVersion": _BINDING,
    }
    return described | {"bindings": {"kafka": configuration}}


def _message(name: str, channel: _Channel) -> Schema:
    kafka: Schema = {"bindingVersion": _BINDING}
    if channel.key is not None:
        kafka = {"key": {"type": "string", "description": channel.key}, **kafka}
    described: Schema = {
        "name": name,
        "title": channel.about.partition(":")[0].rstrip("."),
        "payload": channel.payload,
    }
    if channel.headers is not None:
        described["headers"] = channel.headers
    return described | {"bindings": {"kafka": kafka}}
