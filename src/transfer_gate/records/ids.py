"""Name-based ids (UUIDv5, RFC 9562): the same record gets the same id in every attempt, on every machine."""

import uuid
from hashlib import sha1
from typing import Final

#: Namespace of every id that the gate makes: UUIDv5(DNS, "transfer-gate").
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "transfer-gate")

_SEED: Final = sha1(NAMESPACE.bytes, usedforsecurity=False)
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def transfer_id(event_id: str, partner_id: str) -> str:
    """Id of what a partner gets for one event."""
    return _uuid5(f"transfer:{event_id}:{partner_id}")


def topic_name(topic: str, topic_id: str | None) -> str:
    """How a topic stands in names that are made of coordinates: with its id where it was made anew under its name."""
    return topic if topic_id is None else f"{topic}@{topic_id}"


def quarantine_name(topic: str, partition: int, offset: int, partner_id: str = "") -> str:
    """The first source coordinates and the partner of a quarantined record; no partner when it could not be read."""
    return f"quarantine:{topic}:{partition}:{offset}:{partner_id}"


def quarantine_id(topic: str, partition: int, offset: int, partner_id: str = "") -> str:
    """Id of a quarantined record, the same in every attempt: UUIDv5 of `quarantine_name`."""
    return _uuid5(quarantine_name(topic, partition, offset, partner_id))


def decision_id(topic: str, partition: int, offset: int, partner_id: str = "", attempt: int = 1) -> str:
    """Id of a decision. A record at one place is decided once in committed state, and once more for each replay, so
    the first source coordinates, the partner and the attempt name it.
    """
    again = f":{attempt}" if attempt > 1 else ""
    return _uuid5(f"decision:{topic}:{partition}:{offset}:{partner_id}{again}")


def notice_id(content: bytes) -> str:
    """Id of a record on a suppression topic, made of its content: a repetition has the same one."""
    return _uuid5(f"notice:{content.decode()}")


def imported_id(source: str, field: str, made_of: str) -> str:
    """Id that an import makes for a row: of the source system, the field, and what it is made of, as JSON."""
    return _uuid5(f"import:{source}:{field}:{made_of}")


def _uuid5(name: str) -> str:
    """`str(uuid.uuid5(NAMESPACE, name))` in a fifth of the time; a test holds them equal."""
    digest = _SEED.copy()
    digest.update(name.encode())
    h = digest.hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"
