"""What became of what was held: the attempts of each unit, one after the other, against the replay ledger.

The channels held at attempt n are, exactly once each, released at attempt n + 1 or held again at attempt n + 1; the
ledger says which attempt is the last, and whether something is open, replayed or discarded. Violations count channels.
"""

from collections.abc import Callable

from transfer_gate.kafka import ConsumerRecord
from transfer_gate.records.ledger import DISCARDED, OPEN, REPLAYED, LedgerIndex, LedgerStatus
from transfer_gate.verify.inputs import NO_PARTNER, Inputs, PartitionInputs


class ReplayLedger:
    """The ledger as of a moment, and which ids changed afterwards, while outcomes were read."""

    def __init__(self) -> None:
        #: By partition of the ledger, until the first question.
        self._partitions: dict[int, LedgerIndex] = {}
        self._moving: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._moving) or len(self._index) > 0

    @property
    def _index(self) -> LedgerIndex:
        first, *others = self._partitions.values() or (LedgerIndex(),)
        if others:
            for other in others:
                first.join(other)
            self._partitions = {0: first}
        return first

    def add(self, record: ConsumerRecord) -> None:
        """Take in one record, in the order of its partition."""
        if record.key is not None:
            self._partitions.setdefault(record.partition, LedgerIndex()).put(record.key, record.value)

    def add_change(self, record: ConsumerRecord) -> None:
        """Take in one record that was written after the moment."""
        if record.key is not None:
            self._moving.add(hash(record.key.decode()))

    def get(self, quarantine_id: str) -> LedgerStatus | None:
        """Status of an id at the moment."""
        return self._index.get(quarantine_id)

    def moves(self, quarantine_id: str) -> bool:
        """Whether it changed after the moment: then outcomes may be newer than the status."""
        return hash(quarantine_id) in self._moving


class Chains:
    """Follows every unit that was ever held. Take in quarantine records in the order of each partition, then releases.

    `open`, `replayed`, `discarded` say where the held channels are now; `moving` those on which the gate worked while
    they were counted.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.open = self.replayed = self.discarded = self.moving = 0
        self.missing = self.duplicated = self.misrouted = 0
        self._inputs = inputs
        #: (partition, unit) of those that were held as one whole record, though they are one of several.
        self._whole: set[tuple[int, int]] = set()

    def first(self, part: PartitionInputs, unit: int, mask: int) -> None:
        """Channels are held by the first decision; repetitions are counted elsewhere."""
        part.attempts[unit] = max(part.attempts[unit], 1)
        part.now[unit] |= mask

    def whole(self, partition: int, unit: int) -> None:
        """The unit was held by the one quarantine record of its whole input record."""
        self._whole.add((partition, unit))

    def again(self, part: PartitionInputs, unit: int, attempt: int, mask: int) -> None:
        """Channels are held by a later decision. Those that were held before and are not now must have gone out."""
        known = part.attempts[unit]
        if not known:  # the first record is not there, which is counted already, or retention deleted it
            part.attempts[unit], part.now[unit] = attempt, mask
            return
        if attempt <= known:
            self.duplicated += mask.bit_count()
            return
        before = part.now[unit]
        self.misrouted += (mask & ~before).bit_count()
        if attempt > known + 1:
            self.missing += (mask & before).bit_count()
        part.due[unit] |= before & ~mask
        part.attempts[unit], part.now[unit] = attempt, mask & before

    def released(self, part: PartitionInputs, unit: int, mask: int) -> None:
        """Channels went out by a later decision."""
        self.duplicated += (mask & part.later[unit]).bit_count()
        part.later[unit] |= mask

    def close(self, ledger: ReplayLedger, id_of: Callable[[int, int, str], str]) -> None:
        """Hold every chain against the ledger; `id_of` gives the quarantine id of partition, offset and partner."""
        partner_ids = self._inputs.partner_ids
        for partition, part in self._inputs.partitions.items():
            for index, offset in enumerate(part.offsets):
                for unit in part.units(index):
                    if not part.attempts[unit]:
                        self.duplicated += (part.later[unit] & part.released[unit]).bit_count()
                    elif not ledger:
                        self._close(part, unit, None)
                    else:
                        partner = partner_ids[part.partners[unit]]
                        whole = (partition, unit) in self._whole
                        first = id_of(partition, offset, NO_PARTNER if whole else partner)
                        now = id_of(partition, offset, partner) if whole else first
                        self._close_by(ledger, part, unit, (first, now))

    def _close_by(self, ledger: ReplayLedger, part: PartitionInputs, unit: int, names: tuple[str, str]) -> None:
        """`names`: the quarantine id under which the unit was held at first, and the one with its partner."""
        name, of_partner = names
        entry = ledger.get(name)
        moving = ledger.moves(name)
        if name != of_partner and entry is not None and entry.split:
            # The one record became one for each partner that is still held; who is not, got everything.
            moving = moving or ledger.moves(of_partner)
            entry = ledger.get(of_partner) or LedgerStatus(REPLAYED, entry.attempt, split=True)
        if moving:
            self.moving += part.held[unit].bit_count()
        else:
            self._close(part, unit, entry)

    def _close(self, part: PartitionInputs, unit: int, entry: LedgerStatus | None) -> None:
        attempt, now, later = part.attempts[unit], part.now[unit], part.later[unit]
        due = part.due[unit]
        state, newest = (OPEN, 1) if entry is None else (entry.state, entry.attempt)
        last = newest if state in (OPEN, DISCARDED) else newest - 1
        if attempt > last:
            self.misrouted += now.bit_count()  # the ledger knows nothing of this attempt
        elif attempt < last:
            self.missing += (now & ~later).bit_count()  # the record of the newest attempt is not there
            due |= now & later
        elif state == OPEN:
            self.open += now.bit_count()
        elif state == DISCARDED:
            self.discarded += now.bit_count()
        else:
            due |= now
        if not part.held[unit]:
            due |= later & ~now  # the first record is not there, so it is unknown what else it held
        self.missing += (due & ~later).bit_count()
        self.duplicated += (later & ~due).bit_count()
        self.replayed += (due & later).bit_count()
