"""`verify` counts each kind of wrong outcome for what it is."""

import datetime as dt
import random
from dataclasses import dataclass, field
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate.gate.integrity.identity import FIRST_LIVES, TopicLives
from transfer_gate.records import headers, ids
from transfer_gate.records.ledger import LedgerEntry, encode_entry
from transfer_gate.records.partitioner import EVERYWHERE, Placements, TopicPlacements
from transfer_gate.verify.chains import ReplayLedger
from transfer_gate.verify.inputs import Inputs, UnreadableConsents
from transfer_gate.verify.outcomes import Outcomes

TRANSFERS = "prospect-transfers"
TOPICS = {"acme": "partner.acme", "lumen": "partner.lumen"}
NOW = "2026-11-24T10:00:00Z"


def transfer(event: str = "e1", prospect: str = "p1", **changes: Any) -> dict[str, Any]:
    """A readable transfer to both partners by e-mail and SMS."""
    return {
        "event_id": event,
        "requested_at": NOW,
        "prospect_id": prospect,
        "partner_ids": ["acme", "lumen"],
        "channels": ["email", "sms"],
        "purpose": "direct_marketing",
        "contact": {
            "email": {"value": f"{prospect}@courriel.example"},
            "phone": {"value": "+33639980001"},
        },
    } | changes


@dataclass
class Bench:
    """Input records of partition 0, and outcome records made for them as the gate would."""

    records: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = field(default_factory=list)
    begin: int = 0

    def put(self, value: dict[str, Any] | bytes | None, key: bytes | None = b"p1", sent: tuple[str, ...] = ()) -> int:
        """Add an input record and return its offset."""
        raw = msgspec.json.encode(value) if isinstance(value, dict) else value
        self.records.append((key, raw, [(name, b"x") for name in sent]))
        return self.begin + len(self.records) - 1

    def outcomes(
        self,
        placements: TopicPlacements = EVERYWHERE,
        nobody: frozenset[str] = frozenset(),
        lives: TopicLives = FIRST_LIVES,
    ) -> Outcomes:
        """Read the inputs."""
        inputs = Inputs({0: range(self.begin, self.begin + len(self.records))}, placements, nobody)
        for offset, (key, value, sent) in enumerate(self.records, start=self.begin):
            inputs.add(0, offset, key, value, sent)
        return Outcomes(inputs, TRANSFERS, TOPICS, lives=lives)

    def held(self, offset: int, partner: str | None, *channels: str, **changes: Any) -> tuple[Any, ...]:
        """A quarantine record."""
        key, value, sent = self.records[offset - self.begin]
        source = (TRANSFERS, 0, offset, 0)
        ours: dict[str, Any] = {
            "quarantine_id": ids.quarantine_id(TRANSFERS, 0, offset, partner or ""),
            "stage": "policy",
            "partner_id": partner,
            "reasons": {channel: ["not-withdrawn"] for channel in channels} or {"*": ["undecodable"]},
            "source": source,
            "decision_id": ids.decision_id(TRANSFERS, 0, offset, partner or ""),
            "revision": "r",
            "consent_offset": 0,
            "quarantined_at": NOW,
        }
        return key, value, headers.of_quarantine(sent, **(ours | changes))

    def released(self, offset: int, partner: str, *channels: str, **changes: Any) -> tuple[str, bytes, bytes]:
        """A record on the partner's topic."""
        source = msgspec.json.decode(self.records[offset - self.begin][1] or b"")
        wanted = {"email": "email", "sms": "phone", "live_call": "phone", "postal": "postal"}
        points = {wanted[channel] for channel in channels}
        record = {
            "transfer_id": ids.transfer_id(source["event_id"], partner),
            "decision_id": ids.decision_id(TRANSFERS, 0, offset, partner),
            "event_id": source["event_id"],
            "partner_id": partner,
            "prospect_id": source["prospect_id"],
            "channels": channels,
            "contact": {name: point for name, point in source["contact"].items() if name in points},
        } | changes
        return TOPICS[partner], record["prospect_id"].encode(), msgspec.json.encode(record)

    def decided(self, offset: int, partner: str, *channels: str, topic: str = TRANSFERS, attempt: int = 1) -> bytes:
        """A decision record that released `channels`."""
        return msgspec.json.encode(
            {
                "decision_id": ids.decision_id(TRANSFERS, 0, offset, partner, attempt),
                "source": {"topic": topic, "partition": 0, "offset": offset},
                "released": channels,
                "attempt": attempt,
            }
        )


