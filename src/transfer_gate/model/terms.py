"""The words of the contract that several records share: identifiers, channels, times, reasons of a quarantine."""

import datetime as dt
from typing import Annotated, Final, Literal, NewType, get_args

from msgspec import Meta

Identifier = Annotated[str, Meta(min_length=1, max_length=128, description="An opaque id, 1 to 128 characters.")]
Token = Annotated[str, Meta(min_length=1, max_length=128, description="A word of a vocabulary, such as `insurance`.")]
PartyId = Annotated[str, Meta(min_length=1, max_length=128, description="The id of a party: a collector or a partner.")]
Instant = Annotated[dt.datetime, Meta(tz=True, description="RFC 3339 with an offset; kept to the microsecond.")]
Offset = NewType("Offset", int)

Channel = Literal["email", "sms", "automated_call", "live_call", "postal"]
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)

UTC: Final = dt.UTC

# Why a channel is quarantined: a closed vocabulary, stable for ever, in the order of rules.md.
OperationalReason = Literal[
    "undecodable",
    "schema-invalid",
    "too-large",
    "key-mismatch",
    "key-misplaced",
    "prospect-unidentified",
    "history-overflow",
    "consent-unreadable",
    "partner-unknown",
    "partner-paused",
    "partner-on-rehearsal",
    "partner-recall-overdue",
]
RuleId = Literal[
    "partner-known-and-contracted",
    "partner-role-controller",
    "partner-listed-now",
    "third-country-safeguard",
    "clock-sane",
    "use-window-open",
    "jurisdiction-covered",
    "contact-point-present",
    "source-visibility-respected",
    "not-erased-or-restricted",
    "not-objected",
    "contact-not-stopped",
    "not-withdrawn",
    "electronic-optin",
    "no-soft-optin-for-partners",
    "purpose-specific",
    "partner-named-at-consent",
    "consent-valid-act",
    "form-not-deceptive",
    "consent-proof-individual",
    "notice-in-force-at-collection",
    "no-onward-consent",
    "li-informed",
    "li-recipient-expected",
    "b2b-scope",
    "phone-optout-bloctel",
    "phone-optin",
    "phone-named-pro-and-offer",
    "phone-consent-one-year",
    "phone-proof-three-years",
    "phone-collection-statement",
    "phone-ongoing-contract",
    "sector-ban-home-works",
    "sector-ban-messages",
    "retention-three-years",
    "minor-consent",
    "special-category-block",
    "payload-minimised",
]
Reason = OperationalReason | RuleId | Literal["rule-error"]

REASONS: Final[tuple[str, ...]] = (*get_args(OperationalReason), *get_args(RuleId), "rule-error")
RANK: Final[dict[str, int]] = {reason: rank for rank, reason in enumerate(REASONS)}
