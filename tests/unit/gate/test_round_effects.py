"""Every effect of the rounds of one partition, in order: the commit comes last, and the tables change only after it.

No Faust and no broker. tests/integration/gate/test_order_of_effects.py compares the real writer with the recording one.
"""

import datetime as dt
from pathlib import Path

import pytest

from tests.support.round_effects import NOW, Heart, book_of
from transfer_gate.errors import GateError
from transfer_gate.gate import partition as partition_module
from transfer_gate.gate import round as rounds
from transfer_gate.gate.integrity.logs import HistoryLost
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.kafka.coordinator import Fenced, RecordRefused, RoundFailed
from transfer_gate.observe import metrics
from transfer_gate.policy import recall
from transfer_gate.records import ids
from transfer_gate.records.partitioner import MURMUR2, Placement
from transfer_gate.records.suppressions import Stopped, decode_suppression

#: Keys have a home in one of two partitions.
TWO = Placement(MURMUR2, 2)

RELEASE = [
    "clock",
    "watermark",
    "fold consents 0",
    "decide transfers 0 knowing consents below 1",
    "produce partner.acme p-1 email sms",
    "produce decisions p-1 attempt 1: email sms",
    "produce changelog p-1 state",
    "produce changelog p-1 served",
    "note consents=1 transfers=1 strays=0; changelog=2 ledger=0",
    "commit",
    "table consent up to 2",
    "counted",
]


@pytest.fixture
def book(tmp_path: Path) -> Rulebook:
    """One partition holds everybody."""
    return book_of(tmp_path)


@pytest.fixture
async def heart(monkeypatch: pytest.MonkeyPatch, book: Rulebook) -> Heart:
    """A partition that stands at the end of two empty consent topics."""
    return await Heart(monkeypatch, book).begin()


