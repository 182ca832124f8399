"""Names of the topics (contract section 1): the one place where they are spelt."""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from transfer_gate.model.registry import PARTNER_PREFIX, SUPPRESSIONS_PREFIX, Partner, Registry

#: How the topic begins where the deliveries to a partner are reported.
DELIVERIES_PREFIX: Final = "deliveries."
#: How the topic begins on which a partner says what it did about its suppressions.
ACKNOWLEDGEMENTS_PREFIX: Final = "suppression-acks."
#: What a topic of one partner is for.
PartyTopicKind = Literal["partner", "deliveries", "suppressions", "suppression-acks"]
#: The partner, and the program that delivers to a partner without Kafka: `partner-<party_id>`, `courier-<party_id>`.
PartyPrincipal = Literal["partner", "courier"]


class PartyTopic(Struct, frozen=True, kw_only=True):
    """A topic that one partner has for itself, and which principal of the partner's reads and writes it; what the
    gate's own principals may do stands in docs/reference/access.md.
    """

    kind: PartyTopicKind
    #: Prefix included.
    name: str
    reads: PartyPrincipal | None = None
    writes: PartyPrincipal | None = None


class Topics(Struct, frozen=True, gc=False):
    """Topic names of one installation, prefix included; the changelog also carries the app id, as Faust names it."""

    prefix: str = ""
    app_id: str = "transfer-gate"

    @property
    def transfers(self) -> str:
        """Input: requests to hand a prospect to partners."""
        return f"{self.prefix}prospect-transfers"

    @property
    def consents(self) -> str:
        """Input: consents, withdrawals, objections, erasures, as they happen."""
        return f"{self.prefix}consent-events"

    @property
    def changelog(self) -> str:
        """Own, compacted: the folded consent state of each prospect."""
        return f"{self.prefix}{self.app_id}-consent-changelog"

    @property
    def quarantine(self) -> str:
        """Output: what was held back, byte for byte, with why."""
        return f"{self.prefix}transfers-quarantine"

    @property
    def replay(self) -> str:
        """Input of the gate's own: quarantined records sent back for a fresh decision."""
        return f"{self.prefix}transfers-replay"

    @property
    def decisions(self) -> str:
        """Output: one record for every decision taken."""
        return f"{self.prefix}transfer-decisions"

    @property
    def ledger(self) -> str:
        """Own, compacted: the state of each quarantined record."""
        return f"{self.prefix}transfer-gate-replay-ledger"

    @property
    def audit(self) -> str:
        """Own: who did what from the command line or the console."""
        return f"{self.prefix}transfer-gate-audit"

    @property
    def strays(self) -> str:
        """Own: consent events that stood in another partition than their key's, on their way home."""
        return f"{self.prefix}transfer-gate-strays"

    def of_partners(self) -> str:
        """How the topic of a partner begins that has no `topic` of its own."""
        return f"{self.prefix}{PARTNER_PREFIX}"

    def partners(self, registry: Registry) -> Mapping[str, str]:
        """Party id to the topic of that partner."""
        return {party: f"{self.prefix}{partner.topic_name()}" for party, partner in registry.partners.items()}

    def of_party(self, partner: Partner) -> tuple[PartyTopic, ...]:
        """Every topic of one partner: `topics apply`, rights and manifests are made from this list."""
        party, prefix = partner.party_id, self.prefix
        reader: PartyPrincipal = "partner" if partner.delivery is None else "courier"
        found = [PartyTopic(kind="partner", name=f"{prefix}{partner.topic_name()}", reads=reader)]
        if partner.delivery is not None:
            found.append(PartyTopic(kind="deliveries", name=f"{prefix}{DELIVERIES_PREFIX}{party}", writes="courier"))
        suppressions = partner.suppressions_topic()
        if suppressions is not None:
            acknowledgements = f"{prefix}{ACKNOWLEDGEMENTS_PREFIX}{party}"
            found += [
                PartyTopic(kind="suppressions", name=f"{prefix}{suppressions}", reads="partner"),
                PartyTopic(kind="suppression-acks", name=acknowledgements, writes="partner"),
            ]
        return tuple(found)

    def of_parties(self, registry: Registry) -> Mapping[str, PartyTopic]:
        """Every topic of every partner, by name."""
        return {topic.name: topic for partner in registry.partners.values() for topic in self.of_party(partner)}

    def of_kind(self, kind: PartyTopicKind, partners: Mapping[str, Partner]) -> Mapping[str, str]:
        """Party id to the partner's topic of that kind; partners without one are left out."""
        return {
            party: topic.name
            for party, partner in partners.items()
            for topic in self.of_party(partner)
            if topic.kind == kind
        }

    def of_suppressions(self) -> str:
        """How the suppression topic of a partner begins whose file names none."""
        return f"{self.prefix}{SUPPRESSIONS_PREFIX}"

    def suppressions(self, registry: Registry) -> Mapping[str, str]:
        """Party id to the topic of what that party must stop using; parties without an address have none."""
        return self.of_kind("suppressions", registry.partners)

    def inputs(self) -> tuple[str, str, str, str]:
        """Topics that the gate reads in its group."""
        return self.consents, self.transfers, self.replay, self.strays

    def of_prospects(self, registry: Registry) -> tuple[str, ...]:
        """Every topic that carries a prospect: these share one partition count, so that equal keys meet."""
        return (
            self.transfers,
            self.consents,
            self.strays,
            self.changelog,
            self.quarantine,
            self.replay,
            self.decisions,
            *dict.fromkeys((*self.partners(registry).values(), *self.suppressions(registry).values())),
        )
