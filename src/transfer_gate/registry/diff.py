"""What changed between two registries, in the words of a data protection officer, with the rules that read it."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from transfer_gate.model.registry import Control, Notice, Partner, Period, Registry
from transfer_gate.model.reviewed import Reviewed
from transfer_gate.model.terms import Reason

_PARIS: Final = ZoneInfo("Europe/Paris")

_RELATED: Final[tuple[Reason, ...]] = (
    "b2b-scope",
    "phone-optout-bloctel",
    "phone-ongoing-contract",
    "sector-ban-home-works",
    "sector-ban-messages",
)

_OPPOSED: Final[tuple[Reason, ...]] = ("not-objected", "contact-not-stopped", "not-withdrawn")

#: Field, `[]` for any entry of a mapping, to what it is called and the reasons that may come or go when it changes
#: (rules.md section 3).
FIELDS: Final[dict[str, tuple[str, tuple[Reason, ...]]]] = {
    "partner.legal_name": ("legal name", ()),
    "partner.registration_no": ("number in the trade register", _OPPOSED),
    "partner.country": ("country", ("third-country-safeguard",)),
    "partner.role": ("role under the GDPR", ("partner-role-controller",)),
    "partner.status": ("status", ("partner-paused", "partner-on-rehearsal", "partner-known-and-contracted")),
    "partner.categories": ("what it deals in", ("li-recipient-expected",)),
    "partner.contract": ("contract", ("partner-known-and-contracted",)),
    "partner.contract.id": ("reference of the contract", ()),
    "partner.contract.valid_from": ("start of the contract", ("partner-known-and-contracted",)),
    "partner.contract.valid_to": ("end of the contract", ("partner-known-and-contracted",)),
    "partner.contract.no_onward": ("contract forbids to pass prospects on", ("partner-known-and-contracted",)),
    "partner.suppression": ("channel for withdrawals", ("partner-known-and-contracted",)),
    "partner.suppression.topic": ("topic for withdrawals", ("partner-known-and-contracted",)),
    "partner.suppression.endpoint": ("address for withdrawals", ("partner-known-and-contracted",)),
    "partner.suppression.sla_hours": ("hours to apply a withdrawal", ()),
    "partner.delivery": ("delivery by a program", ()),
    "partner.delivery.sla_hours": ("hours to deliver a transfer", ()),
    "partner.delivery.from": ("since when deliveries are reported", ()),
    "partner.listed": ("periods on the list of partners", ("partner-listed-now",)),
    "partner.transfer_safeguard": ("safeguard for a third country", ("third-country-safeguard",)),
    "partner.transfer_safeguard.type": ("kind of safeguard", ("third-country-safeguard",)),
    "partner.transfer_safeguard.valid_from": ("start of the safeguard", ("third-country-safeguard",)),
    "partner.transfer_safeguard.valid_to": ("end of the safeguard", ("third-country-safeguard",)),
    "partner.privacy_policy": ("privacy policy", ()),
    "partner.fields": ("attributes it may receive", ("payload-minimised",)),
    "partner.topic": ("topic it reads", ()),
    "notice.published_from": ("published from", ("notice-in-force-at-collection",)),
    "notice.published_to": ("published until", ("notice-in-force-at-collection",)),
    "notice.text_hash": ("hash of its text", ("consent-proof-individual",)),
    "notice.purposes": ("declared purposes", ("purpose-specific", "li-informed")),
    "notice.attributes": ("declared attributes", ("payload-minimised",)),
    "notice.partner_list": ("list of partners", ("partner-named-at-consent", "li-recipient-expected")),
    "notice.partner_list.version": ("version of its list of partners", ("partner-named-at-consent",)),
    "notice.partner_list.mode": (
        "how it shows its list of partners",
        ("partner-named-at-consent", "phone-named-pro-and-offer"),
    ),
    "notice.partner_list.exhaustive": ("list of partners is exhaustive", ("partner-named-at-consent",)),
    "notice.partner_list.party_ids": (
        "partners it names",
        ("partner-named-at-consent", "no-onward-consent", "li-recipient-expected"),
    ),
    "notice.recipient_categories": ("kinds of recipients it announces", ("li-informed", "li-recipient-expected")),
    "notice.objection": ("right to object", ("li-informed",)),
    "notice.objection.present": ("tells of the right to object", ("li-informed",)),
    "notice.objection.free": ("objecting is free", ("li-informed",)),
    "notice.objection.at_collection": ("form lets the person object", ("li-informed",)),
    "notice.phone_optin_statement": ("says that calls need consent", ("phone-collection-statement",)),
    "notice.r223_mentions": ("mentions of R223-1", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.identity": ("mentions who will call", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.offer": ("mentions the kind of offer", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.choice": ("mentions the free choice", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.period": ("mentions how long consent is valid", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.withdrawal": ("mentions how to withdraw", ("phone-named-pro-and-offer",)),
    "notice.r223_mentions.proof_access": ("mentions how to obtain the proof", ("phone-named-pro-and-offer",)),
    "notice.controls": ("boxes and buttons", ("consent-valid-act", "form-not-deceptive")),
    "notice.review": ("review", ("form-not-deceptive",)),
    "notice.review.status": ("outcome of the review", ("form-not-deceptive",)),
    "notice.review.by": ("reviewer", ()),
    "notice.review.at": ("time of the review", ()),
    "policy.jurisdiction": ("jurisdiction", ("jurisdiction-covered",)),
    "policy.attributes": ("attributes that may leave the house", ("special-category-block", "payload-minimised")),
    "policy.attributes[].special_category": ("special category of", ("special-category-block",)),
    "policy.related_offers": ("categories that have related offers", _RELATED),
    "policy.related_offers[]": ("offers and jobs related to", _RELATED),
    "policy.adequate_countries": ("countries with an adequacy decision", ("third-country-safeguard",)),
    "policy.free_mail_domains": (
        "mail domains that make a consumer",
        ("electronic-optin", "b2b-scope", "phone-optin"),
    ),
    "policy.list_changes": ("when the list of partners changes", ("li-recipient-expected",)),
    "policy.minor_unknown_age": ("when the age is unknown", ("minor-consent",)),
    "policy.bloctel_max_age_days": ("days a Bloctel check is good for", ("phone-optout-bloctel",)),
    "policy.recall_memory_days": ("days for which it is kept what a partner was served", ()),
    "policy.clock_skew_seconds": ("seconds a clock may be ahead", ("clock-sane",)),
    "policy.unidentified_ids": ("prospect ids that stand for nobody", ("prospect-unidentified",)),
    "policy.own_parties": ("own names of parties", _OPPOSED),
    "policy.own_purposes": ("own purposes", _OPPOSED),
    "policy.published_at": ("time of publication", ()),
}


def in_paris(instant: dt.datetime) -> str:
    """An instant on the clock that the rules are written in, such as `2026-09-01 00:00+02:00`, as exact as it is."""
    local = instant.astimezone(_PARIS)
    return local.isoformat(" ", "auto" if local.second or local.microsecond else "minutes")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs: an object that came or went (`field` is empty then), or one field of an object."""

    kind: Literal["partner", "notice", "policy"]
    name: str
    title: str
    change: Literal["added", "removed", "changed"]
    field: str
    text: str
    rules: tuple[Reason, ...]


