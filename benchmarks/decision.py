"""What a decision costs: from the bytes of a transfer and a folded state to the encoded outputs, and where it goes.

Aim: at most 20 µs on one core for one event, one partner, two channels (e-mail and SMS, both released).
Every figure is the best of many short runs, so that neighbours on the machine count as little as possible.
"""

import datetime as dt
import json
import sys
import timeit
from collections.abc import Callable
from typing import Any

from aiokafka.structs import ConsumerRecord

from transfer_gate.gate.decider import RecordDecision
from transfer_gate.gate.inbox import Record
from transfer_gate.gate.keys import Keys
from transfer_gate.gate.outputs import Outputs
from transfer_gate.gate.overlay import Overlay
from transfer_gate.gate.recalls import Recalls
from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import MemorySlice
from transfer_gate.model.state import EMPTY
from transfer_gate.model.topics import Topics
from transfer_gate.policy.decide import decide
from transfer_gate.policy.fold import fold
from transfer_gate.records.consents import decode_consent
from transfer_gate.records.sealing import UNSEALED
from transfer_gate.records.transfers import decode_transfer
from transfer_gate.registry import registry_from_objects

AIM_MICROSECONDS = 20.0
RUNS, REPEATS = 200, 500

CONTROL = dict.fromkeys(("separate_from_terms", "refuse_equal_prominence", "service_without_consent"), True)
REGISTRY: dict[str, Any] = {
    "partners": {
        "acme": {
            "party_id": "acme",
            "legal_name": "Acme Assurances SA",
            "country": "FR",
            "role": "controller",
            "status": "active",
            "categories": ["insurance"],
            "contract": {"valid_from": "2020-01-01T00:00:00+01:00", "no_onward": True},
            "suppression": {"endpoint": "https://acme.example/suppression"},
            "listed": [{"from": "2020-01-01T00:00:00+01:00"}],
            "fields": ["first_name", "city"],
        }
    },
    "notices": {
        "n-1": {
            "version": "n-1",
            "published_from": "2026-01-05T00:00:00+01:00",
            "text_hash": "sha256:2026bb01",
            "purposes": ["direct_marketing"],
            "attributes": ["first_name", "city"],
            "partner_list": {"version": "l-1", "mode": "inline", "exhaustive": True, "party_ids": ["acme", "helios"]},
            "controls": [{"channels": ["email", "sms"], "prechecked": False, **CONTROL}],
            "review": {"status": "approved"},
        }
    },
    "policy": {
        "jurisdiction": "FR",
        "attributes": {"first_name": {}, "city": {}, "segment": {"special_category": "health"}},
        "free_mail_domains": ["gmail.com", "orange.fr", "laposte.net"],
    },
}
CONSENT: dict[str, Any] = {
    "event_id": "c-1",
    "prospect_id": "p-000001",
    "type": "consent",
    "event_time": "2026-03-10T14:00:00+01:00",
    "record_id": "r-1",
    "state": "given",
    "lawful_basis": "consent",
    "indication": "unticked_box_ticked",
    "purposes": ["direct_marketing"],
    "channels": ["email", "sms"],
    "party_ids": ["acme", "helios"],
    "offer_categories": ["insurance"],
    "partner_list_version": "l-1",
    "notice_version": "n-1",
    "proof": {
        "proof_id": "pf-1",
        "text_hash": "sha256:2026bb01",
        "individual": True,
        "collector": "mag-loisirs",
        "kept_until": "2031-12-31T00:00:00+01:00",
    },
}
OTHER_CONSENT = CONSENT | {"event_id": "c-2", "record_id": "r-2", "channels": ["live_call"]}
TRANSFER: dict[str, Any] = {
    "event_id": "evt-000001",
    "requested_at": "2026-10-05T09:59:00+02:00",
    "prospect_id": "p-000001",
    "partner_ids": ["acme"],
    "channels": ["email", "sms"],
    "purpose": "direct_marketing",
    "offer_category": "insurance",
    "collected_at": "2026-03-10T14:00:00+01:00",
    "subject": {"kind": "consumer", "birth_date": "1985-06-15", "country": "FR"},
    "contact": {
        "email": {"value": "claire.durand@courriel.example", "type": "personal"},
        "phone": {"value": "+33639980011", "type": "mobile"},
        "postal": {"lines": ["12 rue des Lilas"], "postal_code": "69003", "city": "Lyon", "country": "FR"},
    },
    "attributes": {"first_name": "Claire", "city": "Lyon"},
    "source": {"role": "primary_collector", "chain": ["mag-loisirs"]},
}


def microseconds(function: Callable[[], object]) -> float:
    """Best time of one call."""
    return min(timeit.repeat(function, number=RUNS, repeat=REPEATS)) / RUNS * 1e6


def main() -> int:
    registry = registry_from_objects(REGISTRY)
    state = EMPTY
    for offset, event in enumerate((CONSENT, OTHER_CONSENT)):
        state = fold(state, decode_consent(json.dumps(event).encode(), b"p-000001"), offset)
    raw = json.dumps(TRANSFER).encode()
    now = dt.datetime(2026, 10, 5, 8, tzinfo=dt.UTC)
    book, table = Rulebook.of(Topics(), registry), MemorySlice()
    keys, recalls = Keys(UNSEALED, Overlay(table), now.date()), Recalls(book, table, now)
    outputs = Outputs(book, now, keys, recalls)
    record: Record = ConsumerRecord(
        "prospect-transfers", 0, 1, 0, 0, b"p-000001", raw, None, len(b"p-000001"), len(raw), ()
    )
    transfer = decode_transfer(raw)
    decisions = decide(transfer, state, registry, now)
    if decisions[0].released != ("email", "sms"):
        print("the benchmark's transfer is not released", file=sys.stderr)
        return 1

    def whole() -> None:
        transfer = decode_transfer(raw)
        outputs.of(RecordDecision("policy", transfer, decide(transfer, state, registry, now)), record, 2)

    held = decode_transfer(json.dumps(TRANSFER | {"purpose": "social_matching"}).encode())
    parts = {
        "parse": microseconds(lambda: decode_transfer(raw)),
        "rules": microseconds(lambda: decide(transfer, state, registry, now)),
        "encode": microseconds(lambda: outputs.of(RecordDecision("policy", transfer, decisions), record, 2)),
    }
    total = microseconds(whole)
    for name, cost in parts.items():
        print(f"{name:<28}{cost:8.2f} µs  {cost / sum(parts.values()):6.1%}")
    verdict = "met" if total <= AIM_MICROSECONDS else "missed"
    print(f"{'whole':<28}{total:8.2f} µs  aim {AIM_MICROSECONDS:g} µs: {verdict}")
    print(f"{'rules, held for the purpose':<28}{microseconds(lambda: decide(held, state, registry, now)):8.2f} µs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
