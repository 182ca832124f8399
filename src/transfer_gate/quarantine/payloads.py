"""The payloads of quarantined records: as they came in, where they can still be read."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.gate.inbox import Record
from transfer_gate.gate.originals import originals_of
from transfer_gate.kafka.session import Session
from transfer_gate.kafka.sizes import unheld
from transfer_gate.model.state import EMPTY
from transfer_gate.quarantine.consent_states import States, states_of
from transfer_gate.quarantine.search import Found
from transfer_gate.records.quarantined import Opener
from transfer_gate.records.sealing import Erased, MasterKeys, NotOpened, load_master_keys
from transfer_gate.settings import PREFIX, Settings

Condition = Literal["plain", "decrypted", "erased", "locked", "by-reference"]


class Payload(Struct, frozen=True):
    """A payload, or why there is none: `erased` for good, `locked` where the right master key is missing,
    `by-reference` where only the source has it: then `original` is what was found there.

    `value` is None too where the source record had none (a tombstone).
    """

    condition: Condition
    value: bytes | None = None
    why: str = ""
    original: Record | None = None

    @property
    def readable(self) -> bool:
        """Whether it can be decided as it came in."""
        return self.condition in ("plain", "decrypted") or self.original is not None


async def payloads_of(session: Session, found: Sequence[Found]) -> list[Payload]:
    """The payload of each record, in order, by the keys that exist now.

    Reads the changelog of the partitions of those that are sealed. Raises InvalidInput for an unusable key file,
    BrokerUnavailable.
    """
    wanted: dict[int, set[bytes]] = {}
    for item in found:
        if item.held.encryption is not None:
            wanted.setdefault(item.record.partition, set()).add(owner(item))
    states = await states_of(session, wanted) if wanted else {}
    masters = master_keys(session.settings) if wanted else None
    return [payload_of(item, states, masters) for item in found]


def payload_of(found: Found, states: States, masters: MasterKeys | None) -> Payload:
    """The payload of one record, by states that hold its owner's."""
    reference = found.held.reference
    if reference is not None:
        place = f"{reference.topic}/{reference.partition}, offset {reference.offset}"
        what = f"{reference.size:,} bytes, SHA-256 {reference.sha256}"
        return Payload("by-reference", why=f"too large to be repeated, or not to be had: it stands in {place} ({what})")
    opener = Opener(lambda owner: states.get((found.record.partition, owner), EMPTY).sealing_key, masters)
    try:
        value = opener.open(found.held, found.record.key, found.record.value)
        return Payload("plain" if found.held.encryption is None else "decrypted", value)
    except Erased as error:
        return Payload("erased", why=str(error))
    except NotOpened as error:
        do = f"; set {PREFIX}QUARANTINE_KEY_FILE to the file that the workers use" if masters is None else ""
        return Payload("locked", why=f"{error}{do}")


async def with_original(session: Session, found: Found, payload: Payload) -> Payload:
    """A payload by reference with what stands in the source topic. Raises BrokerUnavailable."""
    if found.held.reference is None:
        return payload
    _, at_source = await originals_of(session).of([found.record])
    original = at_source[found.record.offset]
    if original.record is None:
        return replace(payload, why=original.why)
    too_large = unheld(original.record) is not None
    return replace(payload, value=original.record.value, original=original.record, why=payload.why if too_large else "")


def owner(found: Found) -> bytes:
    """Under which key of the consent table the key of this record lies."""
    return found.held.owner(found.record.key)


def owners(found: Sequence[Found]) -> Mapping[int, AbstractSet[bytes]]:
    """By partition, the keys of the consent table that decide what may be read and done with these records."""
    wanted: dict[int, set[bytes]] = {}
    for item in found:
        wanted.setdefault(item.record.partition, set()).update({owner(item), item.record.key or b""})
    return wanted


def master_keys(settings: Settings) -> MasterKeys | None:
    """The keys of the settings' key file, if there is one. Raises InvalidInput when it is not usable."""
    return None if settings.quarantine_key_file is None else load_master_keys(settings.quarantine_key_file)
