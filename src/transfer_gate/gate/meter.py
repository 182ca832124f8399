"""What a worker counts: once a round, on children that are looked up once, never for a single record."""

import time
from collections.abc import Sequence
from typing import Final, get_args

from prometheus_client import Counter

from transfer_gate.gate.inbox import Record
from transfer_gate.gate.judge import OUTSIDE_RULES
from transfer_gate.gate.rounds import Round
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.model.reasons import RuleId
from transfer_gate.observe import metrics
from transfer_gate.observe.metrics.decisions import TIMELY_SECONDS
from transfer_gate.observe.metrics.labels import NONE, UNKNOWN, partner_labels
from transfer_gate.policy.decide import DEFINITIONS

#: 2000-01-01T00:00:00Z. What is older, or lies more than a day ahead, is a placeholder of its producer, not a time.
_EARLIEST_MS: Final = 946_684_800_000
_AHEAD_SECONDS: Final = 86_400


def plausible(timestamp_ms: float, now: float) -> bool:
    """Whether a record's timestamp says when it was sent: only such ones are measured. `now` in seconds."""
    return _EARLIEST_MS <= timestamp_ms <= (now + _AHEAD_SECONDS) * 1000


class Meter:
    """Shared by the partitions of a worker."""

    def __init__(self, book: Rulebook) -> None:
        self._consents = metrics.EVENTS.labels(book.consents)
        self._transfers = metrics.EVENTS.labels(book.transfers)
        self._replays = metrics.EVENTS.labels(book.replay)
        self._committed = metrics.TRANSACTIONS.labels("committed")
        self._partners = {"": NONE, **partner_labels(book.registry.partners)}
        self._decisions: dict[tuple[str, str], Counter] = {}
        for rule in (*get_args(RuleId), DEFINITIONS, OUTSIDE_RULES):
            metrics.RULE_ERRORS.labels(rule)  # there before it counts, as the metrics of observe.metrics are

    def committed(self, seconds: float) -> None:
        """One transaction has ended well."""
        self._committed.inc()
        metrics.TRANSACTION_SECONDS.observe(seconds)

    def round(
        self,
        work: Round,
        consents: Sequence[Record],
        transfers: Sequence[Record],
        replays: Sequence[Record],
        seconds: float,
    ) -> None:
        """One round is committed; folding, deciding and encoding took `seconds`."""
        records = len(consents) + len(transfers) + len(replays)
        if records:
            metrics.ROUND_RECORDS.observe(records)
            metrics.DECISION_SECONDS.observe(seconds / records)
        if consents:
            self._consents.inc(len(consents))
        if work.strays:
            metrics.STRAY_CONSENTS.inc(work.strays)
        if work.overflowed:
            metrics.HISTORY_OVERFLOWS.inc(work.overflowed)
        if work.unreadable_consents:
            metrics.UNREADABLE_CONSENTS.inc(work.unreadable_consents)
        if work.withdrawn_at is not None and plausible(work.withdrawn_at, time.time()):
            metrics.WITHDRAWAL_SECONDS.observe(max(0.0, time.time() - work.withdrawn_at / 1000))
        if transfers:
            self._transfers.inc(len(transfers))
            self._latency([record.timestamp for record in transfers])
        if replays:
            self._replays.inc(len(replays))
            for outcome, times in work.replays.items():
                metrics.REPLAYS.labels(outcome).inc(times)
        for (partner, outcome), channels in work.outcomes.items():
            self._decision(partner, outcome).inc(channels)
        for reason, quarantined in work.quarantined.items():
            metrics.QUARANTINED.labels(reason).inc(quarantined)
        for rule, times in work.rule_errors.items():
            metrics.RULE_ERRORS.labels(rule).inc(times)

    def waited(self, seconds: float) -> None:
        """Transfers were decided that met the barrier `seconds` ago."""
        metrics.BARRIER_SECONDS.observe(seconds)

    def _latency(self, stamps: list[int]) -> None:
        now = time.time()
        stamps = [stamp for stamp in stamps if plausible(stamp, now)]
        if not stamps:
            return
        oldest, floor = min(stamps), (now - TIMELY_SECONDS) * 1000
        metrics.LATENCY_SECONDS.observe(max(0.0, now - oldest / 1000))
        metrics.TIMELY.inc(len(stamps) if oldest >= floor else sum(stamp >= floor for stamp in stamps))

    def _decision(self, partner: str, outcome: str) -> Counter:
        # By label, not by party id: ids outside the registry come from records, and would fill the cache.
        label = self._partners.get(partner, UNKNOWN)
        child = self._decisions.get((label, outcome))
        if child is None:
            child = self._decisions[label, outcome] = metrics.DECISIONS.labels(label, outcome)
        return child
