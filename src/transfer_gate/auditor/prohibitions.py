"""Does anything forbid this release: the prospect's consent state, or a partner on rehearsal? Written from rules.md 1.3
and 1.4 and docs/how-to/registry.md, and on purpose without the code of `policy`, which a defect would share.

Where the rules weigh which consent is the relevant one, every consent that could be it excuses here. So whatever this
finds is a leak; what only the whole rule would refuse is found by deciding again."""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from transfer_gate.model.consent import Consent
from transfer_gate.model.state import KeptConsent, KeptEvent, Opposition, ProspectState
from transfer_gate.model.terms import Channel
from transfer_gate.records.released import ReleasedRecord

_RANK = {"given": 0, "renewed": 0, "refused": 1, "expired": 2, "invalidated": 3}


class Way(Struct, frozen=True):
    """One channel of a release. `brands`: the party ids of the partner's controller, its own included, and its number.

    `parties` and `purposes` are the words that the registry of the decision knows, trimmed and in lower case; None
    where that registry is not at hand, and then no word widens.
    """

    channel: Channel
    partner_id: str
    brands: frozenset[str]
    purpose: str
    parties: frozenset[str] | None = None
    purposes: frozenset[str] | None = None


def forbidden(state: ProspectState, way: Way, horizon: dt.datetime) -> str | None:
    """The reason that stands against the release, as the gate would name it; None when there is none.

    Consents dated after `horizon` (time of the decision and the allowed skew of clocks) don't count yet.
    """
    if state.overflowed:
        return "history-overflow"
    if set(state.unreadable) - set(state.resolved):
        return "consent-unreadable"
    lifts = [_counted(lift) for lift in state.lifts if lift.event_time <= horizon]
    restricted = [_counted(restriction) for restriction in state.restrictions]
    if restricted and max(restricted) >= max(lifts, default=max(restricted)):
        return "not-erased-or-restricted"
    newest = list(_newest(state.consents, horizon))
    act = _latest_act(newest, state, way)
    if any(not _before(_counted(erasure), act) for erasure in state.erasures):
        return "not-erased-or-restricted"
    if _stands(state.objections, way, act):
        return "not-objected"
    refused = [
        Opposition(
            event_time=_counted(consent),  # no receipt: it is this already
            event_id=consent.event_id,
            channels=consent.channels,
            party_ids=consent.party_ids,
            purposes=consent.purposes,
        )
        for consent in newest
        if consent.state == "refused"
    ]
    return "not-withdrawn" if _stands((*state.withdrawals, *refused), way, act) else None


def _newest(consents: Iterable[KeptConsent], horizon: dt.datetime) -> Iterator[KeptConsent]:
    by_record: dict[str, KeptConsent] = {}
    for consent in consents:
        if consent.event_time > horizon and consent.state in {"given", "renewed"}:
            continue
        known = by_record.get(consent.record_id)
        if known is None or _order(consent) > _order(known):
            by_record[consent.record_id] = consent
    yield from by_record.values()


def _order(consent: KeptConsent) -> tuple[dt.datetime, int, str]:
    return _counted(consent), _RANK[consent.state], consent.event_id


def _latest_act(consents: Iterable[Consent], state: ProspectState, way: Way) -> dt.datetime | None:
    acts = [
        state.proofs[consent.proof.proof_id]
        for consent in consents
        if consent.state in {"given", "renewed"}
        and consent.lawful_basis == "consent"
        and way.channel in consent.channels
        and way.purpose in consent.purposes
        and way.partner_id in consent.party_ids
        and consent.proof is not None
        and consent.proof.proof_id in state.proofs
    ]
    return max(acts, default=None)


def _stands(oppositions: Iterable[Opposition], way: Way, act: dt.datetime | None) -> bool:
    return any(
        (not x.channels or way.channel in x.channels)
        and _names(x.purposes, frozenset({way.purpose}), way.purposes)
        and _names(x.party_ids, way.brands, way.parties)
        and not _before(_counted(x), act)
        for x in oppositions
    )


def _names(scope: tuple[str, ...], meant: frozenset[str], known: frozenset[str] | None) -> bool:
    """Whether a part of a scope names one of those meant: everything, or an unknown word, does (1.4)."""
    words = {word.strip().lower() for word in scope}
    names = {name.strip().lower() for name in meant}
    return (
        not words
        or not words.isdisjoint({"all", "*"})
        or not words.isdisjoint(names)
        or (known is not None and not words <= known)
    )


def _counted(kept: KeptEvent | KeptConsent) -> dt.datetime:
    """The earlier of its date and its receipt (1.1)."""
    return kept.event_time if kept.received_at is None else min(kept.event_time, kept.received_at)


def _before(time: dt.datetime, act: dt.datetime | None) -> bool:
    return act is not None and time < act


_RESERVED_ADDRESS: Final = re.compile(
    r".*@(example\.(org|com|net)|[^@]*\.(example|test|invalid))", re.IGNORECASE | re.ASCII | re.DOTALL
)
_RESERVED_NUMBER: Final = re.compile(r"\+33(63998|19900|26191|35301|46571|53649)[0-9]{4}")


def real_person(body: ReleasedRecord) -> str | None:
    """What of the released record is not that of an invented person, as the name of a field; None when nothing is."""
    contact = body.contact
    if body.prospect_id[:12] != "tg-invented-":
        return "prospect_id"
    if contact.email is not None and not _RESERVED_ADDRESS.fullmatch(contact.email.value):
        return "contact.email"
    if contact.phone is not None and not _RESERVED_NUMBER.fullmatch(contact.phone.value):
        return "contact.phone"
    if contact.postal is not None and contact.postal.lines[:1] != ("SPECIMEN",):
        return "contact.postal"
    return None
