"""The catalogue says how each topic has to be, and which differences matter."""

import re
from pathlib import Path
from typing import get_args

import pytest

from transfer_gate.kafka.catalogue import REASONS, TopicSpec, catalogue
from transfer_gate.kafka.cluster import FoundTopic
from transfer_gate.kafka.topics import Survey
from transfer_gate.model.registry import Registry
from transfer_gate.model.topics import PartyTopicKind, Topics
from transfer_gate.registry import load_registry

TOPICS = Topics("x.")


@pytest.fixture(scope="module")
def registry() -> Registry:
    """The sample registry."""
    return load_registry(Path(__file__).parents[3] / "examples" / "registry")


def specs(registry: Registry, replication: int | None = None) -> tuple[TopicSpec, ...]:
    """The catalogue for four partitions."""
    return catalogue(TOPICS, registry, partitions=4, replication=replication)


def survey(registry: Registry, role: str, **configs: str) -> Survey:
    """An installation that is as it should be, but for some settings of the topics of one role."""
    wanted = specs(registry)
    return Survey(
        specs=wanted,
        found={
            spec.name: FoundTopic(name=spec.name, partitions=spec.partitions or 4, replication=1, leaderless=0)
            for spec in wanted
        },
        configs={spec.name: {**spec.configs, **(configs if spec.role == role else {})} for spec in wanted},
        partitions=4,
    )


def test_every_topic_of_the_contract_is_in_it(registry: Registry) -> None:
    """And every topic with prospects, or with what became of their records, shares the partition count."""
    listed = {spec.name: spec for spec in specs(registry)}
    of_parties = TOPICS.of_parties(registry)
    assert {topic.kind for topic in of_parties.values()} == set(get_args(PartyTopicKind))
    assert {*TOPICS.of_prospects(registry), *of_parties, TOPICS.ledger, TOPICS.audit} == set(listed)
    shared = {*TOPICS.of_prospects(registry), TOPICS.ledger}
    assert {name for name, spec in listed.items() if spec.shares_count} == shared


def test_every_setting_says_why(registry: Registry) -> None:
    """A person who finds a difference is told what it is for."""
    named = {setting for spec in specs(registry, replication=3) for setting in spec.configs}
    assert named == set(REASONS)


def test_three_copies_are_acknowledged_by_two(registry: Registry) -> None:
    """An acknowledged withdrawal survives one broker; with a single copy there is nothing to ask."""
    assert {spec.configs["min.insync.replicas"] for spec in specs(registry, replication=3)} == {"2"}
    assert not any("min.insync.replicas" in spec.configs for spec in specs(registry, replication=1))


@pytest.mark.parametrize(
    ("role", "setting", "value", "expected"),
    [
        ("changelog", "cleanup.policy", "compact,delete", [True]),
        ("consents", "cleanup.policy", "compact", [True]),
        ("quarantine", "message.timestamp.type", "CreateTime", [False]),
        ("quarantine", "retention.ms", "86400000", [False]),
        ("quarantine", "retention.ms", "-1", []),
        ("quarantine", "retention.ms", "999999999999", []),
        ("consents", "retention.ms", "999999999999", [False]),
        ("replay", "max.message.bytes", "1048588", [False]),
        ("replay", "max.message.bytes", "99999999", []),
    ],
)
def test_a_difference_is_refused_only_when_records_would_be_lost(
    registry: Registry, role: str, setting: str, value: str, expected: list[bool]
) -> None:
    """More room or longer retention than asked for is no difference at all."""
    found = survey(registry, role, **{setting: value}).differences()
    assert [difference.refused for difference in found] == expected
    assert all((difference.setting, difference.found) == (setting, value) for difference in found)


@pytest.mark.parametrize(
    "role", ["strays", "changelog", "quarantine", "replay", "decisions", "partner", "ledger", "audit"]
)
def test_every_topic_that_the_gate_writes_has_a_limit_of_its_records(registry: Registry, role: str) -> None:
    """A lower one on the broker is a difference that `doctor`, `topics apply` and a starting worker report."""
    lower = survey(registry, role, **{"max.message.bytes": "500000"}).differences()
    assert lower
    assert {difference.setting for difference in lower} == {"max.message.bytes"}
    assert not any(difference.refused for difference in lower)


def test_replication_that_was_asked_for_is_compared(registry: Registry) -> None:
    """It is told, never refused: the operator knows."""
    differences = survey(registry, "transfers").differences(replication=3)
    assert len(differences) == len(specs(registry))
    assert not any(difference.refused for difference in differences)


def test_the_reference_page_says_what_the_code_does(registry: Registry) -> None:
    """Every topic has its row, with exactly its settings."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "topics.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \| \w+ \| (.+) \|$", page, flags=re.MULTILINE))
    wanted = catalogue(Topics(), registry, partitions=None, replication=None)
    assert {
        f"{spec.role}.<party_id>" if spec.role in get_args(PartyTopicKind) else spec.name: {
            f"{name}={is_}" for name, is_ in spec.configs.items()
        }
        for spec in wanted
    } == {name: set(re.findall("`([^`]+)`", settings)) for name, settings in rows.items()}
