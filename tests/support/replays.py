"""Sends quarantined records back, as the replay command does: verbatim, to the partition that they came from."""

from tests.support.clients import read_all
from tests.support.registry import PARTNERS
from tests.support.stream_gate import Sent, StreamGate
from transfer_gate.gate.inbox import Record
from transfer_gate.records import headers as names
from transfer_gate.records.ledger import LedgerEntry, decode_entry
from transfer_gate.records.quarantined import decode_quarantined
from transfer_gate.records.replay_requests import Action


def told(record: Record) -> dict[str, bytes]:
    """The headers of a record by name."""
    return {name: value or b"" for name, value in record.headers}


async def send_back(
    gate: StreamGate, record: Record, run: str = "run-1", action: Action | None = None, why: str | None = None
) -> Sent:
    """Ask for a fresh decision about a quarantined record, or for something else."""
    headers = [header for header in record.headers if header[0] != names.REPLAY_RUN]
    headers.append((names.REPLAY_RUN, run.encode()))
    if action is not None:
        headers.append((names.REPLAY_ACTION, action.encode()))
    if why is not None:
        headers.append((names.REPLAY_WHY, why.encode()))
    value = None if action == "discard" else record.value
    return await gate.send(gate.topics.replay, value, record.key, headers, record.partition)


async def ledger_of(gate: StreamGate) -> dict[str, LedgerEntry]:
    """The last committed entry of every quarantine id."""
    entries: dict[str, LedgerEntry] = {}
    async for record in read_all(gate.place.bootstrap_servers, [gate.topics.ledger], gate.place.partitions):
        assert record.key is not None
        assert record.value is not None
        entries[record.key.decode()] = decode_entry(record.value)
    return entries


def entry_about(entries: dict[str, LedgerEntry], record: Record) -> LedgerEntry | None:
    """What the ledger says of a quarantined record."""
    return entries.get(decode_quarantined(record.headers).quarantine_id)


async def held_transfer(
    gate: StreamGate, prospect: str, partners: tuple[str, ...] = PARTNERS[:1]
) -> tuple[Sent, Record]:
    """A transfer of someone who has not consented, and what quarantine got for its first partner."""
    value = gate.events.transfer(prospect, f"t-{prospect}", partners)
    sent = await gate.send(gate.topics.transfers, value, prospect.encode(), [("trace", b"1")])
    return sent, (await held_for(gate, sent))[-1]


async def held_for(gate: StreamGate, sent: Sent, partner: str = PARTNERS[0]) -> list[Record]:
    """What quarantine holds of a transfer and a partner, in the order of attempts."""
    found = (await gate.outputs()).held(sent)
    return [record for record in found if told(record).get("tg-partner", partner.encode()) == partner.encode()]