def compare(before: Registry, after: Registry) -> tuple[Change, ...]:
    """What differs in meaning: nothing exactly when the revisions are equal. Partners, then notices, then policy."""
    return (
        *_named("partner", before.partners, after.partners),
        *_named("notice", before.notices, after.notices),
        *_fields("policy", "", "Policy", before.policy, after.policy),
    )


def _named(
    kind: Literal["partner", "notice"],
    before: Mapping[str, Partner] | Mapping[str, Notice],
    after: Mapping[str, Partner] | Mapping[str, Notice],
) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        title = _title(kind, name, new or old)
        if old is None and new is not None:
            yield Change(kind, name, title, "added", "", f"is new: {_summary(new)}", ())
        elif new is None:
            rules: tuple[Reason, ...] = (
                ("partner-unknown",) if kind == "partner" else ("notice-in-force-at-collection",)
            )
            yield Change(kind, name, title, "removed", "", "is gone: what relies on it will be held", rules)
        elif old is not None:
            yield from _fields(kind, name, title, old, new)


def _title(kind: str, name: str, reviewed: Reviewed | None) -> str:
    legal_name = f" ({reviewed.legal_name})" if isinstance(reviewed, Partner) else ""
    return f"{kind.capitalize()} {name}{legal_name}"


def _summary(new: Partner | Notice) -> str:
    if isinstance(new, Partner):
        deals_in, receives = _shown(new.categories), _shown(new.fields)
        return f"{new.status}, established in {_shown(new.country)}, deals in {deals_in}, may receive {receives}"
    named = _shown(new.partner_list.party_ids) if new.partner_list else "no party"
    period = _shown(Period.model_construct(from_=new.published_from, to=new.published_to))
    return f"published {period}, names {named}, review: {_shown(new.review.status if new.review else None)}"


