"""Kafka requests that aiokafka 0.14 lacks, in the versions that the gate needs, and what their responses say.

`_wire` declares a version of a request on the wire; a class below it is made with what the caller has. The base classes
are untyped for mypy, because aiokafka ships no py.typed.
"""

import base64
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, ClassVar, Final, Literal

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedVersionError,
)
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import CreateTopicsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import Array, Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, String
from aiokafka.protocol.types import TaggedFields as Tags
from aiokafka.protocol.types import UnsignedVarInt32 as Length

_TEXT: Final = CompactString("utf-8")
_OLD_TEXT: Final = String("utf-8")
_TAGS: Final = ("tags", Tags)
_NO_TAGS: Final[dict[int, bytes]] = {}
#: Tag of the finalized features in an ApiVersions response (KIP-584).
_FINALIZED_FEATURES: Final = 2
#: Bits of `authorized_operations` (AclOperation.java).
_OPERATIONS: Final = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10}
#: What a broker gives that does not say what the client may do (KIP-430).
_NOT_SAID: Final = -(1 << 31)


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


def _wire(key: int, version: int, request: Schema, response: Schema) -> Any:
    """Version `version` of the request with API key `key`: flexible (KIP-482) where its last field are tags."""
    answer = type("ResponseOnWire", (Response,), {"API_KEY": key, "API_VERSION": version, "SCHEMA": response})
    declared = {
        "API_KEY": key,
        "API_VERSION": version,
        "FLEXIBLE_VERSION": request.names[-1:] == ("tags",),
        "RESPONSE_TYPE": answer,
        "SCHEMA": request,
    }
    return type("RequestOnWire", (RequestStruct,), declared)


class _Request(Request[RequestStruct]):  # type: ignore[misc]
    """A request whose fields, in the order of its schema, are given when it is made."""

    API_KEY = -1
    WIRE: ClassVar[Any] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.API_KEY, cls._CLASSES = cls.WIRE.API_KEY, (cls.WIRE,)

    def __init__(self, *fields: Any) -> None:
        self._fields = fields

    def build(self, request_struct_class: Any) -> Any:
        """Make the request that goes over the wire."""
        return request_struct_class(*self._fields)


_OFFSET_FETCH: Final = _wire(
    9,
    7,  # the first that can ask for stable offsets only (KIP-447)
    Schema(
        ("group_id", _TEXT),
        ("topics", CompactArray(("topic", _TEXT), ("partitions", CompactArray(Int32)), _TAGS)),
        ("require_stable", Boolean),
        _TAGS,
    ),
    Schema(  # an error of the whole response (KIP-88), or offsets; one pending in a transaction has an error of its own
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
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("error_code", Int16),
        _TAGS,
    ),
)


class StableOffsets(_Request):
    """What a group has committed of some partitions of topics, and no offset in front of one that is pending."""

    WIRE = _OFFSET_FETCH

    def __init__(self, group_id: str, topics: tuple[str, ...], partitions: Iterable[int]) -> None:
        numbers = list(partitions)
        super().__init__(group_id, [(topic, numbers, _NO_TAGS) for topic in topics], True, _NO_TAGS)


class GroupOffsets(_Request):
    """What a group has committed of every partition of every topic, whatever is pending."""

    WIRE = _OFFSET_FETCH

    def __init__(self, group_id: str) -> None:
        super().__init__(group_id, None, False, _NO_TAGS)


class DescribeTransaction(_Request):
    """The state of the latest transaction of one transactional id (KIP-664)."""

    WIRE = _wire(
        65,
        0,
        Schema(("transactional_ids", CompactArray(_TEXT)), _TAGS),
        Schema(
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
                    ("topics", CompactArray(("topic", _TEXT), ("partitions", CompactArray(Int32)), _TAGS)),
                    _TAGS,
                ),
            ),
            _TAGS,
        ),
    )

    def __init__(self, transactional_id: str) -> None:
        super().__init__([transactional_id], _NO_TAGS)


Hidden = Literal["", "forbidden", "unsupported"]
"""Why a cluster does not show something; empty where it does."""

