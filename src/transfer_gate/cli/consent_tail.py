"""`transfer-gate consent tail`: consent events as they come, masked."""

import asyncio
from typing import Any, Literal

import click

from transfer_gate.cli.render import echo, echo_json
from transfer_gate.kafka.session import open_session
from transfer_gate.quarantine.export import shared_domains, time_of
from transfer_gate.quarantine.search import Place
from transfer_gate.records.cloudevents import plain_value
from transfer_gate.records.masking import MASK, masked
from transfer_gate.settings import Settings, load_settings

_COLUMNS = ("event at", "received (UTC)", "type", "state", "dated", "channels")
_WIDTHS = (14, 24, 18, 11, 25, 0)


@click.command()
@click.option("--from-beginning", is_flag=True, help="All that the topic holds, too, not only what comes from now on.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="End after so many; default: go on until Ctrl-C."
)
@click.option("--output", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
def tail(from_beginning: bool, limit: int | None, output: Literal["table", "jsonl"]) -> None:
    """Show consent events as they come, nobody named.

    Aborted transactions never show; events behind an open one come when it ends. Ctrl-C ends it, exit 130.
    """
    settings = load_settings()
    asyncio.run(_tail(settings, output, limit, from_beginning=from_beginning))


async def _tail(settings: Settings, output: str, limit: int | None, *, from_beginning: bool) -> None:
    topic = settings.topics.consents
    domains, shown = shared_domains(settings), 0
    async with open_session(settings) as session:
        partitions = await session.cluster.partitions(topic)
        if output == "table":
            _print_cells(_COLUMNS)
        async with session.reader.follow(partitions, from_end=not from_beginning) as follower:
            while shown != limit:
                for record in (await follower.more())[: None if limit is None else limit - shown]:
                    row = _row(record, domains)
                    if output == "jsonl":
                        echo_json(row, indent=None)
                    else:
                        _print_cells(_cells(row))
                    shown += 1


def _row(record: Any, domains: frozenset[str]) -> dict[str, Any]:
    return {
        "place": str(Place(record.partition, record.offset)),
        "received_at": time_of(record.timestamp),
        "event": None
        if record.value is None
        else masked(plain_value(record.value, record.headers) or record.value, domains),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    event = row["event"]
    about = event if isinstance(event, dict) else {}
    scope = about.get("scope")
    channels = about.get("channels") or (scope.get("channels") if isinstance(scope, dict) else None)
    listed = ", ".join(map(str, channels)) if isinstance(channels, list) else channels
    kind = about.get("type") or MASK
    return tuple(
        str(cell or "-")
        for cell in (row["place"], row["received_at"], kind, about.get("state"), about.get("event_time"), listed)
    )


def _print_cells(cells: tuple[str, ...]) -> None:
    echo("  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip())
