"""The keys that seal payloads in quarantine: kept with the state of each prospect, made when first needed, destroyed
by an erasure.
"""

import datetime as dt
from typing import Final

from msgspec.structs import replace

from transfer_gate.policy.fold import without_key
from transfer_gate.settings import PREFIX
from transfer_gate.stream.coordinator import PartitionStops
from transfer_gate.stream.overlay import Overlay
from transfer_gate.wire.sealing import Encryption, MasterKeys, NotOpened, OpenedKey, Sealing, open_sealed, owner_of_day

#: Days behind the retention of quarantine on which keys of days are still looked for; older ones were dropped before.
_SWEPT_DAYS: Final = 60


class KeyMissing(PartitionStops):
    """A prospect's key is wrapped by a master key that this worker does not have; another worker may have it."""


class Keys:
    """Seals and opens payloads in one round. `today` (UTC) names the key of records without a prospect."""

    def __init__(self, sealing: Sealing, overlay: Overlay, today: dt.date) -> None:
        self._masters = sealing.masters
        self._kept_days = sealing.kept_days
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
            if owner is None:
                self._drop_old_days()
        return opened.seal(value, name)

    def open(self, owner: bytes, value: bytes, encryption: Encryption, name: str) -> bytes:
        """The payload behind a sealed value. Raises Erased, NotOpened (see `wire.sealing`)."""
        return open_sealed(value, encryption, name, self._overlay.get(owner).sealing_key, self._masters)

    def destroy(self, owner: bytes) -> None:
        """Make every payload of this prospect unreadable (GDPR 17)."""
        self._opened.pop(owner, None)
        self._overlay.put(owner, without_key(self._overlay.get(owner)))

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
            self._overlay.put(owner, replace(state, sealing_key=rewrapped))

    def _key_of(self, masters: MasterKeys, key: bytes) -> OpenedKey:
        state = self._overlay.get(key)
        if state.sealing_key is None:
            wrapped, opened = masters.new_key()
            self._overlay.put(key, replace(state, sealing_key=wrapped))
            return opened
        try:
            return masters.unwrap(state.sealing_key)
        except NotOpened as error:
            raise _missing(error) from None

    def _drop_old_days(self) -> None:
        if self._kept_days is None:
            return
        for age in range(self._kept_days + 1, self._kept_days + 1 + _SWEPT_DAYS):
            self.destroy(owner_of_day(self._today - dt.timedelta(days=age)))


def _missing(error: NotOpened) -> KeyMissing:
    return KeyMissing(
        f"a key of quarantined payloads can't be unwrapped: {error}",
        do=f"give this worker a {PREFIX}QUARANTINE_KEY_FILE that has the master key, and restart it; `transfer-gate "
        "key promote` makes a key current only once every running worker has it",
    )
