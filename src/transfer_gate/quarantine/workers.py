"""Which master keys the running workers have: each publishes it with its membership of the consumer group."""

from collections.abc import Sequence

from msgspec import Struct

from transfer_gate.errors import RefusedByGuard
from transfer_gate.gate.members import published_in
from transfer_gate.kafka.cluster import open_cluster
from transfer_gate.kafka.groups import Member
from transfer_gate.settings import Settings


class RunningWorker(Struct, frozen=True):
    """A member of the group: its name (host and process; of an older version its address), and the ids of its master
    keys, the current one first; None when it does not publish them.
    """

    name: str
    master_keys: tuple[str, ...] | None


async def running_workers(settings: Settings) -> list[RunningWorker]:
    """The workers of the group, idle ones too, by name. Raises RefusedByGuard while the group rebalances,
    BrokerUnavailable.
    """
    async with open_cluster(settings) as cluster:
        members = await cluster.settled_members(settings.app_id)
    if members is None:
        raise RefusedByGuard(
            f"the group {settings.app_id} is rebalancing, so the keys of its workers are not known",
            do="wait until /readyz of every worker answers 200, then run the command again",
        )
    return sorted((_worker(member) for member in members), key=lambda worker: worker.name)


def require_key(workers: Sequence[RunningWorker], name: str) -> None:
    """Hold that every running worker has a master key. Raises RefusedByGuard, which names those that lack it."""
    silent = [worker.name for worker in workers if worker.master_keys is None]
    if silent:
        raise RefusedByGuard(
            f"{len(silent)} of {len(workers)} running workers do not publish their keys: {', '.join(silent)}. "
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
