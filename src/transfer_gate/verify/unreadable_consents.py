"""Unreadable and misplaced consent events and their copies in quarantine (contract section 3): one each, byte for byte.

They are asked of no partner, so they are in no total; one that has no copy is missing, one too many is duplicated.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from transfer_gate.gate.integrity.identity import FIRST_LIVES, TopicLives
from transfer_gate.records import headers as names
from transfer_gate.records.consents import is_readable
from transfer_gate.records.headers import Headers
from transfer_gate.records.placements import EVERYWHERE, TopicPlacements
from transfer_gate.verify.inputs import Unheld, fingerprint, reference_fingerprint, referred, topic_id_of


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
