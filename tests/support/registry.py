"""A registry folder whose dates are those of today, so that a valid e-mail consent releases on any day."""

import datetime as dt
from pathlib import Path
from typing import Any, Final

import yaml

PARTNERS: Final = ("acme", "helios", "lumen")
NOTICE: Final = "n-current"
PARTNER_LIST: Final = "l-current"
TEXT_HASH: Final = "sha256:0a1b2c"
COLLECTOR: Final = "magazine-loisirs"


def write_registry(folder: Path, now: dt.datetime) -> Path:
    """Write three active partners, the notice that names them and a policy; returns the folder."""
    long_ago = (now - dt.timedelta(days=1000)).isoformat()
    far_off = (now + dt.timedelta(days=1000)).isoformat()
    for party in PARTNERS:
        partner = {
            "party_id": party,
            "legal_name": f"{party.capitalize()} SA",
            "registration_no": f"9000-{party}",
            "country": "FR",
            "role": "controller",
            "status": "active",
            "categories": ["insurance"],
            "contract": {"id": f"k-{party}", "valid_from": long_ago, "valid_to": far_off, "no_onward": True},
            "suppression": {"endpoint": f"https://{party}.example/suppression", "sla_hours": 24},
            "listed": [{"from": long_ago}],
            "fields": ["first_name", "city"],
        }
        _write(folder / "partners" / f"{party}.yaml", partner)
    controls = {
        "channels": ["email", "sms"],
        "prechecked": False,
        "separate_from_terms": True,
        "refuse_equal_prominence": True,
        "service_without_consent": True,
    }
    notice = {
        "version": NOTICE,
        "published_from": long_ago,
        "text_hash": TEXT_HASH,
        "purposes": ["direct_marketing"],
        "attributes": ["first_name", "city"],
        "partner_list": {"version": PARTNER_LIST, "mode": "inline", "exhaustive": True, "party_ids": list(PARTNERS)},
        "recipient_categories": ["insurance"],
        "objection": {"present": True, "free": True, "at_collection": True},
        "controls": [controls],
        "review": {"status": "approved", "by": "dpo", "at": long_ago},
    }
    _write(folder / "notices" / f"{NOTICE}.yaml", notice)
    _write(
        folder / "policy.yaml",
        {"jurisdiction": "FR", "published_at": long_ago, "attributes": {"first_name": {}, "city": {}}},
    )
    return folder


def _write(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
