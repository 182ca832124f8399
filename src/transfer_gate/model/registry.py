"""Partners, notices and policy: the reviewed files of contract section 4, as frozen values.

These are read by people and written by people, so pydantic says everything that is wrong with a file at once. Unknown
keys are errors: a misspelt safeguard must not pass for an absent one. Nothing is coerced. What may be absent is
optional here, because the rules that need it fail (rules.md 1.2): so does a period without a start. Times are UTC,
upper bounds are exclusive, an absent upper bound is open (rules.md 1.1).
"""

import datetime as dt
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from transfer_gate.model.reviewed import (
    TOPIC_PATTERN,
    Country,
    Domain,
    Flag,
    Frozen,
    PartyName,
    Reviewed,
    Text,
    When,
    Whole,
    Word,
    nothing,
)
from transfer_gate.model.terms import Channel

#: How the topics of a partner begin that has no `topic` of its own: what it gets, and what it must stop using.
PARTNER_PREFIX: Final = "partner."
SUPPRESSIONS_PREFIX: Final = "suppressions."


class Period(Reviewed):
    """A half-open interval: `from` is in it, `to` is not; without `to` it is open, without `from` it is nothing."""

    from_: When | None = Field(default=None, alias="from")
    """First instant of the period."""
    to: When | None = None
    """First instant after the period; absent: open."""


class PartnerContract(Reviewed):
    """The agreement under which the partner receives prospects (GDPR 24, 28)."""

    id: Word | None = None
    """Reference of the contract in your own files."""
    valid_from: When | None = None
    """First instant at which the contract holds."""
    valid_to: When | None = None
    """First instant at which it no longer holds; absent: open."""
    no_onward: Flag | None = None
    """Whether the contract forbids the partner to pass the prospects on."""


class Suppression(Reviewed):
    """Where withdrawals and objections are passed on to the partner (GDPR 19)."""

    topic: Word | None = None
    """Kafka topic that the partner reads, without the installation's prefix; default `suppressions.<party_id>`."""
    endpoint: Text | None = None
    """Address that the partner listens on."""
    sla_hours: Annotated[Whole, Field(ge=0)] | None = None
    """Hours within which the partner must apply it."""


class Delivery(Reviewed):
    """A program of yours delivers to the partner, which reads no Kafka, and reports it to `deliveries.<party_id>`."""

    sla_hours: Annotated[Whole, Field(ge=1, le=720)]
    """Hours after its release within which a transfer has to be reported as delivered; 720 at most."""
    from_: When | None = Field(default=None, alias="from")
    """First instant whose releases have to be reported; absent: all of the last 30 days."""


class TransferSafeguard(Reviewed):
    """A safeguard for a transfer outside the EEA (GDPR 46)."""

    type: Word | None = None
    """Kind of safeguard, such as `standard_contractual_clauses`."""
    valid_from: When | None = None
    """First instant at which the safeguard holds."""
    valid_to: When | None = None
    """First instant at which it no longer holds; absent: open."""


class Partner(Reviewed):
    """One partner: `partners/<party_id>.yaml`."""

    party_id: PartyName
    """Id of the partner in every record; also the name of its file."""
    legal_name: Text
    """Name of the company, as in the trade register."""
    registration_no: Word | None = None
    """Number in the trade register (SIREN); partners that share it are one controller with several brands."""
    country: Country | None = None
    """Where the partner is established: ISO 3166-1 alpha-2."""
    role: Literal["controller", "processor"] | None = None
    """GDPR 4(7) or 4(8); only a controller may receive prospects of its own."""
    status: Literal["active", "rehearsal", "paused", "suspended"]
    """`active`; `rehearsal`: only invented people are released; `paused`: held for a while; `suspended`: broken off."""
    categories: tuple[Word, ...] = ()
    """What the partner deals in; a notice announces recipients by these words."""
    contract: PartnerContract | None = None
    """The agreement with the partner."""
    suppression: Suppression | None = None
    """Where withdrawals and objections are passed on."""
    delivery: Delivery | None = None
    """Where a program delivers what is released; absent: the partner reads its topic itself."""
    listed: tuple[Period, ...] = ()
    """When the partner stood on the published list of partners."""
    transfer_safeguard: TransferSafeguard | None = None
    """Needed when the partner's country is neither in the EEA nor adequate."""
    privacy_policy: Text | None = None
    """Address of the partner's privacy policy."""
    fields: tuple[Word, ...] = ()
    """Attributes that this partner may receive."""
    topic: Annotated[str, StringConstraints(pattern=TOPIC_PATTERN)] | None = None
    """Topic of the partner without the installation's prefix; default `partner.<party_id>`."""

    def topic_name(self) -> str:
        """Name of the partner's topic, without the installation's prefix."""
        return self.topic or f"{PARTNER_PREFIX}{self.party_id}"

    def suppressions_topic(self) -> str | None:
        """Name of its suppression topic, without the installation's prefix; None without an address to suppress at."""
        address = self.suppression
        if address is None or (address.topic is None and address.endpoint is None):
            return None
        return address.topic or f"{SUPPRESSIONS_PREFIX}{self.party_id}"


class PartnerList(Reviewed):
    """The list of partners that the notice showed, or linked to."""

    version: Word | None = None
    """Version of the list; a consent names the one that the person saw."""
    mode: Literal["inline", "link", "none"] | None = None
    """How the list was shown: on the form, behind a link, not at all."""
    exhaustive: Flag | None = None
    """Whether the list names every recipient."""
    party_ids: tuple[Word, ...] = ()
    """Partners that the list names."""


class Objection(Reviewed):
    """How the notice offered to object (GDPR 21(4))."""

    present: Flag | None = None
    """The notice tells of the right to object."""
    free: Flag | None = None
    """Objecting costs nothing."""
    at_collection: Flag | None = None
    """The form itself let the person object."""


