"""The facts that rules ask for, under the names and definitions of rules.md section 1.

One `Facts` serves a whole decision: it is turned to a partner, then to a channel, and every rule reads it as it stands.
"""

import datetime as dt
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Final, Literal

from transfer_gate.model.addresses import canonical_domain
from transfer_gate.model.consent import Guardian, Proof
from transfer_gate.model.state import Opposition, ProspectState
from transfer_gate.model.stops import NO_STOPS, ContactStop, ContactStops
from transfer_gate.model.terms import CHANNELS, Channel
from transfer_gate.model.transfer import Bloctel, Contact, InboundRequest, Source, Subject, SubjectKind, Transfer
from transfer_gate.policy.legal_time import (
    add_duration,
    add_years,
    birthday,
    day_of,
    elapsed,
    is_days_before,
    is_within_months,
    midnight,
    within_duration,
    within_months,
    working_days_end,
)
from transfer_gate.policy.state_facts import covered, state_facts
from transfer_gate.policy.view import NoticeFile, PartnerFile, Payload, RegistryView

Basis = Literal["consent", "legitimate_interest", "request", "none"]

#: Basis by kind and channel; None for a live call to a consumer, whose basis hangs on more than that.
BASIS: Final[dict[tuple[SubjectKind, Channel], Basis | None]] = {
    **{("consumer", channel): "consent" for channel in CHANNELS},
    ("consumer", "live_call"): None,
    ("consumer", "postal"): "legitimate_interest",
    **{("professional", channel): "legitimate_interest" for channel in CHANNELS},
    **{("legal_person", channel): "none" for channel in CHANNELS},
}


def is_consumer(subject: Subject, contact: Contact, free_mail_domains: AbstractSet[str]) -> bool:
    """Whether the person is a consumer on every channel: said to be one, or not said to be anything, or has a free-mail
    address, whatever is said."""
    if subject.kind is None or subject.kind == "consumer":
        return True
    if contact.email is None:
        return False
    domain = canonical_domain(contact.email.value.rpartition("@")[2])
    return domain is None or domain in free_mail_domains


def kind_on(channel: Channel, subject: Subject, contact: Contact) -> SubjectKind:
    """The kind on a channel of a person who is not a consumer everywhere: a personal address or number makes one."""
    kind = subject.kind or "consumer"
    if channel == "postal":
        return kind
    if channel == "email":
        address = contact.email.type if contact.email else None
        if kind == "legal_person" and address == "role":
            return "legal_person"
        return "professional" if address in ("professional", "role") else "consumer"
    number = contact.phone.type if contact.phone else None
    if kind == "legal_person" and number in ("professional", "landline"):
        return "legal_person"
    return "professional" if number == "professional" else "consumer"


#: Loi 2025-594, art. 13: from this instant a consumer may be called only with consent, and Bloctel is over.
PHONE_LAW: Final = midnight(dt.date(2026, 8, 11))
CALL_BACK_WORKING_DAYS: Final = 5
#: From this age on a birth date is taken for a placeholder.
OLDEST_AGE: Final = 120
#: Loi 2020-901: energy savings and renewable energies.
ENERGY: Final = frozenset({"energy_saving", "renewable"})
#: Loi 2025-594: adaptation of homes to age or disability joins them, and the services of all these sectors.
HOME_WORKS: Final = ENERGY | {"home_adaptation", "home_works_service"}
DEFAULT_WINDOW: Final = dt.timedelta(days=30)
CALLS: Final[frozenset[Channel]] = frozenset({"live_call", "automated_call"})

# An absent object is an empty one: every condition on it fails, and no rule has to ask twice.
_NO_SUBJECT: Final = Subject()
_NO_CONTACT: Final = Contact()
_NO_SOURCE: Final = Source()
_NO_BLOCTEL: Final = Bloctel()
_NO_REQUEST: Final = InboundRequest()
_NO_PROOF: Final = Proof()
_NO_GUARDIAN: Final = Guardian()


@lru_cache(maxsize=16)
def _bounds(t: dt.datetime, clock_skew: dt.timedelta) -> tuple[dt.datetime, dt.datetime]:
    """The latest time that is not *future* (1.1), and the end of a campaign window that has none of its own."""
    return elapsed(t, clock_skew), elapsed(t, DEFAULT_WINDOW)


def _birth_date(subject: Subject, t: dt.datetime) -> dt.date | None:
    """The birth date, unless it is a placeholder: after the day of t, or 120 years or more before it."""
    born = subject.birth_date
    if born is None or 2 <= t.year - born.year <= OLDEST_AGE - 2:  # most need no calendar
        return born
    today = day_of(t)
    return born if born <= today < birthday(born, OLDEST_AGE) else None


