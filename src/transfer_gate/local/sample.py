"""Sample data for the demo: consent histories and transfers as they would arrive, equal for equal seed and time.

Made so that a believable share is released under every rule of rules.md, and the rest is quarantined for a dozen
reasons, beside what senders get wrong: transfers with mistakes, and records that can't be read.
"""

import datetime as dt
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson

from transfer_gate.errors import InvalidInput
from transfer_gate.local.people import Census, Era, Person, era_of
from transfer_gate.model.registry import Notice, Partner, Registry
from transfer_gate.model.terms import CHANNELS

#: A reseller that should not be in the chain.
RESELLER: Final = "listes-et-cie"
#: A partner that no registry has.
UNKNOWN_PARTNER: Final = "partenaire-inconnu"


def go_wrong(transfer: dict[str, Any], case: int, strangers: Sequence[str], special: Sequence[str]) -> None:
    """Change a transfer into one that must be held; `case` 0 to 9 picks the mistake.

    `strangers` are partners that may receive nothing now, `special` attributes that reveal a special category.
    """
    match case:
        case 0:
            transfer["source"] = {"role": "reseller", "chain": [*transfer["source"]["chain"], RESELLER]}
        case 1:
            transfer["purpose"] = "social_matching"
        case 2:
            transfer["use_until"] = transfer["requested_at"] - dt.timedelta(days=1)
        case 3:
            points = {"postal": "postal", "email": "email"}
            missing = points.get(transfer["channels"][0], "phone")
            transfer["contact"] = {name: point for name, point in transfer["contact"].items() if name != missing}
        case 4:
            transfer["source_restricted"] = True
        case 5:
            transfer["partner_ids"] = [UNKNOWN_PARTNER, *strangers[:1]]
        case 6 if special:
            transfer["attributes"] = {**transfer["attributes"], special[0]: "yes"}
        case 7:
            transfer["partner_roles"] = {transfer["partner_ids"][0]: "processor"}
        case 8:
            transfer["requested_at"] += dt.timedelta(days=2)
        case _:
            del transfer["collected_at"]


def spoil(transfer: dict[str, Any], draw: random.Random) -> tuple[bytes, bytes]:
    """Key and value of a record that can't be decided: broken, of the wrong shape, or under a foreign key."""
    key = transfer["prospect_id"].encode()
    case = draw.randrange(6)
    if case == 0:
        return key, orjson.dumps(transfer)[:-20]
    if case == 1:
        return key, orjson.dumps(transfer)[:-2] + b"\xff\xfe}"
    if case == 2:
        return b"p-foreign", orjson.dumps(transfer)
    if case == 3:
        del transfer["purpose"]
    elif case == 4:
        transfer["channels"] = ["carrier_pigeon"]
    else:
        transfer["partner_ids"] = "acme"
    return key, orjson.dumps(transfer)


#: The site on which the people left their data.
COLLECTOR: Final = "devis-malin"
#: Offers that may not be promoted by message or call (L223-1 al. 5, L223-8 C. conso.).
BANNED_OFFERS: Final = frozenset({"energy_saving", "renewable", "home_adaptation"})
#: What professionals are offered: the example registry relates it to two of the jobs in `people.JOBS`.
B2B_OFFER: Final = "payroll_software"

_MARKETING: Final = "direct_marketing"
_HOUR: Final = dt.timedelta(hours=1)
_DAY: Final = dt.timedelta(days=1)
_YEAR: Final = 365 * _DAY

#: Channel sets that senders ask for, by weight of 100.
_ASKED: Final = (
    (("email",), 28),
    (("email", "sms"), 24),
    (("postal",), 14),
    (("sms",), 8),
    (("email", "postal"), 9),
    (("live_call",), 9),
    (("email", "sms", "live_call"), 5),
    (("automated_call",), 3),
)
#: The same for partners that sell what may not be promoted by message or call.
_ASKED_BY_POST: Final = ((("postal",), 82), (("email", "postal"), 10), (("live_call",), 8))


class Message(NamedTuple):
    """One record to produce."""

    key: bytes
    value: bytes
    event_id: str


