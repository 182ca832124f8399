"""Invented prospects for the demo: who they are and what became of their consent.

Names come from Faker (fr_FR, seeded); every address and number is reserved for fiction: `*.example` (RFC 2606),
+33 6 39 98 xx xx and +33 1 99 00 xx xx (Arcep, decision 2018-0881).
"""

import datetime as dt
import random
import unicodedata
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from transfer_gate.errors import InvalidInput
from transfer_gate.model.registry import Notice
from transfer_gate.model.transfer import SubjectKind

Story = Literal[
    "current",
    "renewed",
    "legacy",
    "email_only",
    "refused",
    "withdrew",
    "withdrew_sms",
    "objected_to_partner",
    "objected_to_post",
    "erased",
    "restricted",
    "restriction_lifted",
    "ended",
    "lapsed",
    "preticked",
    "no_proof",
    "old_proof",
    "minor",
    "forgotten",
    "none",
    "professional",
    "company",
    "unreadable",
]

#: How many of 1,000 prospects live each story.
STORIES: Final[Mapping[Story, int]] = {
    "current": 566,
    "renewed": 60,
    "legacy": 80,
    "email_only": 55,
    "refused": 30,
    "withdrew": 34,
    "withdrew_sms": 24,
    "objected_to_partner": 18,
    "objected_to_post": 14,
    "erased": 10,
    "restricted": 6,
    "restriction_lifted": 6,
    "ended": 12,
    "lapsed": 8,
    "preticked": 6,
    "no_proof": 5,
    "old_proof": 6,
    "minor": 5,
    "forgotten": 8,
    "none": 10,
    "professional": 24,
    "company": 12,
    "unreadable": 1,
}

#: What professionals do; the first two fit the offer `payroll_software` of the example registry.
JOBS: Final = ("hr_director", "payroll_manager", "architect", "florist")

_COUNTRIES: Final = (("FR", 960), ("RE", 12), ("GP", 8), ("MQ", 8), ("BE", 7), ("CH", 5))
_HOUSING: Final = ("apartment", "house", "farmhouse", "studio")
_DAY: Final = dt.timedelta(days=1)


class Person(Struct, frozen=True, kw_only=True):
    """One prospect. `notice` is the one they saw, `met_at` when (UTC)."""

    index: int
    prospect_id: str
    key: bytes
    story: Story
    kind: SubjectKind
    contact: dict[str, dict[str, object]]
    attributes: dict[str, str]
    birth_date: dt.date | None
    country: str
    job: str | None
    notice: Notice
    met_at: dt.datetime


class Era(Struct, frozen=True, kw_only=True):
    """The notices that the people saw: the one in force, the one before it (or the same), and when they signed up."""

    current: Notice
    previous: Notice
    current_from: dt.datetime
    current_to: dt.datetime
    previous_from: dt.datetime
    previous_to: dt.datetime


def era_of(notices: Mapping[str, Notice], now: dt.datetime) -> Era:
    """The notices in use around `now`. Raises InvalidInput when none is in force for direct marketing."""
    usable = [
        notice
        for notice in notices.values()
        if notice.published_from is not None
        and "direct_marketing" in notice.purposes
        and notice.partner_list is not None
        and notice.published_from < now
    ]
    usable.sort(key=lambda notice: notice.published_from or now)
    in_force = [notice for notice in usable if notice.published_to is None or notice.published_to > now]
    if not in_force:
        raise InvalidInput("the registry has no notice in force", do="publish one: notices/<version>.yaml")
    current = in_force[-1]
    previous = next((notice for notice in reversed(usable) if notice is not current), current)
    current_from = current.published_from or now
    previous_from = previous.published_from or now
    return Era(
        current=current,
        previous=previous,
        current_from=max(current_from, now - 300 * _DAY),
        current_to=now - dt.timedelta(hours=1),
        previous_from=max(previous_from, now - 2 * 365 * _DAY),
        previous_to=min(previous.published_to or now, now) - dt.timedelta(hours=1),
    )


