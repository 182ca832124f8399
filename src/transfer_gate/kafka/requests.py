"""Kafka requests that aiokafka 0.14 lacks, in the versions that the gate needs.

The base classes are untyped for mypy, because aiokafka ships no py.typed.
"""

import base64
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, Final

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, String
from aiokafka.protocol.types import TaggedFields as Tags

_TEXT: Final = CompactString("utf-8")


class OffsetFetchResponseV7(Response):  # type: ignore[misc]
    """An error of the whole response (KIP-88), or offsets; one pending in a transaction has an error of its own."""

    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", _TEXT),
                        ("error_code", Int16),
                        ("tags", Tags),
                    ),
                ),
                ("tags", Tags),
            ),
        ),
        ("error_code", Int16),
        ("tags", Tags),
    )


class OffsetFetchRequestV7(RequestStruct):  # type: ignore[misc]
    """The first version that can ask for stable offsets only (KIP-447)."""

    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = OffsetFetchResponseV7
    SCHEMA = Schema(
        ("group_id", _TEXT),
        ("topics", CompactArray(("topic", _TEXT), ("partitions", CompactArray(Int32)), ("tags", Tags))),
        ("require_stable", Boolean),
        ("tags", Tags),
    )


class StableOffsets(Request[OffsetFetchRequestV7]):  # type: ignore[misc]
    """What a group has committed of some partitions of topics, and no offset in front of one that is pending."""

    API_KEY = 9

    def __init__(self, group_id: str, topics: tuple[str, ...], partitions: Iterable[int]) -> None:
        self._group_id = group_id
        numbers = list(partitions)
        self._topics: list[tuple[str, list[int], dict[int, bytes]]] = [(topic, numbers, {}) for topic in topics]

    def build(self, request_struct_class: type[OffsetFetchRequestV7]) -> OffsetFetchRequestV7:
        """Make the request that goes over the wire."""
        return request_struct_class(self._group_id, self._topics, True, {})


class GroupOffsets(Request[OffsetFetchRequestV7]):  # type: ignore[misc]
    """What a group has committed of every partition of every topic, whatever is pending."""

    API_KEY = 9

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id

    def build(self, request_struct_class: type[OffsetFetchRequestV7]) -> OffsetFetchRequestV7:
        """Make the request that goes over the wire."""
        return request_struct_class(self._group_id, None, False, {})


class DescribeTransactionsResponseV0(Response):  # type: ignore[misc]
    """Where each transaction stands."""

    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "states",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", _TEXT),
                ("state", _TEXT),
                ("timeout_ms", Int32),
                ("start_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                ("topics", CompactArray(("topic", _TEXT), ("partitions", CompactArray(Int32)), ("tags", Tags))),
                ("tags", Tags),
            ),
        ),
        ("tags", Tags),
    )


class DescribeTransactionsRequestV0(RequestStruct):  # type: ignore[misc]
    """KIP-664."""

    API_KEY = 65
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = DescribeTransactionsResponseV0
    SCHEMA = Schema(("transactional_ids", CompactArray(_TEXT)), ("tags", Tags))


class DescribeTransaction(Request[DescribeTransactionsRequestV0]):  # type: ignore[misc]
    """Where the latest transaction of one transactional id stands."""

    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    def build(self, request_struct_class: type[DescribeTransactionsRequestV0]) -> DescribeTransactionsRequestV0:
        """Make the request that goes over the wire."""
        return request_struct_class([self._transactional_id], {})


class OffsetForLeaderEpochResponseV3(Response):  # type: ignore[misc]
    """Up to where the records of an epoch, or of the last one before it, reach; -1 where the leader knows none."""

    API_KEY = 23
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64)),
                ),
            ),
        ),
    )


class OffsetForLeaderEpochRequestV3(RequestStruct):  # type: ignore[misc]
    """KIP-320: the first version for consumers, who are no replica."""

    API_KEY = 23
    API_VERSION = 3
    RESPONSE_TYPE = OffsetForLeaderEpochResponseV3
    SCHEMA = Schema(
        ("replica_id", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                ("partitions", Array(("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32))),
            ),
        ),
    )


class OffsetForLeaderEpoch(Request[OffsetForLeaderEpochRequestV3]):  # type: ignore[misc]
    """Where epochs end: topic to partition to epoch."""

    API_KEY = 23

    def __init__(self, epochs: Mapping[str, Mapping[int, int]]) -> None:
        self._topics = [
            (topic, [(number, -1, epoch) for number, epoch in asked.items()]) for topic, asked in epochs.items()
        ]

    def build(self, request_struct_class: type[OffsetForLeaderEpochRequestV3]) -> OffsetForLeaderEpochRequestV3:
        """Make the request that goes over the wire."""
        return request_struct_class(-1, self._topics)


class TopicId(AbstractType[str]):  # type: ignore[misc]
    """Identity of a topic (KIP-516): 16 bytes, written as Kafka's own tools write it, in base64url without padding."""

    @classmethod
    def encode(cls, value: str) -> bytes:
        """To 16 bytes; no text is the zero id, which names no topic."""
        return base64.urlsafe_b64decode(value + "==") if value else bytes(16)

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        """From 16 bytes."""
        return base64.urlsafe_b64encode(data.read(16)).rstrip(b"=").decode()


class MetadataResponseV10(Response):  # type: ignore[misc]
    """Topics with their ids and partitions."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", Tags)),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("topic_id", TopicId),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", Tags),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", Tags),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", Tags),
    )


class MetadataRequestV10(RequestStruct):  # type: ignore[misc]
    """The first version with topic ids (KIP-516)."""

    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = MetadataResponseV10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", TopicId), ("topic", _TEXT), ("tags", Tags))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", Tags),
    )


class TopicIds(Request[MetadataRequestV10]):  # type: ignore[misc]
    """Ids and partition counts of some topics; creates none, whatever the broker's settings are."""

    API_KEY = 3

    def __init__(self, topics: tuple[str, ...]) -> None:
        self._topics: list[tuple[str, str, dict[int, bytes]]] = [("", topic, {}) for topic in topics]

    def build(self, request_struct_class: type[MetadataRequestV10]) -> MetadataRequestV10:
        """Make the request that goes over the wire."""
        return request_struct_class(self._topics, False, False, False, {})


def topic_ids_of(response: Any) -> dict[str, tuple[str, int]]:
    """Topic to its id and partition count; topics that the broker does not know, or knows no leader of, are left
    out.
    """
    return {
        topic: (topic_id, len(partitions))
        for error, topic, topic_id, _, partitions, *_ in response.topics
        if not error and partitions
    }
