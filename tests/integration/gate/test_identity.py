"""A topic's name is no identity: what was deleted and made anew, or has more partitions now, is noticed before anybody
decides by it; and what keeps one partition from going on keeps no other."""

import asyncio
import datetime as dt
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from aiokafka.admin import NewPartitions

from tests.support.clients import read_all
from tests.support.replay_operator import Operator
from tests.support.replays import entry_about, held_transfer, ledger_of, send_back
from tests.support.stream_gate import Sent, StreamGate, open_gate
from tests.support.topics import admin_of, delete_records, remake_topic
from tests.support.workers import Installation, Worker
from transfer_gate.gate.faust.fetching import FETCH_WAIT_MS
from transfer_gate.kafka.session import open_session
from transfer_gate.quarantine.consent_states import states_of

PROSPECT = "p-1"
KEY = PROSPECT.encode()


@pytest_asyncio.fixture
async def gate(bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[StreamGate]:
    """A gate of one partition."""
    async with open_gate(bootstrap_servers, tmp_path, partitions=1, session_timeout_seconds=6) as opened:
        yield opened


async def transfer(gate: StreamGate, event_id: str, prospect: str = PROSPECT) -> Sent:
    value = gate.events.transfer(prospect, event_id)
    return await gate.send(gate.topics.transfers, value, prospect.encode())


async def withdraw(gate: StreamGate, prospect: str) -> Sent:
    value = gate.events.against("withdrawal", prospect, f"w-{prospect}")
    return await gate.send(gate.topics.consents, value, prospect.encode())


def resolution(gate: StreamGate, unreadable: Sent) -> bytes:
    """An operator settles an unreadable event of the prospect."""
    body = json.loads(gate.events.against("withdrawal", PROSPECT, f"r-{time.time_ns()}"))
    return json.dumps({**body, "type": "resolution", "resolves": [unreadable.place[2]]}).encode()


async def grow(gate: StreamGate, count: int) -> None:
    """Give every topic of prospects more partitions, as operators do."""
    async with admin_of(gate.place.bootstrap_servers) as admin:
        names = [name for name in await admin.list_topics() if name.startswith(gate.topics.prefix)]
        await admin.create_partitions(
            {name: NewPartitions(count) for name in names if not name.endswith("transfer-gate-audit")}
        )


async def refused(worker: Worker) -> str:
    try:
        assert await worker.ended(30) == 1, worker.tail()
    except subprocess.TimeoutExpired:
        pytest.fail(f"it goes on:\n{worker.tail()}")
    log = worker.log.read_text(encoding="utf-8")
    assert "Traceback" not in log
    return log


async def test_under_another_partition_count_nothing_is_decided(gate: StreamGate) -> None:
    """Neither by a running worker nor by one that starts."""
    await gate.consent(PROSPECT)
    await gate.settled()
    committed = await gate.committed()
    await grow(gate, 3)
    held = await transfer(gate, "t-1")
    assert "under 1 partitions, and the topics have 3 now" in await refused(gate.worker)
    assert "under 1 partitions, and the topics have 3 now" in await refused(gate.place.start_worker())
    assert await gate.committed() == committed
    assert committed[gate.topics.transfers, 0] <= held.place[2]


async def test_consents_made_anew_and_grown_past_the_old_place_while_a_worker_stood_still_are_all_applied(
    gate: StreamGate,
) -> None:
    """By its offsets alone the new topic looks like the old one, a little longer."""
    people = [f"p-{number}" for number in range(4)]
    for prospect in people:
        await gate.consent(prospect)
    await gate.settled()
    await transfer(gate, "t-before", people[0])
    await gate.settled()
    gate.worker.freeze()
    await remake_topic(gate.place.bootstrap_servers, gate.topics.consents, 1, {})
    for prospect in people:
        await withdraw(gate, prospect)
    await gate.consent("p-other-1")
    await gate.consent("p-other-2")
    sent = [await transfer(gate, f"t-{prospect}", prospect) for prospect in people]
    gate.worker.thaw()
    outputs = await gate.outputs()
    for one in sent:
        (decision,) = outputs.decided(one)
        assert decision["released"] == []
        assert decision["quarantined"] == {"email": ["not-withdrawn"], "sms": ["not-withdrawn"]}
        assert decision["consent"]["topic_id"]
    # Who was released before is no leak now that a withdrawal stands on the later topic, at a lower offset.
    code, counts, errors = await asyncio.to_thread(gate.place.audit)
    assert (code, counts["source-gone"], counts["records"]) == (0, 1, 1), errors
    code, _ = await asyncio.to_thread(gate.place.verify)
    assert code == 0


async def test_a_resolution_of_a_former_topic_settles_no_event_of_the_new_one(gate: StreamGate) -> None:
    await gate.consent(PROSPECT)
    first = await gate.send(gate.topics.consents, b"{", KEY)
    await gate.send(gate.topics.consents, resolution(gate, first), KEY)
    free = await transfer(gate, "t-1")
    assert (await gate.outputs()).decided(free)[0]["released"] == ["email", "sms"]
    gate.worker.freeze()
    await remake_topic(gate.place.bootstrap_servers, gate.topics.consents, 1, {})
    for _ in range(first.place[2]):
        await gate.consent("p-other")
    again = await gate.send(gate.topics.consents, b"{", KEY)
    assert again.place == first.place
    # Commands, which fold what the gate has not applied yet, know the same.
    async with open_session(Operator(gate).settings) as session:
        assert (await states_of(session, {0: {KEY}}))[0, KEY].blocked()
    gate.worker.thaw()
    held = await transfer(gate, "t-2")
    decision = (await gate.outputs()).decided(held)[0]
    assert decision["quarantined"] == {"email": ["consent-unreadable"], "sms": ["consent-unreadable"]}
    await gate.send(gate.topics.consents, resolution(gate, again), KEY)
    free = await transfer(gate, "t-3")
    assert (await gate.outputs()).decided(free)[0]["released"] == ["email", "sms"]


async def test_transfers_made_anew_are_all_decided_under_names_of_their_own(gate: StreamGate) -> None:
    await gate.settled()
    before = [await transfer(gate, f"t-{number}") for number in range(3)]
    outputs = await gate.outputs()
    old = {str(outputs.decided(one)[0]["decision_id"]) for one in before}
    old_held = {dict(outputs.held(one)[0].headers)["tg-quarantine-id"] for one in before}
    gate.worker.freeze()
    await remake_topic(gate.place.bootstrap_servers, gate.topics.transfers, 1, {})
    after = [await transfer(gate, f"u-{number}") for number in range(4)]
    gate.worker.thaw()
    outputs = await gate.outputs()
    new_held: list[str] = []
    for number, one in enumerate(after):
        (decision,) = [found for found in outputs.decided(one) if found["event_id"] == f"u-{number}"]
        assert decision["decision_id"] not in old
        assert decision["source"]["topic_id"]
        (record,) = [
            found
            for found in outputs.held(one)
            if dict(found.headers)["tg-decision-id"] == decision["decision_id"].encode()
        ]
        assert dict(record.headers)["tg-quarantine-id"] not in old_held
        assert dict(record.headers)["tg-source-topic-id"] == decision["source"]["topic_id"].encode()
        new_held.append((dict(record.headers)["tg-quarantine-id"] or b"").decode())
    await gate.consent(PROSPECT)
    await transfer(gate, "u-free")
    await gate.settled()
    code, counts = await asyncio.to_thread(gate.place.verify)
    assert (code, counts["inputs"], counts["released"]) == (0, 5, 2)
    code, counts, errors = await asyncio.to_thread(gate.place.audit)
    assert (code, counts["ok"], errors) == (0, 1, "")
    await held_under_one_place(Operator(gate), (old_held.pop() or b"").decode(), new_held[0])


async def test_all_inputs_made_anew_at_rest_are_read_under_new_names_and_what_was_applied_holds(
    gate: StreamGate,
) -> None:
    """Brokers forget the offsets of deleted topics, all of them here. The message advised to set them to where the
    decisions of the former topic ended.
    """
    await gate.settled()
    before = await transfer(gate, "t-1")
    (old,) = (await gate.outputs()).decided(before)
    await gate.worker.terminate()
    for topic in (gate.topics.consents, gate.topics.strays, gate.topics.replay, gate.topics.transfers):
        await remake_topic(gate.place.bootstrap_servers, topic, 1, {"cleanup.policy": "delete"})
    _, output, errors = await asyncio.to_thread(gate.place.run, "doctor")
    assert "FAIL  group offsets" not in output, errors
    await gate.consent("p-new")
    after = await transfer(gate, "u-1")
    assert after.place == before.place
    await gate.place.start_worker().until_ready()
    decided = {one["event_id"]: one for one in (await gate.outputs()).decided(after)}
    assert decided["u-1"]["quarantined"] == old["quarantined"], "what the former topic said is in force"
    assert decided["u-1"]["decision_id"] != old["decision_id"]
    assert decided["u-1"]["source"]["topic_id"]


async def held_under_one_place(operator: Operator, former: str, later: str) -> None:
    """Commands tell records apart that stand at one place of two topics of one name."""

    async def ask(*arguments: str) -> str:
        done = await operator.command(*arguments)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    rows = {
        row["quarantine_id"]: row
        for row in map(json.loads, (await ask("quarantine", "list", "--output", "jsonl")).splitlines())
    }
    assert "topic_id" in rows[later]["source"]
    assert "topic_id" not in rows[former]["source"]
    await ask("quarantine", "discard", later, "--why", "test")
    shown = {one: json.loads(await ask("quarantine", "show", one, "--output", "json")) for one in (former, later)}
    assert (shown[former]["state"], shown[later]["state"]) == ("open", "discarded")
    told = {one: json.loads(await ask("quarantine", "explain", one, "--output", "json")) for one in (former, later)}
    assert {one["then"]["from"] for one in told.values()} == {"decision record"}
    assert {one["then"]["decision_id"] for one in told.values()} == {
        one["attempts"][0]["decision_id"] for one in shown.values()
    }
    decision = told[later]["then"]["decision_id"]
    assert json.loads(await ask("policy", "explain", "--decision", decision, "--output", "json"))
    file = operator.gate.place.folder / "held.jsonl"
    await ask("quarantine", "export", str(file), "--why", "test")
    assert {former, later} <= {json.loads(line)["quarantine_id"] for line in file.read_text("utf-8").splitlines()}


async def test_a_worker_with_an_older_registry_decides_nothing_unless_it_is_told_to(gate: StreamGate) -> None:
    policy = gate.place.folder / "registry" / "policy.yaml"
    content = yaml.safe_load(policy.read_text(encoding="utf-8"))
    await gate.consent(PROSPECT)
    await gate.settled()
    await gate.worker.terminate()
    older = content | {"published_at": "2020-01-01T00:00:00Z"}
    policy.write_text(yaml.safe_dump(older), encoding="utf-8")
    held = await transfer(gate, "t-1")
    log = await refused(gate.place.start_worker())
    assert "is older than the one that decided here last" in log
    assert "--allow-older-registry" in log
    assert (await gate.committed()).get(held.place[:2], 0) <= held.place[2]
    told_to = ["--allow-older-registry", "--why", "rollback of a faulty partner file"]
    await gate.place.start_worker(arguments=told_to).until_ready()
    assert (await gate.outputs()).decided(held)[0]["released"] == ["email", "sms"]
    acts = [
        json.loads(act.value or b"") async for act in read_all(gate.place.bootstrap_servers, [gate.topics.audit], 1)
    ]
    assert [(act["action"], act["outcome"], act["why"]) for act in acts] == [
        ("worker", "allow-older-registry", "rollback of a faulty partner file")
    ]


async def test_what_was_discarded_or_replayed_of_former_topics_says_nothing_of_the_new_ones(gate: StreamGate) -> None:
    """Transfers at offset 0, and replays at offset 0, of the former topics and of those that were made anew."""
    servers, topics = gate.place.bootstrap_servers, gate.topics
    first, former = await held_transfer(gate, PROSPECT)
    await send_back(gate, former, action="discard", why="duplicate")
    await gate.settled()
    for topic in (topics.transfers, topics.replay):
        await remake_topic(servers, topic, 1, {})
    second, later = await held_transfer(gate, PROSPECT)
    assert second.place == first.place
    await gate.consent(PROSPECT)
    again = await send_back(gate, later)
    assert again.place[2] == 0
    outputs = await gate.outputs()
    (released,) = outputs.released_to("acme", PROSPECT)
    assert released["channels"] == ["email", "sms"]
    entries = await ledger_of(gate)
    found = [entry_about(entries, record) for record in (former, later)]
    assert [entry.state for entry in found if entry] == ["discarded", "replayed"]


async def test_a_partition_that_stops_while_it_runs_leaves_the_other_one_deciding(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=2) as gate:
        lost, whole = (next(name for name in map("p-{}".format, range(99)) if gate.home(name) == n) for n in (0, 1))
        await gate.consent(lost)
        await gate.consent(whole)
        await gate.settled()
        gate.worker.freeze()
        # Its last fetch has to end: the broker would answer it with the first of what comes.
        await asyncio.sleep(3 * FETCH_WAIT_MS / 1000)
        missed = await withdraw(gate, lost)
        await gate.consent(lost)
        await delete_records(bootstrap_servers, gate.topics.consents, 0, missed.place[2] + 1)
        stuck = await transfer(gate, "t-0", lost)
        gate.worker.thaw()
        name = "transfer_gate_partition_stopped"
        await gate.worker.until(lambda: gate.worker.metric(name) == 1, "stopped in one partition")
        assert list(gate.worker.metric_by_labels(name)) == [f'{name}{{partition="0",reason="history-lost"}}']
        free = await transfer(gate, "t-1", whole)
        await until_decided(gate, free)
        assert (await gate.committed()).get(stuck.place[:2], 0) <= stuck.place[2]


async def test_workers_on_topics_that_grew_refuse_also_the_one_that_has_only_new_partitions(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=2) as gate:
        await gate.consent(PROSPECT)
        await gate.settled()
        await gate.worker.terminate()
        await grow(gate, 4)
        held = await transfer(gate, "t-1")
        workers = [gate.place.start_worker() for _ in range(2)]
        for worker in workers:
            assert "under 2 partitions, and the topics have 4 now" in await refused(worker)
        assert (await gate.committed()).get(held.place[:2], 0) <= held.place[2]


async def test_a_partition_that_cannot_go_on_stops_itself_and_no_other(bootstrap_servers: str, tmp_path: Path) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=2) as gate:
        lost = next(name for name in map("p-{}".format, range(99)) if gate.home(name) == 0)
        whole = next(name for name in map("p-{}".format, range(99)) if gate.home(name) == 1)
        await gate.consent(lost)
        await gate.consent(whole)
        await gate.settled()
        await gate.worker.terminate()
        missed = await withdraw(gate, lost)
        await delete_records(bootstrap_servers, gate.topics.consents, 0, missed.place[2] + 1)
        stuck = await transfer(gate, "t-0", lost)
        free = await transfer(gate, "t-1", whole)
        worker = gate.place.start_worker()
        name = "transfer_gate_partition_stopped"
        await worker.until(lambda: worker.metric(name) == 1, "stopped in one partition")
        assert list(worker.metric_by_labels(name)) == [f'{name}{{partition="0",reason="history-lost"}}']
        await until_decided(gate, free)
        assert (await gate.committed()).get(stuck.place[:2], 0) <= stuck.place[2]
        assert not worker.ready
        body = await asyncio.to_thread(body_of, f"http://{worker.address}/readyz")
        assert "partition 0" in body
        assert "history-lost" in body


