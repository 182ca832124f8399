"""The master keys of quarantine: their file, the workers that have them, the keys that each wraps, and rotation."""

import base64
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from transfer_gate.errors import InvalidInput, RefusedByGuard
from transfer_gate.gate.members import published_in
from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.coordinator import Member
from transfer_gate.kafka.reader import Offsets
from transfer_gate.kafka.session import Session
from transfer_gate.records.replay_requests import requesting
from transfer_gate.records.sealing import KEY_BYTES, MasterKeys, load_master_keys, master_key_id

_OWNER_ONLY: Final = 0o600
_HEAD: Final = """\
# Master keys of quarantine, the current key first. This file opens quarantined payloads.
# Losing it makes them unreadable for ever; keep a copy apart from the backups of the brokers.
"""


def new_key(file: Path, made: str) -> str:
    """Make a key file with one key, commented with `made`; returns the key's id.

    Raises RefusedByGuard when there is such a file, InvalidInput when it can't be written.
    """
    if file.exists():
        raise RefusedByGuard(
            f"{file} exists, and its keys open what is in quarantine",
            do="give --add to put a new key below the current key, or name another file",
        )
    _write(file, f"{_HEAD}{_line(made, secrets.token_bytes(KEY_BYTES))}")
    return load_master_keys(file).current


def add_key(file: Path, made: str) -> str:
    """Put a new key below the current key of a key file: it unwraps, and wraps nothing yet. Returns its id.

    Raises InvalidInput when the file is not a key file, or can't be written.
    """
    load_master_keys(file)
    lines = _lines_of(file)
    key = secrets.token_bytes(KEY_BYTES)
    lines.insert(min(_keys_in(lines).values()) + 1, _line(made, key))
    _write(file, "".join(lines))
    return master_key_id(key)


def promote_key(file: Path, name: str) -> None:
    """Make the key with the id `name` the current key of a key file: the first. What is in the file stays.

    Raises InvalidInput when the file is not a key file, lacks that key, or can't be written.
    """
    load_master_keys(file)
    lines = _lines_of(file)
    keys = _keys_in(lines)
    if name not in keys:
        raise InvalidInput(f"{file}: no key {name} in it", do="add one with: transfer-gate key new --add")
    lines.insert(min(keys.values()), lines.pop(keys[name]))
    _write(file, "".join(lines))


def _lines_of(file: Path) -> list[str]:
    return [f"{line}\n" for line in file.read_text(encoding="utf-8").splitlines()]


def _keys_in(lines: list[str]) -> dict[str, int]:
    """Ids of the keys in these lines of a key file, and on which line each stands first."""
    found: dict[str, int] = {}
    for number, line in enumerate(lines):
        text = line.partition("#")[0].strip()
        if text:
            found.setdefault(master_key_id(base64.b64decode(text)), number)
    return found


def _line(made: str, key: bytes) -> str:
    return f"{base64.b64encode(key).decode()}  # {made}\n"


def _write(file: Path, content: str) -> None:
    """Write beside the file and move over it: a reader sees the old content or the new, whole."""
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        try:
            with os.fdopen(opened, "w", encoding="utf-8") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
            beside.replace(file)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InvalidInput(
            f"{file}: can't be written: {error.strerror}", do="name a file in a folder that can be written"
        ) from None


class RunningWorker(Struct, frozen=True):
    """A member of the group: its name (host and process; of an older version its address), and the ids of its master
    keys, the current key first; None when it does not publish them.
    """

    name: str
    master_keys: tuple[str, ...] | None


async def running_workers(session: Session) -> list[RunningWorker]:
    """The workers of the group, idle ones too, by name. Raises RefusedByGuard while the group rebalances,
    BrokerUnavailable.
    """
    group = session.settings.app_id
    members = await session.cluster.settled_members(group)
    if members is None:
        raise RefusedByGuard(
            f"the group {group} is rebalancing, so the keys of its workers are not known",
            do="wait until /readyz of every worker answers 200, then run the command again",
        )
    return sorted((_worker(member) for member in members), key=lambda worker: worker.name)


