"""A worker that tells everything it can, and whose code raises with records in its hands, tells nothing of a person."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support.stream_gate import StreamGate, open_launched_gate

#: Stands in every text that a source can write, but for event ids, which may be told.
MARKER: Final = "zq7marker"
PHONE: Final = "+33199007711"
BIRTH_DATE: Final = "1961-02-03"
MARKERS: Final = (MARKER, PHONE, PHONE.removeprefix("+33"), BIRTH_DATE)


@dataclass
class Told:
    """What the worker said, on stderr and at `/metrics`."""

    log: str
    lines: list[dict[str, Any]]
    last: str
    metrics: str

    def saying(self, event: str) -> list[dict[str, Any]]:
        """Lines with this message."""
        return [line for line in self.lines if line["event"] == event]


def planted(gate: StreamGate, prospect: str, event_id: str) -> dict[str, Any]:
    """A transfer that can be released, and is full of markers."""
    body: dict[str, Any] = json.loads(gate.events.transfer(prospect, event_id))
    body["subject"] |= {"birth_date": BIRTH_DATE, "job": MARKER}
    body["contact"] = {
        "email": {"value": f"{MARKER}@courriel.example", "type": "personal"},
        "phone": {"value": PHONE, "type": "mobile"},
        "postal": {"lines": [f"1 rue {MARKER}"], "postal_code": "69003", "city": MARKER, "country": "FR"},
    }
    body["attributes"] = {"first_name": MARKER, "city": MARKER, MARKER: MARKER}
    body[MARKER] = MARKER
    return body


def leaves(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a JSON object."""
    entries = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for name, value in entries:
        yield (*path, name)
        yield from leaves(value, (*path, name))


def with_marker(body: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """A copy in which one value is a marker."""
    copy: dict[str, Any] = json.loads(json.dumps(body))
    place: Any = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = MARKER
    return copy


def dumped(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


async def send_everything(gate: StreamGate) -> None:
    """Good, bad and failing records: every field of both inputs in turn holds a marker."""
    topics, headers = gate.topics, [(MARKER, MARKER.encode()), ("tg-reason", MARKER.encode())]
    for number, partner in enumerate(("acme", "acme", f"{MARKER}@partner.example")):
        prospect = f"{MARKER}-{number}"
        await gate.consent(prospect)
        body = planted(gate, prospect, f"good-{number}") | {"partner_ids": [partner]}
        await gate.send(topics.transfers, dumped(body), prospect.encode(), headers)
    key = f"{MARKER}-0".encode()
    good = planted(gate, key.decode(), "bad")
    consent: dict[str, Any] = json.loads(gate.events.consent(key.decode(), "consent"))
    for path in leaves(good):
        if path == ("event_id",):
            continue
        await gate.send(topics.transfers, dumped(with_marker(good, path)), key)
    for path in leaves(consent):
        if path == ("event_id",):
            continue
        await gate.send(topics.consents, dumped(with_marker(consent, path)), f"{MARKER}-9".encode())
    for raw in (MARKER.encode(), dumped(good)[:-9], f'{{"{MARKER}": "{PHONE}'.encode()):
        await gate.send(topics.transfers, raw, key)
        await gate.send(topics.consents, raw, f"{MARKER}-9".encode())
        await gate.send(topics.consents, raw, None)
    await gate.send(topics.transfers, dumped(good), f"{MARKER}-other".encode())
    for name in ("raise-1", "rule-1"):
        await gate.send(topics.transfers, dumped(good | {"event_id": name}), key)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def told(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The worker got everything, and then an event on which it stops."""
    folder: Path = tmp_path_factory.mktemp("told")
    options = {"partitions": 1, "log_level": "debug", "log_format": "json"}
    async with open_launched_gate(bootstrap_servers, folder, "with_defects", **options) as gate:
        await send_everything(gate)
        await gate.settled()
        metrics = gate.worker.metrics_page()
        crash = gate.events.consent(f"{MARKER}-0", "crash-1")
        await gate.send(gate.topics.consents, crash, f"{MARKER}-0".encode())
        assert await gate.worker.ended() == 1
        log = gate.worker.log.read_text(encoding="utf-8")
    structured = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    rest = "\n".join(line for line in log.splitlines() if not line.startswith("{"))
    return Told(log=log, lines=structured, last=rest, metrics=metrics)


@pytest.mark.parametrize("marker", MARKERS)
def test_no_log_line_and_no_metric_says_anything_of_a_person(told: Told, marker: str) -> None:
    assert marker not in told.log
    assert marker not in told.metrics


def test_lines_about_one_record_say_which(told: Told) -> None:
    """Otherwise the silence above would prove nothing."""
    decided = told.saying("decided")
    assert {line["event_id"] for line in decided} >= {"good-0", "good-1", "good-2"}
    (raised,) = told.saying("a rule raised: what it was asked about is held")
    assert (raised["event_id"], raised["rule"]) == ("rule-1", "electronic-optin")
    for line in (*decided, raised):
        assert {"topic", "partition", "offset", "decision_id"} <= set(line)
    (held,) = told.saying("a transfer could not be decided: it is held")
    assert held["error"] == "ValueError"
    assert {"topic", "partition", "offset"} <= set(held)
    unread = told.saying("a transfer is held as a whole")
    assert {line["reason"] for line in unread} == {"undecodable", "schema-invalid", "rule-error"}


def test_a_flood_of_unreadable_events_is_one_line(told: Told) -> None:
    assert len(told.saying("a consent event can't be read: its prospect is blocked")) == 1
    assert "transfer_gate_unreadable_consents_total 0" not in told.metrics


def test_a_worker_that_stops_says_what_stopped_it_and_where(told: Told) -> None:
    (failed,) = told.saying("a partition failed: the worker stops")
    assert "in fold" in failed["exception"]
    assert failed["exception"].endswith("KeyError")
    assert "transfer-gate: the stream stopped: KeyError" in told.last
