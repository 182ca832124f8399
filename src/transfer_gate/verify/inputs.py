"""What the input topics ask for, in arrays: some 110 bytes a transfer, so that millions fit in memory; and their
consent events that can't be read.

A *unit* is what one input record asks of one partner; its channels are bits of a mask."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

from transfer_gate.gate.integrity.identity import FIRST_LIVES, TopicLives
from transfer_gate.model.terms import CHANNELS
from transfer_gate.model.transfer import Contact, Transfer
from transfer_gate.records import headers as names
from transfer_gate.records.consents import is_readable
from transfer_gate.records.forms import is_unidentified
from transfer_gate.records.headers import PREFIX, Headers
from transfer_gate.records.partitioner import EVERYWHERE, TopicPlacements
from transfer_gate.records.quarantined import Reference
from transfer_gate.records.sealing import LONGEST_KEY
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer

_REFERENCE: Final = msgspec.json.Decoder(Reference)

#: The bit of each channel in a mask; the one above stands for a record that could not be read.
BITS: Final = {channel: 1 << place for place, channel in enumerate(CHANNELS)}
WHOLE: Final = 1 << len(CHANNELS)
#: The partner of a unit whose record could not be read.
NO_PARTNER: Final = ""

#: Why the gate does not look at a value, its size and SHA-256 (hex).
Unheld: TypeAlias = tuple[str, int, str]

#: Shapes of an input record.
READABLE: Final = 0
UNDECODABLE: Final = 1
SCHEMA_INVALID: Final = 2
KEY_MISMATCH: Final = 3
KEY_MISPLACED: Final = 4
TOO_LARGE: Final = 5
UNIDENTIFIED: Final = 6


def mask_of(channels: Iterable[str]) -> int:
    """Channels as bits. Raises KeyError for a word that is no channel."""
    mask = 0
    for channel in channels:
        mask |= BITS[channel]  # type: ignore[index]  # any string may come in; the KeyError is the answer
    return mask


def fingerprint(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Stands for the bytes of a record without the gate's headers; equal records are equal within this process."""
    return hash((key, value, tuple([header for header in headers if not header[0].startswith(PREFIX)])))


def reference_fingerprint(key: bytes | None, size: int, digest: str) -> int:
    """The same of a record whose value is not at hand, but its size and SHA-256 (hex). A key that no prospect has
    counts for none, as it is left out in quarantine."""
    return hash((key if key is not None and len(key) <= LONGEST_KEY else None, size, digest))


def referred(
    key: bytes | None, sent: Headers, own: Mapping[str, bytes], content: int | None, shell: int | None
) -> bool:
    """Whether a quarantine record by reference (header `tg-reference` among `own`) is that of an input record.

    Of a record whose value the gate looked at, so that it has a `shell`, only key and headers can be compared here.
    """
    try:
        reference = _REFERENCE.decode(own[names.REFERENCE])
        place = own[names.SOURCE_TOPIC].decode(), int(own[names.SOURCE_PARTITION]), int(own[names.SOURCE_OFFSET])
    except (KeyError, ValueError, msgspec.DecodeError):
        return False
    if (reference.topic, reference.partition, reference.offset) != place or content is None:
        return False
    if content == shell:
        return reference_fingerprint(key, reference.size, reference.sha256) == content
    return reference.headers_left_out or reference.key_size is not None or fingerprint(key, b"", sent) == shell


def topic_id_of(own: Mapping[str, bytes]) -> str | None:
    """The id of the topic that a quarantine record names as its source's; None for the first of its name. Raises
    UnicodeDecodeError."""
    found = own.get(names.SOURCE_TOPIC_ID)
    return found.decode() if found is not None else None


def points_of(contact: Contact | None) -> tuple[int, int, int]:
    """Stand for the e-mail address, the number and the postal address of a person; 0 for one that is absent."""
    if contact is None:
        return 0, 0, 0
    email, phone, postal = contact.email, contact.phone, contact.postal
    return (
        hash(email.value) if email else 0,
        hash(phone.value) if phone else 0,
        hash((postal.lines, postal.postal_code, postal.city, postal.country)) if postal else 0,
    )


