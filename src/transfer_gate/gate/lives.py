"""Which topic of its name each input is, as the group's commits noted it: for whoever joins outputs with inputs.

Names that are made of coordinates carry the id of a topic that is not the first of its name (`gate.origins`), and a
partition counts for itself how many topics stood under a name before.
"""

from collections.abc import Mapping
from typing import Final

from transfer_gate.gate.history import Life, read_note
from transfer_gate.gate.identity import identities_of
from transfer_gate.kafka.cluster import Cluster
from transfer_gate.kafka.requests import TopicIds
from transfer_gate.kafka.transaction import Committed
from transfer_gate.settings import Settings

Place = tuple[str, int]
"""Topic and partition."""


class TopicLives:
    """The ids of the input topics that were made anew under their names, by topic and partition."""

    def __init__(self, later: Mapping[Place, str]) -> None:
        self._later = dict(later)

    def own(self, topic: str, partition: int) -> str | None:
        """The id in the names of records of the topic that is there now; None where it is the first of its name."""
        return self._later.get((topic, partition))


FIRST_LIVES: Final = TopicLives({})


async def lives_of(cluster: Cluster, settings: Settings) -> TopicLives:
    """Ask topics and group. Raises AccessDenied without the right to describe the group."""
    topics = settings.topics.inputs()
    found = identities_of(await cluster.ask(TopicIds(topics)))
    noted: dict[Place, list[Life]] = {}
    for (_, number), offset in (await cluster.group_offsets(settings.app_id)).items():
        note = read_note(Committed(offset.offset, offset.note))
        for topic, life in note.topics.items() if note is not None else ():
            noted.setdefault((topic, number), []).append(life)
    later = {}
    for (topic, number), lives in noted.items():
        now = found.get(topic)
        if now is None:
            continue
        # A topic that no commit knows yet follows those that commits know.
        numbers = [life.number for life in lives if life.topic_id == now.topic_id]
        if not numbers or max(numbers):
            later[topic, number] = now.topic_id
    return TopicLives(later)
