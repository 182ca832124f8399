"""The keys that seal payloads in quarantine: kept with the state of each prospect, made when first needed, destroyed
by an erasure.
"""

import datetime as dt

from msgspec.structs import replace

from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.retention import is_lonely
from transfer_gate.kafka.coordinator import PartitionStops
from transfer_gate.model.state import ProspectState, SealingKey
from transfer_gate.policy.fold import without_key
from transfer_gate.records.quarantined import Opener
from transfer_gate.records.sealing import (
    Encryption,
    MasterKeys,
    NotOpened,
    OpenedKey,
    Sealing,
    is_key_of_day,
    owner_of_day,
)
from transfer_gate.settings import PREFIX


class KeyMissing(PartitionStops):
    """A prospect's key is wrapped by a master key that this worker does not have; another worker may have it."""


class Keys:
    """Seals payloads in one round. `today` (UTC) names the key of records without a prospect."""

    def __init__(self, sealing: Sealing, overlay: Overlay, today: dt.date) -> None:
        self._masters = sealing.masters
        #: Whether payloads are encrypted: a master key is set.
        self.seals = sealing.masters is not None
        self._overlay = overlay
        self._today = today
        self._opened: dict[bytes, OpenedKey] = {}

    def seal(self, owner: bytes | None, value: bytes, name: str) -> tuple[bytes, Encryption | None]:
        """`value` under the key of `owner`, or of today where there is none; as it is when no master key is set.

        Raises KeyMissing: a new key in place of one that can't be unwrapped would destroy what that one sealed.
        """
        if self._masters is None:
            return value, None
        key = owner_of_day(self._today) if owner is None else owner
        opened = self._opened.get(key)
        if opened is None:
            opened = self._opened[key] = self._key_of(self._masters, key)
        return opened.seal(value, name)

    @property
    def opener(self) -> Opener:
        """Opens payloads by the keys as this round has made them so far."""
        return Opener(self._kept, self._masters)

    def _kept(self, owner: bytes) -> SealingKey | None:
        return self._overlay.get(owner).sealing_key

    def destroy(self, owner: bytes) -> None:
        """Make every payload of this prospect unreadable (GDPR 17)."""
        self._opened.pop(owner, None)
        self._overlay.put(owner, without_key(self._overlay.get(owner)))

    def sweep(self, owner: bytes) -> None:
        """Drop a key whose payloads are gone from quarantine; one that is not dated yet is dated, and waits."""
        state = self._overlay.get(owner)
        if state.sealing_key is not None and state.sealing_key.used is None and not is_key_of_day(owner):
            self._overlay.put(owner, replace(state, sealing_key=replace(state.sealing_key, used=self._today)))
        else:
            self.destroy(owner)

    def rewrap(self, owner: bytes) -> None:
        """Wrap the key of `owner` by the current master key, if it is wrapped by another. Raises KeyMissing."""
        state = self._overlay.get(owner)
        if self._masters is None or state.sealing_key is None:
            return
        try:
            rewrapped = self._masters.rewrap(state.sealing_key)
        except NotOpened as error:
            raise _missing(error) from None
        if rewrapped is not state.sealing_key:
            kept = replace(rewrapped, used=state.sealing_key.used)
            self._overlay.put(owner, replace(state, sealing_key=kept))

    def _key_of(self, masters: MasterKeys, key: bytes) -> OpenedKey:
        state = self._overlay.get(key)
        if state.sealing_key is None:
            wrapped, opened = masters.new_key()
            self._date(key, state, wrapped)
            return opened
        try:
            opened = masters.unwrap(state.sealing_key)
        except NotOpened as error:
            raise _missing(error) from None
        self._date(key, state, state.sealing_key)
        return opened

    def _date(self, key: bytes, state: ProspectState, sealing_key: SealingKey) -> None:
        """Keep the key, and that it is used today where that will be asked for."""
        if not is_key_of_day(key) and sealing_key.used != self._today and is_lonely(state):
            sealing_key = replace(sealing_key, used=self._today)
        if sealing_key is not state.sealing_key:
            self._overlay.put(key, replace(state, sealing_key=sealing_key))


def _missing(error: NotOpened) -> KeyMissing:
    return KeyMissing(
        f"a key of quarantined payloads can't be unwrapped: {error}",
        do=f"give this worker a {PREFIX}QUARANTINE_KEY_FILE that has the master key, and restart it; `transfer-gate "
        "key promote` makes a key current only once every running worker has it",
    )
