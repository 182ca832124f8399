"""The auditor never calls a right decision wrong, and never a wrong one right, whatever the transfer and the consents.

Records are those that the gate lays out itself; what is judged here needs no broker.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.property.scenarios import CLEAN, KINDS, Objects, World, put, scenarios, world
from transfer_gate.auditor.judge import Case, Judge, Released, Source, decision_of
from transfer_gate.auditor.prohibitions import Way, forbidden
from transfer_gate.gate.decider import RecordDecision
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.keys import Keys
from transfer_gate.gate.outputs import Output, Outputs
from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.recalls import Recalls
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice
from transfer_gate.model.state import Opposition, ProspectState
from transfer_gate.model.topics import Topics
from transfer_gate.policy.decide import decide
from transfer_gate.policy.fold import fold
from transfer_gate.policy.view import view_of
from transfer_gate.records.consents import decode_consent
from transfer_gate.records.released import decode_released
from transfer_gate.records.sealing import UNSEALED

TOPICS: Final = Topics()


def record(topic: str, key: bytes | None, value: bytes | None, headers: Any = ()) -> Record:
    return ConsumerRecord(topic, 0, 7, 0, 0, key, value, None, 0, 0, tuple(headers))


def cases(here: World) -> Iterator[Case]:
    """What the gate releases for this transfer, each with its evidence."""
    source = record(TOPICS.transfers, here.transfer.prospect_id.encode(), msgspec.json.encode(here.transfer))
    book, table = Rulebook.of(TOPICS, here.registry), MemorySlice()
    keys, recalls = Keys(UNSEALED, Overlay(table), here.t.date()), Recalls(book, table, here.t)
    outputs = Outputs(book, here.t, keys, recalls)
    decisions = decide(here.transfer, here.state, here.registry, here.t)
    written = outputs.of(RecordDecision("policy", here.transfer, decisions), source, position=100)
    evidence = {
        decided.decision.decision_id: decided.decision
        for topic, key, value, headers in written
        if topic == TOPICS.decisions and (decided := decision_of(record(topic, key, value, headers)))
    }
    for output in written:
        if output[0].startswith("partner."):
            released = _released(output)
            decision = evidence[released.body.decision_id]
            yield Case(
                released=released,
                decision=decision,
                source=Source(source),
                state=here.state,
                whole=True,
                later=here.state,
            )


def _released(output: Output) -> Released:
    topic, key, value, headers = output
    body = decode_released(value)
    assert body is not None
    return Released(record(topic, key, value, headers), body, 0)


def judge(here: World) -> Judge:
    return Judge(TOPICS, {here.registry.revision: here.registry}, TOPICS.partners(here.registry))


def clean(kind: str = "email-consumer") -> World:
    scenario = msgspec.json.decode(msgspec.json.encode(CLEAN))
    for path, value in KINDS.get(kind, []):
        put(scenario, path, value)
    return world(scenario)


@settings(max_examples=400, deadline=None)
@given(scenarios())
def test_what_the_gate_releases_is_explained(scenario: Objects) -> None:
    here = world(scenario)
    for case in cases(here):
        assert judge(here).judge(case).outcome == "ok"


@settings(max_examples=1000, deadline=None)
@given(scenarios())
def test_what_stands_against_a_release_is_refused_by_the_rules_for_that_reason(scenario: Objects) -> None:
    here = world(scenario)
    view = view_of(here.registry)
    for decision in decide(here.transfer, here.state, here.registry, here.t):
        file = view.partners.get(decision.partner_id)
        brands = file.brands if file else frozenset({decision.partner_id})
        for channel in here.transfer.channels:
            way = Way(channel, decision.partner_id, brands, here.transfer.purpose)
            reason = forbidden(here.state, way, here.t + view.clock_skew)
            assert reason is None or reason in decision.quarantined[channel]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.sampled_from(("withdrawal", "objection", "erasure", "restriction")))
def test_whatever_forbids_a_clean_release_is_a_leak_seen_or_not(kind: str, against: str) -> None:
    here = clean(kind)
    key = here.transfer.prospect_id
    event = {"event_id": "x", "prospect_id": key, "type": against, "event_time": here.t}
    later = fold(here.state, decode_consent(msgspec.json.encode(event), key.encode()), 101)
    (case,) = cases(here)
    seen, unseen = (msgspec.structs.replace(case, **{name: later}) for name in ("state", "later"))
    assert judge(here).judge(case).outcome == "ok"
    assert judge(here).judge(seen).outcome == "leak"
    assert judge(here).judge(unseen).outcome == "leak"


ALTERED: Final[dict[str, Any]] = {
    "event_id": "e-other",
    "partner_id": "other",
    "prospect_id": "p-other",
    "released_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    "purpose": "social_matching",
    "offer_category": "gardening",
    "channels": ("email", "sms", "automated_call", "live_call", "postal"),
    "attributes": {"shoe_size": 43},
    "transfer_id": "somebody's",
}


@pytest.mark.parametrize("name", sorted(ALTERED))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_altered_field_passes(kind: str, name: str) -> None:
    here = clean(kind)
    (case,) = cases(here)
    body = msgspec.structs.replace(case.released.body, **{name: ALTERED[name]})
    forged = msgspec.structs.replace(case.released, body=body)
    verdict = judge(here).judge(msgspec.structs.replace(case, released=forged))
    assert verdict.outcome in {"unexplained", "leak"}


@pytest.mark.parametrize("known", [True, False], ids=["its registry", "another registry"])
@settings(max_examples=100, deadline=None)
@given(scenarios())
def test_no_point_that_was_not_released_passes(known: bool, scenario: Objects) -> None:
    """Without the registry of then, at least nothing passes that the transfer does not hold."""
    here = world(scenario)
    found = list(cases(here))
    assume(found)
    case = found[0]
    contact = msgspec.convert({"email": {"value": "eve@example.org"}}, type(case.released.body.contact))
    body = msgspec.structs.replace(case.released.body, contact=contact)
    forged = msgspec.structs.replace(case, released=msgspec.structs.replace(case.released, body=body))
    registries = {here.registry.revision: here.registry} if known else {}
    one = Judge(TOPICS, registries, TOPICS.partners(here.registry))
    assert one.judge(case).outcome == ("ok" if known else "revision-unknown")
    assert one.judge(forged).outcome == "unexplained"


@pytest.mark.parametrize(
    ("party_ids", "purposes", "stands"),
    [
        (("Acme ",), (), True),
        (("*",), (), True),
        (("ALL",), (), True),
        (("900000001",), (), True),
        (("stranger",), (), True),
        (("helios",), (), False),
        ((), ("Direct_Marketing",), True),
        ((), ("newsletter",), True),
        ((), ("social_matching",), False),
    ],
)
def test_the_auditor_reads_words_of_scopes_as_the_rules_do(
    party_ids: tuple[str, ...], purposes: tuple[str, ...], stands: bool
) -> None:
    when = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
    objection = Opposition(event_time=when, event_id="o-1", party_ids=party_ids, purposes=purposes)
    way = Way(
        "email",
        "acme",
        frozenset({"acme", "900000001"}),
        "direct_marketing",
        frozenset({"acme", "helios", "900000001"}),
        frozenset({"direct_marketing", "social_matching"}),
    )
    found = forbidden(ProspectState(objections=(objection,)), way, when)
    assert found == ("not-objected" if stands else None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transfer.prospect_id", "p-1"),
        ("transfer.contact.email.value", "claire@courriel.example.fr"),
        ("transfer.contact.phone.value", "+33639970011"),
        ("transfer.contact.postal.lines", ["12 rue des Lilas"]),
    ],
)
def test_a_real_person_at_a_partner_on_rehearsal_is_a_leak_whatever_the_gate_decides_by(field: str, value: Any) -> None:
    scenario = msgspec.json.decode(msgspec.json.encode(CLEAN))
    for path, changed in [*KINDS["rehearsal"], ("transfer.channels", ["email", "sms", "postal"]), (field, value)]:
        put(scenario, path, changed)
    here = world(scenario)
    assert not list(cases(here)), "the gate itself releases nothing"
    put(scenario, "registry.partners.acme.status", "active")
    (released,) = cases(world(scenario))
    revision = released.decision.policy.revision
    verdict = Judge(TOPICS, {revision: here.registry}, TOPICS.partners(here.registry)).judge(released)
    assert (verdict.outcome, verdict.why.partition(":")[0]) == ("leak", "partner-on-rehearsal")