async def test_a_consent_and_a_transfer_are_one_transaction(heart: Heart, book: Rulebook) -> None:
    heart.bring(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    assert await heart.round() == RELEASE
    assert heart.recorder.offsets == {book.consents: 1, book.transfers: 1, book.strays: 0}


async def test_without_consent_a_transfer_goes_to_quarantine_and_no_table_changes(heart: Heart, book: Rulebook) -> None:
    heart.bring(book.transfers, heart.transfer("p-1"))
    assert await heart.round() == [
        "clock",
        "watermark",
        "decide transfers 0 knowing consents below 0",
        "produce quarantine p-1 policy: electronic-optin",
        "produce decisions p-1 attempt 1: email:electronic-optin sms:electronic-optin",
        "note consents=0 transfers=1 strays=0; changelog=0 ledger=0",
        "commit",
        "counted",
    ]


async def test_a_withdrawal_of_the_same_round_is_folded_before_the_transfer_is_decided(
    heart: Heart, book: Rulebook
) -> None:
    heart.bring(book.transfers, heart.transfer("p-1"))
    heart.bring(book.consents, heart.consent("p-1"), heart.withdrawal("p-1"))
    effects = await heart.round()
    assert effects[2:4] == ["fold consents 0 1", "decide transfers 0 knowing consents below 2"]
    assert effects[4] == "produce quarantine p-1 policy: not-withdrawn"


async def test_a_round_of_consents_alone_asks_for_no_watermark(heart: Heart, book: Rulebook) -> None:
    heart.bring(book.consents, heart.consent("p-1"))
    assert await heart.round() == [
        "clock",
        "fold consents 0",
        "produce changelog p-1 state",
        "note consents=1 strays=0; changelog=1 ledger=0",
        "commit",
        "table consent up to 1",
        "counted",
    ]


async def test_a_transfer_waits_for_an_event_that_was_acknowledged_before_it(heart: Heart, book: Rulebook) -> None:
    """The watermark is not requested again: what it was when the transfer came is what must be known."""
    consents = heart.acknowledge(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    assert await heart.round() == ["clock", "watermark"]
    assert await heart.round() == []
    heart.fetch(consents)
    assert await heart.round() == RELEASE[2:]


async def test_a_decision_has_the_time_from_before_the_watermark(heart: Heart, book: Rulebook) -> None:
    consents = heart.acknowledge(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    await heart.round()
    heart.clock.now = NOW.replace(year=2030)
    heart.fetch(consents)
    await heart.round()
    (released,) = [record for record in heart.recorder.written if record.topic == book.partner_topics["acme"]]
    assert b'"released_at":"2026-11-24T09:00:00Z"' in (released.value or b"")


async def test_consents_are_committed_while_a_transfer_waits(heart: Heart, book: Rulebook) -> None:
    first, second = heart.acknowledge(book.consents, heart.consent("p-1"), heart.withdrawal("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    heart.fetch([first])
    assert await heart.round() == [
        "clock",
        "watermark",
        "clock",
        "fold consents 0",
        "produce changelog p-1 state",
        "note consents=1 strays=0; changelog=1 ledger=0",
        "commit",
        "table consent up to 1",
        "counted",
    ]
    heart.fetch([second])
    assert await heart.round() == [
        "fold consents 1",
        "decide transfers 0 knowing consents below 2",
        "produce quarantine p-1 policy: not-withdrawn",
        "produce decisions p-1 attempt 1: email:not-withdrawn sms:not-withdrawn",
        "produce changelog p-1 state",
        "note consents=2 transfers=1 strays=0; changelog=3 ledger=0",  # a marker stands between
        "commit",
        "table consent up to 3",
        "counted",
    ]


async def test_a_transfer_that_comes_while_another_waits_meets_a_watermark_of_its_own(
    heart: Heart, book: Rulebook
) -> None:
    consents = heart.acknowledge(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1", "t-1"))
    assert await heart.round() == ["clock", "watermark"]
    late = heart.acknowledge(book.consents, heart.withdrawal("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1", "t-2"))
    heart.fetch(consents)
    effects = await heart.round()
    assert [line for line in effects if line.startswith(("decide", "watermark", "commit"))] == [
        "decide transfers 0 knowing consents below 1",
        "commit",
        "watermark",
    ]
    heart.fetch(late)
    assert "decide transfers 1 knowing consents below 2" in await heart.round()


async def test_a_transfer_waits_for_strays_too(heart: Heart, book: Rulebook) -> None:
    strays = heart.acknowledge(book.strays, heart.withdrawal("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    assert await heart.round() == ["clock", "watermark"]
    heart.fetch(strays)
    effects = await heart.round()
    assert effects[:2] == [f"fold strays {strays[0].offset}", "decide transfers 0 knowing consents below 0"]
    assert "note consents=0 transfers=1 strays=1; changelog=1 ledger=0" in effects


async def test_more_than_a_round_holds_becomes_two_transactions(
    monkeypatch: pytest.MonkeyPatch, book: Rulebook
) -> None:
    heart = await Heart(monkeypatch, book, round_records=2).begin()
    heart.bring(book.transfers, *(heart.transfer("p-1", f"t-{number}") for number in range(3)))
    effects = await heart.round()
    assert [line for line in effects if line.startswith(("watermark", "decide", "note", "commit"))] == [
        "watermark",
        "decide transfers 0 1 knowing consents below 0",
        "note consents=0 transfers=2 strays=0; changelog=0 ledger=0",
        "commit",
        "watermark",
        "decide transfers 2 knowing consents below 0",
        "note consents=0 transfers=3 strays=0; changelog=0 ledger=0",
        "commit",
    ]


@pytest.mark.interpreted
async def test_what_a_large_round_leaves_meets_a_watermark_of_its_own(
    monkeypatch: pytest.MonkeyPatch, heart: Heart, book: Rulebook
) -> None:
    monkeypatch.setattr(rounds, "OUTPUT_BYTES", 1)
    heart.bring(book.transfers, heart.transfer("p-1", "t-1"), heart.transfer("p-1", "t-2"))
    effects = await heart.round()
    assert [line for line in effects if line.startswith(("watermark", "decide", "note", "commit"))] == [
        "watermark",
        "decide transfers 0 knowing consents below 0",
        "note consents=0 transfers=1 strays=0; changelog=0 ledger=0",
        "commit",
        "watermark",
        "decide transfers 1 knowing consents below 0",
        "note consents=0 transfers=2 strays=0; changelog=0 ledger=0",
        "commit",
    ]


@pytest.mark.interpreted
@pytest.mark.parametrize(("bound", "value"), [("STATE_BYTES", 1), ("DECIDE_SECONDS", 0.0)])
async def test_a_transfer_waits_until_events_that_are_too_much_for_one_round_are_all_folded(
    monkeypatch: pytest.MonkeyPatch, heart: Heart, book: Rulebook, bound: str, value: float
) -> None:
    """The states of thousands of events may be large, and folding them takes time: each round changes some."""
    heart.bring(book.consents, heart.consent("p-1"), heart.consent("p-2"))
    await heart.round()
    monkeypatch.setattr(rounds, bound, value)
    heart.bring(book.consents, heart.withdrawal("p-1"), heart.withdrawal("p-2"))
    heart.bring(book.transfers, heart.transfer("p-2"))
    effects = await heart.round()
    assert [line for line in effects if line.startswith(("watermark", "fold", "decide", "note", "commit"))] == [
        "watermark",
        "fold consents 2",
        "note consents=3 strays=0; changelog=4 ledger=0",
        "commit",
        "fold consents 3",
        "decide transfers 0 knowing consents below 4",
        "note consents=4 transfers=1 strays=0; changelog=6 ledger=0",
        "commit",
    ]
    assert "produce quarantine p-2 policy: not-withdrawn" in effects


async def test_an_event_that_can_not_be_read_is_copied_and_blocks_in_one_transaction(
    heart: Heart, book: Rulebook
) -> None:
    heart.bring(book.consents, heart.consent("p-1"), (b"p-1", b"{", ()))
    heart.bring(book.transfers, heart.transfer("p-1"))
    assert await heart.round() == [
        "clock",
        "watermark",
        "fold consents 0 1",
        "decide transfers 0 knowing consents below 2",
        "produce quarantine p-1 consent: consent-unreadable",
        "produce quarantine p-1 policy: consent-unreadable",
        "produce decisions p-1 attempt 1: email:consent-unreadable sms:consent-unreadable",
        "produce changelog p-1 state",
        "note consents=2 transfers=1 strays=0; changelog=1 ledger=0",
        "commit",
        "table consent up to 1",
        "counted",
    ]


async def test_a_withdrawal_recalls_in_its_own_transaction_what_was_served_before(heart: Heart, book: Rulebook) -> None:
    heart.bring(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1", partners=("acme", "helios")))
    await heart.round()
    heart.bring(book.consents, heart.withdrawal("p-1"))
    assert await heart.round() == [
        "clock",
        "fold consents 1",
        "produce suppressions.acme p-1 version 1: withdrawal email sms",
        "produce suppressions.helios p-1 version 1: withdrawal email sms",
        "produce changelog p-1 state",
        "produce changelog p-1 served",
        "note consents=2 transfers=1 strays=0; changelog=5 ledger=0",
        "commit",
        "table consent up to 5",
        "counted",
    ]


async def test_an_opposition_of_the_same_round_forbids_the_release_and_recalls_nothing(
    heart: Heart, book: Rulebook
) -> None:
    heart.bring(book.consents, heart.consent("p-1"), heart.withdrawal("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    assert not [effect for effect in await heart.round() if "suppressions" in effect or "served" in effect]


async def test_what_is_repeated_or_takes_away_nothing_more_recalls_nothing(heart: Heart, book: Rulebook) -> None:
    heart.bring(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    await heart.round()
    heart.bring(book.consents, heart.withdrawal("p-1"), heart.withdrawal("p-1"), heart.objection("p-1"))
    assert [effect for effect in await heart.round() if "suppressions" in effect] == [
        "produce suppressions.acme p-1 version 1: withdrawal email sms"
    ]


async def test_a_later_release_lifts_what_it_covers_by_a_new_record(heart: Heart, book: Rulebook) -> None:
    heart.bring(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    await heart.round()
    an_hour_ago = NOW - dt.timedelta(hours=1)
    heart.bring(book.consents, heart.withdrawal("p-1", an_hour_ago), heart.consent_again("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1", "t-2", channels=("email",)))
    assert [effect for effect in await heart.round() if "suppressions" in effect or "partner" in effect] == [
        "produce suppressions.acme p-1 version 1: withdrawal email sms",
        "produce suppressions.acme p-1 version 2: withdrawal sms",
        "produce partner.acme p-1 email",
    ]


async def test_after_an_erasure_a_notice_names_ids_and_the_cause_alone(heart: Heart, book: Rulebook) -> None:
    heart.bring(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    await heart.round()
    heart.bring(book.consents, heart.withdrawal("p-1"), heart.erasure("p-1"))
    await heart.round()
    topic = book.suppression_topics["acme"]
    withdrawn, erased = (decode_suppression(each.value) for each in heart.recorder.written if each.topic == topic)
    assert withdrawn is not None
    assert erased is not None
    assert erased.stopped == (Stopped(cause="erasure", since=NOW),)
    assert erased.transfer_ids == withdrawn.transfer_ids == (ids.transfer_id("t", "acme"),)
    assert (withdrawn.version, erased.version) == (1, 2)
    assert withdrawn.notice_id != erased.notice_id
    assert erased.due_at == NOW + dt.timedelta(hours=24)


async def test_a_release_after_an_erasure_lifts_its_channels_and_what_came_before_is_still_to_be_erased(
    heart: Heart, book: Rulebook
) -> None:
    heart.bring(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    await heart.round()
    heart.bring(book.consents, heart.erasure("p-1", NOW - dt.timedelta(hours=1)), heart.consent_again("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1", "t-2", channels=("email",)))
    await heart.round()
    topic = book.suppression_topics["acme"]
    erased, lifted = (decode_suppression(each.value) for each in heart.recorder.written if each.topic == topic)
    assert erased is not None
    assert lifted is not None
    assert [stopped.channels for stopped in (*erased.stopped, *lifted.stopped)] == [
        (),
        ("sms", "automated_call", "live_call", "postal"),
    ]
    assert erased.transfer_ids == lifted.transfer_ids == (ids.transfer_id("t", "acme"),)
    assert (lifted.version, lifted.due_at) == (2, erased.due_at)


async def test_a_commit_that_fails_leaves_no_notice_and_the_next_owner_writes_the_same(
    heart: Heart, book: Rulebook
) -> None:
    heart.bring(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    await heart.round()
    withdrawal = heart.acknowledge(book.consents, heart.withdrawal("p-1"))
    heart.recorder.fails["commit"] = RoundFailed("the coordinator does not answer")
    heart.fetch(withdrawal)
    with pytest.raises(RoundFailed):
        await heart.round()
    first = [effect for effect in heart.effects if "suppressions" in effect]
    heart.effects.clear()
    heart.recorder.fails.clear()
    heart.take_over(heart.recorder.offsets)
    heart.pass_markers(book.strays, 0)
    heart.fetch(withdrawal)
    assert first == [effect for effect in await heart.round() if "suppressions" in effect] != []


@pytest.mark.interpreted
async def test_where_too_many_parties_were_served_further_ones_are_quarantined(
    monkeypatch: pytest.MonkeyPatch, heart: Heart, book: Rulebook
) -> None:
    monkeypatch.setattr(recall, "MOST_PARTIES", 1)
    heart.bring(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1", partners=("acme", "helios")))
    effects = await heart.round()
    assert "produce partner.acme p-1 email sms" in effects
    assert "produce decisions p-1 attempt 1: email:history-overflow sms:history-overflow" in effects
    assert not [effect for effect in effects if "partner.helios" in effect]


async def test_a_stray_goes_home_in_the_transaction_that_found_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    book = book_of(tmp_path, placement=TWO)
    heart = await Heart(monkeypatch, book).begin()
    there = next(f"p-{number}" for number in range(99) if TWO.home(b"p-%d" % number) == 1)
    heart.bring(book.consents, heart.withdrawal(there))
    assert await heart.round() == [
        "clock",
        "fold consents 0",
        f"produce quarantine {there} consent: key-misplaced",
        f"produce strays/1 {there} event",
        "note consents=1 strays=0; changelog=0 ledger=0",
        "commit",
        "counted",
    ]


async def test_a_replay_is_a_fresh_decision_and_its_ledger_entry_is_in_the_same_transaction(
    heart: Heart, book: Rulebook
) -> None:
    heart.bring(book.transfers, heart.transfer("p-1"))
    await heart.round()
    heart.bring(book.consents, heart.consent("p-1"))
    await heart.round()
    heart.bring(book.replay, heart.back())
    assert await heart.round() == [
        "clock",
        "watermark",
        "decide replay 0 knowing consents below 1",
        "produce partner.acme p-1 email sms",
        "produce decisions p-1 attempt 2: email sms",
        "produce changelog p-1 served",
        "produce ledger replayed at 2",
        "note consents=1 transfers=1 replay=1 strays=0; changelog=3 ledger=1",
        "commit",
        "table consent up to 3",
        "table ledger up to 1",
        "counted",
    ]


async def test_a_replay_in_the_partition_neither_of_its_source_nor_of_its_key_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As another client copies it from quarantine: the ledger that knows its attempts is elsewhere."""
    book = book_of(tmp_path, placement=TWO)
    heart = await Heart(monkeypatch, book).begin()
    here, there = (next(f"p-{n}" for n in range(99) if TWO.home(b"p-%d" % n) == home) for home in (0, 1))
    heart.bring(book.transfers, heart.transfer(here))
    await heart.round()
    _, value, headers = heart.back()
    source = {
        "tg-source-partition": b"1",
        "tg-quarantine-id": ids.quarantine_id(book.transfers, 1, 0, "acme").encode(),
    }
    heart.bring(book.replay, (there.encode(), value, [(name, source.get(name, text)) for name, text in headers]))
    assert await heart.round() == [
        "clock",
        "watermark",
        "decide replay 0 knowing consents below 0",
        "note consents=0 transfers=1 replay=1 strays=0; changelog=0 ledger=0",
        "commit",
        "counted",
    ]


async def test_an_attempt_that_is_sent_twice_is_decided_once(heart: Heart, book: Rulebook) -> None:
    heart.bring(book.transfers, heart.transfer("p-1"))
    await heart.round()
    heart.bring(book.replay, heart.back(), heart.back())
    assert await heart.round() == [
        "clock",
        "watermark",
        "decide replay 0 1 knowing consents below 0",
        "produce quarantine p-1 policy: electronic-optin",
        "produce decisions p-1 attempt 2: email:electronic-optin sms:electronic-optin",
        "produce ledger open at 2",
        "note consents=0 transfers=1 replay=2 strays=0; changelog=0 ledger=1",
        "commit",
        "table ledger up to 1",
        "counted",
    ]


async def test_a_position_that_moved_over_markers_alone_is_committed_when_it_is_quiet(
    monkeypatch: pytest.MonkeyPatch, heart: Heart, book: Rulebook
) -> None:
    monkeypatch.setattr(partition_module, "QUIET_SECONDS", 0.001)
    heart.pass_markers(book.transfers, 5)
    assert await heart.round() == []
    await heart.partition._until_work()  # what receive() has rung
    await heart.partition._until_work()  # the quiet
    assert list(heart.effects) == [
        "clock",
        "note consents=0 transfers=5 strays=0; changelog=0 ledger=0",
        "commit",
    ]


async def test_the_first_round_of_a_partition_leaves_something_in_the_changelog(
    monkeypatch: pytest.MonkeyPatch, book: Rulebook
) -> None:
    """So that a group whose offsets were forgotten does not look new, whatever it has decided."""
    heart = await Heart(monkeypatch, book, first=True).begin()
    heart.bring(book.transfers, heart.transfer("p-1"))
    assert [effect for effect in await heart.round() if "changelog" in effect or "table" in effect] == [
        "produce changelog  removed",
        "note consents=0 transfers=1 strays=0; changelog=1 ledger=0",
        "table consent up to 1",
    ]
    heart.bring(book.transfers, heart.transfer("p-2"))
    assert not [effect for effect in await heart.round() if "produce changelog" in effect or "table" in effect]


async def test_a_partition_that_is_given_up_leaves_what_waits_to_the_next_owner(heart: Heart, book: Rulebook) -> None:
    consents = heart.acknowledge(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    await heart.round()
    heart.partition.leave()
    heart.fetch(consents)
    assert await heart.round() == []
    await heart.partition.run()
    assert heart.recorder.offsets == {}


def released() -> float:
    """Channels released to acme that were counted."""
    samples = [sample for family in metrics.DECISIONS.collect() for sample in family.samples]
    return sum(s.value for s in samples if s.name.endswith("_total") and s.labels.get("outcome") == "released")


def fail(heart: Heart, step: str) -> type[Exception]:
    """Let a step of the next round fail; returns what is raised."""
    book, recorder = heart.book, heart.recorder
    broken = GateError("the disk can't be read")
    match step:
        case "watermark":
            heart.watermark.fails = RoundFailed("a topic has changed")
            return RoundFailed
        case "fold and decide":
            heart.consent_table.fails = broken
            return GateError
        case "produce":
            recorder.fails["produce"] = RecordRefused("too large")
            return RecordRefused
        case "note":
            recorder.ends[book.changelog] = -7  # the log ends below what the table holds: it is another log
            return HistoryLost
        case "commit":
            recorder.fails["commit"] = RoundFailed("no answer")
            return RoundFailed
        case _:
            recorder.fails["commit"] = Fenced("another owner")
            return Fenced


@pytest.mark.parametrize(
    ("step", "begun"),
    [
        ("watermark", 2),
        ("fold and decide", 3),
        ("produce", 4),
        ("note", 8),
        ("commit", 9),
        ("fence", 9),
    ],
)
async def test_a_step_that_fails_leaves_nothing_behind_and_the_next_owner_does_the_same(
    heart: Heart, book: Rulebook, step: str, begun: int
) -> None:
    consents, transfers = (
        heart.acknowledge(book.consents, heart.consent("p-1")),
        heart.acknowledge(book.transfers, heart.transfer("p-1")),
    )
    heart.fetch(consents)
    heart.fetch(transfers)
    raised, counted = fail(heart, step), released()
    with pytest.raises(raised):
        await heart.partition.work()
    assert list(heart.effects) == RELEASE[:begun]
    assert heart.consent_table.content == heart.ledger_table.content == (0, {})
    assert heart.recorder.written == []
    assert heart.recorder.offsets == {}
    assert released() == counted
    partition = heart.partition
    assert (partition.applied.consents, partition.offsets.transfers) == (0, None)

    heart.watermark.fails = heart.consent_table.fails = None
    heart.recorder.fails.clear()
    heart.recorder.ends.clear()
    heart.take_over()
    await heart.begin()
    heart.fetch(consents)
    heart.fetch(transfers)
    assert await heart.round() == RELEASE
    assert released() == counted + 2


async def test_the_next_owner_takes_half_of_a_round_that_failed(
    monkeypatch: pytest.MonkeyPatch, book: Rulebook
) -> None:
    heart = await Heart(monkeypatch, book, round_records=4).begin()
    transfers = heart.acknowledge(book.transfers, *(heart.transfer("p-1", f"t-{number}") for number in range(8)))
    heart.fetch(transfers)
    heart.recorder.fails = {"commit": RoundFailed("the cluster did not take the transaction in time")}
    with pytest.raises(RoundFailed):
        await heart.partition.work()
    assert "decide transfers 0 1 2 3 knowing consents below 0" in heart.effects
    heart.share.failed()  # as the gate does
    heart.recorder.fails = {}
    heart.effects.clear()
    heart.take_over({book.transfers: 0})
    heart.pass_markers(book.consents, 0)
    heart.pass_markers(book.strays, 0)
    heart.fetch(transfers)
    decided = [line for line in await heart.round() if line.startswith("decide")]
    assert decided[0] == "decide transfers 0 1 knowing consents below 0"
    assert heart.recorder.offsets[book.transfers] == 8
    assert heart.share.now > 0.5


async def test_a_watermark_behind_what_was_fetched_is_an_answer_of_another_log(heart: Heart, book: Rulebook) -> None:
    heart.bring(book.consents, heart.consent("p-1"))
    await heart.round()
    heart.watermark.consents = 0
    heart.fetch(heart.acknowledge(book.transfers, heart.transfer("p-1")))
    heart.watermark.consents = 0
    with pytest.raises(RoundFailed, match="end at 0, but were fetched up to 1"):
        await heart.partition.work()
    assert list(heart.effects) == ["clock", "watermark"]


async def test_a_changelog_that_lost_its_tail_is_missed_by_a_round_that_is_longer_than_what_was_lost(
    heart: Heart, book: Rulebook
) -> None:
    """By its end alone the log looks whole again: so it is looked at where the records of a round begin."""
    heart.bring(book.consents, heart.consent("p-1"))
    await heart.round()
    heart.recorder.ends[book.changelog] = 0
    heart.bring(book.consents, heart.consent("p-2"), heart.consent("p-3"))
    with pytest.raises(HistoryLost, match="ends at offset 0, but committed rounds have written it up to 1"):
        await heart.round()
    assert heart.recorder.offsets[book.consents] == 1


async def test_events_that_were_deleted_unread_stop_the_partition_before_it_decides(
    heart: Heart, book: Rulebook
) -> None:
    heart.acknowledge(book.consents, heart.consent("p-1"))
    heart.bring(book.consents, heart.consent("p-1"))
    heart.bring(book.transfers, heart.transfer("p-1"))
    heart.watermark.first = 1
    with pytest.raises(HistoryLost, match="deleted unread"):
        await heart.partition.work()
    assert list(heart.effects) == ["clock", "watermark", "beginning"]
    assert heart.recorder.written == []
