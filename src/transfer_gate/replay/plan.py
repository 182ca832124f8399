"""A replay plan: the records that it sends back, frozen, and what a decision would have said when it was made."""

import datetime as dt
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.errors import InvalidInput
from transfer_gate.replay.plan_items import FINGERPRINT_BYTES, Item, Items, decoded, encoded
from transfer_gate.replay.results import Result

__all__ = [
    "Item",
    "Items",
    "Move",
    "Plan",
    "PlanFile",
    "checked_id",
    "digest_of",
    "fingerprint_of",
    "load_plan",
    "plan_file",
    "save_plan",
]

_PLAN_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: What stands in front of the items of a plan, its last member; quotes within texts are escaped.
_ITEMS_AT: Final = b'"items":['


class Move(Struct, frozen=True, kw_only=True):
    """How many channels of a partner held for `reason` would come to `outcome`: `released`, `erased`, `refused`, or
    the reason for which they would be held again. `partner_id` is None for records that could not be read."""

    partner_id: str | None
    reason: str
    outcome: str
    channels: int


class Plan(Struct, frozen=True, kw_only=True):
    """What `replay plan` froze. Times are UTC.

    - `by`, `at`, `ticket`, `filter`: who made it, when, what for, by which filter.
    - `topic`, `ends`: the quarantine topic, and by partition the offset below which the filter looked.
    - `revision`: of the registry that the forecast was made with; the gate decides by its own.
    - `items`: in the order in which they were quarantined.
    - `moves`: the forecast by partner and reason; `not_replayable`: unreadable consent events that the filter matched,
      which no plan sends.
    """

    plan_id: str
    by: str
    at: dt.datetime
    ticket: str | None
    filter: dict[str, Any]
    topic: str
    ends: dict[str, int]
    revision: str
    forecasts: tuple[Result, ...]
    moves: tuple[Move, ...]
    not_replayable: int
    items: Sequence[Item]

    def outcomes(self) -> dict[str, int]:
        """Number of records by the outcome that was forecast."""
        items = self.items
        by_forecast = items.forecasts() if isinstance(items, Items) else Counter(item.forecast for item in items)
        counts: Counter[str] = Counter()
        for number, records in by_forecast.items():
            counts[self.forecasts[number].outcome] += records
        return dict(counts)


class PlanFile(Struct, frozen=True, kw_only=True):
    """What stands in the folder of plans."""

    digest: str
    plan: Plan


def digest_of(plan: Plan) -> str:
    """SHA-256 over the whole plan as canonical JSON: approvals and runs are bound to it."""
    digest = sha256()
    for part in _encoded(plan):
        digest.update(part)
    return digest.hexdigest()


def _encoded(plan: Plan) -> Iterator[bytes]:
    """A plan as JSON, in parts that follow each other: its items would be too much at once."""
    head = msgspec.json.encode(replace(plan, items=()))
    yield head[: -len(b"[]}")]
    yield from encoded(plan.items)
    yield b"}"


def fingerprint_of(record: ConsumerRecord) -> str:
    """Stands for key, value and headers of a record, byte for byte."""
    parts = [record.key, record.value]
    for name, text in record.headers:
        parts += (name.encode("utf-8", "surrogateescape"), text)  # a name may be any bytes (PEP 383)
    framed = [b"-" if part is None else b"%d:%b" % (len(part), part) for part in parts]
    return sha256(b"".join(framed)).digest()[:FINGERPRINT_BYTES].hex()


def checked_id(plan_id: str) -> str:
    """The id of a plan as a user gave it. Raises InvalidInput when it can't be one."""
    if not _PLAN_ID.fullmatch(plan_id):
        raise InvalidInput(f"{plan_id!r} is no plan id", do="give the id that `transfer-gate replay plan` printed")
    return plan_id


def plan_file(data_dir: Path, plan_id: str) -> Path:
    """Where the file of a plan stands."""
    return data_dir / "plans" / f"{plan_id}.json"


def save_plan(file: Path, plan: Plan, digest: str) -> None:
    """Write a plan file whole or not at all. Raises InvalidInput when it can't be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".plan-")
        with os.fdopen(handle, "wb") as temporary:
            temporary.write(b'{"digest":%b,"plan":' % msgspec.json.encode(digest))
            temporary.writelines(_encoded(plan))
            temporary.write(b"}")
            temporary.flush()
            os.fsync(temporary.fileno())
        Path(name).replace(file)
    except OSError as error:
        raise InvalidInput(f"{file} can't be written: {error.strerror}", do="check path and rights") from None


def load_plan(file: Path) -> Plan | None:
    """The plan in a file, None when there is no such file. Raises InvalidInput when it is no plan."""
    try:
        text = file.read_bytes()
        at = text.rindex(_ITEMS_AT) + len(_ITEMS_AT)
        stop = text.rindex(b"]")
        plan = msgspec.json.decode(text[:at] + text[stop:], type=PlanFile).plan
        return replace(plan, items=decoded(text, at, stop))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # msgspec.DecodeError is a ValueError
        raise InvalidInput(
            f"{file} can't be read as a plan: {error}", do="remove it: the audit topic has the plan as well"
        ) from None
