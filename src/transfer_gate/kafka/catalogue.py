"""How each topic has to be set, and why, and what a worker must be allowed to do with it: the one place where that is
written (contract section 1).
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from transfer_gate.model.registry import Registry
from transfer_gate.model.topics import PartyTopicKind, Topics

_DAY_MS: Final = 86_400_000
_MIB: Final = 1_048_576

#: Kafka's own default of `max.message.bytes`, bytes.
DEFAULT_MAX_MESSAGE: Final = 1_048_588
#: What the gate adds to a record that it passes on (headers with reasons, obligations of a release), bytes, generous.
HEAD_ROOM: Final = _MIB
#: The largest input record that is decided, unpacked, bytes (`kafka.unpacking` holds the same number).
LARGEST_RECORD: Final = 2 * _MIB
#: Room for the state of a prospect with thousands of consent events, bytes.
LARGE_MESSAGE: Final = 8 * _MIB

#: The campaign window that a transfer has by default (rules.md 1): later, nothing in quarantine can be released.
_QUARANTINE_MS: Final = 30 * _DAY_MS
#: Claims in personal matters lapse after five years (art. 2224 Code civil): so long a decision must be explainable.
_EVIDENCE_MS: Final = 5 * 366 * _DAY_MS

Role = (
    Literal["transfers", "consents", "changelog", "quarantine", "replay", "decisions", "ledger", "audit", "strays"]
    | PartyTopicKind
)

_INPUT: Final = frozenset({"Read", "DescribeConfigs"})
_OUTPUT: Final = frozenset({"Write", "DescribeConfigs"})
#: What a worker must be allowed to do (docs/reference/access.md). Topics that are not here are none of its business.
RIGHTS: Final[Mapping[Role, frozenset[str]]] = {
    "transfers": _INPUT,
    "consents": _INPUT,
    "replay": _INPUT,
    "strays": _INPUT | _OUTPUT,
    "changelog": _INPUT | _OUTPUT,
    "ledger": _INPUT | _OUTPUT,
    "quarantine": _OUTPUT,
    "decisions": _INPUT | _OUTPUT,
    "partner": _OUTPUT,
    "suppressions": _OUTPUT,
}

_DELETE: Final = {"cleanup.policy": "delete"}
_BROKER_TIME: Final = {"message.timestamp.type": "LogAppendTime"}
_FOR_EVER: Final = {"retention.ms": "-1", "retention.bytes": "-1"}
_EVIDENCE: Final = {"retention.ms": str(_EVIDENCE_MS), "retention.bytes": "-1"}
#: Superseded personal data is gone after a day or so (GDPR 17), and a restore reads little that is superseded.
_COMPACT: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(64 * _MIB),
    "min.cleanable.dirty.ratio": "0.2",
    "max.compaction.lag.ms": str(_DAY_MS),
}


class TopicSpec(Struct, frozen=True, kw_only=True):
    """One topic as the gate wants it; what `configs` does not name is the cluster's business.

    `shares_count`: carries prospects, or what became of their records, so its partition count is that of every other
    such topic.
    """

    name: str
    role: Role
    shares_count: bool
    partitions: int | None
    configs: Mapping[str, str]


#: What each setting is for, for people who find a difference.
REASONS: Final[Mapping[str, str]] = {
    "cleanup.policy": "compaction keeps only the newest record of a prospect, deletion drops the oldest ones",
    "message.timestamp.type": "the broker's own time says how long something is quarantined, and when consent came",
    "max.message.bytes": "what comes in must go out again with the gate's headers, and what the gate notes must fit",
    "retention.ms": "how long evidence and withdrawals can be read again",
    "retention.bytes": "size must not cut short what time keeps",
    "segment.bytes": "small segments are compacted sooner, so that a restore reads less",
    "min.cleanable.dirty.ratio": "the lower, the less a restore reads",
    "max.compaction.lag.ms": "how long superseded personal data may stay",
    "min.insync.replicas": "an acknowledged withdrawal must survive the loss of one broker",
}


def catalogue(
    topics: Topics,
    registry: Registry,
    *,
    partitions: int | None,
    replication: int | None,
    largest_input: int = DEFAULT_MAX_MESSAGE,
) -> tuple[TopicSpec, ...]:
    """Every topic of an installation, inputs first.

    `partitions` and `replication` are what an operator asked for, None the broker's default; `largest_input` is the
    largest `max.message.bytes` of the two input topics, in bytes.
    """
    durable = {"min.insync.replicas": "2"} if replication is not None and replication >= 3 else {}
    passed_on = {"max.message.bytes": str(max(largest_input, LARGEST_RECORD) + HEAD_ROOM)}
    # What the gate writes of its own repeats nothing that an input can make large; less than Kafka's default is little.
    own = {"max.message.bytes": str(DEFAULT_MAX_MESSAGE)}
    held = {"max.message.bytes": str(max(largest_input + HEAD_ROOM, LARGE_MESSAGE))}

    def spec(
        name: str, role: Role, *parts: Mapping[str, str], shares: bool = True, count: int | None = partitions
    ) -> TopicSpec:
        configs = {key: value for part in (*parts, durable) for key, value in part.items()}
        return TopicSpec(name=name, role=role, shares_count=shares, partitions=count, configs=configs)

    quarantine = {
        **_BROKER_TIME,
        "retention.ms": str(_QUARANTINE_MS),
        "retention.bytes": "-1",
    }

    def of_party(kind: PartyTopicKind, name: str) -> TopicSpec:
        if kind == "partner":
            return spec(name, kind, _DELETE, passed_on)
        if kind == "suppressions":
            # The whole stop state of a person in every record: a partner that comes late reads only what holds now.
            return spec(name, kind, _COMPACT, own)
        if kind == "suppression-acks":
            return spec(name, kind, _DELETE, _EVIDENCE, own, shares=False)
        # One partition, so that reports stand in one order; the broker's clock says which release one can be about.
        return spec(name, kind, _DELETE, _BROKER_TIME, _EVIDENCE, own, shares=False, count=1)

    return (
        spec(topics.transfers, "transfers", _DELETE),
        # A withdrawal never lapses. Erasure is an event; an operator who keeps less must know what is forgotten.
        spec(topics.consents, "consents", _DELETE, _FOR_EVER, _BROKER_TIME),
        # What came home is folded, but only this topic can fold it anew. Timestamps are the gate's; the events' own
        # time of receipt travels in a header.
        spec(topics.strays, "strays", _DELETE, _FOR_EVER, held),
        spec(topics.changelog, "changelog", _COMPACT, {"max.message.bytes": str(LARGE_MESSAGE)}),
        spec(topics.quarantine, "quarantine", _DELETE, quarantine, held),
        spec(topics.replay, "replay", _DELETE, held),
        spec(topics.decisions, "decisions", _DELETE, _EVIDENCE, own),
        *(of_party(topic.kind, topic.name) for topic in topics.of_parties(registry).values()),
        # Written by the gate in the transaction of the outcome, so in the partition of the record that it is about.
        spec(topics.ledger, "ledger", _COMPACT, own),
        # One partition, so that the audit events of all operators stand in one order.
        spec(topics.audit, "audit", _DELETE, _EVIDENCE, own, shares=False, count=1),
    )
