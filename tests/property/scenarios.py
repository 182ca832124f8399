"""Scenarios for the property tests: clean ones of every kind, and a few changes to them that rules care about.

A scenario has the shape of a case file's case (contract section 8), so that a counterexample can be kept as one.
"""

import copy
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from transfer_gate.model.consent import ConsentEvent
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import EMPTY, ProspectState
from transfer_gate.model.transfer import Transfer
from transfer_gate.policy.fold import fold, fold_unreadable
from transfer_gate.records.consents import Unreadable, decode_consent
from transfer_gate.records.transfers import decode_transfer
from transfer_gate.registry import registry_from_objects

Objects = dict[str, Any]
Change = tuple[str, Any]

CONTROL = {
    "prechecked": False,
    "separate_from_terms": True,
    "refuse_equal_prominence": True,
    "service_without_consent": True,
}
MENTIONS = dict.fromkeys(("identity", "offer", "choice", "period", "withdrawal", "proof_access"), True)
CONTRACT = {"valid_from": "2015-01-01T00:00:00+01:00", "valid_to": "2035-01-01T00:00:00+01:00", "no_onward": True}


def partner(party_id: str, number: str) -> Objects:
    return {
        "party_id": party_id,
        "legal_name": party_id.title(),
        "registration_no": number,
        "country": "FR",
        "role": "controller",
        "status": "active",
        "categories": ["insurance"],
        "contract": CONTRACT,
        "suppression": {"endpoint": "https://partner.example/suppression"},
        "listed": [{"from": "2015-01-01T00:00:00+01:00"}],
        "fields": ["first_name", "city", "segment"],
    }


def notice(version: str) -> Objects:
    return {
        "version": version,
        "published_from": "2015-01-01T00:00:00+01:00",
        "text_hash": f"hash-{version}",
        "purposes": ["direct_marketing"],
        "attributes": ["first_name", "segment"],
        "partner_list": {"version": "l-1", "mode": "inline", "exhaustive": True, "party_ids": ["acme", "acme-direct"]},
        "recipient_categories": ["insurance"],
        "objection": {"present": True, "free": True, "at_collection": True},
        "phone_optin_statement": True,
        "r223_mentions": MENTIONS,
        "controls": [
            {"channels": ["email", "sms", "automated_call"], **CONTROL},
            {"channels": ["live_call", "automated_call"], **CONTROL},
        ],
        "review": {"status": "approved"},
    }


CONSENT: Objects = {
    "event_id": "c-1",
    "prospect_id": "p-1",
    "type": "consent",
    "event_time": "2026-03-10T14:00:00+01:00",
    "record_id": "r-1",
    "state": "given",
    "lawful_basis": "consent",
    "indication": "signature",
    "purposes": ["direct_marketing"],
    "channels": ["email", "sms", "automated_call", "live_call"],
    "party_ids": ["acme", "acme-direct"],
    "offer_categories": ["insurance"],
    "partner_list_version": "l-1",
    "notice_version": "n-1",
    "validity": "P1Y",
    "proof": {
        "proof_id": "pf-1",
        "text_hash": "hash-n-1",
        "individual": True,
        "collector": "mag",
        "kept_until": "2032-01-01T00:00:00+01:00",
    },
}
CLEAN: Objects = {
    "at": "2026-10-05T08:00:00Z",
    "registry": {
        "partners": {
            "acme": partner("acme", "900000001"),
            "acme-direct": partner("acme-direct", "900000001"),
            "helios": partner("helios", "900000002"),
        },
        "notices": {"n-1": notice("n-1"), "n-2": notice("n-2")},
        "policy": {
            "jurisdiction": "FR",
            "attributes": {"first_name": {}, "city": {}, "segment": {}, "health": {"special_category": "health"}},
            "related_offers": {"insurance": ["car_insurance", "buyer"], "renewable": ["heat_pump"]},
            "adequate_countries": ["CH"],
            "free_mail_domains": ["free.example"],
        },
    },
    "transfer": {
        "event_id": "t-1",
        "requested_at": "2026-10-05T07:59:00Z",
        "prospect_id": "p-1",
        "partner_ids": ["acme"],
        "channels": ["email", "sms"],
        "purpose": "direct_marketing",
        "offer_category": "insurance",
        "notice_version": "n-1",
        "collected_at": "2026-03-10T14:00:00+01:00",
        "subject": {"kind": "consumer", "birth_date": "1985-06-15", "country": "FR"},
        "contact": {
            "email": {"value": "claire@courriel.example", "type": "personal"},
            "phone": {"value": "+33639980011", "type": "mobile"},
            "postal": {"lines": ["12 rue des Lilas"], "country": "FR"},
        },
        "attributes": {"first_name": "Claire", "city": "Lyon", "shoe_size": 38},
        "source": {"role": "primary_collector", "chain": ["mag"]},
    },
    "consents": [CONSENT],
}

