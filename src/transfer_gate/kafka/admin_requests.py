"""Four Kafka requests that aiokafka 0.14 lacks, in the versions that the gate needs.

The base classes are untyped for mypy, because aiokafka ships no py.typed.
"""

from io import BytesIO
from typing import Any, Final

from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateTopicsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import Array, Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, String
from aiokafka.protocol.types import TaggedFields as Tags
from aiokafka.protocol.types import UnsignedVarInt32 as Length

#: Tag of the finalized features in an ApiVersions response (KIP-584).
_FINALIZED_FEATURES: Final = 2


class CreateTopicsResponseV4(Response):  # type: ignore[misc]
    """As version 3."""

    API_KEY = 19
    API_VERSION = 4
    SCHEMA = CreateTopicsResponse_v3.SCHEMA


class CreateTopicsRequestV4(RequestStruct):  # type: ignore[misc]
    """The first version in which -1 means the broker's default partition count and replication (KIP-464)."""

    API_KEY = 19
    API_VERSION = 4
    RESPONSE_TYPE = CreateTopicsResponseV4
    SCHEMA = Schema(
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                ("num_partitions", Int32),
                ("replication_factor", Int16),
                ("assignments", Array(("partition", Int32), ("replicas", Array(Int32)))),
                ("configs", Array(("name", String("utf-8")), ("value", String("utf-8")))),
            ),
        ),
        ("timeout", Int32),
        ("validate_only", Boolean),
    )


class CreateTopics(Request[CreateTopicsRequestV4]):  # type: ignore[misc]
    """Create topics; a count of -1 leaves it to the broker. `timeout` is in milliseconds."""

    API_KEY = 19

    def __init__(self, topics: list[tuple[str, int, int, dict[str, str]]], timeout: int) -> None:
        self._topics: list[tuple[Any, ...]] = [
            (name, count, copies, [], list(configs.items())) for name, count, copies, configs in topics
        ]
        self._timeout = timeout

    def build(self, request_struct_class: type[CreateTopicsRequestV4]) -> CreateTopicsRequestV4:
        """Make the request that goes over the wire."""
        return request_struct_class(self._topics, self._timeout, False)


class ApiVersionsResponseV3(Response):  # type: ignore[misc]
    """Features of the cluster stand in the tagged fields (KIP-584)."""

    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_keys", CompactArray(("api_key", Int16), ("min", Int16), ("max", Int16), ("tags", Tags))),
        ("throttle_time_ms", Int32),
        ("tags", Tags),
    )


class ApiVersionsRequestV3(RequestStruct):  # type: ignore[misc]
    """Asks what the broker can do."""

    API_KEY = 18
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = ApiVersionsResponseV3
    SCHEMA = Schema(("name", CompactString("utf-8")), ("version", CompactString("utf-8")), ("tags", Tags))

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        """Alone of all flexible responses this one keeps the old header, so that old brokers can answer (KIP-511)."""
        return ResponseHeader_v0.decode(read_buffer)


class ApiVersions(Request[ApiVersionsRequestV3]):  # type: ignore[misc]
    """Which requests and features the broker has."""

    API_KEY = 18

    def build(self, request_struct_class: type[ApiVersionsRequestV3]) -> ApiVersionsRequestV3:
        """Make the request that goes over the wire."""
        return request_struct_class("transfer-gate", "1", {})


def finalized_features(response: ApiVersionsResponseV3) -> dict[str, int]:
    """Feature name to its level in this cluster, for instance `metadata.version` to 27."""
    raw = response.tags.get(_FINALIZED_FEATURES)
    if raw is None:
        return {}
    data = BytesIO(raw)
    features = {}
    for _ in range(Length.decode(data) - 1):
        name = CompactString("utf-8").decode(data)
        highest = Int16.decode(data)
        Int16.decode(data)
        Tags.decode(data)
        features[str(name)] = highest
    return features


_REPLICAS: Final = CompactArray(
    ("replica", Int32), ("end_offset", Int64), ("last_fetch_ms", Int64), ("last_caught_up_ms", Int64), ("tags", Tags)
)


class DescribeQuorumResponseV1(Response):  # type: ignore[misc]
    """The state of the controllers' quorum (KIP-595, with times since KIP-836)."""

    API_KEY = 55
    API_VERSION = 1
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        ("voters", _REPLICAS),
                        ("observers", _REPLICAS),
                        ("tags", Tags),
                    ),
                ),
                ("tags", Tags),
            ),
        ),
        ("tags", Tags),
    )


class DescribeQuorumRequestV1(RequestStruct):  # type: ignore[misc]
    """Asks any broker, which asks the active controller."""

    API_KEY = 55
    API_VERSION = 1
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = DescribeQuorumResponseV1
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), ("tags", Tags))),
                ("tags", Tags),
            ),
        ),
        ("tags", Tags),
    )


class DescribeQuorum(Request[DescribeQuorumRequestV1]):  # type: ignore[misc]
    """The state of the metadata log `__cluster_metadata`."""

    API_KEY = 55

    def build(self, request_struct_class: type[DescribeQuorumRequestV1]) -> DescribeQuorumRequestV1:
        """Make the request that goes over the wire."""
        return request_struct_class([("__cluster_metadata", [(0, {})], {})], {})


def controller_clock_ms(response: DescribeQuorumResponseV1) -> int | None:
    """The active controller's wall clock when it answered, ms since the epoch; None when it did not say.

    The leader of the metadata log gives its own "last caught up" as its current time (KIP-836).
    """
    if response.error_code:
        return None
    for _, partitions, _ in response.topics:
        for _, error, leader, _, _, voters, _, _ in partitions:
            times: dict[int, Any] = {replica: caught_up for replica, _, _, caught_up, _ in voters}
            if not error and times.get(leader, -1) > 0:
                return int(times[leader])
    return None


class TopicRightsResponseV8(Response):  # type: ignore[misc]
    """Metadata with what the client itself may do with each topic (KIP-430)."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class TopicRightsRequestV8(RequestStruct):  # type: ignore[misc]
    """Creates no topic, whatever the broker's settings say."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = TopicRightsResponseV8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class TopicRights(Request[TopicRightsRequestV8]):  # type: ignore[misc]
    """What the client may do with topics that it names."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[TopicRightsRequestV8]) -> TopicRightsRequestV8:
        """Make the request that goes over the wire."""
        return request_struct_class(self._topics, False, False, True)


#: Bits of `authorized_operations` (AclOperation.java).
_OPERATIONS: Final = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10}


def operations_of(response: TopicRightsResponseV8) -> dict[str, frozenset[str]]:
    """Topic to what the client may do with it; nothing where it may not even know whether the topic exists.

    Topics that don't exist are left out.
    """
    rights = {}
    for error, topic, _, _, bits in response.topics:
        if error == TopicAuthorizationFailedError.errno:
            rights[topic] = frozenset[str]()
        elif not error:
            rights[topic] = frozenset(name for name, bit in _OPERATIONS.items() if bits >> bit & 1)
    return rights
