"""The registry as the rules read it: absent objects are empty ones, lists that are asked for membership are sets.

Compiled once per registry and cached; nothing here depends on time or on a transfer.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from transfer_gate.model.addresses import canonical_domain
from transfer_gate.model.registry import (
    Control,
    Notice,
    Objection,
    Partner,
    PartnerContract,
    PartnerList,
    Period,
    R223Mentions,
    Registry,
    Review,
    Suppression,
    TransferSafeguard,
)
from transfer_gate.model.terms import CHANNELS, Channel, Reason
from transfer_gate.model.transfer import AttributeValue, Contact

#: The European Economic Area: the 27 member states, Iceland, Liechtenstein and Norway.
EU: Final = frozenset(
    "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE".split()  # noqa: SIM905
)
EEA: Final = EU | {"IS", "LI", "NO"}


class PartnerFile(Struct, frozen=True, kw_only=True):
    """`partners/<party_id>.yaml`; `brands` are the party ids of the same controller (rules.md 1.4), its own included;
    `forwardable` are its fields that policy knows; at each of `changes` something in the file begins or ends."""

    party_id: str
    status: Literal["active", "rehearsal", "paused", "suspended"]
    role: Literal["controller", "processor"] | None
    country: str | None
    categories: frozenset[str]
    contract: PartnerContract
    suppression: Suppression
    transfer_safeguard: TransferSafeguard
    listed: tuple[Period, ...]
    fields: frozenset[str]
    forwardable: frozenset[str]
    brands: frozenset[str]
    changes: tuple[dt.datetime, ...]


class NamedPartners(Struct, frozen=True, kw_only=True):
    """`notice.partner_list`; `empty` when it is there and names no party, which its absence does not say."""

    version: str | None
    mode: Literal["inline", "link", "none"] | None
    exhaustive: bool | None
    party_ids: frozenset[str]
    empty: bool


class NoticeFile(Struct, frozen=True, kw_only=True):
    """`notices/<version>.yaml`; `controls` is channel to the worst of the controls for that channel."""

    version: str
    published_from: dt.datetime | None
    published_to: dt.datetime | None
    text_hash: str | None
    purposes: frozenset[str]
    attributes: frozenset[str]
    partner_list: NamedPartners
    recipient_categories: frozenset[str]
    objection: Objection
    phone_optin_statement: bool | None
    r223_mentions: R223Mentions
    controls: Mapping[Channel, Control]
    review: Review


MAX_VIEWS: Final = 16
#: Scopes whose words are remembered for each registry.
MAX_SCOPES: Final = 4096
EVERYTHING: Final = frozenset({"all", "*"})
DIRECT_MARKETING: Final = "direct_marketing"


class RegistryView:
    """Partners, notices and policy, compiled for the decision. Read-only."""

    def __init__(self, registry: Registry) -> None:
        policy = registry.policy
        self.policy = policy
        self.clock_skew = policy.clock_skew()
        self.partners: Mapping[str, PartnerFile] = {party: _partner(party, registry) for party in registry.partners}
        self.notices: Mapping[str, NoticeFile] = {version: _notice(n) for version, n in registry.notices.items()}
        #: Remembers which rules about a partner's file fail, by partner, part of its history, and eras of the law.
        self.partner_failures: dict[tuple[str, int, tuple[int, int]], list[Reason]] = {}
        self.safe_countries = EEA.union(policy.adequate_countries)
        self.free_mail_domains = frozenset(canonical_domain(domain) or domain for domain in policy.free_mail_domains)
        #: Ids that stand for nobody by the policy, in the form in which they are compared.
        self.nobody = policy.nobody
        self.known_attributes = frozenset(policy.attributes)
        #: Attribute to the special category (GDPR 9) that it reveals.
        self.special: Mapping[str, str] = {
            name: attribute.special_category
            for name, attribute in policy.attributes.items()
            if attribute.special_category is not None
        }
        self.special_names = frozenset(self.special)
        self._parties = _party_words(registry)
        self._purposes = _purpose_words(registry)
        self._party_scopes: dict[tuple[str, ...], frozenset[str] | None] = {}
        self._purpose_scopes: dict[tuple[str, ...], frozenset[str] | None] = {}

    def covers_party(self, scope: tuple[str, ...], party_id: str) -> bool:
        """Whether the words of a scope name the party (rules.md 1.4)."""
        named = _remembered(self._party_scopes, scope, self._parties)
        return named is None or folded(party_id) in named

    def covers_purpose(self, scope: tuple[str, ...], purpose: str) -> bool:
        """Whether the words of a scope name the purpose (rules.md 1.4)."""
        named = _remembered(self._purpose_scopes, scope, self._purposes)
        return named is None or folded(purpose) in named

    def related(self, offer: str | None, other: str | None) -> bool:
        """*related(a, b)* of rules.md 1.5: both present, and equal or listed by policy."""
        if offer is None or other is None:
            return False
        return offer == other or other in self.policy.related_offers.get(offer, ())


# By identity, because equality would compare every file; each entry keeps its registry, so that no id is used twice.
_views: dict[int, tuple[Registry, RegistryView]] = {}


def view_of(registry: Registry) -> RegistryView:
    """The compiled form of a registry; of the last few it is remembered."""
    known = _views.get(id(registry))
    if known is not None and known[0] is registry:
        return known[1]
    if len(_views) >= MAX_VIEWS:
        _views.clear()
    view = RegistryView(registry)
    _views[id(registry)] = (registry, view)
    return view


def folded(word: str) -> str:
    """The form in which words of scopes are compared."""
    return word.strip().casefold()


def _party_words(registry: Registry) -> dict[str, frozenset[str]]:
    """Every word that names a party, to the party ids that it names, all in compared form.

    A registry partner's id names all brands of the same controller, and so does the number that they share.
    """
    words = {
        folded(party)
        for parties in (
            registry.policy.own_parties,
            *(notice.partner_list.party_ids for notice in registry.notices.values() if notice.partner_list),
        )
        for party in parties
    }
    named = {word: {word} for word in words}
    brands: dict[str, set[str]] = {}
    for party, partner in registry.partners.items():
        if partner.registration_no is not None:
            brands.setdefault(folded(partner.registration_no), set()).add(folded(party))
    for number, parties in brands.items():
        named.setdefault(number, set()).update(parties)
    for party, partner in registry.partners.items():
        ids = named.setdefault(folded(party), set())
        ids.add(folded(party))
        if partner.registration_no is not None:
            ids.update(brands[folded(partner.registration_no)])
    return {word: frozenset(parties) for word, parties in named.items()}


def _purpose_words(registry: Registry) -> dict[str, frozenset[str]]:
    words = {DIRECT_MARKETING, *map(folded, registry.policy.own_purposes)}
    for notice in registry.notices.values():
        words.update(map(folded, notice.purposes))
    return {word: frozenset({word}) for word in words}


def _remembered(
    known: dict[tuple[str, ...], frozenset[str] | None],
    scope: tuple[str, ...],
    vocabulary: Mapping[str, frozenset[str]],
) -> frozenset[str] | None:
    """What the words of a scope name, in compared form; None for everything, which an unknown word means."""
    if scope in known:
        return known[scope]
    if len(known) >= MAX_SCOPES:
        known.clear()
    words = [folded(word) for word in scope]
    everything = any(word in EVERYTHING or word not in vocabulary for word in words)
    found = None if everything else frozenset().union(*(vocabulary[word] for word in words))
    known[scope] = found
    return found


def _partner(party: str, registry: Registry) -> PartnerFile:
    partner = registry.partners[party]
    number = partner.registration_no
    return PartnerFile(
        party_id=party,
        status=partner.status,
        role=partner.role,
        country=partner.country,
        categories=frozenset(partner.categories),
        contract=partner.contract or PartnerContract(),
        suppression=partner.suppression or Suppression(),
        transfer_safeguard=partner.transfer_safeguard or TransferSafeguard(),
        listed=partner.listed,
        fields=frozenset(partner.fields),
        forwardable=frozenset(partner.fields).intersection(registry.policy.attributes),
        brands=frozenset(
            other
            for other, file in registry.partners.items()
            if other == party or (number is not None and file.registration_no == number)
        ),
        changes=tuple(sorted({instant for instant in _instants(partner) if instant is not None})),
    )


def _instants(partner: Partner) -> Iterator[dt.datetime | None]:
    for period in partner.listed:
        yield from (period.from_, period.to)
    for validity in (partner.contract, partner.transfer_safeguard):
        if validity is not None:
            yield from (validity.valid_from, validity.valid_to)


def _notice(notice: Notice) -> NoticeFile:
    return NoticeFile(
        version=notice.version,
        published_from=notice.published_from,
        published_to=notice.published_to,
        text_hash=notice.text_hash,
        purposes=frozenset(notice.purposes),
        attributes=frozenset(notice.attributes),
        partner_list=_named(notice.partner_list or PartnerList()),
        recipient_categories=frozenset(notice.recipient_categories),
        objection=notice.objection or Objection(),
        phone_optin_statement=notice.phone_optin_statement,
        r223_mentions=notice.r223_mentions or R223Mentions(),
        controls={
            channel: _worst([control for control in notice.controls if channel in control.channels])
            for channel in CHANNELS
        },
        review=notice.review or Review(),
    )


def _named(shown: PartnerList) -> NamedPartners:
    return NamedPartners(
        version=shown.version,
        mode=shown.mode,
        exhaustive=shown.exhaustive,
        party_ids=frozenset(shown.party_ids),
        empty="party_ids" in shown.model_fields_set and not shown.party_ids,
    )


def _worst(controls: Sequence[Control]) -> Control:
    """What every one of the controls says; where one says something else or nothing, or there is none, not the good
    value."""
    return Control(
        prechecked=_unless_all([control.prechecked for control in controls], False),
        separate_from_terms=_unless_all([control.separate_from_terms for control in controls], True),
        refuse_equal_prominence=_unless_all([control.refuse_equal_prominence for control in controls], True),
        service_without_consent=_unless_all([control.service_without_consent for control in controls], True),
    )


def _unless_all(flags: Sequence[bool | None], good: bool) -> bool | None:
    if not flags or None in flags:
        return None
    return good if all(flag is good for flag in flags) else not good


class Payload(Struct, frozen=True, gc=False):
    """What is about to be sent of the person over the released channels, and the notices of all these."""

    channels: Sequence[Channel]
    notices: Sequence[NoticeFile | None]
    contact: Contact
    attributes: dict[str, AttributeValue]
