"""Who is in the consumer group: another gate under the same APP_ID would take partitions that it does not decide."""

from collections.abc import Collection

from transfer_gate.errors import GateError
from transfer_gate.settings import PREFIX


class GroupShared(GateError):
    """Another gate, on other topics, is a member of the group."""


def require_own_members(group: str, inputs: Collection[str], subscriptions: Collection[frozenset[str]]) -> None:
    """Hold that every member of the group reads some input topic of this gate; an older version may read fewer of them.
    Raises GroupShared, which names the topics of the other gate.

    `subscriptions`: the topics of each member; empty for one that the coordinator says nothing of.
    """
    foreign = {topic for topics in subscriptions if not topics.intersection(inputs) for topic in topics}
    if foreign:
        raise GroupShared(
            f"the consumer group {group} has members that work on other topics: {', '.join(sorted(foreign))}. The "
            "group would give each gate partitions that the other one decides, and neither would decide all of its own",
            do=f"give each gate a {PREFIX}APP_ID of its own, or stop the other one "
            "(kafka-consumer-groups --describe --group ... --members --verbose lists its members)",
        )
