"""What rules ask of a prospect's state: the relevant consent (rules.md 1.3), and what could stand against it (1.4).

Of a large state the answers are remembered: the transfers of a round share it, and a state of a thousand consents would
else be gone through for each transfer, partner and channel.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final

from transfer_gate.model.consent import Consent
from transfer_gate.model.state import STATE_RANK, KeptConsent, Opposition, ProspectState
from transfer_gate.model.stops import ContactStop
from transfer_gate.model.terms import Channel
from transfer_gate.policy.fold import as_withdrawal
from transfer_gate.policy.view import RegistryView

#: A state of fewer events is gone through each time: that costs less than to remember it.
FEW_EVENTS: Final = 16
#: Large states that are remembered, and answers of each.
_STATES: Final = 4
_ANSWERS: Final = 4096

#: By what consents for a channel are compared (1.3).
Nearness = tuple[bool, bool, bool, bool, dt.datetime, str]


Asked = tuple[str | None, ...]
Answers = dict[Asked, Any]


class StateFacts:
    """The facts of one state by one registry, where nothing is looked at that is dated after `horizon`."""

    __slots__ = ("_answers", "_horizon", "_state", "_view", "live", "withdrawals")

    def __init__(self, view: RegistryView, state: ProspectState, horizon: dt.datetime, remembers: bool) -> None:
        self._view = view
        self._state = state
        self._horizon = horizon
        self._answers: Answers | None = {} if remembers else None
        self.live, self.withdrawals = current_records(state, horizon)

    def is_of(self, view: RegistryView, state: ProspectState, horizon: dt.datetime) -> bool:
        """Whether these are the facts of this very state by this registry at this horizon."""
        return self._state is state and self._view is view and self._horizon == horizon

    def relevant(
        self, channel: Channel, purpose: str, partner_id: str, offer_category: str | None
    ) -> KeptConsent | None:
        """c: among live records for the channel the nearest; `offer_category` is None where it is not looked at."""
        if self._answers is None:
            return self._nearest(channel, purpose, partner_id, offer_category)
        relevant: KeptConsent | None = self._once(
            ("relevant", channel, purpose, partner_id, offer_category),
            lambda: self._nearest(channel, purpose, partner_id, offer_category),
        )
        return relevant

    def _nearest(
        self, channel: Channel, purpose: str, partner_id: str, offer_category: str | None
    ) -> KeptConsent | None:
        nearest: KeptConsent | None = None
        place: Nearness | None = None
        for consent in self.live:
            if channel not in consent.channels:
                continue
            if nearest is None:  # most often the only one
                nearest = consent
                continue
            if place is None:
                place = _nearness(nearest, purpose, partner_id, offer_category)
            other = _nearness(consent, purpose, partner_id, offer_category)
            if other > place:
                nearest, place = consent, other
        return nearest

    def withdrawal(self, channel: Channel, purpose: str, partner_id: str) -> Opposition | None:
        """Of the withdrawals, refused consents among them, that cover these the one that counts last: what overcomes it
        overcomes all."""
        return self._last("withdrawal", self.withdrawals, channel, purpose, partner_id)

    def objection(self, channel: Channel, purpose: str, partner_id: str) -> Opposition | None:
        """Of the objections that cover these the one that counts last."""
        return self._last("objection", self._state.objections, channel, purpose, partner_id)

    def left_out_as_future(self, channel: Channel) -> bool:
        """Whether a given or renewed consent for the channel was left out because it is dated in the future."""
        return bool(
            self._once(
                ("future", channel),
                lambda: any(channel in consent.channels for consent in future_consents(self._state, self._horizon)),
            )
        )

    def told_of(self, channel: Channel, purpose: str, partner_id: str) -> bool:
        """Whether a live record with basis legitimate interest says that the person was told of the partner."""
        return bool(
            self._once(
                ("informed", channel, purpose, partner_id),
                lambda: any(
                    record.lawful_basis == "legitimate_interest"
                    and channel in record.channels
                    and purpose in record.purposes
                    and partner_id in record.party_ids
                    for record in self.live
                ),
            )
        )

    def _last(
        self, kind: str, oppositions: Sequence[Opposition], channel: Channel, purpose: str, partner_id: str
    ) -> Opposition | None:
        if self._answers is None:
            return self._last_covering(oppositions, channel, purpose, partner_id)
        last: Opposition | None = self._once(
            (kind, channel, purpose, partner_id),
            lambda: self._last_covering(oppositions, channel, purpose, partner_id),
        )
        return last

    def _last_covering(
        self, oppositions: Sequence[Opposition], channel: Channel, purpose: str, partner_id: str
    ) -> Opposition | None:
        last: Opposition | None = None
        for x in oppositions:
            if (last is None or x.counted_at > last.counted_at) and covered(
                self._view, x, channel, purpose, partner_id
            ):
                last = x
        return last

    def _once(self, asked: Asked, work_out: Callable[[], Any]) -> Any:
        answers = self._answers
        if answers is None:
            return work_out()
        if asked not in answers:
            _remember(answers, asked, work_out())
        return answers[asked]


def covered(
    view: RegistryView, scope: Opposition | ContactStop, channel: Channel, purpose: str, partner_id: str
) -> bool:
    """Whether a scope covers channel, partner and purpose (1.4)."""
    return (
        (not scope.channels or channel in scope.channels)
        and (not scope.purposes or view.covers_purpose(scope.purposes, purpose))
        and (not scope.party_ids or view.covers_party(scope.party_ids, partner_id))
    )


def _remember(answers: Answers, asked: Asked, answer: object) -> None:
    if len(answers) >= _ANSWERS:
        answers.clear()
    answers[asked] = answer


def _nearness(consent: KeptConsent, purpose: str, partner_id: str, offer_category: str | None) -> Nearness:
    return (
        consent.lawful_basis == "consent",
        purpose in consent.purposes,
        partner_id in consent.party_ids,
        offer_category is not None and offer_category in consent.offer_categories,
        consent.event_time,
        consent.event_id,
    )


# By identity, because equality would compare every event; each entry keeps its state, so that no id is used twice.
_known: dict[int, StateFacts] = {}


def state_facts(view: RegistryView, state: ProspectState, horizon: dt.datetime) -> StateFacts:
    """The facts of a state; of a large one those that were made last."""
    if len(state.consents) + len(state.withdrawals) + len(state.objections) < FEW_EVENTS:
        return StateFacts(view, state, horizon, remembers=False)
    known = _known.get(id(state))
    if known is None or not known.is_of(view, state, horizon):
        known = StateFacts(view, state, horizon, remembers=True)
        _known.pop(id(state), None)
        if len(_known) >= _STATES:
            del _known[next(iter(_known))]
        _known[id(state)] = known
    return known


def current_records(state: ProspectState, horizon: dt.datetime) -> tuple[list[KeptConsent], tuple[Opposition, ...]]:
    """The live records, and everything that counts as a withdrawal: the withdrawals and the refused records. An expired
    or invalidated record is nothing.
    """
    live: list[KeptConsent] = []
    withdrawals = state.withdrawals
    for record in current_versions(state, horizon).values():
        if record.state in ("given", "renewed"):
            live.append(record)
        elif record.state == "refused":
            withdrawals += (as_withdrawal(record),)
    return live, withdrawals


def current_versions(state: ProspectState, horizon: dt.datetime) -> dict[str, KeptConsent]:
    """By record id the version that counts: the one with the greatest (counted time, state, event id); a `given` or
    `renewed` one that is dated after `horizon` is left out, what takes away counts from its receipt.
    """
    records: dict[str, KeptConsent] = {}
    for version in state.consents:
        if version.event_time <= horizon or version.state not in ("given", "renewed"):
            known = records.get(version.record_id)
            if known is None or not _counts_less(version, known):
                records[version.record_id] = version
    return records


def future_consents(state: ProspectState, horizon: dt.datetime) -> list[Consent]:
    """The given and renewed consents that are left out because they are dated in the future."""
    return [
        version for version in state.consents if version.event_time > horizon and version.state in ("given", "renewed")
    ]


def _counts_less(version: KeptConsent, other: KeptConsent) -> bool:
    # Most versions differ by their time.
    if version.counted_at != other.counted_at:
        return version.counted_at < other.counted_at
    return (STATE_RANK[version.state], version.event_id) < (STATE_RANK[other.state], other.event_id)