async def until_decided(gate: StreamGate, sent: Sent) -> None:
    """Wait until the group has committed a transfer, whatever waits in other partitions."""
    deadline = asyncio.get_running_loop().time() + 60
    while (await gate.committed()).get(sent.place[:2], 0) <= sent.place[2]:
        assert asyncio.get_running_loop().time() < deadline, gate.place.tails()
        await asyncio.sleep(0.05)


async def test_in_a_rollout_an_old_worker_decides_nothing_behind_a_new_one_and_the_new_one_goes_on(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    """Both run beside each other; then the old one is restarted, and is given a partition that the new one had."""
    async with open_gate(bootstrap_servers, tmp_path, partitions=2, session_timeout_seconds=6) as gate:
        people = [next(name for name in map("p-{}".format, range(99)) if gate.home(name) == n) for n in (0, 1)]
        for prospect in people:
            await gate.consent(prospect)
        newer = with_newer_registry(gate.place, tmp_path / "newer")
        try:
            old, new = gate.worker, newer.start_worker()
            assigned = "transfer_gate_assigned_partitions"
            await new.until(lambda: new.metric(assigned) == 1 and new.ready, "deciding one partition")
            await old.until(lambda: old.metric(assigned) == 1 and old.ready, "deciding the other one")
            beside = [await transfer(gate, f"t-{prospect}", prospect) for prospect in people]
            outputs = await gate.outputs()
            assert len({outputs.decided(one)[0]["policy"]["revision"] for one in beside}) == 2
            await old.terminate()
            await new.until(lambda: new.metric(assigned) == 2 and new.ready, "deciding both")
            await gate.settled()

            again = gate.place.start_worker()
            stopped = "transfer_gate_partition_stopped"
            await again.until(lambda: again.metric(stopped) == 1, "stopped in one partition")
            ((labels, _),) = again.metric_by_labels(stopped).items()
            assert 'reason="registry-older"' in labels
            sent = [await transfer(gate, f"u-{prospect}", prospect) for prospect in people]
            (stuck,) = (one for one in sent if f'partition="{one.place[1]}"' in labels)
            (free,) = (one for one in sent if one is not stuck)
            await until_decided(gate, free)
            assert (await gate.committed()).get(stuck.place[:2], 0) <= stuck.place[2]
            await again.terminate()
            outputs = await gate.outputs()
            revisions = [decision["policy"]["revision"] for one in sent for decision in outputs.decided(one)]
            assert len(revisions) == 2
            assert len(set(revisions)) == 1
        finally:
            newer.close()


def with_newer_registry(place: Installation, folder: Path) -> Installation:
    """The same gate under a registry that was published a moment ago."""
    shutil.copytree(place.folder / "registry", folder / "registry")
    policy = folder / "registry" / "policy.yaml"
    content = yaml.safe_load(policy.read_text(encoding="utf-8"))
    newer = content | {"published_at": dt.datetime.now(dt.UTC).isoformat()}
    policy.write_text(yaml.safe_dump(newer), encoding="utf-8")
    made = place.under(folder / "registry")
    made.folder = folder
    return made


def body_of(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - a worker of ours
            return str(answer.read(), "utf-8")
    except urllib.error.HTTPError as error:
        return error.read().decode()