def counts(outcomes: Outcomes) -> tuple[int, int, int, int, int]:
    """released, quarantined, missing, duplicated, misrouted."""
    outcomes.join_by_event()
    return outcomes.released, outcomes.quarantined, outcomes.missing(), outcomes.duplicated, outcomes.misrouted


@pytest.fixture
def bench() -> Bench:
    """One transfer: acme gets the e-mail, SMS and all of lumen's are held."""
    bench = Bench()
    bench.put(transfer())
    return bench


def right(bench: Bench) -> Outcomes:
    """The outcomes of `bench` as they should be."""
    outcomes = bench.outcomes()
    outcomes.decision(bench.decided(0, "acme", "email"))
    outcomes.release(*bench.released(0, "acme", "email"))
    outcomes.quarantine(*bench.held(0, "acme", "sms"))
    outcomes.quarantine(*bench.held(0, "lumen", "email", "sms"))
    return outcomes


def test_one_outcome_for_every_channel_holds(bench: Bench) -> None:
    """Released and quarantined channels add up to what was asked."""
    assert counts(right(bench)) == (1, 3, 0, 0, 0)


def test_a_channel_without_outcome_is_missing(bench: Bench) -> None:
    """Nothing came out for lumen."""
    outcomes = bench.outcomes()
    outcomes.release(*bench.released(0, "acme", "email", "sms"))
    assert counts(outcomes) == (2, 0, 2, 0, 0)


def test_a_second_release_is_duplicated(bench: Bench) -> None:
    """The same record twice on the partner's topic."""
    outcomes = right(bench)
    outcomes.release(*bench.released(0, "acme", "email"))
    assert counts(outcomes) == (2, 3, 0, 1, 0)


def test_released_and_quarantined_is_duplicated(bench: Bench) -> None:
    """A channel has one outcome, not one of each kind."""
    outcomes = right(bench)
    outcomes.quarantine(*bench.held(0, "acme", "email"))
    assert counts(outcomes) == (1, 4, 0, 1, 0)


def test_a_release_on_another_partners_topic_is_misrouted_and_missing(bench: Bench) -> None:
    """The wrong partner got it, the right one did not."""
    outcomes = bench.outcomes()
    _, key, value = bench.released(0, "acme", "email", "sms")
    outcomes.release(TOPICS["lumen"], key, value)
    outcomes.quarantine(*bench.held(0, "lumen", "email", "sms"))
    assert counts(outcomes) == (0, 2, 2, 0, 2)


def test_a_release_under_a_foreign_key_is_misrouted(bench: Bench) -> None:
    """The key is the prospect's id."""
    outcomes = bench.outcomes()
    topic, _, value = bench.released(0, "acme", "email")
    outcomes.release(topic, b"p2", value)
    assert outcomes.misrouted == 1


@pytest.mark.parametrize("decided", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"prospect_id": "p2"},
        {"contact": {"email": {"value": "other@courriel.example"}}},
        {"contact": {"email": {"value": "p1@courriel.example"}, "phone": {"value": "+33639980001"}}},
    ],
    ids=["other prospect", "other person's address", "a point of a channel that was not released"],
)
def test_a_release_about_somebody_else_is_misrouted(bench: Bench, changes: dict[str, Any], decided: bool) -> None:
    """A record may only say what its input record said about its prospect, for its channels."""
    outcomes = bench.outcomes()
    if decided:
        outcomes.decision(bench.decided(0, "acme", "email"))
    outcomes.release(*bench.released(0, "acme", "email", **changes))
    assert counts(outcomes) == (0, 0, 4, 0, 1)


def test_channels_and_partners_that_nobody_asked_for_are_misrouted() -> None:
    """Asked was: acme, by e-mail."""
    bench = Bench()
    bench.put(transfer(partner_ids=["acme"], channels=["email"]))
    outcomes = bench.outcomes()
    outcomes.release(*bench.released(0, "acme", "email", "sms"))
    outcomes.release(*bench.released(0, "lumen", "email"))
    outcomes.quarantine(*bench.held(0, "lumen", "email"))
    assert counts(outcomes) == (1, 0, 0, 0, 3)


