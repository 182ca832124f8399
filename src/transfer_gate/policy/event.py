"""Rules about the transfer itself: its clock, its campaign window, its jurisdiction, where its data came from."""

from typing import Final

from transfer_gate.policy.facts import Facts
from transfer_gate.policy.rule import Scope, Status, rule

#: France and the overseas parts where the Code de la consommation and the CPCE apply as written here.
COVERED_COUNTRIES: Final = frozenset({"FR", "GP", "MQ", "GF", "RE", "YT"})


@rule(
    "clock-sane",
    title="Nothing that the decision rests on is dated in the future",
    reference="GDPR 5(2)",
    status=Status.HOUSE,
)
def clock_sane(f: Facts) -> bool:
    """None of `event.requested_at`, `.collected_at`, `.last_active_contact.at`, `.bloctel.checked_at`,
    `.inbound_request.at` is future; on the basis consent without c, no consent for the channel was left out as
    future."""
    event, contact, bloctel, request = f.event, f.event.last_active_contact, f.event.bloctel, f.event.inbound_request
    return (
        not f.is_future(event.requested_at)
        and (event.collected_at is None or not f.is_future(event.collected_at))
        and (contact is None or contact.at is None or not f.is_future(contact.at))
        and (bloctel is None or bloctel.checked_at is None or not f.is_future(bloctel.checked_at))
        and (request is None or request.at is None or not f.is_future(request.at))
        and (f.basis != "consent" or f.consent is not None or not f.left_out_as_future)
    )


@rule(
    "use-window-open",
    title="The campaign window is still open",
    reference="GDPR 5(1)(b)",
    status=Status.HOUSE,
)
def use_window_open(f: Facts) -> bool:
    """t ≤ `use_until`."""
    return f.t <= f.use_until


@rule(
    "jurisdiction-covered",
    title="The person lives where these rules are the law",
    reference="–",
    status=Status.HOUSE,
)
def jurisdiction_covered(f: Facts) -> bool:
    """`policy.jurisdiction` is `FR`; `event.subject.country` is one of FR, GP, MQ, GF, RE, YT."""
    return f.policy.jurisdiction == "FR" and f.subject.country in COVERED_COUNTRIES


@rule(
    "contact-point-present",
    title="There is a contact point for the channel",
    reference="–",
    status=Status.HOUSE,
    scope=Scope.CHANNEL,
)
def contact_point_present(f: Facts) -> bool:
    """`email`: `event.contact.email`; `postal`: `event.contact.postal`; other channels: `event.contact.phone`."""
    if f.channel == "email":
        return f.contact.email is not None
    if f.channel == "postal":
        return f.contact.postal is not None
    return f.contact.phone is not None


@rule(
    "source-visibility-respected",
    title="The person did not hide the place that the data came from",
    reference="GDPR 6, 14; KASPR",
)
def source_visibility_respected(f: Facts) -> bool:
    """`event.source_restricted` is false, which is its default."""
    return not f.event.source_restricted