#: Codes by which a cluster does not describe a transaction that it may well have.
_NOT_DESCRIBED: Final[Mapping[int, Hidden]] = {
    TransactionalIdAuthorizationFailed.errno: "forbidden",
    ClusterAuthorizationFailedError.errno: "forbidden",
    UnsupportedVersionError.errno: "unsupported",
}


def not_described(response: Any) -> Hidden:
    """Why a response to DescribeTransaction describes none, when that is so whatever the transaction is."""
    ((code, *_),) = response.states
    return _NOT_DESCRIBED.get(code, "")


class OffsetForLeaderEpoch(_Request):
    """Up to where the records of epochs, or of the last one before each, reach: topic to partition to epoch. The
    response has -1 where the leader knows none.
    """

    WIRE = _wire(
        23,
        3,  # KIP-320: the first for consumers, which are no replica
        Schema(
            ("replica_id", Int32),
            (
                "topics",
                Array(
                    ("topic", _OLD_TEXT),
                    (
                        "partitions",
                        Array(("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32)),
                    ),
                ),
            ),
        ),
        Schema(
            ("throttle_time_ms", Int32),
            (
                "topics",
                Array(
                    ("topic", _OLD_TEXT),
                    (
                        "partitions",
                        Array(
                            ("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64)
                        ),
                    ),
                ),
            ),
        ),
    )

    def __init__(self, epochs: Mapping[str, Mapping[int, int]]) -> None:
        topics = [(topic, [(number, -1, epoch) for number, epoch in of.items()]) for topic, of in epochs.items()]
        super().__init__(-1, topics)


class TopicIds(_Request):
    """Ids and partition counts of some topics; creates none, whatever the broker's settings are."""

    WIRE = _wire(
        3,
        10,  # the first with topic ids (KIP-516)
        Schema(
            ("topics", CompactArray(("topic_id", TopicId), ("topic", _TEXT), _TAGS)),
            ("allow_auto_topic_creation", Boolean),
            ("include_cluster_authorized_operations", Boolean),
            ("include_topic_authorized_operations", Boolean),
            _TAGS,
        ),
        Schema(
            ("throttle_time_ms", Int32),
            ("brokers", CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS)),
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
                            _TAGS,
                        ),
                    ),
                    ("authorized_operations", Int32),
                    _TAGS,
                ),
            ),
            ("cluster_authorized_operations", Int32),
            _TAGS,
        ),
    )

    def __init__(self, topics: tuple[str, ...]) -> None:
        super().__init__([("", topic, _NO_TAGS) for topic in topics], False, False, False, _NO_TAGS)


def topic_ids_of(response: Any) -> dict[str, tuple[str, int]]:
    """Topic to its id and partition count; topics that the broker does not know, or knows no leader of, are left
    out.
    """
    return {
        topic: (topic_id, len(partitions))
        for error, topic, topic_id, _, partitions, *_ in response.topics
        if not error and partitions
    }


class CreateTopics(_Request):
    """Create topics; a count of -1 leaves it to the broker. `timeout` is in milliseconds."""

    WIRE = _wire(
        19,
        4,  # the first in which -1 means the broker's default partition count and replication (KIP-464)
        Schema(
            (
                "topics",
                Array(
                    ("topic", _OLD_TEXT),
                    ("num_partitions", Int32),
                    ("replication_factor", Int16),
                    ("assignments", Array(("partition", Int32), ("replicas", Array(Int32)))),
                    ("configs", Array(("name", _OLD_TEXT), ("value", _OLD_TEXT))),
                ),
            ),
            ("timeout", Int32),
            ("validate_only", Boolean),
        ),
        CreateTopicsResponse_v3.SCHEMA,
    )

    def __init__(self, topics: list[tuple[str, int, int, dict[str, str]]], timeout: int) -> None:
        none: list[Any] = []
        wanted = [(name, count, copies, none, list(configs.items())) for name, count, copies, configs in topics]
        super().__init__(wanted, timeout, False)


