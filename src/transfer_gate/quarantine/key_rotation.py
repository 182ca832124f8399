"""The keys of quarantine by the master key that wraps them, and wrapping them anew."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from aiokafka import TopicPartition
from msgspec import Struct

from transfer_gate.errors import InvalidInput
from transfer_gate.kafka.clients import broker_errors
from transfer_gate.kafka.cluster import open_cluster
from transfer_gate.kafka.reader import Offsets, bounds, committed_records
from transfer_gate.quarantine.sending import applied, open_sender
from transfer_gate.records.replay_requests import asking
from transfer_gate.records.sealing import MasterKeys
from transfer_gate.settings import Settings

Seen = Callable[[int], None]


class _Key(Struct):
    master_id: str


class _Kept(Struct):
    """Of a state, what wraps its key."""

    sealing_key: _Key | None = None


_DECODER: Final = msgspec.json.Decoder(_Kept)


class Rotation(Struct, frozen=True, kw_only=True):
    """What a rotation came to: `rewrapped` keys; `left` under other master keys of the file, as the workers have not
    wrapped them; `foreign`: master key ids that are not in the file, to how many keys they wrap.
    """

    rewrapped: int
    left: int
    foreign: Mapping[str, int]


async def keys_by_master(settings: Settings, seen: Seen = lambda _: None) -> Counter[str]:
    """How many keys of prospects and days each master key wraps now, by its id."""
    counts: Counter[str] = Counter()
    ends = await _changelog(settings)
    for place in sorted(ends):
        counts.update((await _wrapped(settings, place, ends[place], seen)).values())
    return counts


async def rotate(settings: Settings, masters: MasterKeys, patience: float, seen: Seen = lambda _: None) -> Rotation:
    """Have the gate wrap every key by the current master key; partition by partition, until none is left.

    Done again, it goes on where it was stopped. A key that no master key of the file opens is left alone: a worker
    that is asked to rewrap it would stop. Raises BrokerUnavailable.
    """
    ends = await _changelog(settings)
    rewrapped = left = 0
    foreign: Counter[str] = Counter()
    for place in sorted(ends):
        found = await _wrapped(settings, place, ends[place], seen)
        foreign.update(master for master in found.values() if master not in masters.ids)
        old = _old(found, masters)
        if not old:
            continue
        if await _ask(settings, place.partition, old, patience):
            again = await _wrapped(settings, place, (await _changelog(settings))[place], lambda _: None)
            still = len(set(old) & set(_old(again, masters)))
        else:
            still = len(old)
        rewrapped += len(old) - still
        left += still
    return Rotation(rewrapped=rewrapped, left=left, foreign=dict(foreign))


def _old(found: Mapping[bytes, str], masters: MasterKeys) -> list[bytes]:
    return [key for key, master in found.items() if master != masters.current and master in masters.ids]


async def _ask(settings: Settings, partition: int, keys: Iterable[bytes], patience: float) -> bool:
    async with open_sender(settings) as sender:
        for key in keys:
            await sender.send(partition, key, None, asking("rewrap", None, None))
        await sender.flush()
        reached = dict(sender.reached)
    return await applied(settings, settings.topics.replay, reached, patience)


async def _changelog(settings: Settings) -> Offsets:
    topic = settings.topics.changelog
    async with open_cluster(settings) as cluster, broker_errors(settings):
        found = (await cluster.topics()).get(topic)
        if found is None:
            raise InvalidInput(f"no topic {topic} on this cluster", do="run: transfer-gate topics apply")
        _, ends = await bounds(settings, {topic: found.partitions}, committed_only=True)
        return ends


async def _wrapped(settings: Settings, place: TopicPartition, end: int, seen: Seen) -> dict[bytes, str]:
    """Key of the consent table to the id of the master key that wraps its key, of one partition."""
    found: dict[bytes, str] = {}
    names: dict[str, str] = {}
    reached = 0
    if end == 0:
        return found
    async with broker_errors(settings):
        async for records in committed_records(settings, {place: end}):
            seen(records[-1].offset + 1 - reached)
            reached = records[-1].offset + 1
            for record in records:
                kept = _DECODER.decode(record.value).sealing_key if record.value is not None else None
                if kept is None:
                    found.pop(record.key, None)
                else:
                    # One text for all, or a million keys would hold a million copies of it.
                    found[record.key] = names.setdefault(kept.master_id, kept.master_id)
    return found
