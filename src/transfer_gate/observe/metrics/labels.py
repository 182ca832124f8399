"""The closed sets that labels take their values from. Nothing personal, and nothing that a record can invent."""

from collections.abc import Iterable
from typing import Final

from transfer_gate.model.reasons import REASONS

#: Partners with a label value of their own; those that come after, by party id, share `OTHERS`.
MOST_PARTNERS: Final = 200
OTHERS: Final = "others"
#: A party id that is not in the registry, and a record of which no partner could be read.
UNKNOWN: Final = "unknown"
NONE: Final = "none"

RELEASED: Final = "released"
TRANSACTION_OUTCOMES: Final = ("committed", "failed", "fenced")
REPLAY_OUTCOMES: Final = ("released", "requarantined", "discarded", "erased", "refused", "ignored")

#: For the reference page: what the values of each label are.
VALUES: Final = {
    "partner": f"party ids of the registry, the first {MOST_PARTNERS} by name; `{OTHERS}` for the rest; `{UNKNOWN}` "
    f"for ids outside the registry; `{NONE}` where no partner could be read",
    "outcome": "closed, named by the metric",
    "source": "sources of `ingest`: those that have a file",
    "became": "types of consent events; `unreadable`, `of_nobody`, `passed_over`, `other_regulation`",
    "reason": "the reasons of [rules](rules.md)",
    "rule": "rule ids of [rules](rules.md); `gate` and `definitions` for defects outside a single rule",
    "topic": "names of the topics that the program reads",
    "partition": "partition numbers that the program reads now",
    "version": "one value",
    "compiled": "`yes`, `no`",
    "revision": "one value",
    "jurisdiction": "one value",
}


def partner_labels(party_ids: Iterable[str]) -> dict[str, str]:
    """Party id of the registry to its label value."""
    return {party: party if rank < MOST_PARTNERS else OTHERS for rank, party in enumerate(sorted(party_ids))}


def outcomes() -> tuple[str, ...]:
    """Every value of `outcome` of `transfer_gate_decisions_total`."""
    return (RELEASED, *REASONS)
