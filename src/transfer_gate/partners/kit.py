"""The partner kit: schema, records of invented people, a consumer, how to acknowledge."""

import datetime as dt
from importlib.resources import files
from typing import Final

from transfer_gate.model.decision import Obligations
from transfer_gate.model.registry import Partner, Registry
from transfer_gate.model.served import NEVER_SERVED, ServedParty, Stop, Use
from transfer_gate.model.terms import Channel
from transfer_gate.model.topics import Topics
from transfer_gate.model.transfer import INVENTED, SPECIMEN, Contact, EmailPoint, PhonePoint, PostalPoint
from transfer_gate.partners.manifests import acknowledgement_topic, group, suppression_topic
from transfer_gate.policy.release import CALL_WINDOWS, MAX_CALL_ATTEMPTS, art14_due_at
from transfer_gate.records import ids
from transfer_gate.records.released import PolicyStamp, ReleasedRecord, encode_released
from transfer_gate.records.suppressions import SuppressionRecord, encode_suppression, suppression_of
from transfer_gate.schemas.export import exported

_SCHEMA: Final = "released-record.schema.json"
#: Channels of each sample record.
_ASKED: Final[tuple[tuple[Channel, ...], ...]] = (("email",), ("email", "sms"), ("postal",), ("live_call",))


def kit(topics: Topics, registry: Registry, partner: Partner, now: dt.datetime) -> dict[str, str]:
    """Content of every file of the kit, by its name; `now` is UTC and dates the sample records."""
    names = {
        "{{party_id}}": partner.party_id,
        "{{topic}}": topics.partners(registry)[partner.party_id],
        "{{suppressions}}": suppression_topic(topics, partner),
        "{{acknowledgements}}": acknowledgement_topic(topics, partner),
        "{{group}}": group(partner),
    }
    samples = [sample(partner, registry, number, now) for number in range(len(_ASKED))]
    return {
        "README.md": _filled("README.md.txt", names),
        "consumer.py": _filled("consumer.py.txt", names),
        _SCHEMA: exported()[_SCHEMA].decode(),
        # The first comes twice, as it does after a crash of the consumer: it must be worked on once.
        "transfers.jsonl": "".join(encode_released(record).decode() + "\n" for record in (*samples, samples[0])),
        "suppressions.jsonl": encode_suppression(_notice(partner, samples[1], now)).decode() + "\n",
    }


def sample(partner: Partner, registry: Registry, number: int, now: dt.datetime) -> ReleasedRecord:
    """A record as the gate would release it, of an invented person."""
    channels, event = _ASKED[number], f"{INVENTED}event-{number}"
    called = "live_call" in channels
    contact = Contact(
        email=EmailPoint(value=f"person-{number}@example.org", type="personal") if "email" in channels else None,
        phone=PhonePoint(value=f"+3363998000{number}", type="mobile") if {"sms", "live_call"} & {*channels} else None,
        postal=PostalPoint(lines=(SPECIMEN, "1 rue Inventée"), postal_code="00000", city="Nulle-Part", country="FR")
        if "postal" in channels
        else None,
    )
    return ReleasedRecord(
        transfer_id=ids.transfer_id(event, partner.party_id),
        decision_id=ids.decision_id("sample", 0, number, partner.party_id),
        event_id=event,
        partner_id=partner.party_id,
        prospect_id=f"{INVENTED}{number}",
        released_at=now,
        purpose="direct_marketing",
        offer_category=partner.categories[0] if partner.categories else None,
        channels=channels,
        contact=contact,
        attributes=dict.fromkeys(partner.fields, "invented"),
        obligations=Obligations(
            use_before=now + dt.timedelta(days=30),
            art14_due_at=art14_due_at(now),
            call_window=CALL_WINDOWS["FR"] if called else None,
            max_call_attempts=MAX_CALL_ATTEMPTS if called else None,
        ),
        policy=PolicyStamp(jurisdiction=registry.policy.jurisdiction, revision=registry.revision),
    )


def _notice(partner: Partner, record: ReleasedRecord, now: dt.datetime) -> SuppressionRecord:
    """A suppression notice that stops what the record allowed."""
    use = Use(
        purpose=record.purpose,
        channels=record.channels,
        at=now,
        use_before=record.obligations.use_before,
        stop=Stop("withdrawal", now),
    )
    stopped = ServedParty(uses=(use,), transfer_ids=(record.transfer_id,), version=1)
    hours = partner.suppression.sla_hours if partner.suppression else None
    return suppression_of(record.prospect_id, partner.party_id, NEVER_SERVED, stopped, hours)


def _filled(name: str, names: dict[str, str]) -> str:
    text = files("transfer_gate.partners").joinpath("files", name).read_text(encoding="utf-8")
    for mark, value in names.items():
        text = text.replace(mark, value)
    return text
