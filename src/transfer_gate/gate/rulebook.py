"""By what a worker decides, and what of it every record repeats."""

import datetime as dt

from msgspec import Struct

from transfer_gate import __version__
from transfer_gate.kafka.sizes import ANY_SIZE, Limits
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import BOUNDS, Bounds
from transfer_gate.model.topics import Topics
from transfer_gate.records.decisions import DecisionPolicy
from transfer_gate.records.partitioner import ANYWHERE, Placement
from transfer_gate.records.released import PolicyStamp


class Rulebook(Struct, frozen=True, gc=False):
    """By what a worker decides, for as long as it runs: topics, registry, and what of them every record repeats."""

    topics: Topics
    registry: Registry
    partner_topics: dict[str, str]
    suppression_topics: dict[str, str]
    stamp: PolicyStamp
    policy: DecisionPolicy
    #: Prefixed topic names, spelt once: building them for every record would cost as much as a rule.
    transfers: str
    consents: str
    quarantine: str
    decisions: str
    changelog: str
    replay: str
    ledger: str
    strays: str
    #: What the gate reads in its group.
    inputs: tuple[str, ...]
    #: Where the records of each key belong.
    placement: Placement = ANYWHERE
    #: What the topics take, as of the start of the worker.
    limits: Limits = ANY_SIZE
    #: How much a prospect's state keeps.
    bounds: Bounds = BOUNDS

    @property
    def noted(self) -> tuple[str, ...]:
        """Topics beside whose offsets a note stands: the inputs, and the ledger, should all inputs be made anew."""
        return *self.inputs, self.ledger

    @property
    def outputs(self) -> tuple[str, ...]:
        """Topics that a round writes in its own partition."""
        return (
            self.changelog,
            self.ledger,
            self.quarantine,
            self.decisions,
            *self.partner_topics.values(),
            *self.suppression_topics.values(),
        )

    @property
    def former_outputs(self) -> tuple[str, str]:
        """How topics begin that it wrote once, if no partner has them any more."""
        return self.topics.of_partners(), self.topics.of_suppressions()

    @property
    def waited_for(self) -> tuple[str, ...]:
        """Inputs that transfers wait for at the barrier."""
        return self.consents, self.strays

    @property
    def registry_order(self) -> str:
        """`published_at/revision`, for the note of a commit; empty for a registry that is not published."""
        published = self.registry.policy.published_at
        if published is None:
            return ""
        return f"{published.astimezone(dt.UTC).isoformat(timespec='microseconds')}/{self.registry.revision}"

    @classmethod
    def of(
        cls,
        topics: Topics,
        registry: Registry,
        placement: Placement = ANYWHERE,
        limits: Limits = ANY_SIZE,
        bounds: Bounds = BOUNDS,
    ) -> "Rulebook":
        """Rulebook of a registry."""
        jurisdiction, revision = registry.policy.jurisdiction, registry.revision
        return cls(
            topics,
            registry,
            dict(topics.partners(registry)),
            dict(topics.suppressions(registry)),
            PolicyStamp(jurisdiction=jurisdiction, revision=revision),
            DecisionPolicy(jurisdiction=jurisdiction, revision=revision, gate_version=__version__),
            topics.transfers,
            topics.consents,
            topics.quarantine,
            topics.decisions,
            topics.changelog,
            topics.replay,
            topics.ledger,
            topics.strays,
            topics.inputs(),
            placement,
            limits,
            bounds,
        )