def require_key(workers: Sequence[RunningWorker], name: str) -> None:
    """Check that every running worker has a master key. Raises RefusedByGuard, which names the workers that lack it."""
    unpublished = [worker.name for worker in workers if worker.master_keys is None]
    if unpublished:
        listed = ", ".join(unpublished)
        raise RefusedByGuard(
            f"{len(unpublished)} of {len(workers)} running workers do not publish their keys: {listed}. "
            "They run an older version, which ends at a key that it lacks",
            do="run this version on every worker, with the new key in its key file, then run the command again",
        )
    lacking = [worker.name for worker in workers if name not in (worker.master_keys or ())]
    if lacking:
        raise RefusedByGuard(
            f"{len(lacking)} of {len(workers)} running workers do not have the key {name}: {', '.join(lacking)}. A "
            "partition stops where its worker lacks the key of a payload",
            do="give the key file to these workers and restart them, then run the command again",
        )


def _worker(member: Member) -> RunningWorker:
    published = published_in(member.user_data)
    if published is None:
        return RunningWorker(f"{member.host} ({member.member_id})", None)
    return RunningWorker(published.worker, published.master_keys)


OnProgress = Callable[[int], None]


class _Key(Struct):
    master_id: str


class _Kept(Struct):
    """Of a state, what wraps its key."""

    sealing_key: _Key | None = None


_DECODER: Final = msgspec.json.Decoder(_Kept)


class Rotation(Struct, frozen=True, kw_only=True):
    """The result of a rotation: `rewrapped` keys; `left` under other master keys of the file, as the workers have not
    wrapped them; `foreign`: ids of master keys that are not in the file, to the number of keys that each wraps.
    """

    rewrapped: int
    left: int
    foreign: Mapping[str, int]


async def keys_by_master(session: Session, on_progress: OnProgress = lambda _: None) -> Counter[str]:
    """How many keys of prospects and days each master key wraps now, by its id."""
    counts: Counter[str] = Counter()
    ends = await _changelog(session)
    for place in sorted(ends):
        counts.update((await _wrapped(session, place, ends[place], on_progress)).values())
    return counts


async def rotate(
    session: Session, masters: MasterKeys, timeout: float, on_progress: OnProgress = lambda _: None
) -> Rotation:
    """Have the gate wrap every key by the current master key, partition by partition.

    Run again, it continues where it was stopped. A key that no master key of the file opens is left alone: a worker
    that gets a request to rewrap it would stop. Raises BrokerUnavailable.
    """
    ends = await _changelog(session)
    rewrapped = left = 0
    foreign: Counter[str] = Counter()
    for place in sorted(ends):
        found = await _wrapped(session, place, ends[place], on_progress)
        foreign.update(master for master in found.values() if master not in masters.ids)
        old = _old(found, masters)
        if not old:
            continue
        if await _request(session, place.partition, old, timeout):
            again = await _wrapped(session, place, (await _changelog(session))[place], lambda _: None)
            still = len(set(old) & set(_old(again, masters)))
        else:
            still = len(old)
        rewrapped += len(old) - still
        left += still
    return Rotation(rewrapped=rewrapped, left=left, foreign=dict(foreign))


def _old(found: Mapping[bytes, str], masters: MasterKeys) -> list[bytes]:
    return [key for key, master in found.items() if master != masters.current and master in masters.ids]


async def _request(session: Session, partition: int, keys: Iterable[bytes], timeout: float) -> bool:
    settings = session.settings
    async with session.producer.sender(settings.topics.replay) as sender:
        for key in keys:
            await sender.send(partition, key, None, requesting("rewrap", None, None))
    return await session.cluster.await_commits(settings.app_id, settings.topics.replay, sender.reached, timeout)


async def _changelog(session: Session) -> Offsets:
    partitions = await session.cluster.partitions(session.settings.topics.changelog)
    _, ends = await session.reader.bounds(partitions, committed_only=True)
    return ends


async def _wrapped(session: Session, place: TopicPartition, end: int, on_progress: OnProgress) -> dict[bytes, str]:
    """Key of the consent table to the id of the master key that wraps its key, of one partition."""
    found: dict[bytes, str] = {}
    names: dict[str, str] = {}
    reached = 0
    if end == 0:
        return found
    async for records in session.reader.records({place: end}):
        on_progress(records[-1].offset + 1 - reached)
        reached = records[-1].offset + 1
        for record in records:
            kept = _DECODER.decode(record.value).sealing_key if record.value is not None else None
            if kept is None:
                found.pop(record.key, None)
            else:
                # A string is shared, or a million keys would refer to a million copies of it.
                found[record.key] = names.setdefault(kept.master_id, kept.master_id)
    return found