def test_an_invented_release_is_misrouted(bench: Bench) -> None:
    """No input record has this event."""
    outcomes = right(bench)
    topic, key, value = bench.released(0, "acme", "email", event_id="never", decision_id="never")
    outcomes.release(topic, key, value)
    outcomes.release(topic, key, b"not a record")
    assert counts(outcomes) == (1, 3, 0, 0, 2)


@pytest.mark.parametrize(
    "changes",
    [{"stage": "schema"}, {"quarantine_id": "other"}, {"source": ("elsewhere", 0, 0, 0)}],
    ids=["wrong stage", "wrong id", "other topic"],
)
def test_a_quarantine_record_with_wrong_headers_is_misrouted(bench: Bench, changes: dict[str, Any]) -> None:
    """Stage, id and coordinates belong to the source."""
    outcomes = bench.outcomes()
    outcomes.quarantine(*bench.held(0, "acme", "email", "sms", **changes))
    assert counts(outcomes) == (0, 0, 4, 0, 2)


def test_quarantine_keeps_key_value_and_inbound_headers_byte_for_byte() -> None:
    """A changed byte anywhere is misrouted; the gate's own inbound headers are stripped."""
    bench = Bench()
    bench.put(transfer(), sent=("trace", "tg-forged"))
    key, value, sent = bench.held(0, "acme", "email", "sms")
    other = bench.held(0, "lumen", "email", "sms")
    outcomes = bench.outcomes()
    outcomes.quarantine(key, value, sent)
    outcomes.quarantine(*other)
    assert counts(outcomes) == (0, 4, 0, 0, 0)
    for altered in (
        (b"p2", value, sent),
        (key, value + b" ", sent),
        (key, value, [("more", b""), *sent]),
        (key, value, sent[1:]),
    ):
        outcomes = bench.outcomes()
        outcomes.quarantine(*altered)
        assert outcomes.misrouted == 2


@pytest.mark.parametrize(
    ("raw", "stage"), [(None, "decode"), (b"", "decode"), (b"\xff{", "decode"), (b"{}", "schema"), (b"[1]", "schema")]
)
def test_an_unreadable_record_counts_as_one(raw: bytes | None, stage: str) -> None:
    """It has one quarantine record, at the stage where reading failed."""
    bench = Bench()
    bench.put(raw)
    outcomes = bench.outcomes()
    assert counts(outcomes) == (0, 0, 1, 0, 0)
    outcomes.quarantine(*bench.held(0, None, stage=stage))
    assert counts(outcomes) == (0, 1, 0, 0, 0)
    outcomes.quarantine(*bench.held(0, None, stage=stage))
    outcomes.quarantine(*bench.held(0, None, stage="policy"))
    assert counts(outcomes) == (0, 2, 0, 1, 1)


def test_a_foreign_key_is_held_by_partner_and_never_released() -> None:
    """key-mismatch: the record can be read, but not joined."""
    bench = Bench()
    bench.put(transfer(partner_ids=["acme"]), key=b"p9")
    outcomes = bench.outcomes()
    outcomes.quarantine(*bench.held(0, "acme", "email", "sms", stage="schema"))
    assert counts(outcomes) == (0, 2, 0, 0, 0)
    outcomes.release(*bench.released(0, "acme", "email"))
    assert counts(outcomes) == (0, 2, 0, 0, 1)


def test_a_misplaced_transfer_is_quarantined_by_partner_and_never_released() -> None:
    """key-misplaced: its prospect is decided in another partition."""
    bench = Bench()
    for key in (b"p1", b"p2", b"p3"):
        bench.put(transfer(prospect=key.decode(), partner_ids=["acme"]), key=key)
    placements = TopicPlacements(Placements("murmur2", 4), TRANSFERS)
    away = next(n for n, (key, _, _) in enumerate(bench.records) if placements.misplaced(key, 0, n))
    outcomes = bench.outcomes(placements)
    outcomes.quarantine(*bench.held(away, "acme", "email", "sms", stage="schema"))
    assert counts(outcomes)[1] == 2
    outcomes.release(*bench.released(away, "acme", "email"))
    outcomes.quarantine(*bench.held(away, "acme", "email", "sms", stage="policy"))
    assert counts(outcomes)[4] == 3