#: What turns the clean scenario into one of another kind; each of them is a release.
KINDS: dict[str, list[Change]] = {
    "consent": [],
    "calls": [("transfer.channels", ["live_call", "automated_call"])],
    "calls, number asked under the new law": [
        ("transfer.channels", ["live_call"]),
        ("transfer.collected_at", "2026-09-01T18:20:00+02:00"),
        ("consents.0.event_time", "2026-09-01T18:20:00+02:00"),
    ],
    "post": [("transfer.channels", ["postal"]), ("consents", [])],
    "calls before the law": [
        ("at", "2026-07-01T08:00:00Z"),
        ("transfer.requested_at", "2026-07-01T07:59:00Z"),
        ("transfer.channels", ["live_call"]),
        ("transfer.bloctel", {"listed": False, "checked_at": "2026-06-20T08:00:00Z"}),
        ("consents", []),
    ],
    "messages before the ban": [
        ("at", "2025-05-20T08:00:00Z"),
        ("transfer.requested_at", "2025-05-20T07:59:00Z"),
        ("transfer.collected_at", "2024-03-10T14:00:00+01:00"),
        ("consents.0.event_time", "2024-03-10T14:00:00+01:00"),
        ("consents.0.validity", None),
        ("transfer.offer_category", "renewable"),
    ],
    "professional": [
        ("transfer.channels", ["email", "live_call", "postal"]),
        ("transfer.subject", {"kind": "professional", "country": "FR", "job": "buyer"}),
        ("transfer.contact.email.type", "professional"),
        ("transfer.contact.phone.type", "professional"),
        ("consents", []),
    ],
    "company": [
        ("transfer.channels", ["email", "live_call", "postal"]),
        ("transfer.subject", {"kind": "legal_person", "country": "RE"}),
        ("transfer.contact.email.type", "role"),
        ("transfer.contact.phone.type", "landline"),
        ("consents", []),
    ],
    "own contract": [
        ("transfer.channels", ["live_call"]),
        ("transfer.contract", {"holder": "acme", "status": "ongoing", "object": "car_insurance"}),
        ("consents", []),
    ],
    "call-back": [
        ("transfer.channels", ["live_call"]),
        ("transfer.offer_category", "renewable"),
        (
            "transfer.inbound_request",
            {
                "at": "2026-10-01T09:00:00Z",
                "partner_ids": ["acme"],
                "object": "renewable",
                "proof_id": "rq-1",
                "proof_kept_until": "2030-01-01T00:00:00Z",
            },
        ),
        ("consents", []),
    ],
    "rehearsal": [
        ("registry.partners.acme.status", "rehearsal"),
        ("transfer.prospect_id", "tg-invented-1"),
        ("transfer.contact.postal.lines", ["SPECIMEN", "12 rue des Lilas"]),
    ],
    "press": [
        ("transfer.channels", ["live_call"]),
        ("transfer.offer_category", "press"),
        ("consents", []),
    ],
}

#: Instants next to which something changes.
_EDGES = [
    "2018-05-24T22:00:00Z",
    "2018-06-21T22:00:00Z",
    "2018-12-27T23:00:00Z",
    "2020-07-25T22:00:00Z",
    "2022-02-02T23:00:00Z",
    "2025-07-01T22:00:00Z",
    "2026-08-10T22:00:00Z",
    "2026-10-05T08:00:00Z",
    "2026-10-05T08:05:00Z",
    "2026-10-07T22:00:00Z",
    "2026-11-04T08:00:00Z",
    "2026-03-10T13:00:00Z",
    "2027-03-10T13:00:00Z",
    "2029-03-10T13:00:00Z",
]