class ApiVersions(_Request):
    """Requests and features of the broker; features of the cluster stand in the tagged fields (KIP-584)."""

    WIRE = _wire(
        18,
        3,
        Schema(("name", _TEXT), ("version", _TEXT), _TAGS),
        Schema(
            ("error_code", Int16),
            ("api_keys", CompactArray(("api_key", Int16), ("min", Int16), ("max", Int16), _TAGS)),
            ("throttle_time_ms", Int32),
            _TAGS,
        ),
    )
    # Alone of all flexible responses this one keeps the old header, so that old brokers can answer (KIP-511).
    WIRE.parse_response_header = lambda _, read_buffer: ResponseHeader_v0.decode(read_buffer)

    def __init__(self) -> None:
        super().__init__("transfer-gate", "1", _NO_TAGS)


def finalized_features(response: Any) -> dict[str, int]:
    """Feature name to its level in this cluster, for instance `metadata.version` to 27; of ApiVersions."""
    raw = response.tags.get(_FINALIZED_FEATURES)
    if raw is None:
        return {}
    data = BytesIO(raw)
    features = {}
    for _ in range(Length.decode(data) - 1):
        name = _TEXT.decode(data)
        highest = Int16.decode(data)
        Int16.decode(data)
        Tags.decode(data)
        features[str(name)] = highest
    return features


_REPLICAS: Final = CompactArray(
    ("replica", Int32), ("end_offset", Int64), ("last_fetch_ms", Int64), ("last_caught_up_ms", Int64), _TAGS
)


class DescribeQuorum(_Request):
    """The state of the metadata log `__cluster_metadata`; any broker asks the active controller (KIP-595)."""

    WIRE = _wire(
        55,
        1,  # with times (KIP-836)
        Schema(
            (
                "topics",
                CompactArray(("topic", _TEXT), ("partitions", CompactArray(("partition", Int32), _TAGS)), _TAGS),
            ),
            _TAGS,
        ),
        Schema(
            ("error_code", Int16),
            (
                "topics",
                CompactArray(
                    ("topic", _TEXT),
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
                            _TAGS,
                        ),
                    ),
                    _TAGS,
                ),
            ),
            _TAGS,
        ),
    )

    def __init__(self) -> None:
        super().__init__([("__cluster_metadata", [(0, _NO_TAGS)], _NO_TAGS)], _NO_TAGS)


def controller_clock_ms(response: Any) -> int | None:
    """The active controller's wall clock when it answered DescribeQuorum, ms since the epoch; None when it did not say.

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


class TopicRights(_Request):
    """What the client may do with topics that it names (KIP-430); creates none, whatever the broker's settings are."""

    WIRE = _wire(
        3,
        8,
        Schema(
            ("topics", Array(_OLD_TEXT)),
            ("allow_auto_topic_creation", Boolean),
            ("include_cluster_authorized_operations", Boolean),
            ("include_topic_authorized_operations", Boolean),
        ),
        Schema(
            ("throttle_time_ms", Int32),
            ("brokers", Array(("node_id", Int32), ("host", _OLD_TEXT), ("port", Int32), ("rack", _OLD_TEXT))),
            ("cluster_id", _OLD_TEXT),
            ("controller_id", Int32),
            (
                "topics",
                Array(
                    ("error_code", Int16),
                    ("topic", _OLD_TEXT),
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
        ),
    )

    def __init__(self, topics: list[str]) -> None:
        super().__init__(topics, False, False, True)


def operations_of(response: Any) -> dict[str, frozenset[str]]:
    """Topic to what the client may do with it, of TopicRights; nothing where it may not even know whether the topic
    exists. Topics that don't exist are left out, and those of which the broker does not say it.
    """
    rights = {}
    for error, topic, _, _, bits in response.topics:
        if error == TopicAuthorizationFailedError.errno:
            rights[topic] = frozenset[str]()
        elif not error and bits != _NOT_SAID:
            rights[topic] = frozenset(name for name, bit in _OPERATIONS.items() if bits >> bit & 1)
    return rights