def test_a_release_of_a_record_of_the_topic_s_former_life_is_no_outcome_of_the_one_that_stands_there_now() -> None:
    """`prospect-transfers` was made anew: the same offset, the same event id even, but another record."""
    bench = Bench()
    bench.put(transfer(partner_ids=["acme"], channels=["email"]))
    for digest, expected in ((sha256(bench.records[0][1] or b"").hexdigest(), (1, 0)), ("of another", (0, 1))):
        outcomes = bench.outcomes()
        decision = msgspec.json.decode(bench.decided(0, "acme", "email")) | {"input_sha256": digest}
        outcomes.decision(msgspec.json.encode(decision))
        outcomes.release(*bench.released(0, "acme", "email"))
        assert (outcomes.released, outcomes.misrouted) == expected


def test_a_readable_record_may_be_held_whole() -> None:
    """A defect of the gate holds the whole record: every channel of every partner has its outcome by that."""
    bench = Bench()
    bench.put(transfer())
    outcomes = bench.outcomes()
    outcomes.quarantine(*bench.held(0, None))
    assert counts(outcomes) == (0, 4, 0, 0, 0)


@pytest.mark.parametrize("decided", [True, False])
def test_one_event_in_two_input_records_is_two_units_of_work(decided: bool) -> None:
    """Both have the same transfer id; each needs its own outcome, and a third is one too many."""
    bench = Bench()
    for _ in range(2):
        bench.put(transfer(partner_ids=["acme"], channels=["email"]))
    outcomes = bench.outcomes()
    for offset in (0, 1, 1):
        if decided:
            outcomes.decision(bench.decided(offset, "acme", "email"))
        outcomes.release(*bench.released(offset, "acme", "email"))
    assert counts(outcomes) == (3, 0, 0, 1, 0)


def replayed(
    outcomes: Outcomes, bench: Bench, attempt: int, released: tuple[str, ...], held: tuple[str, ...], offset: int = 0
) -> None:
    """What a replay of the record for lumen wrote as `attempt`."""
    if held:
        outcomes.quarantine(*bench.held(offset, "lumen", *held, attempt=attempt))
    if released:
        decided = ids.decision_id(TRANSFERS, 0, offset, "lumen", attempt)
        outcomes.decision(bench.decided(offset, "lumen", *released, attempt=attempt))
        outcomes.release(*bench.released(offset, "lumen", *released, decision_id=decided))


def ledger_of(*entries: LedgerEntry, changed: bool = False) -> ReplayLedger:
    """The ledger after these entries about the record for lumen."""
    ledger, key = ReplayLedger(), ids.quarantine_id(TRANSFERS, 0, 0, "lumen").encode()
    for entry in entries:
        record: Any = SimpleNamespace(partition=0, key=key, value=encode_entry(entry))
        ledger.add(record)
        if changed:
            ledger.add_change(record)
    return ledger


def entry(state: Any, attempt: int, *released: Any) -> LedgerEntry:
    return LedgerEntry(state=state, attempt=attempt, at=dt.datetime(2026, 11, 24, tzinfo=dt.UTC), released=released)


def chain(outcomes: Outcomes, ledger: ReplayLedger) -> tuple[int, ...]:
    """Open, replayed, discarded, moving; missing, duplicated, misrouted."""
    outcomes.join_by_event()
    outcomes.close_chains(ledger)
    of = outcomes.chains
    return of.open, of.replayed, of.discarded, of.moving, of.missing, of.duplicated, of.misrouted


def first_held(bench: Bench) -> Outcomes:
    """E-mail and SMS to lumen are held; acme got both."""
    outcomes = bench.outcomes()
    outcomes.quarantine(*bench.held(0, "lumen", "email", "sms"))
    outcomes.decision(bench.decided(0, "acme", "email", "sms"))
    return outcomes