def _shifted(text: str, shift: dt.timedelta) -> str:
    return (dt.datetime.fromisoformat(text) + shift).isoformat()


_SHIFTS = (dt.timedelta(0), dt.timedelta(microseconds=1), -dt.timedelta(microseconds=1), dt.timedelta(days=1))
INSTANTS = [_shifted(edge, shift) for edge in _EDGES for shift in _SHIFTS]
TIMES = [
    "at",
    "transfer.requested_at",
    "transfer.use_until",
    "transfer.collected_at",
    "transfer.last_active_contact.at",
    "transfer.bloctel.checked_at",
    "transfer.inbound_request.at",
    "transfer.contract.ends_at",
    "consents.0.event_time",
    "consents.0.proof.kept_until",
    "consents.0.guardian.event_time",
    "registry.partners.acme.contract.valid_from",
    "registry.partners.acme.contract.valid_to",
    "registry.partners.acme.listed.0.from",
    "registry.partners.acme.listed.0.to",
    "registry.partners.acme.transfer_safeguard.valid_from",
    "registry.partners.acme.transfer_safeguard.valid_to",
    "registry.notices.n-1.published_from",
    "registry.notices.n-1.published_to",
]
CHANNELS = ["email", "sms", "automated_call", "live_call", "postal"]
#: Field to the values that rules tell apart; None removes it.
VALUES: dict[str, list[Any]] = {
    "transfer.channels": [CHANNELS, ["postal", "email"], ["live_call", "sms"], ["automated_call", "email"]],
    "transfer.partner_ids": [["acme", "helios"], ["acme-direct", "acme"], ["zephyr", "acme"]],
    "transfer.purpose": ["social_matching"],
    "transfer.offer_category": [
        "press",
        "energy_saving",
        "renewable",
        "home_adaptation",
        "home_works_service",
        "insurance",
        None,
    ],
    "transfer.notice_version": ["n-2", "n-unknown", None],
    "transfer.use_until": [None],
    "transfer.collected_at": [None],
    "transfer.last_active_contact": [None],
    "transfer.last_active_contact.type": ["click", "reply", "order", "login", "inbound_call", "form", "open", None],
    "transfer.subject": [None],
    "transfer.subject.kind": ["consumer", "professional", "legal_person", None],
    "transfer.subject.birth_date": [
        "2011-03-10",
        "2011-03-11",
        "2008-10-05",
        "2008-10-06",
        "2008-02-29",
        "1906-10-05",
        "1906-10-06",
        "2026-10-06",
        None,
    ],
    "transfer.subject.country": ["BE", "GP", "MQ", "GF", "RE", "YT", None],
    "transfer.subject.job": ["buyer", "clerk", None],
    "transfer.prospect_id": ["tg-invented-2", "TG-INVENTED-2"],
    "transfer.contact": [None],
    "transfer.contact.email": [None],
    "transfer.contact.email.type": ["personal", "professional", "role", None],
    "transfer.contact.email.value": [
        "claire@FREE.example",
        "claire@mail.free.example",
        "c@example.org",
        "c@example.org.fr",
    ],
    "transfer.contact.phone.value": ["+33639970011", "+331990000112", "+33199000011"],
    "transfer.contact.postal.lines": [["SPECIMEN"], ["12 rue des Lilas", "SPECIMEN"]],
    "transfer.contact.phone": [None],
    "transfer.contact.phone.type": ["mobile", "landline", "professional", None],
    "transfer.contact.postal": [None],
    "transfer.attributes": [None, {}, {"health": "x"}, {"first_name": "C", "segment": 1, "city": True}],
    "transfer.source": [None],
    "transfer.source.role": ["reseller", None],
    "transfer.source.chain": [[], ["mag", "acme-direct"], ["mag", "broker"], ["other"]],
    "transfer.source_restricted": [True, False],
    "transfer.partner_roles": [{"acme": "processor"}, {"acme": "controller"}, {"helios": "processor"}],
    "transfer.bloctel": [None],
    "transfer.bloctel.listed": [True, False, None],
    "transfer.contract": [None, {"holder": "mag", "status": "ongoing", "object": "car_insurance"}],
    "transfer.contract.holder": ["acme", "helios", None],
    "transfer.contract.status": ["ongoing", "ended", None],
    "transfer.contract.object": ["insurance", "telecom", "heat_pump", None],
    "transfer.inbound_request": [None],
    "transfer.inbound_request.partner_ids": [["acme"], ["helios"]],
    "transfer.inbound_request.object": ["insurance", "renewable", "home_works_service", None],
    "transfer.inbound_request.proof_id": [None],
    "transfer.inbound_request.proof_kept_until": [None, "2029-10-01T09:00:00Z", "2029-10-01T08:59:59Z"],
    "transfer.last_active_contact.measured_with_consent": [True, False, None],
    "consents.0.state": ["renewed", "refused", "expired", "invalidated"],
    "consents.0.lawful_basis": ["legitimate_interest", "existing_customer", None],
    "consents.0.indication": ["unticked_box_ticked", "dedicated_action", "oral_recorded", "scroll", None],
    "consents.0.purposes": [["social_matching"], []],
    "consents.0.channels": [["email"], ["postal"], ["postal", "live_call"], CHANNELS, []],
    "consents.0.party_ids": [["helios"], [], ["acme"], ["acme", "broker"], ["all"]],
    "consents.0.offer_categories": [["telecom"], [], ["insurance", "renewable"]],
    "consents.0.partner_list_version": ["l-0", None],
    "consents.0.notice_version": ["n-2", "n-unknown", None],
    "consents.0.validity": [
        None,
        "P12M",
        "P366D",
        "P1Y",
        "P6M",
        "P30D",
        "P1Y2M3W4DT5H6M7S",
        "PT0S",
        "P209D",
        "P999999Y",
        "P8M",
    ],
    "consents.0.time_precise": [False],
    "consents.0.guardian": [None, {"party_id": "g", "event_time": "2026-03-10T14:00:00+01:00", "proof_id": "pg"}],
    "consents.0.guardian.proof_id": ["pg", None],
    "consents.0.special_categories": [["health"], ["opinion"]],
    "consents.0.proof": [None],
    "consents.0.proof.proof_id": ["pf-2", None],
    "consents.0.proof.text_hash": ["hash-n-2", None],
    "consents.0.proof.individual": [False, None],
    "consents.0.proof.collector": ["other", None],
    "consents.0.proof.kept_until": [None],
    "consents.0.event_time": [None],
    "registry.partners.acme": [None],
    "registry.partners.acme.status": ["paused", "suspended", "rehearsal"],
    "registry.partners.acme.role": ["processor", None],
    "registry.partners.acme.country": ["NO", "CH", "MA", None],
    "registry.partners.acme.categories": [["telecom"], []],
    "registry.partners.acme.registration_no": ["900000009", None],
    "registry.partners.acme.contract": [None],
    "registry.partners.acme.contract.no_onward": [False, None],
    "registry.partners.acme.suppression": [None, {"topic": "suppression.acme"}, {"sla_hours": 4}],
    "registry.partners.acme.listed": [[], [{"from": "2027-01-01T00:00:00Z"}, {"from": "2016-01-01T00:00:00Z"}]],
    "registry.partners.acme.listed.0.from": [None],
    "registry.partners.acme.contract.valid_from": [None],
    "registry.partners.acme.contract.valid_to": [None],
    "registry.partners.acme.fields": [[], ["city"]],
    "registry.notices.n-1": [None],
    "registry.notices.n-1.published_from": [None],
    "registry.notices.n-1.text_hash": [None],
    "registry.notices.n-1.purposes": [["social_matching"], ["direct_marketing", "social_matching"], []],
    "registry.notices.n-1.attributes": [[], ["city"]],
    "registry.notices.n-1.partner_list": [None],
    "registry.notices.n-1.partner_list.version": ["l-2", None],
    "registry.notices.n-1.partner_list.mode": ["link", "none", None],
    "registry.notices.n-1.partner_list.exhaustive": [False, None],
    "registry.notices.n-1.partner_list.party_ids": [["helios"], [], ["acme", "broker"], None],
    "registry.notices.n-1.recipient_categories": [["telecom"], []],
    "registry.notices.n-1.objection": [None],
    "registry.notices.n-1.objection.present": [False, None],
    "registry.notices.n-1.objection.free": [False, None],
    "registry.notices.n-1.objection.at_collection": [False, None],
    "registry.notices.n-1.phone_optin_statement": [False, None],
    "registry.notices.n-1.r223_mentions": [None],
    **{f"registry.notices.n-1.r223_mentions.{mention}": [False, None] for mention in MENTIONS},
    "registry.notices.n-1.controls": [[]],
    **{f"registry.notices.n-1.controls.0.{flag}": [not good, None] for flag, good in CONTROL.items()},
    **{f"registry.notices.n-1.controls.1.{flag}": [not good, None] for flag, good in CONTROL.items()},
    "registry.notices.n-1.review": [None],
    "registry.notices.n-1.review.status": ["rejected", None],
    "registry.policy.jurisdiction": ["BE"],
    "registry.policy.list_changes": ["inform_and_object"],
    "registry.policy.minor_unknown_age": ["allow"],
    "registry.policy.bloctel_max_age_days": [0, 11, 12],
    "registry.policy.clock_skew_seconds": [0, 86400],
    "registry.policy.attributes": [{}, {"first_name": {"special_category": "health"}}],
    "registry.policy.related_offers": [{}],
    "registry.policy.own_parties": [["zephyr"], ["Broker"]],
    "registry.policy.own_purposes": [["newsletter", "social_matching"]],
}
_SCOPES: list[Any] = [
    None,
    {"channels": ["email"]},
    {"channels": "all", "party_ids": ["acme-direct"]},
    {"party_ids": ["helios"]},
    {"party_ids": ["acme"], "purposes": ["direct_marketing"]},
    {"purposes": ["social_matching"]},
    {"channels": [], "party_ids": [], "purposes": []},
    {"party_ids": ["all"]},
    {"party_ids": ["*"]},
    {"party_ids": ["Acme "]},
    {"party_ids": ["HELIOS"]},
    {"party_ids": ["900000001"]},
    {"party_ids": ["zephyr"]},
    {"party_ids": ["broker", "helios"]},
    {"purposes": ["Social_Matching"]},
    {"purposes": [" newsletter"]},
    {"channels": ["sms"], "purposes": ["ALL"]},
]
_POINTS: list[Objects] = [
    {"email": "claire@courriel.example"},
    {"email": "Claire@Courriel.EXAMPLE."},
    {"email": "anne@courriel.example"},
    {"phone": "+33639980011"},
    {"phone": "+33639980012"},
]

