"""The decision: for every partner, which channels may go, what travels, and all the reasons of the others."""

import datetime as dt
from bisect import bisect_right
from typing import Final

from transfer_gate.model.consent import CallSlot, Consent
from transfer_gate.model.decision import Ground, Obligations, PartnerDecision, Release
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import ProspectState
from transfer_gate.model.stops import NO_STOPS, ContactStops
from transfer_gate.model.terms import RANK, Channel, Reason
from transfer_gate.model.transfer import Transfer, is_invented
from transfer_gate.policy.catalogue import GUARD_TEST, Test, era, plan_for
from transfer_gate.policy.facts import CALLS, Facts
from transfer_gate.policy.legal_time import FAR_FUTURE, utc
from transfer_gate.policy.release import CALL_WINDOWS, MAX_CALL_ATTEMPTS, art14_due_at, project, use_before
from transfer_gate.policy.view import NoticeFile, RegistryView, view_of

#: Stands in `PartnerDecision.rule_errors` when what raised is a definition that rules share (rules.md section 1).
DEFINITIONS: Final = "definitions"
#: Before the first plan.
NOT_YET: Final = -1


def decide(
    transfer: Transfer,
    state: ProspectState,
    registry: Registry,
    now: dt.datetime,
    stops: ContactStops = NO_STOPS,
) -> tuple[PartnerDecision, ...]:
    """One decision for each of `transfer.partner_ids`, in that order; `now` is UTC, `stops` are those of its contact
    points.

    Total: it never raises. A rule that raises is the reason `rule-error` of its channel, and its id stands in
    `rule_errors`.
    """
    return decide_by(view_of(registry), transfer, state, now, stops)


def decide_by(
    view: RegistryView,
    transfer: Transfer,
    state: ProspectState,
    now: dt.datetime,
    stops: ContactStops = NO_STOPS,
) -> tuple[PartnerDecision, ...]:
    """The same by a registry that is compiled already, as a round does it."""
    try:
        facts = Facts(view, transfer, state, now, stops)
        eras = era(facts.t), era(facts.w)
        decisions = []
        for partner_id in transfer.partner_ids:
            decisions.append(_on_partner(facts, eras, partner_id))  # noqa: PERF401 - see _failed
        return tuple(decisions)
    except Exception:  # noqa: BLE001 - a defect must not become a release, nor stop the stream
        # Rules are guarded one by one below. What ends here is a defect in what they share: hold everything.
        return tuple(
            PartnerDecision(
                partner_id=partner_id,
                released=(),
                quarantined=dict.fromkeys(transfer.channels, ("rule-error",)),
                release=None,
                rule_errors=(DEFINITIONS,),
            )
            for partner_id in transfer.partner_ids
        )


def gate_reasons(f: Facts) -> list[Reason]:
    """The gate's own reasons, which come before all rules (rules.md section 2)."""
    reasons: list[Reason] = []
    if f.state.overflowed:
        reasons.append("history-overflow")
    if f.state.unreadable and f.state.blocked():
        reasons.append("consent-unreadable")
    if f.partner is None:
        reasons.append("partner-unknown")
    elif f.partner.status == "paused":
        reasons.append("partner-paused")
    elif f.partner.status == "rehearsal" and not is_invented(f.event):
        reasons.append("partner-on-rehearsal")
    return reasons


def _on_partner(f: Facts, eras: tuple[int, int], partner_id: str) -> PartnerDecision:
    f.turn_to(partner_id)
    errors: list[str] = []
    of_partner = gate_reasons(f)
    shared: list[Reason] = []
    sharing = NOT_YET
    consent: Consent | None = None
    notice: NoticeFile | None = None
    held: dict[Channel, tuple[Reason, ...]] = {}
    record_ids: dict[str, None] = {}
    going = _Going()
    for channel in f.event.channels:
        f.look_at(channel)
        plan = plan_for(f, eras)
        if sharing == NOT_YET:
            of_partner += _partner_failures(plan.partner, f, eras, errors)
        if f.consent is not None:
            record_ids[f.consent.record_id] = None
        if plan.sharing != sharing or f.consent is not consent or f.notice is not notice:
            sharing, consent, notice = plan.sharing, f.consent, f.notice
            shared = of_partner + _failed(plan.shared, f, errors)
        reasons = shared + _failed(plan.channel, f, errors)
        if f.opposed:
            reasons += _failed(plan.opposition, f, errors)
        if reasons:
            held[channel] = _in_order(reasons)
        else:
            going.add(f)
    release = None
    if going.channels:
        release = going.release(f)
        reasons = _failed(GUARD_TEST, f, errors)
        if reasons:
            release = None
            held = {channel: held.get(channel) or tuple(reasons) for channel in f.event.channels}
            going.channels = []
    return PartnerDecision(
        partner_id=partner_id,
        released=tuple(going.channels),
        quarantined=held,
        release=release,
        record_ids=tuple(record_ids),
        rule_errors=tuple(dict.fromkeys(errors)),
    )


