"""To which partition of the replay topic a quarantined record is sent: where its prospect is decided.

That is the partition in which it stands, until the topics grow: then its key may belong to another one. The replay
ledger of that partition says whether it is open.
"""

from aiokafka import ConsumerRecord

from transfer_gate.kafka.cluster import open_cluster
from transfer_gate.records import headers as names
from transfer_gate.records.placements import Placements
from transfer_gate.records.sealing import owner_of
from transfer_gate.settings import Settings


class Destinations:
    """By the places of keys now. Before an installation has grown, every record stays where it stands."""

    def __init__(self, placements: Placements) -> None:
        self.placements = placements

    @property
    def grown(self) -> bool:
        """Whether records may go to another partition than they stand in."""
        return self.placements.grown

    def of(self, record: ConsumerRecord) -> int:
        """The partition for a record of the quarantine topic."""
        here: int = record.partition
        if not self.grown:
            return here
        home = self.placements.now.home(record.key)
        if home is None or home == here or _sealed_by_day(record):
            return here  # keys of days stay where they were made
        return home


def _sealed_by_day(record: ConsumerRecord) -> bool:
    ours = {
        name: (text or b"").decode(errors="replace") for name, text in record.headers if name.startswith(names.PREFIX)
    }
    if names.ENCRYPTION not in ours:
        return False
    stage, at = ours.get(names.STAGE, ""), ours.get(names.QUARANTINED_AT, "")
    owner = owner_of(record.key, stage, ours.get(names.PARTNER), at, ours.get(names.REASON, ""))
    return bool(owner != record.key)


async def destinations_of(settings: Settings) -> Destinations:
    """As the topics and the group's commits say now. Raises BrokerUnavailable."""
    async with open_cluster(settings) as cluster:
        found = (await cluster.topics()).get(settings.topics.replay)
        return Destinations(await cluster.placements(settings, found.partitions if found else None))
