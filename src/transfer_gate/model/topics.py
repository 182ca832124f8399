"""Names of the topics (contract section 1): the one place where they are spelt."""

from collections.abc import Mapping

from msgspec import Struct

from transfer_gate.model.registry import PARTNER_PREFIX, Registry


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
            *dict.fromkeys(self.partners(registry).values()),
        )