class R223Mentions(Reviewed):
    """The six mentions of R223-1 C. conso. (decree 2026-662)."""

    identity: Flag | None = None
    """Who will call."""
    offer: Flag | None = None
    """About which kind of offer."""
    choice: Flag | None = None
    """That the person is free to accept or refuse."""
    period: Flag | None = None
    """For how long the consent is valid."""
    withdrawal: Flag | None = None
    """How to withdraw it."""
    proof_access: Flag | None = None
    """How to obtain the proof of the consent."""


class Control(Reviewed):
    """One box or button of the form, for some channels."""

    channels: tuple[Channel, ...] = ()
    """Channels that this box or button is about."""
    prechecked: Flag | None = None
    """Ticked before the person did anything (C-673/17)."""
    separate_from_terms: Flag | None = None
    """Apart from the acceptance of terms (GDPR 7(2))."""
    refuse_equal_prominence: Flag | None = None
    """Refusing is as easy to see as accepting."""
    service_without_consent: Flag | None = None
    """The service is given without this consent too (GDPR 7(4))."""


class Review(Reviewed):
    """Who approved or rejected the form, and when."""

    status: Literal["approved", "rejected"] | None = None
    """Outcome of the review."""
    by: Word | None = None
    """Function of the reviewer, such as `dpo`."""
    at: When | None = None
    """When the form was reviewed."""


class Notice(Reviewed):
    """One version of a collection notice: `notices/<version>.yaml`."""

    version: Word
    """Version of the notice; also the name of its file."""
    published_from: When | None = None
    """First instant at which the form showed it."""
    published_to: When | None = None
    """First instant at which it no longer did; absent: open."""
    text_hash: Word | None = None
    """Hash of the words that the person read; the proof of a consent carries the same."""
    purposes: tuple[Word, ...] = ()
    """Purposes that the notice declares, such as `direct_marketing`."""
    attributes: tuple[Word, ...] = ()
    """Attributes that the notice declares; no other leaves the gate."""
    partner_list: PartnerList | None = None
    """The list of partners that it showed."""
    recipient_categories: tuple[Word, ...] = ()
    """Kinds of recipients that it announces."""
    objection: Objection | None = None
    """How it offered to object."""
    phone_optin_statement: Flag | None = None
    """It says that calls need consent (L223-2 C. conso.)."""
    r223_mentions: R223Mentions | None = None
    """The six mentions of R223-1."""
    controls: tuple[Control, ...] = ()
    """Boxes and buttons of the form."""
    review: Review | None = None
    """Outcome of the review of the form."""


class AttributePolicy(Reviewed):
    """What the house knows of an attribute."""

    special_category: Word | None = None
    """Special category of GDPR 9(1) that the attribute reveals, such as `health`."""


class Policy(Reviewed):
    """House policy: `policy.yaml`."""

    jurisdiction: Word
    """Law that the rules apply: `FR`."""
    attributes: Frozen[Word, AttributePolicy] = Field(default_factory=nothing)
    """Every attribute that may leave the house at all."""
    related_offers: Frozen[Word, tuple[Word, ...]] = Field(default_factory=nothing)
    """Category of an offer to the categories and jobs that it is related to."""
    adequate_countries: tuple[Country, ...] = ()
    """Countries outside the EEA with an adequacy decision (GDPR 45)."""
    free_mail_domains: tuple[Domain, ...] = ()
    """Domains whose addresses are personal whatever the source says; compared in canonical form."""
    list_changes: Literal["strict", "inform_and_object"] = "strict"
    """Whether a partner that joined the list later may be reached once the person was told."""
    minor_unknown_age: Literal["quarantine", "allow"] = "quarantine"
    """What happens when the birth date is unknown."""
    bloctel_max_age_days: Annotated[Whole, Field(ge=0, le=3650)] = 30
    """Days for which a Bloctel check is good."""
    clock_skew_seconds: Annotated[Whole, Field(ge=0, le=86400)] = 300
    """Seconds by which a foreign clock may run ahead."""
    recall_memory_days: Annotated[Whole, Field(ge=1, le=36500)] = 1095
    """Days after its last release for which it is kept what a partner was served, so that it can be recalled."""
    unidentified_ids: tuple[Word, ...] = ()
    """Values of `prospect_id` that stand for nobody, besides those that the gate knows, such as `visitor`."""
    own_parties: tuple[Word, ...] = ()
    """Names of parties that scopes of your sources use and no file or notice has; others widen to every party."""
    own_purposes: tuple[Word, ...] = ()
    """Purposes that scopes of your sources use and no notice has; others widen to every purpose."""
    published_at: When | None = None
    """When this registry was published; orders revisions. Required in a folder, not in case files."""

    @property
    def nobody(self) -> frozenset[str]:
        """`unidentified_ids` in the form in which ids are compared: trimmed and case-folded."""
        return frozenset(word.strip().casefold() for word in self.unidentified_ids)

    def recall_memory(self) -> dt.timedelta:
        """For how long after its last release it is kept what a partner was served."""
        return dt.timedelta(days=self.recall_memory_days)

    def clock_skew(self) -> dt.timedelta:
        """How far a foreign clock may run ahead of the worker's."""
        return dt.timedelta(seconds=self.clock_skew_seconds)


class Registry(Reviewed):
    """All reviewed files together, under the content hash that every decision carries."""

    partners: Frozen[str, Partner]
    notices: Frozen[str, Notice]
    policy: Policy
    revision: str

    def __hash__(self) -> int:
        """By revision, so that what is compiled from a registry can be cached under it."""
        return hash(self.revision)