@pytest.mark.parametrize(
    ("attempts", "entries", "expected"),
    [
        ([], [], (2, 0, 0, 0, 0, 0, 0)),
        ([(2, ("email", "sms"), ())], [entry("replayed", 2, "email", "sms")], (0, 2, 0, 0, 0, 0, 0)),
        ([(2, ("email",), ("sms",))], [entry("open", 2, "email")], (1, 1, 0, 0, 0, 0, 0)),
        (
            [(2, ("email",), ("sms",)), (3, ("sms",), ())],
            [entry("open", 2, "email"), entry("replayed", 3, "sms")],
            (0, 2, 0, 0, 0, 0, 0),
        ),
        ([], [entry("discarded", 1)], (0, 0, 2, 0, 0, 0, 0)),
        ([(2, ("email",), ("sms",))], [entry("discarded", 2)], (0, 1, 1, 0, 0, 0, 0)),
        # Replayed by the ledger, but the partner did not get it.
        ([(2, ("email",), ())], [entry("replayed", 2, "email", "sms")], (0, 1, 0, 0, 1, 0, 0)),
        # The partner got it twice, by one replay after another.
        (
            [(2, ("email",), ("sms",)), (3, ("email", "sms"), ())],
            [entry("open", 2, "email"), entry("replayed", 3, "sms")],
            (0, 2, 0, 0, 0, 1, 0),
        ),
        # Went out and is still held, or was discarded.
        ([(2, ("email",), ("email", "sms"))], [entry("open", 2, "email")], (2, 0, 0, 0, 0, 1, 0)),
        ([(2, ("email",), ())], [entry("discarded", 1)], (0, 0, 2, 0, 0, 1, 0)),
        # Neither went out nor is held any more.
        ([(2, (), ("sms",))], [entry("open", 2)], (1, 0, 0, 0, 1, 0, 0)),
        # Quarantined again twice; the second time behind the back of the ledger; by the ledger, but without a record.
        ([(2, (), ("email", "sms"))] * 2, [entry("open", 2)], (2, 0, 0, 0, 0, 2, 0)),
        ([(2, (), ("email", "sms"))], [], (0, 0, 0, 0, 0, 0, 2)),
        ([], [entry("open", 2)], (0, 0, 0, 0, 2, 0, 0)),
        # Quarantined for something that was never held before.
        ([(2, ("email", "sms"), ("postal",))], [entry("open", 2)], (0, 2, 0, 0, 0, 0, 1)),
    ],
)
def test_attempts_of_a_held_record_form_a_chain(
    attempts: list[tuple[int, tuple[str, ...], tuple[str, ...]]], entries: list[LedgerEntry], expected: tuple[int, ...]
) -> None:
    """Each channel that was held is open, replayed or discarded, once; the totals tell of first decisions only."""
    bench = Bench()
    bench.put(transfer(channels=["email", "sms"]))
    outcomes = first_held(bench)
    outcomes.release(*bench.released(0, "acme", "email", "sms"))
    for attempt, released, held in attempts:
        replayed(outcomes, bench, attempt, released, held)
    assert chain(outcomes, ledger_of(*entries)) == expected
    assert counts(outcomes) == (2, 2, 0, 0, 0)


AGAIN = ids.decision_id(TRANSFERS, 0, 0, "acme", 2)


def test_a_replay_of_something_released_at_first_is_one_too_many() -> None:
    bench = Bench()
    bench.put(transfer(channels=["email", "sms"]))
    outcomes = first_held(bench)
    outcomes.release(*bench.released(0, "acme", "email", "sms"))
    outcomes.decision(bench.decided(0, "acme", "email", attempt=2))
    outcomes.release(*bench.released(0, "acme", "email", decision_id=AGAIN))
    assert chain(outcomes, ledger_of())[4:] == (0, 1, 0)


def test_a_chain_whose_first_record_was_deleted_goes_on_from_the_next(bench: Bench) -> None:
    """The first outcome is missing, which is told; what the replays did is not held against them."""
    outcomes = bench.outcomes()
    replayed(outcomes, bench, 2, ("email",), ("sms",))
    assert chain(outcomes, ledger_of(entry("open", 2, "email"))) == (1, 1, 0, 0, 0, 0, 0)
    assert outcomes.missing() == 4


def test_altered_bytes_of_a_later_attempt_are_misrouted(bench: Bench) -> None:
    outcomes = first_held(bench)
    key, value, sent = bench.held(0, "lumen", "email", "sms", attempt=2)
    outcomes.quarantine(key, (value or b"") + b" ", sent)
    assert outcomes.misrouted == 2


