"""What a consumer of a rack believes of a replica that is no leader."""

import struct
from typing import Any

import pytest
from aiokafka.errors import NotLeaderForPartitionError, OffsetOutOfRangeError

from transfer_gate.kafka import TopicPartition
from transfer_gate.kafka.bulk import leaders_decide
from transfer_gate.kafka.requests import TopicRights, operations_of

#: Fields of a partition behind its number and its error: high watermark to records (Fetch, version 11).
REST = (7, 7, 0, None, -1, b"")


@pytest.mark.parametrize(("node", "believed"), [(1, OffsetOutOfRangeError), (2, NotLeaderForPartitionError)])
def test_only_the_leader_says_that_an_offset_is_not_there(
    node: int, believed: type[OffsetOutOfRangeError | NotLeaderForPartitionError]
) -> None:
    """A consumer would begin at the earliest offset, or give up; told that the node is wrong it asks the leader."""
    leaders = {TopicPartition("log", 0): 1, TopicPartition("log", 1): 1}
    topics = [("log", [(0, OffsetOutOfRangeError.errno, *REST), (1, 0, *REST)])]
    assert leaders_decide(topics, node, leaders.get) == [("log", [(0, believed.errno, *REST), (1, 0, *REST)])]


def test_rights_that_a_broker_does_not_say_are_not_missing() -> None:
    """Some managed clusters never say what a client may do (KIP-430); Kafka's value for that is the least of all."""
    said, hidden = 1 << 3 | 1 << 4, struct.unpack(">i", b"\x80\x00\x00\x00")[0]
    topics: list[Any] = [
        (0, "said", False, [], said),
        (0, "hidden", False, [], hidden),
        (29, "refused", False, [], hidden),
    ]
    response = TopicRights.WIRE.RESPONSE_TYPE(0, [], "cluster", 1, topics, hidden)
    assert operations_of(response) == {"said": frozenset({"Read", "Write"}), "refused": frozenset()}
