"""`policy explain --decision`: a decision on the broker, explained by what it saw, or from its record alone."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.support.clients import open_producer
from tests.support.stream_gate import Sent, StreamGate
from transfer_gate.records.ids import decision_id

PARTITION: Final = 1
PROSPECT: Final = "p-8841"


@dataclass
class Run:
    """What was sent, by name, and how the command explains decisions about it."""

    gate: StreamGate
    sent: dict[str, Sent] = field(default_factory=dict)

    def id_of(self, name: str, partner: str = "acme") -> str:
        """The id of the first decision about a transfer."""
        return decision_id(*self.sent[name].place, partner)

    async def explain(self, name: str, partner: str = "acme", *options: str) -> dict[str, Any]:
        """What the command prints as JSON."""
        arguments = ("policy", "explain", "--decision", self.id_of(name, partner), "--output", "json", *options)
        code, out, err = await asyncio.to_thread(self.gate.place.run, *arguments)
        assert (code, err) == (0, "")
        told: dict[str, Any] = json.loads(out)
        return told


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(gate: StreamGate) -> Run:
    """A consent, an aborted withdrawal, a transfer, a withdrawal, a transfer; then a record that can't be read.

    The first transfer is older than the second: its record is deleted by a test, so it comes first.
    """
    result = Run(gate)
    events, topics, key = gate.events, gate.topics, PROSPECT.encode()

    async def send(name: str, topic: str, value: bytes) -> None:
        result.sent[name] = await gate.send(topic, value, key, partition=PARTITION)
        await gate.settled()

    await send("forgotten", topics.transfers, events.transfer(PROSPECT, "event-forgotten"))
    await gate.consent(PROSPECT)
    async with open_producer(gate.place.bootstrap_servers, f"aborted-{gate.place.app_id}") as producer:
        await producer.begin_transaction()
        left = events.against("withdrawal", PROSPECT, "aborted")
        await producer.send_and_wait(topics.consents, left, key, partition=PARTITION)
        await producer.abort_transaction()
    await send("before", topics.transfers, events.transfer(PROSPECT, "event-before", ["acme", "nobody"]))
    await send("withdrawal", topics.consents, events.against("withdrawal", PROSPECT, "left"))
    await send("after", topics.transfers, events.transfer(PROSPECT, "event-after"))
    await send("broken", topics.transfers, b"{")
    return result


def _rule(told: dict[str, Any], channel: str, rule: str) -> dict[str, Any]:
    (explained,) = (one for one in told["partners"][0]["channels"] if one["channel"] == channel)
    (found,) = (one for one in explained["rules"] if one["rule"] == rule)
    return found  # type: ignore[no-any-return]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_decision_is_explained_by_the_consent_that_it_saw_and_not_by_what_came_later(run: Run) -> None:
    told = await run.explain("before")
    assert told["explained_from"] == "topics"
    assert told["notes"] == []
    assert told["at"] == told["recorded"]["decided_at"]
    assert told["event_id"] == "event-before"
    (partner,) = told["partners"]
    assert (partner["partner_id"], partner["released"], partner["quarantined"]) == ("acme", ["email", "sms"], {})
    rule = _rule(told, "sms", "electronic-optin")
    assert (rule["verdict"], rule["reference"]) == ("held", "L34-5, L32 32° CPCE; GDPR 6(1)(a)")
    assert rule["facts"]["consent.lawful_basis"] == "consent"
    assert _rule(told, "email", "phone-optin")["why_not"] == "not for email"


@pytest.mark.asyncio(loop_scope="session")
async def test_the_next_decision_is_explained_by_the_withdrawal_before_it(run: Run) -> None:
    told = await run.explain("after")
    assert told["notes"] == []
    assert told["recorded"]["quarantined"] == {"email": ["not-withdrawn"], "sms": ["not-withdrawn"]}
    rule = _rule(told, "email", "not-withdrawn")
    assert rule["verdict"] == "failed"
    assert rule["facts"]["withdrawal that stands"]["event_id"] == "left"


@pytest.mark.asyncio(loop_scope="session")
async def test_each_partner_of_a_transfer_has_a_decision_of_its_own(run: Run) -> None:
    told = await run.explain("before", "nobody")
    (partner,) = told["partners"]
    assert partner["partner_id"] == "nobody"
    assert partner["quarantined"]["email"][0] == "partner-unknown"


@pytest.mark.asyncio(loop_scope="session")
async def test_another_time_and_another_registry_are_told_as_such(run: Run, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other") / "registry"
    registry = run.gate.place.folder / "registry"
    for file in registry.rglob("*.yaml"):
        copy = other / file.relative_to(registry)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text().replace("status: active", "status: paused"))
    told = await run.explain("before", "acme", "--at", "2055-01-01T00:00:00Z", "--registry", str(other))
    assert told["at"] == "2055-01-01T00:00:00Z"
    assert told["policy"]["revision"] != told["recorded"]["policy"]["revision"]
    assert told["partners"][0]["released"] == []
    assert {"partner-paused", "retention-three-years"} <= set(told["partners"][0]["quarantined"]["email"])
    revisions = told["recorded"]["policy"]["revision"], told["policy"]["revision"]
    assert told["notes"] == [
        "decided under registry {}, explained under {}".format(*revisions),
        "the rules say otherwise than what was decided then: email, sms released",
    ]


@pytest.mark.asyncio(loop_scope="session")
async def test_what_could_not_be_read_is_told_from_the_record(run: Run) -> None:
    told = await run.explain("broken", "")
    assert told["explained_from"] == "decision record"
    assert "could not be read, so no rule was evaluated" in told["notes"][0]
    (partner,) = told["partners"]
    assert (partner["partner_id"], partner["quarantined"]) == (None, {"*": ["undecodable"]})


@pytest.mark.asyncio(loop_scope="session")
async def test_a_decision_whose_source_is_gone_is_explained_from_its_record_without_the_payload(run: Run) -> None:
    gone = run.sent["forgotten"].place
    admin = AIOKafkaAdminClient(bootstrap_servers=run.gate.place.bootstrap_servers)
    await admin.start()
    try:
        place = TopicPartition(gone[0], gone[1])
        await admin.delete_records({place: RecordsToDelete(before_offset=gone[2] + 1)})
    finally:
        await admin.close()
    told = await run.explain("forgotten")
    assert told["explained_from"] == "decision record"
    assert told["notes"][0].endswith(f"offset {gone[2]}, is no longer there")
    rule = _rule(told, "email", "electronic-optin")
    assert rule["verdict"] == "failed"
    assert rule["asks"].startswith("c exists; `consent.lawful_basis` is `consent`")
    arguments = ("policy", "explain", "--decision", run.id_of("forgotten"))
    code, out, err = await asyncio.to_thread(run.gate.place.run, *arguments)
    assert (code, err) == (0, "")
    assert "  email: held: electronic-optin" in out
    assert "[L34-5, L32 32° CPCE; GDPR 6(1)(a); settled]" in out
    assert "note: explained from the decision record alone: the reasons without the facts" in out


@pytest.mark.asyncio(loop_scope="session")
async def test_an_id_that_no_decision_has_matches_nothing(run: Run) -> None:
    unknown = decision_id("nowhere", 0, 0)
    code, out, err = await asyncio.to_thread(run.gate.place.run, "policy", "explain", "--decision", unknown)
    assert (code, out) == (3, "")
    assert f"no decision {unknown}" in err


@pytest.mark.asyncio(loop_scope="session")
async def test_people_read_when_where_and_by_what_it_was_decided(run: Run) -> None:
    arguments = ("policy", "explain", "--decision", run.id_of("after"))
    code, out, err = await asyncio.to_thread(run.gate.place.run, *arguments)
    assert (code, err) == (0, "")
    assert out.startswith(f"decision {run.id_of('after')} of ")
    assert "FAILED  not-withdrawn - No withdrawal of consent stands" in out
    for personal in (PROSPECT, "courriel.example", "+336", "Claire", "Lyon"):
        assert personal not in out
