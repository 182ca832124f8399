"""The demo explains without giving anybody away."""

import msgspec

from transfer_gate.local.demo.run import sample_registry
from transfer_gate.local.demo.screen import explained
from transfer_gate.local.demo.streams import QuarantinedTransfer
from transfer_gate.model.terms import REASONS
from transfer_gate.registry import load_registry


def held(reason: str) -> QuarantinedTransfer:
    """A quarantined transfer."""
    value = {
        "event_id": f"e-{reason}",
        "requested_at": "2026-11-24T10:00:00Z",
        "prospect_id": "p1",
        "partner_ids": ["acme"],
        "channels": ["email"],
        "purpose": "direct_marketing",
        "contact": {
            "email": {"value": "jeanne.martin@courriel.example"},
            "phone": {"value": "+33639980042"},
            "postal": {"lines": ["Jeanne Martin", "1 rue Haute"], "postal_code": "75011", "city": "Paris"},
        },
    }
    return QuarantinedTransfer(msgspec.json.encode(value), "acme", {"email": (reason,)})


def test_three_different_reasons_are_explained() -> None:
    """The telling ones first; each names its rule and its article."""
    lines = explained(
        {reason: held(reason) for reason in ("partner-unknown", "b2b-scope", "not-withdrawn", "minor-consent")}
    )
    assert [block[0].split()[0] for block in lines] == ["e-not-withdrawn", "e-minor-consent", "e-b2b-scope"]
    assert "GDPR 7(3)" in lines[0][2]


def test_every_reason_can_be_explained_and_nobody_is_named() -> None:
    """No name, address or number in clear, whatever the reason."""
    for reason in REASONS:
        (block,) = explained({reason: held(reason)})
        text = "\n".join(block)
        assert reason in text
        assert not any(secret in text for secret in ("jeanne", "martin", "Martin", "639980042", "rue Haute", "75011"))


def test_the_sample_registry_is_found() -> None:
    """From the source tree or the installed package."""
    assert {"acme-assurances", "helios-habitat", "lumen-telecom"} <= set(load_registry(sample_registry()).partners)
