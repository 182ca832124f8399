"""Sample data is believable, equal for equal seeds, and about nobody."""

import datetime as dt
import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from transfer_gate.errors import InvalidInput
from transfer_gate.local.people import STORIES
from transfer_gate.local.sample import Sample
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.model.transfer import Transfer
from transfer_gate.policy.decide import decide
from transfer_gate.policy.fold import fold, fold_unreadable
from transfer_gate.records.consents import Unreadable, decode_consent
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer
from transfer_gate.registry import load_registry

NOW = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def registry() -> Registry:
    """The registry that the demo uses."""
    return load_registry(Path(__file__).parents[3] / "examples" / "registry")


@pytest.fixture(scope="module")
def sample(registry: Registry) -> Sample:
    """Enough people for every story."""
    return Sample(registry, seed=7, now=NOW, prospects=4000)


@pytest.fixture(scope="module")
def states(sample: Sample) -> dict[bytes, ProspectState]:
    """The folded histories."""
    folded: dict[bytes, ProspectState] = {}
    for offset, (key, value, _) in enumerate(sample.consents()):
        before = folded.get(key, EMPTY)
        try:
            folded[key] = fold(before, decode_consent(value, key), offset)
        except Unreadable:
            folded[key] = fold_unreadable(before, offset)
    return folded


def test_equal_seeds_and_times_give_equal_bytes(registry: Registry, sample: Sample) -> None:
    """A second generator says the same; another seed says something else."""
    again = Sample(registry, seed=7, now=NOW, prospects=4000)
    other = Sample(registry, seed=8, now=NOW, prospects=4000)
    assert list(again.consents()) == list(sample.consents())
    assert list(again.transfers(500)) == list(sample.transfers(500))
    assert list(other.transfers(500)) != list(sample.transfers(500))


def test_histories_arrive_in_the_order_in_which_they_happened(sample: Sample) -> None:
    """And none of them lies in the future."""
    times = [
        dt.datetime.fromisoformat(found[1].decode())
        for message in sample.consents()
        if (found := re.search(rb'"event_time":"([^"]+)"', message.value))
    ]
    assert times == sorted(times)
    assert times[-1] <= NOW


def test_most_transfers_are_released_and_the_rest_held_for_a_dozen_reasons(
    registry: Registry, sample: Sample, states: dict[bytes, ProspectState]
) -> None:
    """Under all rules: between 60 and 85 percent go, every active partner gets something, reasons are many."""
    released: Counter[str] = Counter()
    held: Counter[str] = Counter()
    malformed: Counter[type[Exception]] = Counter()
    for key, value, _ in sample.transfers(6000):
        try:
            transfer = decode_transfer(value)
        except (Undecodable, SchemaInvalid) as error:
            malformed[type(error)] += 1
            continue
        if transfer.prospect_id.encode() != key:
            held["key-mismatch"] += 1
            continue
        for decision in decide(transfer, states.get(key, EMPTY), registry, NOW):
            released[decision.partner_id] += len(decision.released)
            held.update(reasons[0] for reasons in decision.quarantined.values())
    assert 0.6 < released.total() / (released.total() + held.total()) < 0.85
    assert {party for party, count in released.items() if count > 100} == {
        "acme-assurances",
        "helios-habitat",
        "lumen-telecom",
    }
    assert len(held) >= 20
    assert set(malformed) == {Undecodable, SchemaInvalid}
    assert held["rule-error"] == 0


def test_willing_people_are_released_until_they_change_their_mind(
    registry: Registry, sample: Sample, states: dict[bytes, ProspectState]
) -> None:
    """The demo's race depends on both halves."""
    for number, person in enumerate(sample.willing()[:200]):
        key, value, _ = sample.wish(person)
        before = states[key]
        (decision,) = decide(decode_transfer(value), before, registry, NOW)
        assert decision.released == ("email",)
        change = decode_consent(sample.change_of_mind(person, number, NOW).value, key)
        (decision,) = decide(decode_transfer(value), fold(before, change, 10**6 + number), registry, NOW)
        assert decision.released == ()


def test_every_story_is_told(sample: Sample) -> None:
    """Stories add up to a thousand, and 4,000 people live them all."""
    assert sum(STORIES.values()) == 1000
    assert {person.story for person in sample.people} == set(STORIES)


def test_addresses_and_numbers_belong_to_nobody(sample: Sample) -> None:
    """RFC 2606 names, and numbers that Arcep reserves for fiction."""
    for person in sample.people:
        assert str(person.contact["email"]["value"]).endswith(".example")
        assert re.fullmatch(r"\+3363998\d{4}|\+3319900\d{4}", str(person.contact["phone"]["value"]))


def test_keys_are_prospect_ids(sample: Sample) -> None:
    """Only a spoilt record stands under a foreign key."""
    foreign = 0
    for key, value, _ in sample.transfers(3000):
        try:
            foreign += decode_transfer(value).prospect_id.encode() != key
        except (Undecodable, SchemaInvalid):
            continue
    assert 0 < foreign < 30


def test_a_registry_without_a_notice_in_force_is_refused(registry: Registry) -> None:
    """The message says what to publish."""
    with pytest.raises(InvalidInput, match="notice in force"):
        Sample(registry, seed=7, now=dt.datetime(2021, 1, 1, tzinfo=dt.UTC), prospects=1)


def test_values_are_json_of_contract_fields(sample: Sample) -> None:
    """A readable transfer holds no field that the contract does not know."""
    known = set(Transfer.__struct_fields__)
    message = next(sample.transfers(1))
    assert set(msgspec.json.decode(message.value)) <= known