class Census:
    """Draws people from pools of names and places; equal seeds draw equal people."""

    def __init__(self, era: Era, seed: int, now: dt.datetime) -> None:
        try:
            from faker import Faker
        except ImportError:
            raise InvalidInput("sample data needs the package faker", do="pip install 'transfer-gate[local]'") from None
        faker = Faker("fr_FR")
        faker.seed_instance(seed)
        self._first = [faker.first_name() for _ in range(300)]
        self._last = [faker.last_name() for _ in range(600)]
        self._streets = [faker.street_name() for _ in range(300)]
        self._towns = [(faker.postcode(), faker.city()) for _ in range(300)]
        self._firms = [_ascii(faker.last_name()) for _ in range(200)]
        self._draw = random.Random(f"{seed}:people")
        self._stories: list[Story] = [story for story, share in STORIES.items() for _ in range(share)]
        self._countries = [code for code, share in _COUNTRIES for _ in range(share)]
        self._era, self._today = era, now.date()

    def person(self, index: int) -> Person:
        """The next person; call it with 0, 1, 2, ..."""
        draw = self._draw
        story = draw.choice(self._stories)
        first, last = draw.choice(self._first), draw.choice(self._last)
        postal_code, city = draw.choice(self._towns)
        kind: SubjectKind = (
            "professional" if story == "professional" else "legal_person" if story == "company" else "consumer"
        )
        years = draw.randint(13, 14) if story == "minor" else draw.randint(19, 86)
        country = draw.choice(self._countries)
        postal: dict[str, object] = {
            "lines": [f"{first} {last}", f"{draw.randint(1, 180)} {draw.choice(self._streets)}"],
            "postal_code": postal_code,
            "city": city,
            "country": country,
        }
        prospect_id = f"p-{index:06d}"
        notice, met_at = self._meeting(story)
        return Person(
            index=index,
            prospect_id=prospect_id,
            key=prospect_id.encode(),
            story=story,
            kind=kind,
            contact={**self._points(kind, first, last, index), "postal": postal},
            attributes={"first_name": first, "last_name": last, "city": city, "housing": draw.choice(_HOUSING)},
            birth_date=None
            if kind == "legal_person"
            else self._today - years * 365 * _DAY - draw.randint(0, 300) * _DAY,
            country=country,
            job=None if kind == "consumer" else draw.choice(JOBS),
            notice=notice,
            met_at=met_at,
        )

    def _points(self, kind: SubjectKind, first: str, last: str, index: int) -> dict[str, dict[str, object]]:
        draw = self._draw
        name = f"{_ascii(first)}.{_ascii(last)}"
        if kind == "consumer":
            email = {"value": f"{name}.{index}@courriel.example", "type": "personal"}
            mobile = draw.random() < 0.85
        else:
            mailbox = "contact" if kind == "legal_person" else name
            email = {
                "value": f"{mailbox}@{draw.choice(self._firms)}-{index}.example",
                "type": "role" if kind == "legal_person" else "professional",
            }
            mobile = False
        number = draw.randint(0, 9999)
        phone_type = "mobile" if mobile else "landline" if kind == "consumer" else "professional"
        phone = {"value": f"+3363998{number:04d}" if mobile else f"+3319900{number:04d}", "type": phone_type}
        return {"email": dict[str, object](email), "phone": dict[str, object](phone)}

    def _meeting(self, story: Story) -> tuple[Notice, dt.datetime]:
        era, share = self._era, self._draw.random()
        if story in ("legacy", "renewed", "old_proof"):
            return era.previous, era.previous_from + share * (era.previous_to - era.previous_from)
        if story == "forgotten":
            return era.previous, era.previous_from - (1 + 2 * share) * 365 * _DAY
        return era.current, era.current_from + share * (era.current_to - era.current_from)


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "".join(letter for letter in plain if letter.isalnum()) or "x"
