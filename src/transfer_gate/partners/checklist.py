"""What law and contract ask for before a partner leaves rehearsal, with what the registry says already."""

import datetime as dt

from transfer_gate.model.registry import Partner, Registry
from transfer_gate.model.topics import Topics
from transfer_gate.partners.manifests import acknowledgement_topic, group, suppression_topic


def checklist(topics: Topics, registry: Registry, partner: Partner, now: dt.datetime) -> str:
    """The list in Markdown; boxes are ticked for what the registry shows at `now`."""
    party = partner.party_id
    naming = [
        notice
        for _, notice in sorted(registry.notices.items())
        if notice.partner_list is not None and party in notice.partner_list.party_ids
    ]
    in_force = [
        notice
        for notice in naming
        if notice.published_from is not None
        and notice.published_from <= now
        and (notice.published_to is None or now < notice.published_to)
    ]
    contract, suppression = partner.contract, partner.suppression
    listed = any(
        period.from_ is not None and period.from_ <= now and (period.to is None or now < period.to)
        for period in partner.listed
    )
    address = suppression.endpoint if suppression and suppression.endpoint else suppression_topic(topics, partner)
    versions = ", ".join(notice.version for notice in in_force)
    lines = [
        f"# Before {party} is active",
        "",
        f"Written {now:%Y-%m-%d}. Until all of it is done, `status: rehearsal` stays in `partners/{party}.yaml`.",
        "",
        "## Contract (GDPR 5(2), 24)",
        "",
        _box(contract is not None and contract.no_onward is True, "the contract forbids to pass prospects on"),
        _box(
            contract is not None and contract.valid_from is not None and contract.valid_from <= now,
            f"it is in force: from {_time(contract.valid_from if contract else None)}"
            f" to {_time(contract.valid_to if contract else None)}",
        ),
        _box(False, "somebody compared these dates, the company's name and its number with the signed contract"),
        _box(partner.role == "controller", "the partner is a controller of its own (GDPR 4(7))"),
        "",
        "## List and notice that name the party (CNIL partner fiche; R223-1)",
        "",
        _box(listed, f"`listed` has it today, from {_time(partner.listed[0].from_ if partner.listed else None)}"),
        _box(False, "the published list shows the name since that day"),
        _box(
            bool(in_force),
            f"a notice in force names it: {versions or 'none does; publish one with a new list version'}",
        ),
        _box(bool(partner.privacy_policy), "its privacy policy can be reached from the list"),
        "",
        "Consents under earlier notices do not cover the partner: quarantined, `partner-named-at-consent`.",
        "",
        "## Stopping (GDPR 7(3), 21(3), 19)",
        "",
        _box(False, f"the suppression address was tried, and answered in time: {address}"),
        _box(False, f"the partner acknowledged the notice of the kit on {acknowledgement_topic(topics, partner)}"),
        _box(
            bool(suppression and suppression.sla_hours), f"within {suppression.sla_hours if suppression else '?'} hours"
        ),
        "",
        *_delivery(topics, partner),
        "## Country (GDPR 44-46)",
        "",
        _box(False, f"{partner.country}: in the EEA, adequate by `policy.yaml`, or with a `transfer_safeguard`"),
        "",
        "## Rehearsal",
        "",
        _box(
            False, "`published_at` of `policy.yaml` is raised, `transfer-gate registry check` passes, reviewed, merged"
        ),
        _box(
            False,
            "`transfer-gate topics apply`; `topics.yaml` and `user.yaml` applied, or `acls.txt`; workers restarted",
        ),
        _box(
            False,
            "the partner takes invented people: once each, also when its consumer, or what delivers, is killed",
        ),
        _box(False, "`transfer-gate quarantine list --partner` shows real people quarantined, `partner-on-rehearsal`"),
        _box(False, "`status: active`, reviewed by the data protection officer"),
    ]
    return "\n".join(lines) + "\n"


def _delivery(topics: Topics, partner: Partner) -> list[str]:
    if partner.delivery is None:
        return []
    reports = topics.of_kind("deliveries", {partner.party_id: partner})[partner.party_id]
    return [
        "## Delivery by a program of yours",
        "",
        _box(False, f"it runs as {group(partner, 'courier')}, by a recipe of docs/how-to/deliver-without-kafka.md"),
        _box(
            False,
            f"it reports to {reports}, within {partner.delivery.sla_hours} hours; a transfer that the receiver"
            " refuses is reported as failed",
        ),
        _box(False, "the alerts TransferGateDeliveriesOverdue and TransferGateDeliveriesFailed have a receiver"),
        "",
    ]


def _box(done: bool, what: str) -> str:
    return f"- [{'x' if done else ' '}] {what}"


def _time(time: dt.datetime | None) -> str:
    return "open" if time is None else time.isoformat()
