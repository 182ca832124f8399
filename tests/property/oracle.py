"""rules.md, written down a second time: slow, literal, from raw events, sharing no code with `transfer_gate.policy`.

The property tests hold the product against it. Every rule is evaluated for every channel; nothing is cached or skipped.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from transfer_gate.model.consent import (
    ConsentEvent,
    ConsentGiven,
    Erasure,
    Objection,
    Resolution,
    Restriction,
    RestrictionLifted,
    Withdrawal,
)
from transfer_gate.model.registry import Registry
from transfer_gate.model.stops import NO_STOPS, ContactStops
from transfer_gate.model.transfer import Transfer

PARIS = ZoneInfo("Europe/Paris")
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
END = dt.datetime.max.replace(tzinfo=dt.UTC)
EU = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE"
EEA = {*EU.split(), "IS", "LI", "NO"}
CALLS = ("live_call", "automated_call")
HOME_WORKS = ("energy_saving", "renewable", "home_adaptation", "home_works_service")
ELECTRONIC = ("email", "sms", "automated_call")


def paris(wall: dt.datetime) -> dt.datetime:
    """The instant of a clock time in Paris: its first occurrence; if skipped, with the offset before the change."""
    day_before = (wall - DAY).replace(tzinfo=PARIS).utcoffset()
    instants = sorted({wall.replace(tzinfo=dt.UTC) - offset for offset in (HOUR, 2 * HOUR, day_before) if offset})
    fitting = [instant for instant in instants if instant.astimezone(PARIS).replace(tzinfo=None) == wall]
    return fitting[0] if fitting else wall.replace(tzinfo=dt.UTC) - (day_before or HOUR)


def midnight(year: int, month: int, day: int) -> dt.datetime:
    return paris(dt.datetime.combine(dt.date(year, month, day), dt.time()))


def plus_months(instant: dt.datetime, months: int) -> dt.datetime:
    try:
        wall = instant.astimezone(PARIS).replace(tzinfo=None, fold=0)
        year, month = wall.year + (wall.month - 1 + months) // 12, (wall.month - 1 + months) % 12 + 1
        day = wall.day
        while True:
            try:
                return paris(wall.replace(year=year, month=month, day=day))
            except ValueError:
                if day <= 28:
                    return END
                day -= 1
    except OverflowError:
        return END


def plus_duration(instant: dt.datetime, text: str) -> dt.datetime:
    date, _, time = text[1:].partition("T")
    months = 0
    rest = dt.timedelta()
    for part, units in (
        (date, {"Y": 12, "M": 1, "W": 7 * DAY, "D": DAY}),
        (time, {"H": HOUR, "M": HOUR / 60, "S": HOUR / 3600}),
    ):
        number = ""
        for char in part:
            if char.isdigit():
                number += char
            else:
                unit: Any = units[char]
                if isinstance(unit, int):
                    months += int(number) * unit
                else:
                    rest += int(number) * unit
                number = ""
    try:
        return (plus_months(instant, months) if months else instant) + rest
    except OverflowError:
        return END


def easter(year: int) -> dt.date:
    """Anonymous Gregorian algorithm."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    ell = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * ell) // 451
    month, day = divmod(h + ell - 7 * m + 114, 31)
    return dt.date(year, month, day + 1)


def is_working_day(day: dt.date) -> bool:
    sunday = easter(day.year)
    fixed = {(1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)}
    moving = {sunday + DAY, sunday + 39 * DAY, sunday + 50 * DAY}
    return day.weekday() != 6 and (day.month, day.day) not in fixed and day not in moving


def years_old(birth: dt.date, years: int) -> dt.date:
    try:
        return birth.replace(year=birth.year + years)
    except ValueError:
        return dt.date(birth.year + years, 2, 28)


@dataclass
class Verdict:
    """What rules.md says of one partner."""

    released: list[str]
    quarantined: dict[str, list[str]]
    contact: dict[str, Any]
    attributes: dict[str, Any]
    use_before: dt.datetime | None = None
    art14_due_at: dt.datetime | None = None
    time_zone: str | None = None
    max_call_attempts: int | None = None
    call_slots: Any = None
    record_ids: tuple[str, ...] = ()