def test_what_cannot_be_opened_is_compared_without_its_value(bench: Bench) -> None:
    """Key, headers, stage, id and coordinates still have to be right."""
    outcomes = bench.outcomes()
    key, _, sent = bench.held(0, "lumen", "email", "sms")
    outcomes.quarantine(key, b"sealed", sent, opened=False)
    outcomes.quarantine(b"somebody", b"sealed", sent, opened=False)
    assert (outcomes.quarantined, outcomes.misrouted) == (2, 2)


def test_a_record_on_which_the_gate_works_meanwhile_is_left_out(bench: Bench) -> None:
    """Its outcomes may be newer than the ledger that was read before them."""
    outcomes = first_held(bench)
    replayed(outcomes, bench, 2, ("email",), ())
    moving = chain(outcomes, ledger_of(entry("open", 1), changed=True))
    assert moving == (0, 0, 0, 2, 0, 0, 0)


def test_a_record_held_as_a_whole_becomes_one_for_each_partner_that_is_still_held() -> None:
    bench = Bench()
    bench.put(transfer(channels=["email", "sms"]))
    outcomes = bench.outcomes()
    outcomes.quarantine(*bench.held(0, None, stage="policy", reasons={"*": ["rule-error"]}))
    replayed(outcomes, bench, 2, ("email",), ("sms",))
    outcomes.decision(bench.decided(0, "acme", "email", "sms", attempt=2))
    outcomes.release(*bench.released(0, "acme", "email", "sms", decision_id=AGAIN))
    ledger = ledger_of(entry("open", 2, "email"))
    whole: Any = SimpleNamespace(
        partition=0, key=ids.quarantine_id(TRANSFERS, 0, 0).encode(), value=encode_entry(entry("replayed", 2))
    )
    ledger.add(whole)
    assert chain(outcomes, ledger) == (1, 3, 0, 0, 0, 0, 0)


def test_outcomes_of_records_that_were_not_read_are_set_apart() -> None:
    """Deleted by retention, or written after the end was fixed: neither right nor wrong."""
    bench = Bench(begin=10)
    bench.put(transfer(partner_ids=["acme"], channels=["email"]))
    outcomes = bench.outcomes()
    key, value, sent = bench.held(10, "acme", "email")
    for offset in (b"9", b"11"):
        outcomes.quarantine(
            key, value, [(name, offset if name == headers.SOURCE_OFFSET else text) for name, text in sent]
        )
    assert counts(outcomes) == (0, 0, 1, 0, 0)
    assert outcomes.outside == 2


def test_an_outcome_of_a_hole_in_the_input_is_misrouted() -> None:
    """An aborted record between two committed ones must have no outcome."""
    inputs = Inputs({0: range(3)})
    bench = Bench()
    for _ in range(3):
        bench.put(transfer())
    for offset in (0, 2):
        key, value, sent = bench.records[offset]
        inputs.add(0, offset, key, value, sent)
    outcomes = Outcomes(inputs, TRANSFERS, TOPICS)
    outcomes.quarantine(*bench.held(1, "acme", "email", "sms"))
    assert outcomes.misrouted == 2


@pytest.mark.parametrize(("prospect", "nobody"), [("undefined", frozenset[str]()), ("Visitor", frozenset({"visitor"}))])
def test_a_transfer_of_nobody_is_held_at_the_stage_of_the_schema(prospect: str, nobody: frozenset[str]) -> None:
    """Alone, whatever the rules would say: `unidentified_ids` of the policy count, too."""
    bench = Bench()
    offset = bench.put(transfer(prospect=prospect), key=prospect.encode())
    for stage, right in (("schema", 2), ("policy", 0)):
        outcomes = bench.outcomes(nobody=nobody)
        outcomes.quarantine(*bench.held(offset, "acme", "email", "sms", stage=stage))
        assert (outcomes.quarantined, outcomes.misrouted) == (right, 2 - right)