class Facts:
    """What is known about one transfer at `t`; after `turn_to`, about one partner; after `look_at`, about one channel.

    Times are aware. `horizon` is the latest time that is not *future* (1.1), W = [t, w] the campaign window (section
    1); `payload` is what is about to be sent, once that is known.
    """

    __slots__ = (
        "basis",
        "birth_date",
        "channel",
        "consent",
        "contact",
        "event",
        "horizon",
        "is_consumer",
        "kept",
        "kind",
        "notice",
        "opposed",
        "partner",
        "partner_id",
        "payload",
        "policy",
        "state",
        "stops",
        "subject",
        "t",
        "use_until",
        "view",
        "w",
    )

    def __init__(
        self,
        view: RegistryView,
        event: Transfer,
        state: ProspectState,
        t: dt.datetime,
        stops: ContactStops = NO_STOPS,
    ) -> None:
        self.view = view
        self.policy = view.policy
        self.event = event
        self.state = state
        self.stops = stops
        self.t = t
        self.horizon, use_until = _bounds(t, view.clock_skew)
        self.use_until = event.use_until or use_until
        self.w = self.use_until if self.use_until > t else t
        self.subject = event.subject or _NO_SUBJECT
        self.contact = event.contact or _NO_CONTACT
        self.birth_date = _birth_date(self.subject, t)
        self.is_consumer = is_consumer(self.subject, self.contact, view.free_mail_domains)
        self.kept = kept = state_facts(view, state, self.horizon)
        #: Whether there is anything that could stand against a transfer (1.4).
        self.opposed = bool(
            kept.withdrawals or state.objections or state.erasures or state.restrictions or stops.email or stops.phone
        )

    def is_future(self, instant: dt.datetime) -> bool:
        """*Future* (1.1)."""
        return not is_days_before(instant, self.horizon, 0) and instant > self.horizon

    def turn_to(self, partner_id: str) -> None:
        """Look at one partner of the transfer."""
        self.partner_id = partner_id
        self.partner: PartnerFile | None = self.view.partners.get(partner_id)
        self.payload: Payload | None = None

    def look_at(self, channel: Channel) -> None:
        """Look at one channel for this partner: find its kind, relevant consent c, basis and notice n."""
        self.channel = channel
        self.kind = "consumer" if self.is_consumer else kind_on(channel, self.subject, self.contact)
        offer = self.event.offer_category if channel in CALLS else None
        self.consent = self.kept.relevant(channel, self.event.purpose, self.partner_id, offer)
        self.basis = BASIS[self.kind, channel] or self._basis_of_live_call()
        if self.basis != "consent":
            version = self.event.notice_version
        else:
            version = self.consent.notice_version if self.consent else None
        self.notice: NoticeFile | None = self.view.notices.get(version) if version is not None else None

    # 1.3 The relevant consent

    @property
    def covers(self) -> bool:
        """c *covers*: it is a consent, for this purpose and this partner."""
        return (
            self.consent is not None
            and self.consent.lawful_basis == "consent"
            and self.event.purpose in self.consent.purposes
            and self.partner_id in self.consent.party_ids
        )

    @property
    def proof(self) -> Proof:
        """`consent.proof`."""
        return (self.consent.proof if self.consent else None) or _NO_PROOF

    @property
    def guardian(self) -> Guardian:
        """`consent.guardian`."""
        return (self.consent.guardian if self.consent else None) or _NO_GUARDIAN

    @property
    def act(self) -> dt.datetime | None:
        """*act(c)*: the earliest time of a consent event with the proof of c; without a proof id there is no act."""
        proof_id = self.proof.proof_id
        return self.state.proofs.get(proof_id) if proof_id is not None else None

    @property
    def act_ends_at(self) -> dt.datetime | None:
        """act(c) + 1 year."""
        return add_years(self.act, 1) if self.act is not None else None

    @property
    def expires_at(self) -> dt.datetime | None:
        """`consent.event_time` + `consent.validity`, where there is a validity."""
        if self.consent is None or self.consent.validity is None:
            return None
        return add_duration(self.consent.event_time, self.consent.validity)

    def is_valid_at(self, time: dt.datetime) -> bool:
        """Whether `time` is before `expires_at`, or c does not expire."""
        c = self.consent
        return c is None or c.validity is None or within_duration(time, c.event_time, c.validity)

    @property
    def is_valid_for_a_year_at_most(self) -> bool:
        """Whether c says for how long the person consented, and this is no longer than a year."""
        c = self.consent
        if c is None or c.validity is None:
            return False
        return is_within_months(c.validity, 12) or add_duration(c.event_time, c.validity) <= add_years(c.event_time, 1)

    @property
    def left_out_as_future(self) -> bool:
        """Whether a given or renewed consent for the channel was left out because it is dated in the future."""
        return self.kept.left_out_as_future(self.channel)

    @property
    def told_of_partner(self) -> bool:
        """Whether a live record with basis legitimate interest says that the person was told of this partner."""
        return self.kept.told_of(self.channel, self.event.purpose, self.partner_id)

    # 1.4 Withdrawal, objection, erasure, restriction

    @property
    def standing_withdrawal(self) -> Opposition | None:
        """A withdrawal, or a refused consent, that stands."""
        return self._standing(self.kept.withdrawal(self.channel, self.event.purpose, self.partner_id))

    @property
    def standing_objection(self) -> Opposition | None:
        """An objection that stands."""
        return self._standing(self.kept.objection(self.channel, self.event.purpose, self.partner_id))

    @property
    def standing_erasure(self) -> dt.datetime | None:
        """The time of an erasure that stands."""
        erased_at = self.state.erased_at
        return erased_at if erased_at is not None and not self._overcome(erased_at) else None

    @property
    def restricted(self) -> bool:
        """Whether the newest of restriction and restriction_lifted is a restriction."""
        restricted_at = self.state.restricted_at
        if restricted_at is None:
            return False
        lifted_at = self.state.lifted_by(self.horizon)
        return lifted_at is None or restricted_at >= lifted_at

    # 1.6 Contact stops

    @property
    def standing_stop(self) -> ContactStop | None:
        """A stop of the contact point of the channel that stands."""
        if self.channel == "postal":
            return None
        for stop in self.stops.email if self.channel == "email" else self.stops.phone:
            if covered(self.view, stop, self.channel, self.event.purpose, self.partner_id) and (
                stop.since is None or not self._overcome(stop.since)
            ):
                return stop
        return None

    def _standing(self, x: Opposition | None) -> Opposition | None:
        return x if x is not None and not self._overcome(x.counted_at) else None

    def _overcome(self, time: dt.datetime) -> bool:
        return self.covers and self.act is not None and self.act > time

    # 1.5 Basis of a live call to a consumer, exceptions

    def _basis_of_live_call(self) -> Basis:
        if self.w < PHONE_LAW:
            return "legitimate_interest"
        if self.call_back_until is not None:
            return "request"
        return "legitimate_interest" if self.is_press or self.own_contract else "consent"

    @property
    def is_press(self) -> bool:
        """*press*."""
        return self.event.offer_category == "press"

    @property
    def own_contract(self) -> bool:
        """*own contract*: a running contract with this very partner, about something related."""
        contract = self.event.contract
        return (
            contract is not None
            and contract.holder == self.partner_id
            and contract.status == "ongoing"
            and (contract.ends_at is None or contract.ends_at > self.use_until)
            and self.view.related(self.event.offer_category, contract.object)
        )

    @property
    def call_back_until(self) -> dt.datetime | None:
        """*call-back*: the midnight that ends the fifth working day after a proven request in a banned sector, while it
        lasts."""
        request = self.event.inbound_request or _NO_REQUEST
        if (
            self.channel != "live_call"
            or self.t < PHONE_LAW
            or self.partner_id not in request.partner_ids
            or request.object is None
            or request.object != self.event.offer_category
            or request.at is None
            or request.at > self.horizon
            or request.object not in HOME_WORKS
            or request.proof_id is None
            or request.proof_kept_until is None
            or within_months(request.proof_kept_until, request.at, 36)
        ):
            return None
        end = working_days_end(request.at, CALL_BACK_WORKING_DAYS)
        return end if self.t < end else None

    @property
    def phone_rules_apply(self) -> bool:
        """*phone consent rules* (decree 2026-662)."""
        return (
            self.channel in CALLS
            and self.kind == "consumer"
            and self.basis == "consent"
            and self.consent is not None
            and self.w >= PHONE_LAW
            and not self.is_press
            and not self.own_contract
        )

    # Objects of the transfer that may be absent

    @property
    def source(self) -> Source:
        """`event.source`."""
        return self.event.source or _NO_SOURCE

    @property
    def bloctel(self) -> Bloctel:
        """`event.bloctel`."""
        return self.event.bloctel or _NO_BLOCTEL

    @property
    def partner_role(self) -> str | None:
        """`event.partner_roles` for this partner, else `partner.role`."""
        own = (self.event.partner_roles or {}).get(self.partner_id)
        return own or (self.partner.role if self.partner else None)
