"""Three quarantined records, explained with the rule and its article; contact data masked."""

from collections.abc import Iterable, Mapping
from typing import Final

from transfer_gate.local.demo.watch import Held
from transfer_gate.model.transfer import Transfer
from transfer_gate.policy.catalogue import RULES
from transfer_gate.records import masking
from transfer_gate.records.transfers import decode_transfer

#: Reasons that make good stories, best first.
_TELLING: Final = (
    "not-withdrawn",
    "sector-ban-home-works",
    "consent-valid-act",
    "minor-consent",
    "no-onward-consent",
    "special-category-block",
    "not-objected",
    "electronic-optin",
    "sector-ban-messages",
)
#: Reasons of the gate itself, which no article stands behind.
_OF_THE_GATE: Final[Mapping[str, str]] = {
    "key-mismatch": "the record's key is not its prospect_id",
    "key-misplaced": "the record is in another partition than its key's",
    "prospect-unidentified": "the prospect_id stands for nobody",
    "history-overflow": "there are more consent events of this person than the gate keeps",
    "consent-unreadable": "a consent event of this person could not be read: it might have been a withdrawal",
    "partner-unknown": "the registry has no such partner",
    "partner-paused": "the partner is paused",
    "partner-recall-overdue": "the partner has not acknowledged a suppression in time",
}

#: The domain that most sample people share: it tells nobody from the others.
_DOMAINS: Final = frozenset({"courriel.example"})

_RULES: Final = {str(rule.id): rule for rule in RULES}


def explained(examples: Mapping[str, Held], count: int = 3) -> list[list[str]]:
    """Up to `count` examples of different reasons, each a few lines; the first one of each is its heading."""
    chosen = [reason for reason in (*_TELLING, *sorted(examples)) if reason in examples]
    return [_explain(examples[reason]) for reason in list(dict.fromkeys(chosen))[:count]]


def _explain(held: Held) -> list[str]:
    transfer = decode_transfer(held.value)
    lines = [f"{transfer.event_id} to {held.partner}: {', '.join(held.reasons)} held", f"  about {_masked(transfer)}"]
    for reason in dict.fromkeys(reason for reasons in held.reasons.values() for reason in reasons):
        channels = [channel for channel, reasons in held.reasons.items() if reason in reasons]
        lines.append(f"  {reason} ({', '.join(channels)}) {_meaning(reason)}")
    return lines


def _meaning(reason: str) -> str:
    rule = _RULES.get(reason)
    if rule is None:
        return f"tells: {_OF_THE_GATE.get(reason, reason)}"
    return f"does not hold: {rule.title} [{rule.reference}]"


def _masked(transfer: Transfer) -> str:
    contact = transfer.contact
    points: Iterable[str | None] = (
        (
            masking.email(contact.email.value, _DOMAINS) if contact.email else None,
            masking.phone(contact.phone.value) if contact.phone else None,
            masking.postal_code(contact.postal.postal_code or "") if contact.postal else None,
        )
        if contact
        else ()
    )
    return ", ".join(point for point in points if point) or "(no contact point)"
