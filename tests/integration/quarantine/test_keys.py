"""A new master key on a running installation: added to every worker, made current, and everything wrapped by it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.quarantine_gate import Operator, hold, id_of, open_sealed_gate
from tests.support.stream_gate import StreamGate
from tests.support.workers import Worker
from transfer_gate.quarantine.master_keys import promote_key
from transfer_gate.records.sealing import load_master_keys

#: The producer of the gate belongs to the loop of the session.
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gate(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamGate]:
    """One gate of two partitions; a worker reads the key file when it starts."""
    async with open_sealed_gate(bootstrap_servers, tmp_path_factory.mktemp("keys")) as opened:
        yield opened


@pytest.fixture
def file(gate: StreamGate) -> Path:
    """The key file that workers and operator share."""
    return gate.place.folder / "keys"


@pytest.fixture
def run(gate: StreamGate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    """An operator of that gate."""
    return Operator(gate, monkeypatch, capsys)


def read(file: Path) -> str:
    """What stands in a file."""
    return file.read_text(encoding="utf-8")


def write(file: Path, content: str) -> None:
    """Give the file to all, as an operator does."""
    file.write_text(content, encoding="utf-8")


async def one_more(gate: StreamGate) -> Worker:
    """Start a worker with the key file as it is now."""
    worker = gate.place.start_worker()
    await worker.until_ready()
    return worker


async def only(gate: StreamGate, wanted: Worker) -> None:
    """Stop all other workers, and wait until this one decides everything."""
    for worker in gate.place.running:
        if worker is not wanted:
            await worker.terminate()
    await wanted.until(lambda: wanted.metric("transfer_gate_assigned_partitions") == gate.place.partitions, "alone")


async def wrapped_by(run: Operator) -> dict[str, int]:
    """How many keys each master key wraps."""
    return {row["master_id"]: row["keys"] for row in (await run.json("key", "status"))["master_keys"]}


async def new_key(run: Operator, file: Path) -> str:
    """Add a key as an operator does; returns its id."""
    before = load_master_keys(file).ids
    code, out, err = await run("key", "new", "--file", file, "--add")
    assert code == 0
    assert f"transfer-gate key promote {out.strip()}" in err
    assert load_master_keys(file).ids == (before[0], out.strip(), *before[1:])
    return out.strip()


async def test_a_partition_that_meets_an_unknown_master_key_stops_itself_and_no_other(
    gate: StreamGate, run: Operator, file: Path
) -> None:
    """A key was made current by hand, before all workers had it: the worker without it goes on with what it can."""
    people = {gate.home(name): name for name in (f"key-{number}" for number in range(20))}
    old, first = load_master_keys(file).current, gate.worker
    promote_key(file, await new_key(run, file))
    second = await one_more(gate)
    for name in people.values():
        await hold(gate, name)
    await gate.settled()
    assert len(wrapped := await wrapped_by(run)) == 2
    assert old in wrapped

    await second.terminate()
    for name in people.values():
        await gate.send(gate.topics.transfers, gate.events.transfer(name, f"again-{name}"), name.encode())
    stopped = "transfer_gate_partition_stopped"
    await first.until(lambda: first.metric(stopped) == 1, "stopped at the key that it lacks")
    ((labels, _),) = first.metric_by_labels(stopped).items()
    assert 'reason="key-missing"' in labels
    number = int(labels.partition('partition="')[2].partition('"')[0])
    assert "give this worker a TRANSFER_GATE_QUARANTINE_KEY_FILE that has the master key" in first.tail()
    other = await gate.send(gate.topics.transfers, None, people[1 - number].encode())

    while (await gate.committed())[other.place[:2]] <= other.place[2]:
        assert first.running
    await one_more(gate)
    await only(gate, gate.worker)
    await gate.settled()


async def test_a_key_becomes_current_once_every_running_worker_has_it(
    gate: StreamGate, run: Operator, file: Path
) -> None:
    """Idle workers count; then all keys are wrapped by it, and what is sealed stays readable."""
    sent = await hold(gate, "key-gina")
    await gate.send(gate.topics.transfers, b"{", None, partition=0)  # sealed by the key of the day
    await gate.settled()
    old = file.with_name("old-keys")
    write(old, read(file))
    before, keys = load_master_keys(file), sum((await wrapped_by(run)).values())
    new = await new_key(run, file)
    added = read(file)
    having, lacking = gate.place.start_worker(), gate.place.start_worker(quarantine_key_file=old)
    await having.until_ready()
    await lacking.until_ready()
    code, _, err = await run("key", "promote", new, "--ticket", "OPS-4")
    assert code == 5
    assert f"2 of 3 running workers do not have the key {new}" in err  # one of the three has no partition
    assert (await run("key", "promote", "0" * 16))[0] == 2
    assert read(file) == added
    acts = (await run.audit_events("key promote"))[-2:]
    assert [(act["outcome"], act["ticket"]) for act in acts] == [("started", "OPS-4"), ("failed", "OPS-4")]

    await only(gate, having)
    assert (await run("key", "promote", new))[:2] == (0, f"{new} is the current key of {file}\n")
    assert load_master_keys(file).ids == (new, *before.ids)
    assert (await run("key", "promote", new))[0] == 3
    done = (await run.audit_events("key promote"))[-1]
    assert (done["outcome"], done["details"]) == ("done", {"master_id": new, "before": before.current, "workers": 1})
    (worker,) = (await run.json("key", "status"))["workers"]
    assert worker["master_keys"] == [before.current, new, *before.ids[1:]]

    code, _, err = await run("key", "rotate", "--wait", "20")
    assert code == 4
    assert "restart" in err
    promoted = read(file)
    keep = next(line for line in promoted.splitlines() if not line.startswith("#"))
    write(file, keep)
    code, _, err = await run("key", "rotate")  # a worker could not be asked to rewrap what the file does not open
    assert code == 4
    assert before.current in err
    write(file, promoted)
    await only(gate, await one_more(gate))
    code, out, err = await run("key", "rotate", "--ticket", "OPS-3")
    assert code == 0, err
    assert out == f"rewrapped {keys} keys under {new}\n"
    assert "old lines may be removed" in err
    assert await wrapped_by(run) == {new: keys}
    assert (await run("key", "rotate"))[1] == f"rewrapped 0 keys under {new}\n"
    assert (await run.audit_events("key rotate"))[-3]["ticket"] == "OPS-3"

    # Without the old master keys everything can still be read.
    write(file, keep)
    shown = await run.json("quarantine", "show", id_of(sent, "acme"))
    assert shown["payload"]["condition"] == "decrypted"
