"""How a decision of the past is shown: from what it saw, or from its record alone, with every doubt told."""

import copy
import datetime as dt
from typing import Any, get_args

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord
from msgspec.structs import replace

from tests.property.scenarios import CLEAN, put, world
from transfer_gate import __version__
from transfer_gate.auditor.evidence import Evidence
from transfer_gate.cli.explanation import GATE_REASONS, Recorded
from transfer_gate.gate.decider import Only
from transfer_gate.gate.inbox import Record
from transfer_gate.model.state import EMPTY
from transfer_gate.model.terms import OperationalReason
from transfer_gate.policy.decide import decide
from transfer_gate.records.decisions import ConsentSeen, DecisionPolicy, DecisionRecord, SourcePlace

SCENARIO = copy.deepcopy(CLEAN)
put(SCENARIO, "consents.0.channels", ["email"])
HERE = world(SCENARIO)
(DECIDED,) = decide(HERE.transfer, HERE.state, HERE.registry, HERE.t)
RECORD = DecisionRecord(
    decision_id="d-1",
    decided_at=HERE.t,
    source=SourcePlace(topic="prospect-transfers", partition=3, offset=14),
    event_id="t-1",
    prospect_id="p-1",
    partner_id="acme",
    released=DECIDED.released,
    quarantined=DECIDED.quarantined,  # type: ignore[arg-type]
    consent=ConsentSeen(offset=15, record_ids=("r-1",)),
    policy=DecisionPolicy(jurisdiction="FR", revision=HERE.registry.revision, gate_version=__version__),
    input_sha256="0" * 64,
    attempt=1,
    replay_run=None,
)

ONLY = Only("acme", HERE.transfer.channels)
SOURCE: Record = ConsumerRecord(
    "prospect-transfers", 3, 14, 0, 0, b"p-1", msgspec.json.encode(HERE.transfer), None, 3, -1, ()
)


def _recorded(
    *, whole: bool = True, at: dt.datetime | None = None, doubts: tuple[str, ...] = (), **changed: Any
) -> Any:
    evidence = Evidence(
        record=replace(RECORD, **changed),
        source=SOURCE if whole else None,
        only=ONLY,
        state=HERE.state if whole else EMPTY,
        doubts=doubts,
    )
    return Recorded(evidence, HERE.registry, at)


def test_the_head_says_what_was_decided_when_where_and_on_which_consent() -> None:
    lines = list(_recorded().as_text())
    assert lines[0] == ("decision d-1 of 2026-10-05T08:00:00Z, attempt 1, on prospect-transfers/3 offset 14")
    revision = HERE.registry.revision
    assert lines[1] == (f"transfer t-1 as of 2026-10-05T08:00:00Z, registry {revision}, consent events below offset 15")
    assert not [line for line in lines if line.startswith("note: ")]
    assert "  email: released" in lines
    assert "  sms: held: electronic-optin" in lines


def test_what_differs_from_then_is_told() -> None:
    policy = DecisionPolicy(jurisdiction="FR", revision="sha256:then", gate_version="0.0.1")
    lines = list(_recorded(policy=policy, released=(), quarantined={"email": ("not-objected",)}).as_text())
    assert [line for line in lines if line.startswith("note: ")] == [
        f"note: decided under registry sha256:then, explained under {HERE.registry.revision}",
        f"note: decided by version 0.0.1, explained by {__version__}",
        "note: the rules say otherwise than what was decided then: email held: not-objected",
    ]


def test_another_time_is_told_and_gives_the_verdict_of_that_time() -> None:
    later = _recorded(at=HERE.t + dt.timedelta(days=2000)).as_json()
    assert later["at"] == "2032-03-27T08:00:00Z"
    assert later["recorded"]["decided_at"] == "2026-10-05T08:00:00Z"
    assert later["partners"][0]["released"] == []
    assert later["notes"] == [
        "the rules say otherwise than what was decided then: email released; sms held: electronic-optin"
    ]


def test_without_the_source_each_reason_is_explained_from_the_record() -> None:
    alone = _recorded(whole=False, doubts=("the source record is no longer there",))
    lines = list(alone.as_text())
    assert "note: the source record is no longer there" in lines
    assert "note: explained from the decision record alone: the reasons without the facts" in lines
    at = lines.index("  sms: held: electronic-optin")
    assert lines[at - 2 : at] == ["  email: released", "    every rule that applied held"]
    assert lines[at + 1] == (
        "    FAILED  electronic-optin - E-mail, SMS and automated calls to a consumer need prior consent"
        " [L34-5, L32 32° CPCE; GDPR 6(1)(a); settled]"
    )
    assert lines[at + 2].startswith("            asks: c exists;")
    told = alone.as_json()
    assert told["explained_from"] == "decision record"
    released, held = told["partners"][0]["channels"]
    assert released == {"channel": "email", "released": True, "reasons": [], "rules": []}
    assert (held["channel"], held["released"], held["reasons"]) == ("sms", False, ["electronic-optin"])
    assert (held["rules"][0]["rule"], held["rules"][0]["verdict"]) == ("electronic-optin", "failed")


def test_a_record_that_could_not_be_read_is_one_whole() -> None:
    whole = {"*": ("undecodable",)}
    lines = list(_recorded(whole=False, event_id=None, partner_id=None, released=(), quarantined=whole).as_text())
    assert lines[1].startswith("a record that could not be read as of ")
    assert "  the whole record: held: undecodable" in lines
    assert "    FAILED  undecodable (the gate itself): the record was not JSON in UTF-8" in lines


def test_a_rule_that_raised_then_is_named() -> None:
    held = {"email": ("rule-error",), "sms": ("rule-error",)}
    alone = _recorded(whole=False, released=(), quarantined=held, rule_errors=("b2b-scope",))
    assert "note: the rule b2b-scope raised then" in list(alone.as_text())
    assert alone.as_json()["recorded"]["rule_errors"] == ["b2b-scope"]


def test_nothing_personal_is_shown() -> None:
    for shown in (_recorded(), _recorded(whole=False)):
        text = "\n".join(shown.as_text()) + str(shown.as_json())
        for personal in ("p-1", "courriel.example", "+336", "Claire", "Lilas", "1985"):
            assert personal not in text


@pytest.mark.parametrize("reason", [*get_args(OperationalReason), "rule-error"])
def test_every_reason_of_the_gate_has_words(reason: str) -> None:
    assert GATE_REASONS[reason]