def test_outcomes_of_a_former_topic_of_the_name_are_outside_and_those_of_this_one_bear_its_id() -> None:
    """The transfers were deleted and made anew: other records stand where those stood that were decided before."""
    bench, lives = Bench(), TopicLives({(TRANSFERS, 0): "new-id"})
    offset = bench.put(transfer())
    outcomes = bench.outcomes(lives=lives)
    former = bench.decided(offset, "acme", "email")
    outcomes.decision(former)
    outcomes.quarantine(*bench.held(offset, "acme", "sms"))
    outcomes.release(*bench.released(offset, "acme", "email"))
    assert (outcomes.outside, outcomes.misrouted, outcomes.missing()) == (2, 0, 4)
    name = ids.topic_name(TRANSFERS, "new-id")
    decision_id = ids.decision_id(name, 0, offset, "acme")
    decided = msgspec.json.decode(former) | {"decision_id": decision_id}
    outcomes.decision(msgspec.json.encode(decided | {"source": {**decided["source"], "topic_id": "new-id"}}))
    named = {"quarantine_id": ids.quarantine_id(name, 0, offset, "acme"), "topic_id": "new-id"}
    outcomes.quarantine(*bench.held(offset, "acme", "sms", **named))
    outcomes.release(*bench.released(offset, "acme", "email", decision_id=decision_id))
    assert (outcomes.released, outcomes.quarantined, outcomes.misrouted) == (1, 1, 0)


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_the_books_balance(seed: int, size: int) -> None:
    """Whatever is dropped or repeated: expected = released + quarantined - duplicated + missing, nothing misrouted."""
    draw = random.Random(seed)
    bench = Bench()
    for number in range(size):
        bench.put(transfer(f"e{draw.randint(0, 3)}", f"p{number}"), key=f"p{number}".encode())
    outcomes = bench.outcomes()
    repeated = missing = 0
    for offset in range(size):
        for partner in TOPICS:
            for channel in ("email", "sms"):
                times = draw.choice((0, 1, 1, 1, 2, 3))
                missing += times == 0
                repeated += max(times - 1, 0)
                for _ in range(times):
                    if draw.random() < 0.5:
                        outcomes.decision(bench.decided(offset, partner, "email", "sms"))
                        outcomes.release(*bench.released(offset, partner, channel))
                    else:
                        outcomes.quarantine(*bench.held(offset, partner, channel))
    released, held, lacking, duplicated, misrouted = counts(outcomes)
    assert (lacking, duplicated, misrouted) == (missing, repeated, 0)
    assert released + held - duplicated + lacking == size * 4


def test_an_unreadable_consent_event_has_exactly_one_copy() -> None:
    """Without a copy it is missing, twice it is duplicated, altered it is misrouted; a readable one needs none."""
    readable = msgspec.json.encode({"type": "erasure", "event_id": "c1", "prospect_id": "p1", "event_time": NOW})
    consents = UnreadableConsents({0: range(10)}, unidentified=frozenset({"visitor"}))
    consents.add(0, 0, b"p1", readable, ())
    consents.add(0, 1, b"p1", b"{", ())
    consents.add(0, 2, None, readable, ())
    consents.add(0, 3, b"Visitor", readable.replace(b"p1", b"Visitor"), ())
    assert consents.missing() == 3

    def copy(offset: int, key: bytes | None, value: bytes) -> None:
        sent = headers.of_quarantine(
            (),
            quarantine_id=ids.quarantine_id("consent-events", 0, offset),
            stage="consent",
            partner_id=None,
            reasons={"*": ["consent-unreadable"]},
            source=("consent-events", 0, offset, 0),
            decision_id=None,
            revision="r",
            consent_offset=0,
            quarantined_at=NOW,
        )
        consents.copy(key, value, sent)

    copy(1, b"p1", b"{")
    copy(2, None, readable)
    copy(3, b"Visitor", readable.replace(b"p1", b"Visitor"))
    assert (consents.missing(), consents.duplicated, consents.misrouted) == (0, 0, 0)
    copy(1, b"p1", b"{")
    copy(2, None, b"{")
    copy(0, b"p1", readable)
    copy(11, b"p1", b"{")
    assert (consents.missing(), consents.duplicated, consents.misrouted, consents.outside) == (0, 1, 2, 1)


def test_a_column_of_ten_thousand_inputs_takes_little_room() -> None:
    """A million inputs have to fit in far less than 2 GiB: under 200 bytes each, here by the arrays themselves."""
    inputs = Inputs({0: range(10_000)})
    raw = msgspec.json.encode(transfer())
    for offset in range(10_000):
        inputs.add(0, offset, b"p1", raw, ())
    part = inputs.partitions[0]
    columns = [column for column in vars(part).values() if hasattr(column, "itemsize")]
    assert sum(len(column) * column.itemsize for column in columns) < 10_000 * 200
    assert inputs.count() == 10_000
    assert inputs.expected() == 40_000
