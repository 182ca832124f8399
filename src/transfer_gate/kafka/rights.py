"""What a worker must be allowed to do with its topics (docs/reference/access.md), and what it is not."""

from collections.abc import Iterable, Mapping
from typing import Final

from transfer_gate.kafka.catalogue import Role, TopicSpec
from transfer_gate.kafka.refusal import AccessDenied

_INPUT: Final = frozenset({"Read", "DescribeConfigs"})
_OUTPUT: Final = frozenset({"Write", "DescribeConfigs"})
#: A worker has nothing to do with the audit topic.
_NEEDED: Final[Mapping[Role, frozenset[str]]] = {
    "transfers": _INPUT,
    "consents": _INPUT,
    "replay": _INPUT,
    "strays": _INPUT | _OUTPUT,
    "changelog": _INPUT | _OUTPUT,
    "ledger": _INPUT | _OUTPUT,
    "quarantine": _OUTPUT,
    "decisions": _OUTPUT,
    "partner": _OUTPUT,
}


def refusals(specs: Iterable[TopicSpec], given: Mapping[str, frozenset[str]]) -> list[str]:
    """Every right that a worker lacks, as `Write on partner.acme`; `given` as `Cluster.rights` says."""
    return [
        f"{', '.join(sorted(missing))} on topic {spec.name}"
        for spec in specs
        if spec.name in given and (missing := _NEEDED.get(spec.role, frozenset()) - given[spec.name])
    ]


def require_rights(specs: Iterable[TopicSpec], given: Mapping[str, frozenset[str]]) -> None:
    """Raise AccessDenied that names every right which is missing.

    Asked before the first record: a right that only a restore or a rare record needs is missed in the worst hour.
    """
    missing = refusals(specs, given)
    if missing:
        raise AccessDenied(
            f"the broker refuses access: the gate's principal lacks {'; '.join(missing)}",
            do="grant it the rights listed in docs/reference/access.md",
        )
