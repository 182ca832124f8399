"""`transfer-gate sample`: transfers of the shape of real traffic, about invented people, for staging."""

import datetime as dt
import re
from typing import Final

import click
import msgspec

from transfer_gate.cli.options import with_ticket, with_why
from transfer_gate.cli.render import echo
from transfer_gate.errors import NothingMatched
from transfer_gate.kafka.clients import silence_clients
from transfer_gate.kafka.session import Session, in_session
from transfer_gate.operators import audit_event, audited
from transfer_gate.partners.alike import Inventor
from transfer_gate.records.input_json import UnreadableRecord
from transfer_gate.records.transfers import decode_transfer
from transfer_gate.registry import load_registry
from transfer_gate.settings import load_settings

_RANGE: Final = re.compile(r"([0-9]{1,6}):([0-9]{1,15})-([0-9]{1,15})")


@click.command()
@click.option("--like", "like", required=True, metavar="RANGE", help="PARTITION:FROM-TO of the transfers; TO excluded.")
@with_why
@with_ticket
def sample(like: str, why: str | None, ticket: str | None) -> None:
    """Print transfers of the shape of the real ones in RANGE, about invented people; audited.

    A line each: key, tab, JSON, as kcat takes them. Kept are fields, partners, channels, countries, kinds and lengths;
    names, contact points, ids, hours and values are made up. What can't be read is left out and counted.
    """
    silence_clients()
    found = _RANGE.fullmatch(like)
    if found is None or int(found[2]) >= int(found[3]):
        raise click.UsageError("--like: not a range such as 0:1000-2000")
    partition, start, end = (int(number) for number in found.groups())
    settings = load_settings()
    inventor = Inventor(load_registry(settings.registry), dt.datetime.now(dt.UTC).replace(microsecond=0))

    async def run(session: Session) -> tuple[int, int]:
        topic = settings.topics.transfers
        counts = await session.cluster.partitions(topic)
        begins, ends = await session.reader.bounds({topic: counts.get(topic, 0)}, committed_only=True)
        place = next((place for place in ends if place.partition == partition), None)
        if place is None or max(start, begins[place]) >= min(end, ends[place]):
            return 0, 0
        made = left_out = 0
        event = audit_event(settings, "sample", why=why, ticket=ticket, details={"like": like})
        async with audited(session, event) as ending:
            within = {place: min(end, ends[place])}, {place: max(start, begins[place])}
            async for records in session.reader.records(*within):
                for record in records:
                    try:
                        real = decode_transfer(record.value, record.headers)
                    except UnreadableRecord:
                        left_out += 1
                        continue
                    transfer = inventor.invent(real)
                    echo(msgspec.json.encode(transfer).decode(), styled=f"{transfer['prospect_id']}\t")
                    made += 1
            ending.details = {"like": like, "made": made, "left_out": left_out}
        return made, left_out

    made, left_out = in_session(settings, run)
    if not made + left_out:
        raise NothingMatched(
            "no transfer stands in that range", do="`kafka-get-offsets.sh` shows which offsets there are"
        )
    echo(f"{made:,} made, {left_out:,} left out that can't be read", err=True)