def _partner_failures(tests: tuple[Test, ...], f: Facts, eras: tuple[int, int], errors: list[str]) -> list[Reason]:
    """What fails for the partner's file alone; it only changes when something in the file, or the law, begins or
    ends."""
    if f.partner is None:
        return []
    key = (f.partner_id, bisect_right(f.partner.changes, f.t), eras)
    failures = f.view.partner_failures.get(key)
    if failures is None:
        before = len(errors)
        failures = _failed(tests, f, errors)
        if len(errors) == before:
            f.view.partner_failures[key] = failures
    return failures


def _failed(tests: tuple[Test, ...], f: Facts, errors: list[str]) -> list[Reason]:
    """The reasons of those tests that fail; what raises fails, and is named in `errors`."""
    # Plain loops here and below: in CPython 3.11 a comprehension costs as much as the evaluation of a rule.
    failed: list[Reason] = []
    try:
        for holds, reason in tests:
            if not holds(f):
                failed.append(reason)
    except Exception:  # noqa: BLE001 - a defect of one rule must not hide the others
        return _failed_one_by_one(tests, f, errors)
    return failed


def _failed_one_by_one(tests: tuple[Test, ...], f: Facts, errors: list[str]) -> list[Reason]:
    failed: list[Reason] = []
    for holds, reason in tests:
        try:
            if not holds(f):
                failed.append(reason)
        except Exception:  # noqa: BLE001 - as above
            failed.append("rule-error")
            errors.append(reason)
    return failed


class _Going:
    """What goes to the partner, gathered from the channels that answered to every rule."""

    __slots__ = ("call_slots", "channels", "consumer_call", "grounds", "natural_person", "notices", "use_before")

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.grounds: list[tuple[list[Channel], str | None, str | None, str | None]] = []
        self.notices: list[NoticeFile | None] = []
        self.use_before = FAR_FUTURE
        self.natural_person = False
        self.consumer_call = False
        self.call_slots: tuple[CallSlot, ...] | None = None

    def add(self, f: Facts) -> None:
        """Let the channel go that the facts look at."""
        self.channels.append(f.channel)
        self._add_ground(f)
        if not self.notices or self.notices[-1] is not f.notice:
            self.notices.append(f.notice)
        ends = use_before(f)
        if ends < self.use_before:
            self.use_before = ends
        if f.kind != "legal_person":
            self.natural_person = True
        if f.kind == "consumer" and f.channel in CALLS:
            self.consumer_call = True
            if f.channel == "live_call" and f.basis == "consent" and f.consent is not None:
                self.call_slots = f.consent.call_slots or None

    def _add_ground(self, f: Facts) -> None:
        record_id = f.consent.record_id if f.basis == "consent" and f.consent is not None else None
        notice = f.notice.version if f.notice is not None else None
        offer = f.event.offer_category if f.channel in CALLS else None
        if self.grounds:
            channels, last_record, last_notice, last_offer = self.grounds[-1]
            if last_record == record_id and last_notice == notice and last_offer == offer:
                channels.append(f.channel)
                return
        self.grounds.append(([f.channel], record_id, notice, offer))

    def release(self, f: Facts) -> Release:
        """The content of the record, at which the guard then looks."""
        f.payload = payload = project(f, self.channels, self.notices)
        call_window = CALL_WINDOWS.get(f.subject.country or "") if self.consumer_call else None
        return Release(
            contact=payload.contact,
            attributes=payload.attributes,
            obligations=Obligations(
                use_before=utc(self.use_before),
                art14_due_at=art14_due_at(f.t) if self.natural_person else None,
                call_window=call_window,
                max_call_attempts=MAX_CALL_ATTEMPTS if self.consumer_call else None,
                call_slots=self.call_slots,
            ),
            grounds=tuple([Ground(tuple(each[0]), each[1], each[2], each[3]) for each in self.grounds]),
        )


def _in_order(reasons: list[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(set(reasons), key=RANK.__getitem__))
