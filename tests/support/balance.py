"""A second opinion on promise 2: counts what went in and what came out, sharing no code with the product."""

from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from tests.support.clients import read_all
from tests.support.registry import PARTNERS
from tests.support.workers import Installation
from transfer_gate.gate.inbox import Record

#: A party that no registry knows; transfers to it can only be held.
STRANGER: Final = "nobody"
_PARTIES: Final = (*PARTNERS, STRANGER)
_CHANNELS: Final = ("email", "sms")
_UNITS: Final = len(_PARTIES) * len(_CHANNELS)
#: A record that can't be read has this one unit.
_WHOLE: Final = 0


@dataclass
class Balance:
    """Counts of (input record, partner, channel); a record that can't be read is one.

    The last three also count the copies of consent events that can't be read, of which each must be there once.
    """

    inputs: int = 0
    expected: int = 0
    released: int = 0
    quarantined: int = 0
    missing: int = 0
    duplicated: int = 0
    #: In a wrong place, altered, or never asked for.
    misrouted: int = 0

    def as_counts(self) -> dict[str, int]:
        """As `transfer-gate verify --json` prints them."""
        return asdict(self)


class Ledger:
    """Every input record by its place, and how often each of its units came out."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, int], int] = {}
        self._events: dict[str, int] = {}
        self._contents = array("q")
        self._readable = bytearray()
        self._asked = bytearray()
        self._came = bytearray()
        self._copies: dict[tuple[int, int], int] = {}
        self._unreadable: dict[tuple[int, int], int] = {}
        self.balance = Balance()

    def enter(self, record: Record) -> None:
        """Take in one record of the input topic."""
        number = len(self._contents)
        self._places[record.partition, record.offset] = number
        self._contents.append(hash((record.key, record.value)))
        asked = bytearray(_UNITS)
        transfer = _parsed(record.value)
        # The load writes two kinds that can't be read: no JSON, and JSON without partners.
        if transfer is not None and "partner_ids" not in transfer:
            transfer = None
        self._readable.append(transfer is not None)
        if transfer is None:
            asked[_WHOLE] = 1
        else:
            assert self._events.setdefault(transfer["event_id"], number) == number, "the test wrote an event twice"
            for unit in _units(transfer["partner_ids"], transfer["channels"]):
                asked[unit] = 1
        self._asked += asked
        self._came += bytes(_UNITS)
        self.balance.inputs += 1
        self.balance.expected += sum(asked)

    def released(self, record: Record, partner: str) -> None:
        """Take in one record of the topic of `partner`."""
        sent = orjson.loads(record.value or b"")
        number = self._events.get(sent["event_id"])
        units = _units([sent["partner_id"]], sent["channels"])
        if number is None or sent["partner_id"] != partner or sent["prospect_id"].encode() != record.key:
            self.balance.misrouted += len(units)
            return
        self.balance.released += self._count(number, units)

    def quarantined(self, record: Record) -> None:
        """Take in one record of the quarantine topic."""
        told = dict(record.headers)
        number = self._places.get(_source(record))
        partner, channels = told.get("tg-partner"), told.get("tg-channels")
        units = [_WHOLE] if partner is None else _units([partner.decode()], orjson.loads(channels or b"[]"))
        whole = partner is None
        if (
            number is None
            or self._contents[number] != hash((record.key, record.value))
            or whole == bool(self._readable[number])
        ):
            self.balance.misrouted += len(units)
            return
        self.balance.quarantined += self._count(number, units)

    def enter_consent(self, record: Record) -> None:
        """Take in one record of the consent topic; only one that can't be read asks for something, for a copy."""
        if _parsed(record.value) is None:
            self._unreadable[record.partition, record.offset] = hash((record.key, record.value))

    def copied(self, record: Record) -> None:
        """Take in one record of the quarantine topic that comes from the consent topic."""
        where = _source(record)
        if self._unreadable.get(where) == hash((record.key, record.value)):
            self._copies[where] = self._copies.get(where, 0) + 1
        else:
            self.balance.misrouted += 1

    def close(self) -> Balance:
        """Count what never came, and what came too often."""
        self.balance.missing += len(self._unreadable) - len(self._copies)
        self.balance.duplicated += sum(self._copies.values()) - len(self._copies)
        for asked, came in zip(self._asked, self._came, strict=True):
            if asked:
                self.balance.missing += came == 0
                self.balance.duplicated += max(0, came - 1)
            else:
                self.balance.misrouted += came
        return self.balance

    def _count(self, number: int, units: Sequence[int]) -> int:
        for unit in units:
            self._came[number * _UNITS + unit] += 1
        return sum(self._asked[number * _UNITS + unit] for unit in units)


async def balance(place: Installation) -> Balance:
    """Read everything that is committed on this installation and count it."""
    topics, ledger = place.topics, Ledger()
    transfers = topics.transfers.encode()
    async for record in read_all(place.bootstrap_servers, [topics.transfers], place.partitions):
        ledger.enter(record)
    async for record in read_all(place.bootstrap_servers, [topics.consents], place.partitions):
        ledger.enter_consent(record)
    for partner in PARTNERS:
        topic = f"{topics.prefix}partner.{partner}"
        async for record in read_all(place.bootstrap_servers, [topic], place.partitions):
            ledger.released(record, partner)
    async for record in read_all(place.bootstrap_servers, [topics.quarantine], place.partitions):
        from_transfers = dict(record.headers)["tg-source-topic"] == transfers
        (ledger.quarantined if from_transfers else ledger.copied)(record)
    return ledger.close()


def _units(partners: Sequence[str], channels: Sequence[str]) -> list[int]:
    return [
        _PARTIES.index(partner) * len(_CHANNELS) + _CHANNELS.index(channel)
        for partner in partners
        for channel in channels
    ]


def _source(record: Record) -> tuple[int, int]:
    told = dict(record.headers)
    return int(told["tg-source-partition"] or -1), int(told["tg-source-offset"] or -1)


def _parsed(value: bytes | None) -> dict[str, Any] | None:
    try:
        parsed: dict[str, Any] = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    return parsed