class PartitionInputs:
    """The input records of one partition, in the order of their offsets, and what became of their units.

    Columns of one length: `offsets`, `shapes`, `contents` (fingerprints), `shells` (the same without value), `digests`
    (hashes of the SHA-256 of the value), `events`,
    `people`, `emails`, `phones`,
    `postals` (hashes), `first` (its units are `first[i]` up to `first[i + 1]`). Columns by unit: `partners`, `asked`,
    `released`, `held` by the first decision; and of the replays, `attempts` (newest in quarantine), `now` (held at it),
    `due` (must have gone out), `later` (went out).
    """

    def __init__(self) -> None:
        self.offsets, self.contents, self.shells, self.digests = array("q"), array("q"), array("q"), array("q")
        self.events, self.people = array("q"), array("q")
        self.emails, self.phones, self.postals = array("q"), array("q"), array("q")
        self.shapes = array("b")
        self.first = array("q", [0])
        self.partners, self.asked, self.released, self.held = array("i"), array("B"), array("B"), array("B")
        self.attempts, self.now, self.due, self.later = array("H"), array("B"), array("B"), array("B")

    def position(self, offset: int) -> int | None:
        """Where the record of an offset stands in the columns; None when it was not read."""
        index = bisect_left(self.offsets, offset)
        return index if index < len(self.offsets) and self.offsets[index] == offset else None

    def units(self, index: int) -> range:
        """The units of a record."""
        return range(self.first[index], self.first[index + 1])

    def unit_of(self, index: int, partner: int) -> int | None:
        """The unit of a record and a partner; None when it was not asked for."""
        for unit in self.units(index):
            if self.partners[unit] == partner:
                return unit
        return None

    def begin(self, offset: int, content: int, shell: int, shape: int, digest: int) -> None:
        """Start the next record; `units_of` or `whole` must follow."""
        self.offsets.append(offset)
        self.contents.append(content)
        self.shells.append(shell)
        self.digests.append(digest)
        self.shapes.append(shape)

    def identify(self, event: int, person: int, points: tuple[int, int, int]) -> None:
        """Complete a record: its event, its person, their contact points."""
        self.events.append(event)
        self.people.append(person)
        for column, point in zip((self.emails, self.phones, self.postals), points, strict=True):
            column.append(point)

    def ask(self, partner: int, mask: int) -> None:
        """Add a unit to the record that was begun last."""
        self.partners.append(partner)
        self.asked.append(mask)
        for column in (self.released, self.held, self.attempts, self.now, self.due, self.later):
            column.append(0)

    def end(self) -> None:
        """End the record that was begun last."""
        self.first.append(len(self.partners))


class Inputs:
    """Every input record, by partition."""

    def __init__(
        self,
        ranges: Mapping[int, range],
        placements: TopicPlacements = EVERYWHERE,
        unidentified: AbstractSet[str] = frozenset(),
    ) -> None:
        """`ranges`: the offsets of each partition that are read; what lies outside is no input of this account.
        `unidentified`: see `decode_consent`.
        """
        self.ranges = ranges
        self._placements = placements
        self._unidentified = unidentified
        self.partitions: dict[int, PartitionInputs] = {}
        self.partner_ids: list[str] = []
        self._numbers: dict[str, int] = {}

    def add(
        self,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        unheld: Unheld | None = None,
    ) -> None:
        """Take in the next record of its partition; `unheld`: the gate does not look at its value."""
        part = self.partitions.get(partition)
        if part is None:
            part = self.partitions[partition] = PartitionInputs()
        if unheld is not None:
            why, size, digest = unheld
            content = reference_fingerprint(key, size, digest)
            part.begin(offset, content, content, TOO_LARGE if why == "too-large" else UNDECODABLE, hash(digest))
            part.identify(0, 0, (0, 0, 0))
            part.ask(self.number(NO_PARTNER), WHOLE)
            part.end()
            return
        content, shell = fingerprint(key, value, headers), fingerprint(key, b"", headers)
        summed = hash(sha256(value or b"").hexdigest())
        try:
            transfer = decode_transfer(value, headers)
        except (Undecodable, SchemaInvalid) as error:
            shape = UNDECODABLE if isinstance(error, Undecodable) else SCHEMA_INVALID
            part.begin(offset, content, shell, shape, summed)
            part.identify(0, 0, (0, 0, 0))
            part.ask(self.number(NO_PARTNER), WHOLE)
        else:
            shape = READABLE
            if transfer.prospect_id.encode() != key:
                shape = KEY_MISMATCH
            elif self._placements.misplaced(key, partition, offset):
                shape = KEY_MISPLACED
            elif is_unidentified(transfer.prospect_id, self._unidentified):
                shape = UNIDENTIFIED
            part.begin(offset, content, shell, shape, summed)
            self._ask(part, transfer)
        part.end()

    def _ask(self, part: PartitionInputs, transfer: Transfer) -> None:
        part.identify(hash(transfer.event_id), hash(transfer.prospect_id), points_of(transfer.contact))
        mask = mask_of(transfer.channels)
        for partner in transfer.partner_ids:
            part.ask(self.number(partner), mask)

    def number(self, partner: str) -> int:
        """A small number for a partner id, always the same."""
        number = self._numbers.get(partner)
        if number is None:
            number = self._numbers[partner] = len(self.partner_ids)
            self.partner_ids.append(partner)
        return number

    def count(self) -> int:
        """How many input records there are."""
        return sum(len(part.offsets) for part in self.partitions.values())

    def expected(self) -> int:
        """How many (input record, partner, channel) there are; a record that could not be read is one."""
        return sum(mask.bit_count() for part in self.partitions.values() for mask in part.asked)

    def last_offset(self, partition: int) -> int:
        """Offset of the last record of a partition; -1 when there is none."""
        part = self.partitions.get(partition)
        return part.offsets[-1] if part is not None else -1

    def within(self, partition: int, offset: int) -> bool:
        """Whether an input record at this place would have been read: neither deleted by retention nor too late."""
        return offset in self.ranges.get(partition, range(0))

    def by_event(self) -> dict[int, list[tuple[PartitionInputs, int]]]:
        """Hash of an event id to its records. Large: only for released records that have no decision."""
        places: dict[int, list[tuple[PartitionInputs, int]]] = {}
        for part in self.partitions.values():
            for index, event in enumerate(part.events):
                places.setdefault(event, []).append((part, index))
        return places


