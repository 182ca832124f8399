"""Deployed rights are the documented ones, and only the worker may write what partners read."""

import re
from pathlib import Path
from typing import Any, Final, cast

import pytest

from deploy.kubernetes import topics as written
from tests.support.access import PAGE, Kind, Right, documented
from tests.support.deployment import KUBERNETES, documents, manifests, may_harm, rights
from transfer_gate.model.topics import Topics
from transfer_gate.partners.manifests import group, principals
from transfer_gate.partners.manifests import rights as given_by_partner_new
from transfer_gate.registry import load_registry

REGISTRY: Final = load_registry(Path(__file__).parents[2] / "examples" / "registry")
PARTNERS: Final = Topics().partners(REGISTRY)
WORKER: Final = "transfer-gate-worker"
GIVEN: Final = rights(manifests("KafkaUser"))
#: Created by hand where there is no Strimzi; Strimzi's own operator does its work.
WITHOUT_USER: Final = "transfer-gate-topics"


def principals_of_the_page() -> list[str]:
    page = PAGE.read_text(encoding="utf-8")
    names = re.findall(r"^## [^\n]*`([^`<]+)`$", page, flags=re.MULTILINE)
    return names + re.findall(r"^\| `([\w-]+-source)` \|", page, flags=re.MULTILINE)


@pytest.mark.parametrize("principal", sorted(set(principals_of_the_page()) - {WITHOUT_USER}))
def test_a_user_has_exactly_its_documented_rights(principal: str) -> None:
    assert GIVEN[principal] == documented(principal)


def test_the_page_names_the_principals_that_the_others_are_compared_with() -> None:
    assert {WORKER, "transfer-gate-auditor", "transfer-gate-operator", "consent-source", WITHOUT_USER} <= set(
        principals_of_the_page()
    )


def user(party: str) -> str:
    """The user that reads the partner's topic."""
    return f"{'partner' if REGISTRY.partners[party].delivery is None else 'courier'}-{party}"


@pytest.mark.parametrize("party", sorted(PARTNERS))
def test_a_partner_or_the_program_that_delivers_to_it_has_its_own_topics_and_nothing_else(party: str) -> None:
    names = {
        "partner.<party_id>": PARTNERS[party],
        "deliveries.<party_id>": f"deliveries.{party}",
        "suppressions.<party_id>": Topics().suppressions(REGISTRY)[party],
        "suppression-acks.<party_id>": f"suppression-acks.{party}",
    }
    shape = documented(user(party).replace(party, "<party_id>"))
    assert GIVEN[user(party)] == {right._replace(name=names.get(right.name, user(party))) for right in shape}


@pytest.mark.parametrize("party", sorted(PARTNERS))
def test_partner_new_grants_the_documented_rights(party: str) -> None:
    partner = REGISTRY.partners[party]
    granted = {
        Right(cast(Kind, kind), name, False, operation)
        for principal in principals(partner)
        for kind, name, operation in given_by_partner_new(Topics(), partner, principal)
        if group(partner, principal) == user(party)
    }
    assert GIVEN[user(party)] == granted


def test_there_is_no_user_that_nobody_asked_for() -> None:
    expected = {*principals_of_the_page(), *(user(party) for party in PARTNERS)} - {WITHOUT_USER}
    assert set(GIVEN) == expected


def test_only_the_worker_may_write_to_partners() -> None:
    """Over all users in all files, for every partner and for one that comes tomorrow, by whatever pattern."""
    for topic in (*PARTNERS.values(), "partner.of-tomorrow"):
        harmful = {principal: found for principal, mine in GIVEN.items() if (found := may_harm(mine, topic))}
        assert harmful == {WORKER: {"Write"}}


@pytest.mark.parametrize(
    "planted",
    [
        Right("topic", "partner.acme-assurances", False, "Write"),
        Right("topic", "partner.", True, "Write"),
        Right("topic", "part", True, "All"),
        Right("topic", "*", False, "Write"),
        Right("topic", "", True, "Delete"),
        Right("topic", "partner.", True, "AlterConfigs"),
        Right("cluster", "", False, "Alter"),
        Right("cluster", "", False, "ClusterAction"),
    ],
)
def test_every_way_to_harm_a_partner_topic_would_be_seen(planted: Right) -> None:
    assert may_harm({planted}, "partner.acme-assurances") == {planted.operation}


def test_only_the_program_that_delivers_may_report_a_delivery() -> None:
    for topic in Topics().of_kind("deliveries", REGISTRY.partners).values():
        writers = {principal for principal, mine in GIVEN.items() if may_harm(mine, topic)}
        assert writers == {topic.replace("deliveries.", "courier-")}


def test_nobody_may_invent_a_consent_but_who_collects_or_imports_them_and_who_resolves_one() -> None:
    writers = {principal for principal, mine in GIVEN.items() if may_harm(mine, "consent-events")}
    assert writers == {"consent-source", "transfer-gate-importer", "transfer-gate-ingest", "transfer-gate-operator"}


def test_nobody_but_the_worker_may_use_the_transactional_ids_of_its_partitions() -> None:
    """Whoever may, can fence a worker out. To describe a transaction is to look at it."""
    holders = {
        principal
        for principal, mine in GIVEN.items()
        for right in mine
        if right.kind == "transactional id" and "transfer-gate-0".startswith(right.name)
        if right.operation != "Describe"
    }
    assert holders == {WORKER}


def test_the_auditor_writes_nothing_and_is_in_no_group() -> None:
    given = {(right.kind, right.operation) for right in GIVEN["transfer-gate-auditor"]}
    assert given == {("topic", "Read"), ("group", "Describe")}  # who may only describe a group can't join it


def topics() -> list[dict[str, Any]]:
    return list(documents(KUBERNETES / "components" / "strimzi" / "topics.yaml"))


def test_topics_are_those_of_the_catalogue() -> None:
    """Written anew by: python deploy/kubernetes/topics.py examples/registry > …/components/strimzi/topics.yaml"""
    file = KUBERNETES / "components" / "strimzi" / "topics.yaml"
    assert file.read_text(encoding="utf-8") == written.manifests(REGISTRY)
    assert {one["metadata"]["name"] for one in manifests("KafkaTopic")} == {one["metadata"]["name"] for one in topics()}


def test_topics_that_carry_prospects_share_one_partition_count_and_survive_a_broker() -> None:
    counts = {one["metadata"]["name"]: one["spec"]["partitions"] for one in topics()}
    assert {counts[name] for name in Topics().of_prospects(REGISTRY)} == {written.PARTITIONS}
    assert {one["spec"]["replicas"] for one in topics()} == {3}
    assert {one["spec"]["config"]["min.insync.replicas"] for one in topics()} == {"2"}
