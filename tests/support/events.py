"""Consent events and transfers as a source system would write them, dated today, with reserved names and numbers."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, Literal

import orjson

from tests.support.registry import COLLECTOR, NOTICE, PARTNER_LIST, PARTNERS, TEXT_HASH

#: What a person can do against a transfer, and the one reason that must then be given.
AGAINST: Final[dict["Against", str]] = {
    "withdrawal": "not-withdrawn",
    "objection": "not-objected",
    "erasure": "not-erased-or-restricted",
    "unreadable": "consent-unreadable",
}
Against = Literal["withdrawal", "objection", "erasure", "unreadable"]
CHANNELS: Final = ("email", "sms")


class Events:
    """Builds record values; `now` is when the run began, consents are a month older."""

    def __init__(self, now: dt.datetime) -> None:
        self._now = now.isoformat()
        self._month_ago = (now - dt.timedelta(days=30)).isoformat()
        self._years_on = (now + dt.timedelta(days=1500)).isoformat()

    def consent(
        self, prospect: str, event_id: str, *, record_id: str = "r-1", party_ids: Sequence[str] = PARTNERS
    ) -> bytes:
        """A consent that lets e-mail and SMS go to `party_ids`."""
        return orjson.dumps(
            {
                "event_id": event_id,
                "prospect_id": prospect,
                "type": "consent",
                "event_time": self._month_ago,
                "record_id": record_id,
                "state": "given",
                "lawful_basis": "consent",
                "indication": "unticked_box_ticked",
                "purposes": ["direct_marketing"],
                "channels": CHANNELS,
                "party_ids": list(party_ids),
                "partner_list_version": PARTNER_LIST,
                "notice_version": NOTICE,
                "proof": {
                    "proof_id": f"proof-{event_id}",
                    "text_hash": TEXT_HASH,
                    "individual": True,
                    "collector": COLLECTOR,
                    "kept_until": self._years_on,
                },
            }
        )

    def against(self, kind: Against, prospect: str, event_id: str) -> bytes:
        """An event that forbids every transfer of this prospect; see AGAINST."""
        if kind == "unreadable":
            return b'{"event_id": "' + event_id.encode() + b'", "type": "withdra'
        return orjson.dumps({"event_id": event_id, "prospect_id": prospect, "type": kind, "event_time": self._now})

    def transfer(
        self,
        prospect: str,
        event_id: str,
        partners: Sequence[str] = PARTNERS[:1],
        channels: Sequence[str] = CHANNELS,
    ) -> bytes:
        """A transfer of an adult consumer to `partners` by `channels`, which only consent can release."""
        body: dict[str, Any] = {
            "event_id": event_id,
            "requested_at": self._now,
            "prospect_id": prospect,
            "partner_ids": list(partners),
            "channels": list(channels),
            "purpose": "direct_marketing",
            "offer_category": "insurance",
            "notice_version": NOTICE,
            "collected_at": self._month_ago,
            "subject": {"kind": "consumer", "birth_date": "1985-06-15", "country": "FR"},
            "contact": {
                "email": {"value": f"claire.{prospect}@courriel.example", "type": "personal"},
                "phone": {"value": "+33639980011", "type": "mobile"},
            },
            "attributes": {"first_name": "Claire", "city": "Lyon"},
            "source": {"role": "primary_collector", "chain": [COLLECTOR]},
        }
        return orjson.dumps(body)
