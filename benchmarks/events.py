"""Files of contract-format events: the same for every peer."""

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
from msgspec import Struct

from transfer_gate.local.demo.run import sample_registry
from transfer_gate.local.sample import Message, Sample
from transfer_gate.registry import load_registry

_NOW: Final = dt.datetime.now(dt.UTC).replace(microsecond=0)
_DAY: Final = dt.timedelta(days=1)


class Events(Struct, frozen=True):
    """What was written: the files, how many records each has, the mean size of a transfer, and the registry for it."""

    registry: Path
    consents: Path
    transfers: Path
    consent_count: int
    transfer_count: int
    #: Pairs of transfer and partner: so many decision records the gate writes.
    decisions: int
    transfer_bytes: float


class Shape(Struct, frozen=True):
    """Work of a size: every transfer asks for e-mail and SMS and is released to all its partners."""

    prospects: int = 20_000
    partners: int = 1
    consents: int = 1
    payload_bytes: int = 0
    transfers: int = 50_000


def sampled(folder: Path, prospects: int, transfers: int) -> Events:
    """People, histories and transfers of the demo, without unreadable records: a plain agent stops at the first."""
    registry = sample_registry()
    sample = Sample(load_registry(registry), seed=7, now=_NOW, prospects=prospects)
    return _written(folder, registry, well_formed(sample.consents()), well_formed(sample.transfers(transfers)))


def shaped(folder: Path, shape: Shape) -> Events:
    """Plain people, each with `shape.consents` records of which one is about e-mail and SMS."""
    registry = folder / "registry"
    _write_registry(registry, shape.partners)
    return _written(folder, registry, _consents(shape), _transfers(shape))


def well_formed(messages: Iterable[Message]) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of the readable ones."""
    for message in messages:
        try:
            if orjson.loads(message.value)["prospect_id"].encode() == message.key:
                yield message.key, message.value
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            continue


def _written(
    folder: Path, registry: Path, consents: Iterable[tuple[bytes, bytes]], transfers: Iterable[tuple[bytes, bytes]]
) -> Events:
    folder.mkdir(parents=True, exist_ok=True)
    counts: list[int] = []
    for name, messages in (("consents", consents), ("transfers", transfers)):
        count = 0
        with (folder / name).open("wb") as file:
            for key, value in messages:
                file.write(key + b"\t" + value + b"\n")
                count += 1
        counts.append(count)
    decisions = size = 0
    with (folder / "transfers").open("rb") as file:
        for line in file:
            value = line.rstrip(b"\n").split(b"\t", 1)[1]
            decisions += len(orjson.loads(value)["partner_ids"])
            size += len(value)
    return Events(
        registry,
        folder / "consents",
        folder / "transfers",
        counts[0],
        counts[1],
        decisions,
        size / counts[1] if counts[1] else 0.0,
    )


def _key(number: int) -> str:
    return f"p-{number:07d}"


def _consents(shape: Shape) -> Iterator[tuple[bytes, bytes]]:
    parties = [f"partner-{number:02d}" for number in range(shape.partners)]
    for record in range(shape.consents):
        # The one that counts comes last; the others are about post.
        channels = ["email", "sms"] if record == shape.consents - 1 else ["postal"]
        for number in range(shape.prospects):
            event = {
                "event_id": f"c-{number:07d}-{record}",
                "prospect_id": _key(number),
                "type": "consent",
                "event_time": _NOW - 30 * _DAY,
                "record_id": f"r-{number:07d}-{record}",
                "state": "given",
                "lawful_basis": "consent",
                "indication": "unticked_box_ticked",
                "purposes": ["direct_marketing"],
                "channels": channels,
                "party_ids": parties,
                "offer_categories": ["insurance"],
                "partner_list_version": "l-1",
                "notice_version": "n-1",
                "proof": {
                    "proof_id": f"proof-{number:07d}-{record}",
                    "text_hash": "sha256:bench",
                    "individual": True,
                    "collector": "devis-malin",
                    "kept_until": _NOW + 2000 * _DAY,
                },
            }
            yield _key(number).encode(), orjson.dumps(event)


def _transfers(shape: Shape) -> Iterator[tuple[bytes, bytes]]:
    parties = [f"partner-{number:02d}" for number in range(shape.partners)]
    attributes: dict[str, Any] = {"first_name": "Claire", "city": "Lyon"}
    if shape.payload_bytes:
        attributes["note"] = "x" * shape.payload_bytes
    for number in range(shape.transfers):
        key = _key(number * 7919 % shape.prospects)
        transfer = {
            "event_id": f"t-{number:07d}",
            "requested_at": _NOW,
            "prospect_id": key,
            "partner_ids": parties,
            "channels": ["email", "sms"],
            "purpose": "direct_marketing",
            "offer_category": "insurance",
            "collected_at": _NOW - 30 * _DAY,
            "notice_version": "n-1",
            "subject": {"kind": "consumer", "birth_date": "1985-06-15", "country": "FR"},
            "contact": {
                "email": {"value": f"{key}@courriel.example", "type": "personal"},
                "phone": {"value": "+33639980011", "type": "mobile"},
            },
            "attributes": attributes,
            "source": {"role": "primary_collector", "chain": ["devis-malin"]},
        }
        yield key.encode(), orjson.dumps(transfer)


def _write_registry(folder: Path, partners: int) -> None:
    """Reviewed files as JSON, which is YAML too."""
    parties = [f"partner-{number:02d}" for number in range(partners)]
    control = dict.fromkeys(("separate_from_terms", "refuse_equal_prominence", "service_without_consent"), True)
    files: dict[str, Any] = {
        "policy": {
            "jurisdiction": "FR",
            "published_at": "2026-01-01T00:00:00Z",
            "attributes": {"first_name": {}, "city": {}, "note": {}},
        },
        "notices/n-1": {
            "version": "n-1",
            "published_from": "2020-01-01T00:00:00+01:00",
            "text_hash": "sha256:bench",
            "purposes": ["direct_marketing"],
            "attributes": ["first_name", "city", "note"],
            "partner_list": {"version": "l-1", "mode": "inline", "exhaustive": True, "party_ids": parties},
            "controls": [{"channels": ["email", "sms"], "prechecked": False, **control}],
            "review": {"status": "approved"},
        },
    }
    for number, party in enumerate(parties):
        files[f"partners/{party}"] = {
            "party_id": party,
            "legal_name": f"Partner {number:02d} SA",
            "registration_no": f"9000000{number:02d}",
            "country": "FR",
            "role": "controller",
            "status": "active",
            "categories": ["insurance"],
            "contract": {"valid_from": "2020-01-01T00:00:00+01:00", "no_onward": True},
            "suppression": {"endpoint": f"https://{party}.example/suppression"},
            "listed": [{"from": "2020-01-01T00:00:00+01:00"}],
            "fields": ["first_name", "city", "note"],
        }
    for name, content in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(content))