_EVENT_TYPES = [
    *["consent"] * 8,
    *["withdrawal", "objection", "resolution"] * 3,
    *["erasure", "restriction", "restriction_lifted", "broken"],
]

_values = st.sampled_from([(path, value) for path, values in VALUES.items() for value in values])
changes: st.SearchStrategy[Change] = st.one_of(
    st.tuples(st.sampled_from(TIMES), st.sampled_from(INSTANTS)),
    _values,
    _values,
)


@st.composite
def more_events(draw: st.DrawFn, number: int) -> Objects:
    """One more consent event; `number` makes its id unique."""
    time = draw(st.sampled_from(INSTANTS))
    kind = draw(st.sampled_from(_EVENT_TYPES))
    event: Objects = {"event_id": f"e-{number}", "prospect_id": "p-1", "type": kind, "event_time": time}
    if kind == "consent":
        event = copy.deepcopy(CONSENT) | event
        event["record_id"] = draw(st.sampled_from(["r-1", "r-2", "r-3"]))
        for path, value in draw(st.lists(changes, max_size=3)):
            if path.startswith("consents.0.") and path != "consents.0.event_time":
                put(event, path.removeprefix("consents.0."), value)
    elif kind in ("withdrawal", "objection"):
        event["scope"] = draw(st.sampled_from(_SCOPES))
    elif kind == "resolution":
        event["resolves"] = draw(st.lists(st.integers(0, 5), max_size=3))
    return event


