"""Where records were placed before topics grew; joining what two partitions know of one prospect."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from transfer_gate.gate.integrity.commit_note import read_note
from transfer_gate.kafka.coordinator import Committed
from transfer_gate.model.consent import Consent, ConsentEvent, ConsentGiven, Erasure, Objection, Withdrawal
from transfer_gate.model.state import EMPTY, KeptEvent, ProspectState, SealingKey
from transfer_gate.policy.fold import fold, fold_unreadable, join
from transfer_gate.quarantine.search import Destinations
from transfer_gate.records.commit_notes import CommitNote, LogIdentity, Placed
from transfer_gate.records.ledger import LedgerEntry, State, decode_entry, encode_entry, newest_of
from transfer_gate.records.partitioner import Placement, Placements, earlier_of, known_at, place_known_as, stray_offset

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
IN = "prospect-transfers"


def key_with(then: int, now: int, former: int = 2, count: int = 4) -> bytes:
    """A key that is at home in partition `then` of `former`, and in `now` of `count`."""
    keys = (b"p-%d" % number for number in range(1000))
    return next(
        key
        for key in keys
        if Placement("murmur2", former).home(key) == then and Placement("murmur2", count).home(key) == now
    )


def test_a_record_is_in_its_place_by_the_count_under_which_it_was_placed() -> None:
    moved, stayed = key_with(0, 2), key_with(0, 0)
    placements = Placements("murmur2", 4, {(IN, 0): [Placed(2, 10)]})
    assert placements.grown
    assert not placements.misplaced(IN, 0, 9, moved)
    assert placements.moved(IN, 0, 9, moved)
    assert not placements.moved(IN, 0, 9, stayed)
    assert placements.misplaced(IN, 0, 10, moved)
    assert not placements.moved(IN, 0, 10, moved)
    assert placements.misplaced(IN, 0, 9, key_with(1, 1))
    assert placements.misplaced("consent-events", 0, 9, moved)


def test_a_topic_that_grew_twice_has_two_borders() -> None:
    key = key_with(0, 2)
    placements = Placements("murmur2", 12, {(IN, 0): [Placed(4, 20), Placed(2, 10)]})
    assert [placements.misplaced(IN, 0, offset, key) for offset in (9, 10, 19, 20)] == [False, True, True, True]


def test_a_commit_notes_up_to_where_records_were_placed() -> None:
    lives = {IN: LogIdentity("id-1", 1, 7, (Placed(2, 10), Placed(4, 20))), "consent-events": LogIdentity("id-2")}
    note = CommitNote("life", partitions=12, topics=lives)
    assert read_note(Committed(30, str(note))) == note
    commits = {(IN, 0): (30, str(note)), (IN, 5): (3, "")}
    assert earlier_of(commits, 12, (IN, "consent-events")) == {(IN, 0): [Placed(2, 10), Placed(4, 20)]}


def test_what_was_committed_under_another_count_was_placed_under_it() -> None:
    """Topics that were given more partitions by hand, before `topics grow` has run."""
    note = str(CommitNote("life", partitions=2, topics={IN: LogIdentity("id-1")}))
    assert earlier_of({(IN, 1): (30, note)}, 4, (IN,)) == {(IN, 1): [Placed(2, 30)]}
    assert earlier_of({(IN, 1): (30, note)}, 2, (IN,)) == {}
    assert earlier_of({(IN, 1): (30, "not a note")}, 4, (IN,)) == {}


@given(st.integers(0, 1 << 39), st.integers(0, 200), st.integers(0, 50), st.integers(0, 50))
def test_an_unreadable_event_is_known_by_its_place_wherever_its_prospect_goes(
    offset: int, life: int, source: int, target: int
) -> None:
    own = life << 48 | offset
    moved = known_at(own, source, target)
    assert place_known_as(moved, target) == (source, offset)
    assert known_at(moved, target, source) == own
    if source != target:
        assert moved == stray_offset(source, offset, life)


events = st.builds(
    lambda kind, number, days: kind(
        event_id=f"e-{number}", prospect_id="p-1", event_time=NOW + dt.timedelta(days=days)
    ),
    st.sampled_from([Withdrawal, Objection, Erasure]),
    st.integers(0, 5),
    st.integers(-5, 5),
)


def folded(state: ProspectState, some: list[tuple[ConsentEvent, int]]) -> ProspectState:
    for event, day in some:
        state = fold(state, event, 0, NOW + dt.timedelta(days=day))
    return state


@given(st.lists(st.tuples(events, st.integers(-5, 5))), st.lists(st.tuples(events, st.integers(-5, 5))))
def test_a_join_is_what_one_state_would_have_folded(one: list[Any], other: list[Any]) -> None:
    joined = join(folded(EMPTY, one), folded(EMPTY, other))
    assert joined == folded(folded(EMPTY, one), other)
    assert joined == join(folded(EMPTY, other), folded(EMPTY, one))


def test_a_join_keeps_versions_of_a_consent_that_differ_in_their_content_alone() -> None:
    """A source that uses an id twice: which of them counts is decided later, from all of them."""
    common = {"record_id": "r", "state": "given", "event_id": "e", "prospect_id": "p-1", "event_time": NOW}
    one, other = (
        (ConsentGiven(**common, channels=channels), 0)  # type: ignore[arg-type]
        for channels in (("email",), ("sms",))
    )
    joined = join(folded(EMPTY, [one]), folded(EMPTY, [other]))
    assert joined == folded(EMPTY, [one, other]) == folded(EMPTY, [other, one])
    assert {version.channels for version in joined.consents} == {("email",), ("sms",)}


def test_a_join_knows_every_member_of_a_state() -> None:
    """A member that it does not know would be lost when topics grow."""
    kept = SealingKey(key_id="k", master_id="m", wrapped="w")
    state = replace(fold_unreadable(EMPTY, 7), resolved=(3,), proofs={"x": NOW}, sealing_key=kept)
    state = replace(state, overflowed=True, history_resolved=KeptEvent(event_time=NOW, event_id="e"))
    assert join(EMPTY, state) == state == join(state, EMPTY)
    assert set(ProspectState.__struct_fields__) == {
        "consents", "withdrawals", "objections", "erasures", "restrictions", "lifts", "proofs", "unreadable",
        "resolved", "overflowed", "history_resolved", "sealing_key",
    }  # fmt: skip
    assert Consent.__struct_fields__


@pytest.mark.parametrize(("early", "late"), [(("open", 1), ("open", 2)), (("open", 2), ("discarded", 2))])
def test_of_two_copies_of_a_ledger_entry_the_later_counts_in_any_order(
    early: tuple[State, int], late: tuple[State, int]
) -> None:
    first, second = (encode_entry(LedgerEntry(state=state, attempt=n, at=NOW)) for state, n in (early, late))
    for one, other in ((first, second), (second, first)):
        assert decode_entry(newest_of(newest_of(None, one), other)).state == late[0]
        assert newest_of(one, other) == second


def held(key: bytes | None, partition: int, **headers: str) -> Any:
    sent = [(f"tg-{name.replace('_', '-')}", text.encode()) for name, text in headers.items()]
    return SimpleNamespace(key=key, partition=partition, headers=sent)


def test_a_quarantined_record_is_replayed_where_its_prospect_is_decided() -> None:
    moved = key_with(0, 2)
    before, after = (
        Destinations(Placements("murmur2", 4)),
        Destinations(Placements("murmur2", 4, {(IN, 0): [Placed(2, 10)]})),
    )
    assert before.of(held(moved, 0)) == 0
    assert after.of(held(moved, 0)) == 2
    assert after.of(held(None, 1)) == 1
    sealed = {"encryption": "{}", "quarantined_at": "2026-11-01T00:00:00Z", "partner": "acme"}
    assert after.of(held(moved, 0, stage="policy", reason="not-withdrawn", **sealed)) == 2
    assert after.of(held(moved, 0, stage="schema", reason="key-misplaced", **sealed)) == 0