RANK = {"given": 0, "renewed": 0, "refused": 1, "expired": 2, "invalidated": 3}


def invented(event: Transfer) -> bool:
    """By the mark of docs/how-to/registry.md."""
    contact = event.contact
    email = contact.email.value.lower() if contact and contact.email else "x@example.org"
    phone = contact.phone.value if contact and contact.phone else "+33639980000"
    lines = contact.postal.lines if contact and contact.postal else ("SPECIMEN",)
    labels = email.split("@")[-1].split(".")
    return (
        event.prospect_id[:12] == "tg-invented-"
        and (
            labels in (["example", top] for top in ("org", "com", "net"))
            or labels[-1] in ("example", "test", "invalid")
        )
        and any(phone[:8] == f"+33{block}" for block in ("63998", "19900", "26191", "35301", "46571", "53649"))
        and len(phone) == 12
        and lines[0] == "SPECIMEN"
    )


def verdict(
    event: Transfer,
    events: Sequence[ConsentEvent | None],
    registry: Registry,
    t: dt.datetime,
    partner_id: str,
    stops: ContactStops = NO_STOPS,
    received: Sequence[dt.datetime | None] = (),
    overflowed: bool = False,
) -> Verdict:
    """The verdict on one partner. `events` are by offset; None is an event that can't be read; `stops` are those of the
    contact points of the transfer; `received` is when each event was received, None where that is not known;
    `overflowed`: not all of them were kept."""
    policy = registry.policy
    partner = registry.partners.get(partner_id)
    skew = dt.timedelta(seconds=policy.clock_skew_seconds)
    use_until = event.use_until or t + 30 * DAY
    w = max(t, use_until)

    def future(instant: dt.datetime | None) -> bool:
        return instant is not None and instant > t + skew

    def applies(start: dt.datetime, end: dt.datetime | None = None) -> bool:
        return w >= start and (end is None or t < end)

    def related(a: str | None, b: str | None) -> bool:
        return a is not None and b is not None and (a == b or b in policy.related_offers.get(a, ()))

    # 1.1
    def counted(e: ConsentEvent) -> dt.datetime:
        receipts = [r for r, other in zip(received, events, strict=False) if other == e and r is not None]
        return min([e.event_time, *receipts])

    # 1.3
    consents = [e for e in events if isinstance(e, ConsentGiven)]
    present = [e for e in consents if not future(e.event_time) or e.state not in ("given", "renewed")]
    records: dict[str, ConsentGiven] = {}
    for e in present:
        best = records.get(e.record_id)
        if best is None or (counted(e), RANK[e.state], e.event_id) > (
            counted(best),
            RANK[best.state],
            best.event_id,
        ):
            records[e.record_id] = e
    live = [e for e in records.values() if e.state in ("given", "renewed")]

    subject = event.subject
    contact = event.contact
    email = contact.email if contact else None
    phone = contact.phone if contact else None
    subject_kind = subject.kind if subject else None
    birth_date = subject.birth_date if subject else None
    today = t.astimezone(PARIS).date()
    if birth_date is not None and (birth_date > today or years_old(birth_date, 120) <= today):
        birth_date = None

    def kind(channel: str) -> str:
        domain = email.value.split("@")[-1].lower().rstrip(".") if email else None
        free = {name.lower().rstrip(".") for name in policy.free_mail_domains}
        if subject_kind in (None, "consumer") or domain in free:
            return "consumer"
        assert subject_kind is not None
        if channel == "postal":
            return subject_kind
        point = email if channel == "email" else phone
        point_type = point.type if point else None
        if channel == "email":
            if subject_kind == "legal_person" and point_type == "role":
                return "legal_person"
            return "professional" if point_type in ("professional", "role") else "consumer"
        if subject_kind == "legal_person" and point_type in ("professional", "landline"):
            return "legal_person"
        return "professional" if point_type == "professional" else "consumer"

    contract = event.contract
    own_contract = (
        contract is not None
        and contract.holder == partner_id
        and contract.status == "ongoing"
        and (contract.ends_at is None or contract.ends_at > use_until)
        and related(event.offer_category, contract.object)
    )
    press = event.offer_category == "press"
    new_law = midnight(2026, 8, 11)

    def call_back_midnight(channel: str) -> dt.datetime | None:
        request = event.inbound_request
        if channel != "live_call" or t < new_law or request is None or request.at is None or future(request.at):
            return None
        if partner_id not in request.partner_ids or request.object is None or request.object != event.offer_category:
            return None
        if event.offer_category not in HOME_WORKS or request.proof_id is None or request.proof_kept_until is None:
            return None
        if request.proof_kept_until < plus_months(request.at, 36):
            return None
        day, count = request.at.astimezone(PARIS).date(), 0
        while count < 5:
            day += DAY
            count += is_working_day(day)
        end = paris(dt.datetime.combine(day + DAY, dt.time()))
        return end if t < end else None

    def judge(channel: str) -> tuple[list[str], dict[str, Any]]:
        k = kind(channel)
        called_back = call_back_midnight(channel)
        if k == "legal_person":
            basis = "none"
        elif k == "professional" or channel == "postal":
            basis = "li"
        elif channel != "live_call":
            basis = "consent"
        elif w < new_law:
            basis = "li"
        elif called_back:
            basis = "request"
        else:
            basis = "li" if press or own_contract else "consent"

        def nearness(e: ConsentGiven) -> Any:
            return (
                e.lawful_basis == "consent",
                event.purpose in e.purposes,
                partner_id in e.party_ids,
                channel in CALLS and event.offer_category in e.offer_categories,
                e.event_time,
                e.event_id,
            )

        candidates = sorted((e for e in live if channel in e.channels), key=nearness)
        c = candidates[-1] if candidates else None
        covers = c is not None and all(nearness(c)[:3])
        proof = c.proof if c else None
        act = None
        if c is not None and proof is not None and proof.proof_id is not None:
            act = min(counted(e) for e in consents if e.proof is not None and e.proof.proof_id == proof.proof_id)
        validity_end = plus_duration(c.event_time, c.validity) if c is not None and c.validity is not None else None
        version = (c.notice_version if c else None) if basis == "consent" else event.notice_version
        n = registry.notices.get(version) if version is not None else None
        listed = n.partner_list if n else None
        named = listed.party_ids if listed else ()

        # 1.4
        def stands(time: dt.datetime) -> bool:
            return not (covers and act is not None and act > time)

        def scoped(channels: Any, party_ids: Any, purposes: Any) -> bool:
            def plain(words: Any) -> list[str]:
                return ["all"] if not words or words == "all" else [word.strip().lower() for word in words]

            def part(scope: Any, known: Any, names: Any) -> bool:
                # A word that nobody knows makes the part "all".
                return any(word in ("all", "*") or word not in plain(known) or names(word) for word in plain(scope))

            def is_party(word: str) -> bool:
                if word == partner_id.strip().lower():
                    return True
                number = partner.registration_no if partner is not None else None
                if number is None:
                    return False
                brands = [p for p, file in registry.partners.items() if file.registration_no == number]
                return word in plain([*brands, number])

            lists = [notice.partner_list.party_ids for notice in registry.notices.values() if notice.partner_list]
            numbers = [file.registration_no for file in registry.partners.values() if file.registration_no is not None]
            parties = [*registry.partners, *numbers, *policy.own_parties, *(party for one in lists for party in one)]
            declared = [purpose for notice in registry.notices.values() for purpose in notice.purposes]
            known_purposes = ["direct_marketing", *policy.own_purposes, *declared]
            return (
                (not channels or channels == "all" or channel in channels)
                and part(party_ids, parties, is_party)
                and part(purposes, known_purposes, lambda word: word == event.purpose.strip().lower())
            )

        def opposed(kinds: Any) -> bool:
            return any(
                isinstance(e, kinds)
                and scoped(
                    *((e.scope.channels, e.scope.party_ids, e.scope.purposes) if e.scope else (None, None, None))
                )
                and stands(counted(e))
                for e in events
                if isinstance(e, Withdrawal | Objection)
            )

        refused = any(
            e.state == "refused" and scoped(e.channels, e.party_ids, e.purposes) and stands(counted(e))
            for e in records.values()
        )
        erased = any(isinstance(e, Erasure) and stands(counted(e)) for e in events)
        restrictions = [counted(e) for e in events if isinstance(e, Restriction)]
        liftings = [counted(e) for e in events if isinstance(e, RestrictionLifted) and not future(e.event_time)]
        restricted = bool(restrictions) and (not liftings or max(restrictions) >= max(liftings))

        controls = [control for control in n.controls if channel in control.channels] if n else []
        phone_rules = (
            channel in CALLS
            and k == "consumer"
            and basis == "consent"
            and c is not None
            and not press
            and not own_contract
            and applies(new_law)
        )
        gdpr = applies(midnight(2018, 5, 25))
        person = k in ("consumer", "professional")
        reasons: list[str] = []

        def rule(name: str, applicable: Any, condition: Callable[[], Any]) -> None:
            if applicable and not condition():
                reasons.append(name)

        def within(start: dt.datetime | None, x: dt.datetime | None, end: dt.datetime | None) -> bool:
            return start is not None and x is not None and start <= x and (end is None or x < end)

        if overflowed:
            reasons.append("history-overflow")
        if event_blocked:
            reasons.append("consent-unreadable")
        if partner is None:
            reasons.append("partner-unknown")
        elif partner.status == "paused":
            reasons.append("partner-paused")
        elif partner.status == "rehearsal" and not invented(event):
            reasons.append("partner-on-rehearsal")

        p = partner
        p_contract = p.contract if p else None
        suppression = p.suppression if p else None
        rule(
            "partner-known-and-contracted",
            gdpr and p,
            lambda: (
                p
                and p.status != "suspended"
                and p_contract
                and within(p_contract.valid_from, t, p_contract.valid_to)
                and p_contract.no_onward is True
                and suppression
                and (suppression.topic or suppression.endpoint)
            ),
        )
        role = (event.partner_roles or {}).get(partner_id) or (p.role if p else None)
        rule("partner-role-controller", gdpr and p, lambda: role == "controller")
        rule(
            "partner-listed-now",
            applies(midnight(2018, 12, 28)) and p,
            lambda: p and any(within(period.from_, t, period.to) for period in p.listed),
        )
        rule(
            "third-country-safeguard",
            gdpr and p,
            lambda: (
                p
                and (
                    p.country in EEA
                    or p.country in policy.adequate_countries
                    or (
                        p.transfer_safeguard
                        and within(p.transfer_safeguard.valid_from, t, p.transfer_safeguard.valid_to)
                    )
                )
            ),
        )

        last = event.last_active_contact
        times = [
            event.requested_at,
            event.collected_at,
            last.at if last else None,
            event.bloctel.checked_at if event.bloctel else None,
            event.inbound_request.at if event.inbound_request else None,
        ]
        left_out = [
            e for e in consents if future(e.event_time) and e.state in ("given", "renewed") and channel in e.channels
        ]
        rule(
            "clock-sane",
            gdpr,
            lambda: not any(future(time) for time in times) and not (basis == "consent" and c is None and left_out),
        )
        rule("use-window-open", gdpr, lambda: t <= use_until)
        rule(
            "jurisdiction-covered",
            gdpr,
            lambda: policy.jurisdiction == "FR" and subject and subject.country in {"FR", "GP", "MQ", "GF", "RE", "YT"},
        )
        point = {"email": email, "postal": contact.postal if contact else None}.get(channel, phone)
        rule("contact-point-present", gdpr, lambda: point is not None)
        rule("source-visibility-respected", gdpr, lambda: event.source_restricted in (None, False))

        rule("not-erased-or-restricted", gdpr, lambda: not erased and not restricted)
        rule("not-objected", gdpr, lambda: not opposed(Objection))
        points = {"email": stops.email, "postal": ()}.get(channel, stops.phone)
        rule(
            "contact-not-stopped",
            gdpr,
            lambda: (
                not any(
                    scoped(stop.channels, stop.party_ids, stop.purposes) and (stop.since is None or stands(stop.since))
                    for stop in points
                )
            ),
        )
        rule("not-withdrawn", gdpr, lambda: not opposed(Withdrawal) and not refused)

        on_consent = gdpr and basis == "consent"
        on_li = gdpr and basis == "li"
        rule(
            "electronic-optin",
            on_consent and channel in ELECTRONIC,
            lambda: c and c.lawful_basis == "consent" and (validity_end is None or t < validity_end),
        )
        rule(
            "no-soft-optin-for-partners",
            on_consent and channel in ELECTRONIC and c,
            lambda: c and c.lawful_basis is not None and c.lawful_basis != "existing_customer",
        )
        rule("purpose-specific", on_consent and c, lambda: c and event.purpose in c.purposes)
        rule("purpose-specific", on_li and n, lambda: n and event.purpose in n.purposes)
        rule("purpose-specific", gdpr and basis == "request", lambda: event.purpose == "direct_marketing")
        rule(
            "partner-named-at-consent",
            on_consent and c and n,
            lambda: (
                c
                and listed
                and partner_id in c.party_ids
                and partner_id in named
                and c.partner_list_version is not None
                and c.partner_list_version == listed.version
                and listed.exhaustive is True
                and listed.mode in ("inline", "link")
            ),
        )
        rule(
            "consent-valid-act",
            on_consent and c and n,
            lambda: (
                c
                and c.indication in ("unticked_box_ticked", "signature", "dedicated_action")
                and controls
                and all(control.prechecked is False and control.separate_from_terms is True for control in controls)
            ),
        )
        rule(
            "form-not-deceptive",
            on_consent and c and n,
            lambda: (
                n
                and n.review
                and n.review.status == "approved"
                and controls
                and all(x.refuse_equal_prominence is True and x.service_without_consent is True for x in controls)
            ),
        )
        rule(
            "consent-proof-individual",
            on_consent and c and n,
            lambda: (
                n
                and proof
                and proof.individual is True
                and proof.text_hash is not None
                and proof.text_hash == n.text_hash
                and proof.collector is not None
                and proof.kept_until is not None
                and t <= proof.kept_until
            ),
        )
        rule(
            "notice-in-force-at-collection",
            on_consent and c,
            lambda: n and c and within(n.published_from, c.event_time, n.published_to),
        )
        rule(
            "notice-in-force-at-collection",
            on_li,
            lambda: n and within(n.published_from, event.collected_at, n.published_to),
        )

        def onward(told: Any, collector: Any) -> bool:
            source = event.source
            if source is None or not source.chain:
                return False
            if source.role == "primary_collector":
                return len(source.chain) == 1
            later = [*source.chain[1:], partner_id]
            return source.role == "reseller" and all(party in told for party in later) and collector(source.chain[0])

        fiche = applies(midnight(2018, 12, 28))
        rule(
            "no-onward-consent",
            fiche and basis == "consent" and c,
            lambda: c and onward(c.party_ids, lambda first: proof is not None and proof.collector == first),
        )
        rule("no-onward-consent", fiche and basis == "li" and n, lambda: onward(named, lambda _: True))

        rule(
            "li-informed",
            on_li and n,
            lambda: (
                n
                and "direct_marketing" in n.purposes
                and n.recipient_categories
                and n.objection
                and n.objection.present is True
                and n.objection.free is True
                and n.objection.at_collection is True
            ),
        )
        shared_category = bool(p and n and set(p.categories) & set(n.recipient_categories))
        told = any(
            e.lawful_basis == "legitimate_interest"
            and channel in e.channels
            and event.purpose in e.purposes
            and partner_id in e.party_ids
            for e in live
        )
        names_nobody = listed is not None and "party_ids" in listed.model_fields_set and not named
        rule(
            "li-recipient-expected",
            on_li and n and p,
            lambda: (
                partner_id in named
                or (names_nobody and shared_category)
                or (
                    policy.list_changes == "inform_and_object"
                    and (channel == "postal" or k == "professional")
                    and shared_category
                    and told
                )
            ),
        )
        rule(
            "b2b-scope",
            gdpr and k == "professional" and channel != "postal",
            lambda: related(event.offer_category, subject.job if subject else None),
        )

        bloctel = event.bloctel
        bloctel_applies = (
            channel == "live_call"
            and k == "consumer"
            and not press
            and not own_contract
            and applies(midnight(2016, 6, 1), new_law)
        )
        bloctel_holds = (
            bloctel is not None
            and bloctel.listed is False
            and bloctel.checked_at is not None
            and t <= bloctel.checked_at + policy.bloctel_max_age_days * DAY
        )
        rule("phone-optout-bloctel", bloctel_applies, lambda: bloctel_holds)
        rule(
            "phone-optin",
            channel == "live_call" and k == "consumer" and basis == "consent" and applies(new_law),
            lambda: c and c.lawful_basis == "consent",
        )
        mentions = n.r223_mentions if n else None
        rule(
            "phone-named-pro-and-offer",
            phone_rules and n,
            lambda: (
                c
                and listed
                and partner_id in c.party_ids
                and event.offer_category in c.offer_categories
                and listed.mode == "inline"
                and mentions
                and all(flag is True for flag in mentions.model_dump().values())
            ),
        )
        rule(
            "phone-consent-one-year",
            phone_rules,
            lambda: (
                c
                and validity_end is not None
                and validity_end <= plus_months(c.event_time, 12)
                and use_until < validity_end
                and act
                and use_until < plus_months(act, 12)
            ),
        )
        rule(
            "phone-proof-three-years",
            phone_rules,
            lambda: (
                c
                and proof
                and proof.kept_until is not None
                and proof.kept_until >= plus_months(c.event_time, 36)
                and c.time_precise
            ),
        )
        rule(
            "phone-collection-statement",
            phone_rules and n and (event.collected_at is None or event.collected_at >= new_law),
            lambda: n and event.collected_at is not None and n.phone_optin_statement is True,
        )
        rule(
            "phone-ongoing-contract",
            channel == "live_call"
            and k == "consumer"
            and contract is not None
            and ((basis == "consent" and c is None) or (bloctel_applies and not bloctel_holds))
            and applies(midnight(2020, 7, 26)),
            lambda: own_contract,
        )

        offer = event.offer_category
        rule(
            "sector-ban-home-works",
            channel in CALLS and k == "consumer" and applies(midnight(2020, 7, 26)),
            lambda: (
                (
                    offer is not None
                    and offer not in ("energy_saving", "renewable")
                    and not (applies(new_law) and offer in HOME_WORKS)
                )
                or own_contract
                or called_back
            ),
        )
        rule(
            "sector-ban-messages",
            channel in ("email", "sms") and k == "consumer" and applies(midnight(2025, 7, 2)),
            lambda: (offer is not None and offer not in HOME_WORKS) or own_contract,
        )

        def retained() -> bool:
            if event.collected_at is None:
                return False
            m = event.collected_at
            signs = ("click", "reply", "order", "login", "inbound_call", "form")
            without_consent = last is not None and last.type == "click" and last.measured_with_consent is False
            if last and last.at is not None and last.type in signs and not without_consent and last.at > m:
                m = last.at
            return t < plus_months(m, 36)

        rule("retention-three-years", person and applies(midnight(2022, 2, 3)), retained)

        def grown_up() -> bool:
            if birth_date is None:
                return policy.minor_unknown_age == "allow"
            if basis != "consent":
                return years_old(birth_date, 18) <= t.astimezone(PARIS).date()
            if years_old(birth_date, 15) <= (c.event_time if c else t).astimezone(PARIS).date():
                return True
            g = c.guardian if c else None
            return (
                g is not None
                and g.party_id is not None
                and g.proof_id is not None
                and g.event_time is not None
                and not future(g.event_time)
            )

        rule(
            "minor-consent",
            person
            and (subject_kind in (None, "consumer") or birth_date is not None)
            and applies(midnight(2018, 6, 22)),
            grown_up,
        )
        categories = {
            policy.attributes[name].special_category
            for name in event.attributes or ()
            if name in policy.attributes and policy.attributes[name].special_category is not None
        }
        rule(
            "special-category-block",
            gdpr,
            lambda: all(covers and c is not None and category in c.special_categories for category in categories),
        )

        ends = [use_until]
        if basis == "consent" and validity_end:
            ends.append(validity_end)
        if phone_rules and act:
            ends.append(plus_months(act, 12))
        if basis == "request" and called_back:
            ends.append(called_back)
        slots = c.call_slots if c and channel == "live_call" and basis == "consent" and c.call_slots else None
        return reasons, {
            "slots": slots,
            "kind": k,
            "notice": n,
            "ends": min(ends),
            "record": c.record_id if c else None,
        }

    unreadable = {offset for offset, e in enumerate(events) if e is None}
    resolved = {offset for e in events if isinstance(e, Resolution) for offset in e.resolves}
    event_blocked = not unreadable <= resolved

    judged = {channel: judge(channel) for channel in event.channels}
    released = [channel for channel, (reasons, _) in judged.items() if not reasons]
    found = Verdict(
        released=list(released),
        quarantined={channel: reasons for channel, (reasons, _) in judged.items() if reasons},
        contact={},
        attributes={},
        record_ids=tuple(dict.fromkeys(facts["record"] for _, facts in judged.values() if facts["record"] is not None)),
    )
    if not released:
        return found
    if "email" in released:
        found.contact["email"] = email
    if {"sms", *CALLS} & set(released):
        found.contact["phone"] = phone
    if "postal" in released:
        found.contact["postal"] = contact.postal if contact else None
    notices = [judged[channel][1]["notice"] for channel in released]
    found.attributes = {
        name: value
        for name, value in (event.attributes or {}).items()
        if all(n is not None and name in n.attributes for n in notices)
        and partner is not None
        and name in partner.fields
        and name in policy.attributes
    }
    found.call_slots = judged["live_call"][1]["slots"] if "live_call" in released else None
    kinds = {channel: judged[channel][1]["kind"] for channel in released}
    found.use_before = min(judged[channel][1]["ends"] for channel in released)
    if set(kinds.values()) != {"legal_person"}:
        found.art14_due_at = plus_months(t, 1)
    if any(channel in CALLS and kinds[channel] == "consumer" for channel in released):
        zones = {
            "FR": "Europe/Paris",
            "GP": "America/Guadeloupe",
            "MQ": "America/Martinique",
            "GF": "America/Cayenne",
            "RE": "Indian/Reunion",
            "YT": "Indian/Mayotte",
        }
        found.time_zone = zones.get(subject.country or "") if subject else None
        found.max_call_attempts = 4
    return found


def overflow(events: Sequence[ConsentEvent | None], most: int) -> bool | None:
    """Whether more than `most` of these events have to be kept of a prospect who never asked for erasure; None where
    that depends on what replaces what, and when."""
    unreadable = [offset for offset, e in enumerate(events) if e is None]
    resolved = {offset for e in events if isinstance(e, Resolution) for offset in e.resolves}
    distinct = {msgspec.json.encode(e) for e in events if e is not None and not isinstance(e, Resolution)}
    if len(distinct) + len(unreadable) + len(resolved) <= most:
        return False
    records = {e.record_id for e in events if isinstance(e, ConsentGiven)}
    scopes = {msgspec.json.encode((type(e).__name__, e.scope)) for e in events if isinstance(e, Withdrawal | Objection)}
    unsettled = {offset for offset in unreadable if offset not in resolved}
    # Scopes that are written differently may be the same: count those once that can't be told apart at sight.
    least = len(records) + min(1, len(scopes)) + len(unsettled)
    return True if least > most else None