class UnreadableConsents:
    """The unreadable ones among the consent events, by place."""

    def __init__(
        self,
        ranges: Mapping[int, range],
        placements: TopicPlacements = EVERYWHERE,
        unidentified: AbstractSet[str] = frozenset(),
    ) -> None:
        """`ranges`: the offsets of each partition that are read; `unidentified`: see `decode_consent`."""
        self.duplicated = self.misrouted = self.outside = 0
        self._ranges = ranges
        self._placements = placements
        self._unidentified = unidentified
        self._topic, self._lives = "", FIRST_LIVES
        #: Readable ones that are no strays, but were once folded anew after the topics had grown: these are copied.
        self._may_be_copied: set[tuple[int, int]] = set()
        #: Fingerprints with and without the value.
        self._contents: dict[tuple[int, int], tuple[int, int]] = {}
        self._copied: set[tuple[int, int]] = set()

    def add(
        self,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        unheld: Unheld | None = None,
    ) -> None:
        """Take in one consent event; see `Inputs.add`."""
        if unheld is not None:
            content = reference_fingerprint(key, *unheld[1:])
            self._contents[partition, offset] = content, content
            return
        moved, readable = (
            self._placements.moved(key, partition, offset),
            is_readable(value, key, self._unidentified, headers),
        )
        if moved or self._placements.misplaced(key, partition, offset) or not readable:
            self._contents[partition, offset] = fingerprint(key, value, headers), fingerprint(key, b"", headers)
            if moved and readable:
                self._may_be_copied.add((partition, offset))

    def of_topic(self, topic: str, lives: TopicLives) -> None:
        """Leave copies out that are of events of a former `topic` of its name."""
        self._topic, self._lives = topic, lives

    def copy(self, key: bytes | None, value: bytes | None, sent: Headers, *, opened: bool = True) -> None:
        """Take in one quarantine record that came from `consent-events`; see `Outcomes.quarantine`."""
        own = {name: text or b"" for name, text in sent if name.startswith(names.PREFIX)}
        try:
            place = int(own[names.SOURCE_PARTITION]), int(own[names.SOURCE_OFFSET])
            topic_id = topic_id_of(own)
        except (KeyError, ValueError):
            self.misrouted += 1
            return
        if topic_id != self._lives.own(self._topic, place[0]) or place[1] not in self._ranges.get(place[0], range(0)):
            self.outside += 1
        elif not self._same(place, key, value, sent, own, opened) or own.get(names.STAGE) != b"consent":
            self.misrouted += 1
        elif place in self._copied:
            self.duplicated += place not in self._may_be_copied
        else:
            self._copied.add(place)

    def _same(
        self,
        place: tuple[int, int],
        key: bytes | None,
        value: bytes | None,
        sent: Headers,
        own: Mapping[str, bytes],
        opened: bool,
    ) -> bool:
        whole, shell = self._contents.get(place, (None, None))
        if names.REFERENCE in own:
            return referred(key, sent, own, whole, shell)
        return fingerprint(key, value if opened else b"", sent) == (whole if opened else shell)

    def missing(self) -> int:
        """How many have no copy."""
        return len(self._contents) - len(self._copied | self._may_be_copied)