@st.composite
def scenarios(draw: st.DrawFn, most_changes: int = 4) -> Objects:
    """A scenario: a clean one, changed in up to `most_changes` places, with up to three more consent events."""
    scenario = copy.deepcopy(CLEAN)
    for path, value in KINDS[draw(st.sampled_from(sorted(KINDS)))]:
        put(scenario, path, value)
    for path, value in draw(st.lists(changes, max_size=most_changes)):
        put(scenario, path, value)
    for number in range(draw(st.integers(0, 3))):
        scenario["consents"].append(draw(more_events(number)))
    scenario["stops"] = [
        draw(st.sampled_from(_POINTS))
        | {"scope": draw(st.sampled_from(_SCOPES)), "since": draw(st.sampled_from(INSTANTS))}
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2])))
    ]
    if "live_call" in scenario["transfer"]["channels"]:
        scenario["transfer"].setdefault("offer_category", "insurance")
    return scenario


#: Objects that are nothing without the fields that they must have: never begun by a change.
_WHOLE = {"acme", "n-1", "email", "phone", "postal"}


def put(objects: Any, path: str, value: Any) -> None:
    """Set, or remove with None, the field at a dotted path; nothing happens where there is no such place."""
    *steps, last = path.split(".")
    for step in steps:
        if isinstance(objects, list):
            if int(step) >= len(objects):
                return
            objects = objects[int(step)]
        elif step in _WHOLE and step not in objects:
            return
        else:
            objects = objects.setdefault(step, {})
    if not isinstance(objects, dict):
        return
    if value is None:
        objects.pop(last, None)
    else:
        objects[last] = copy.deepcopy(value)