class Sample:
    """People, their consent histories and transfers about them.

    `now` is the moment that the histories end at, aware. Raises InvalidInput when the registry has no notice in force
    or no active partner, or Faker is not installed.
    """

    def __init__(self, registry: Registry, *, seed: int, now: dt.datetime, prospects: int) -> None:
        self._now, self._seed = now.astimezone(dt.UTC).replace(microsecond=0), seed
        self._era: Era = era_of(registry.notices, self._now)
        named = self._era.current.partner_list
        known = [registry.partners[party] for party in (named.party_ids if named else ()) if party in registry.partners]
        self._partners = [partner for partner in known if _serves(partner, self._now)]
        if not self._partners:
            raise InvalidInput(
                f"notice {self._era.current.version} names no partner that is active and listed",
                do="name one in its partner_list, or use examples/registry",
            )
        self._strangers = [party for party in registry.partners if registry.partners[party] not in self._partners]
        self._offers = {partner.party_id: _offers(partner) for partner in self._partners}
        self._all_offers = list(dict.fromkeys(offer for offers in self._offers.values() for offer in offers))
        self._special = [name for name, rule in registry.policy.attributes.items() if rule.special_category]
        census = Census(self._era, seed, self._now)
        self.people = [census.person(index) for index in range(prospects)]
        self._asked = [channels for channels, share in _ASKED for _ in range(share)]
        self._asked_by_post = [channels for channels, share in _ASKED_BY_POST for _ in range(share)]

    def consents(self) -> Iterator[Message]:
        """Every history, merged by time as the events happened."""
        draw = random.Random(f"{self._seed}:consents")
        dated = [
            (event["event_time"], person.index, event)
            for person in self.people
            for event in self._history(person, draw)
        ]
        dated.sort(key=lambda entry: entry[:2])
        for number, (_, index, event) in enumerate(dated):
            event["event_id"] = f"c-{number:07d}"
            person = self.people[index]
            value = orjson.dumps(event)
            yield Message(person.key, value[:-9] if person.story == "unreadable" else value, event["event_id"])

    def transfers(self, count: int) -> Iterator[Message]:
        """Transfers about people drawn at random; a few in a thousand are malformed."""
        draw = random.Random(f"{self._seed}:transfers")
        for number in range(count):
            person = draw.choice(self.people)
            event_id = f"t-{self._seed}-{number:07d}"
            transfer = self._transfer(person, draw, event_id)
            if draw.random() < 0.006:
                yield Message(*spoil(transfer, draw), event_id)
            else:
                yield Message(person.key, orjson.dumps(transfer), event_id)

    def willing(self) -> list[Person]:
        """People whose transfers by e-mail are released, as long as they don't change their mind."""
        return [person for person in self.people if person.story == "current" and person.country == "FR"]

    def wish(self, person: Person) -> Message:
        """A plain transfer of a willing person, released unless something was withdrawn since."""
        draw = random.Random(f"{self._seed}:wish:{person.index}")
        event_id = f"w-{self._seed}-{person.index:06d}"
        transfer = self._plain(person, draw, event_id, self._messaging()[0], ("email",))
        return Message(person.key, orjson.dumps(transfer), event_id)

    def change_of_mind(self, person: Person, number: int, at: dt.datetime) -> Message:
        """A withdrawal, objection or erasure of `person` at `at`; `number` picks the kind and names the event."""
        kind = ("withdrawal", "withdrawal", "objection", "withdrawal", "erasure")[number % 5]
        event_id = f"m-{number:06d}"
        event = {"event_id": event_id, "prospect_id": person.prospect_id, "type": kind, "event_time": at}
        return Message(person.key, orjson.dumps(event), event_id)

    # --- consent histories

    def _history(self, person: Person, draw: random.Random) -> list[dict[str, Any]]:
        story, era = person.story, self._era
        if story in ("none", "professional", "company"):
            return []
        first = self._consent(person, person.notice, person.met_at)
        after = person.met_at + draw.random() * max(self._now - person.met_at - _HOUR, _HOUR)
        match story:
            case "renewed":
                at = era.current_from + draw.random() * (era.current_to - era.current_from)
                return [first, self._consent(person, era.current, at) | {"state": "renewed"}]
            case "old_proof":
                at = era.current_from + draw.random() * (era.current_to - era.current_from)
                again = self._consent(person, era.current, at) | {"state": "renewed"}
                again["proof"] = {**again["proof"], "proof_id": first["proof"]["proof_id"]}
                return [first | {"event_time": at - _YEAR - 9 * _DAY}, again]
            case "email_only":
                return [first | {"channels": ["email"]}]
            case "refused":
                return [first | {"state": "refused"}]
            case "withdrew":
                return [first, self._event(person, "withdrawal", after)]
            case "withdrew_sms":
                return [first, self._event(person, "withdrawal", after) | {"scope": {"channels": ["sms"]}}]
            case "objected_to_partner":
                partner = draw.choice(self._partners).party_id
                return [first, self._event(person, "objection", after) | {"scope": {"party_ids": [partner]}}]
            case "objected_to_post":
                return [first, self._event(person, "objection", after) | {"scope": {"channels": ["postal"]}}]
            case "erased":
                return [first, self._event(person, "erasure", after)]
            case "restricted":
                return [first, self._event(person, "restriction", after)]
            case "restriction_lifted":
                lifted = self._event(person, "restriction_lifted", min(after + _DAY, self._now - _HOUR))
                return [first, self._event(person, "restriction", min(after, self._now - 2 * _HOUR)), lifted]
            case "ended":
                return [first, first | {"state": draw.choice(("expired", "invalidated")), "event_time": after}]
            case "lapsed":
                return [first | {"validity": "P1D", "event_time": min(person.met_at, self._now - 2 * _DAY)}]
            case "preticked":
                return [first | {"indication": "preticked_box"}]
            case "no_proof":
                return [first | {"proof": {**first["proof"], "individual": False}}]
            case _:
                return [first]

    def _consent(self, person: Person, notice: Notice, at: dt.datetime) -> dict[str, Any]:
        partners = notice.partner_list
        # A consent of a year ago and more allows no call any more; it was given without a period then.
        period = {"validity": "P1Y"} if self._now - at < _YEAR else {}
        return period | {
            "prospect_id": person.prospect_id,
            "type": "consent",
            "event_time": at.replace(microsecond=0),
            "record_id": f"r-{person.index:06d}",
            "state": "given",
            "lawful_basis": "consent",
            "indication": "unticked_box_ticked",
            "purposes": [_MARKETING],
            "channels": list(CHANNELS),
            "party_ids": list(partners.party_ids) if partners else [],
            "offer_categories": self._all_offers,
            "partner_list_version": partners.version if partners else None,
            "notice_version": notice.version,
            "proof": {
                "proof_id": f"proof-{person.index:06d}-{notice.version}",
                "text_hash": notice.text_hash,
                "individual": True,
                "collector": COLLECTOR,
                "kept_until": (at + 6 * _YEAR).replace(microsecond=0),
            },
        }

    @staticmethod
    def _event(person: Person, kind: str, at: dt.datetime) -> dict[str, Any]:
        return {"prospect_id": person.prospect_id, "type": kind, "event_time": at.replace(microsecond=0)}

    # --- transfers

    def _messaging(self) -> list[Partner]:
        """Partners with something that may be promoted by message, or all when there is none."""
        return [p for p in self._partners if not BANNED_OFFERS.issuperset(self._offers[p.party_id])] or self._partners

    def _transfer(self, person: Person, draw: random.Random, event_id: str) -> dict[str, Any]:
        partner = draw.choice(self._partners)
        by_post = BANNED_OFFERS.issuperset(self._offers[partner.party_id])
        channels = draw.choice(self._asked_by_post if by_post else self._asked)
        transfer = self._plain(person, draw, event_id, partner, channels)
        others = [other.party_id for other in self._messaging() if other is not partner]
        if not by_post and others and draw.random() < 0.2:
            transfer["partner_ids"] += draw.sample(others, draw.randint(1, len(others)))
        mishap = draw.random()
        if mishap < 0.050:
            go_wrong(transfer, int(mishap * 200), self._strangers, self._special)
        return transfer

    def _plain(
        self, person: Person, draw: random.Random, event_id: str, partner: Partner, channels: tuple[str, ...]
    ) -> dict[str, Any]:
        subject: dict[str, Any] = {"kind": person.kind, "country": person.country}
        if person.birth_date is not None:
            subject["birth_date"] = person.birth_date
        if person.job is not None:
            subject["job"] = person.job
        return {
            "event_id": event_id,
            "requested_at": self._now,
            "prospect_id": person.prospect_id,
            "partner_ids": [partner.party_id],
            "channels": list(channels),
            "purpose": _MARKETING,
            "offer_category": B2B_OFFER if person.kind != "consumer" else draw.choice(self._offers[partner.party_id]),
            "use_until": self._now + draw.randint(10, 45) * _DAY,
            "notice_version": person.notice.version,
            "collected_at": person.met_at.replace(microsecond=0),
            "subject": subject,
            "contact": person.contact,
            "attributes": person.attributes,
            "source": {"role": "primary_collector", "chain": [COLLECTOR]},
        }


def _serves(partner: Partner, now: dt.datetime) -> bool:
    return partner.status == "active" and any(
        (period.from_ is None or period.from_ <= now) and (period.to is None or now < period.to)
        for period in partner.listed
    )


def _offers(partner: Partner) -> tuple[str, ...]:
    if "home_works" in partner.categories:
        return tuple(sorted(BANNED_OFFERS))
    return partner.categories or ("various",)
