"""How listings of quarantine look: lines that are written as they are found, pages, counts."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

from transfer_gate.cli.render import echo, echo_json
from transfer_gate.errors import NothingMatched
from transfer_gate.printable import without_contacts
from transfer_gate.quarantine.export import described
from transfer_gate.quarantine.search import Found, Place
from transfer_gate.records.ledger import OPEN

Output = Literal["table", "json", "jsonl"]
#: (partner, first reason) to (records, of them open).
Tally = dict[tuple[str, str], tuple[int, int]]

#: Columns of the table and their widths; lines are written one by one, so widths can't follow what is found.
_COLUMNS: Final = (
    ("quarantine id", 36),
    ("place", 12),
    ("held at (UTC)", 19),
    ("try", 3),
    ("state", 10),
    ("partner", 20),
    ("channels", 14),
    ("reasons", 0),
)


async def print_page(found: AsyncIterator[Found], most: int | None, output: Output, *, reveal: bool) -> Place | None:
    """Print up to `most` records; returns the place of the last one if there is more. Raises NothingMatched."""
    page: list[dict[str, Any]] = []
    count, last, following = 0, None, None
    async for one in found:
        if count == most:
            following = last
            break
        count += 1
        last = Place(one.record.partition, one.record.offset)
        if output == "json":
            page.append(described(one, reveal=reveal))
        elif output == "jsonl":
            echo_json(described(one, reveal=reveal), indent=None)
        else:
            if count == 1:
                echo(_line([title for title, _ in _columns(reveal)], reveal))
            echo(_line(_cells(described(one, reveal=reveal), reveal), reveal))
    if not count:
        raise _nothing()
    if output == "json":
        told = {"records": page, "next": None if following is None else str(following)}
        echo_json(told)
    return following


async def tally(found: AsyncIterator[Found]) -> Tally:
    """Count by partner and first reason. Raises NothingMatched."""
    records: Counter[tuple[str, str]] = Counter()
    still_open: Counter[tuple[str, str]] = Counter()
    async for one in found:
        about = (without_contacts(one.held.partner_id or ""), one.held.reason)
        records[about] += 1
        still_open[about] += one.state == OPEN
    if not records:
        raise _nothing()
    return {about: (count, still_open[about]) for about, count in sorted(records.items(), key=lambda pair: -pair[1])}


def print_tally(counts: Tally, output: Output) -> None:
    """Print counts, the greatest first."""
    rows = [
        {"partner": partner or None, "reason": reason, "records": records, "open": still_open}
        for (partner, reason), (records, still_open) in counts.items()
    ]
    if output == "jsonl":
        for row in rows:
            echo_json(row, indent=None)
    elif output == "json":
        echo_json({"counts": rows})
    else:
        echo(f"{'partner':<24} {'first reason':<32} {'records':>10} {'open':>10}")
        for (partner, reason), (records, still_open) in counts.items():
            echo(f"{partner or '(could not be read)':<24} {reason:<32} {records:>10,} {still_open:>10,}")


def _columns(reveal: bool) -> tuple[tuple[str, int], ...]:
    return (*_COLUMNS[:-1], ("prospect", 20), _COLUMNS[-1]) if reveal else _COLUMNS


def _line(cells: list[str], reveal: bool) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, (_, width) in zip(cells, _columns(reveal), strict=True)).rstrip()


def _cells(row: dict[str, Any], reveal: bool) -> list[str]:
    reasons = dict.fromkeys(reason for of_channel in row["reasons"].values() for reason in of_channel)
    cells = [
        row["quarantine_id"],
        row["place"],
        row["quarantined_at"][:19],
        str(row["attempt"]),
        row["state"],
        row["partner"] or "-",
        ",".join(row["channels"]) or "-",
    ]
    return [*cells, *([row["prospect_id"] or "-"] if reveal else []), ", ".join(reasons)]


def _nothing() -> NothingMatched:
    return NothingMatched("nothing in quarantine matches", do="widen the filter; times are those of the broker's clock")