@dataclass
class World:
    """A scenario, decoded as the worker would."""

    t: dt.datetime
    registry: Registry
    transfer: Transfer
    events: list[ConsentEvent | None] = field(default_factory=list)
    #: When each was received; empty where that is not known.
    received: list[dt.datetime | None] = field(default_factory=list)

    @property
    def state(self) -> ProspectState:
        """The folded events."""
        return folded([(offset, event, received) for offset, (event, received) in enumerate(self.pairs)])

    @property
    def pairs(self) -> list[tuple[ConsentEvent | None, dt.datetime | None]]:
        """Each event with its receipt."""
        return list(zip(self.events, self.received or [None] * len(self.events), strict=True))


Received = tuple[int, ConsentEvent | None, dt.datetime | None]
"""Offset, event (None is one that can't be read), and receipt (None is one that is not known)."""


def folded(events: Sequence[Received]) -> ProspectState:
    """The state after these events in this order."""
    state = EMPTY
    for offset, event, received in events:
        state = fold_unreadable(state, offset) if event is None else fold(state, event, offset, received)
    return state


@st.composite
def received_events(draw: st.DrawFn, most: int = 3) -> tuple[list[Objects], list[dt.datetime | None]]:
    """More consent events, many of which are repeated, and the receipt of each: in the order of nothing."""
    events = [draw(more_events(100 + number)) for number in range(draw(st.integers(0, most)))]
    if events:
        events += draw(st.lists(st.sampled_from(events), max_size=most))
    receipts = st.one_of(st.none(), st.sampled_from(INSTANTS).map(dt.datetime.fromisoformat))
    return events, [draw(receipts) for _ in events]


def world(scenario: Objects) -> World:
    """Decode a scenario."""
    events: list[ConsentEvent | None] = []
    for event in scenario["consents"]:
        try:
            events.append(decode_consent(json.dumps(event).encode(), b"p-1"))
        except Unreadable:
            events.append(None)
    return World(
        t=dt.datetime.fromisoformat(scenario["at"]).astimezone(dt.UTC),
        registry=registry_from_objects(scenario["registry"]),
        transfer=decode_transfer(json.dumps(scenario["transfer"]).encode()),
        events=events,
        received=scenario.get("received", []),
    )