def _fields(
    kind: Literal["partner", "notice", "policy"], name: str, title: str, old: Reviewed, new: Reviewed
) -> Iterator[Change]:
    olds, news = dict(_leaves(old)), dict(_leaves(new))
    for path in [*olds, *(path for path in news if path not in olds)]:
        before, after = olds.get(path), news.get(path)
        if before == after:
            continue
        entry = next((f" {step[1:-1]}" for step in path if step.startswith("[")), "")
        label, rules = FIELDS[_joined((kind, *("[]" if step.startswith("[") else step for step in path)))]
        yield Change(
            kind, name, title, "changed", _joined(path), f"{label}{entry}: {_difference(before, after)}", rules
        )


def _joined(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(".[", "[")


def _leaves(reviewed: Reviewed, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every single fact under the steps that lead to it; `[x]` is the entry x of a mapping."""
    for name, field in type(reviewed).model_fields.items():
        path = (*above, field.alias or name)
        value = getattr(reviewed, name)
        if isinstance(value, Reviewed):
            yield from _leaves(value, path)
            if not value.model_dump(exclude_defaults=True):
                yield path, "there, but empty"
        elif isinstance(value, Mapping):
            yield path, tuple(sorted(value))
            for key, entry in sorted(value.items()):
                step = (*path, f"[{key}]")
                yield from _leaves(entry, step) if isinstance(entry, Reviewed) else [(step, entry)]
        else:
            yield path, value


def _difference(before: Any, after: Any) -> str:
    if not isinstance(before or after, tuple):
        return f"was {_shown(before)}, is now {_shown(after)}"
    before, after = before or (), after or ()
    said = []
    if came := tuple(entry for entry in after if entry not in before):
        said.append(f"now also {_shown(came)}")
    if went := tuple(entry for entry in before if entry not in after):
        said.append(f"no longer {_shown(went)}")
    return "; ".join(said) or "the same entries, in another order or number"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "not said"
        case bool():
            return "yes" if value else "no"
        case dt.datetime():
            return in_paris(value)
        case tuple():
            return ", ".join(_shown(entry) for entry in value) or "nothing"
        case Period():
            return f"from {_shown(value.from_)} until {_shown(value.to) if value.to else 'further notice'}"
        case Control():
            facts = (f"{name.replace('_', ' ')}: {_shown(fact)}" for name, fact in value if name != "channels")
            return f"a box for {_shown(value.channels)} ({', '.join(facts)})"
        case _:
            return str(value)
