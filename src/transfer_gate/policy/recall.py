"""What a release adds to what a partner was served, and what a consent event takes away from it (contract section 5a).

A stop stays until a later release lifts it, whatever consent comes meanwhile: the partner acts on what it read last. An
event takes away what it forbids by rules.md 1.4, so an old withdrawal that arrives behind a newer consent for the same
partner takes nothing away.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from transfer_gate.model.decision import Ground
from transfer_gate.model.served import (
    MOST_PARTIES,
    MOST_TRANSFERS,
    Cause,
    ServedParty,
    Stop,
    ToErase,
    Use,
)
from transfer_gate.model.state import KeptConsent, ProspectState
from transfer_gate.model.terms import CHANNELS, Channel
from transfer_gate.policy.state_facts import StateFacts, current_versions

_ENDED: Mapping[str, Cause] = {"expired": "consent-expired", "invalidated": "consent-invalidated"}


class Served(NamedTuple):
    """One release, to one party, and on which grounds."""

    transfer_id: str
    purpose: str
    grounds: tuple[Ground, ...]
    at: dt.datetime
    use_before: dt.datetime


def has_room(known: Mapping[str, ServedParty], parties: Sequence[str]) -> bool:
    """Whether all of these parties can be kept beside those that are known."""
    if len(known) + len(parties) <= MOST_PARTIES:
        return True
    new = [party for party in parties if party not in known]
    return not new or len(known) + len(new) <= MOST_PARTIES


def serve(known: ServedParty, release: Served) -> ServedParty:
    """What the party was served, this release included; it lifts the stops of what it covers, then the version is the
    next one. Of an erasure it lifts its channels: what came before is still to be erased.
    """
    if not known.uses:
        uses, lifts = _uses_of(release, ()), known.erased is not None
    elif len(known.uses) == len(release.grounds) == 1 and _is_again(known.uses[0], release):
        uses, lifts = _uses_of(release, known.uses), False  # most often
    else:
        uses, lifts = _merged(known.uses, release)
        lifts = lifts or (known.erased is not None and not _channels_of(release) <= known.usable)
    return ServedParty(
        uses=uses,
        transfer_ids=_newest_ids(known.transfer_ids, (release.transfer_id,)),
        erased=known.erased,
        version=known.version + 1 if lifts else known.version,
    )


def _is_again(use: Use, release: Served) -> bool:
    return (
        use.purpose == release.purpose
        and use.channels == release.grounds[0].channels
        and use.stop is None
        and use.restricted is None
    )


def _channels_of(release: Served) -> set[Channel]:
    return {channel for ground in release.grounds for channel in ground.channels}


def _uses_of(release: Served, former: tuple[Use, ...]) -> tuple[Use, ...]:
    """What a release allows, as long as one of the `former` uses that it continues allowed it."""
    ends = max([release.use_before, *(use.use_before for use in former)]) if former else release.use_before
    return tuple(
        [
            Use(
                purpose=release.purpose,
                channels=ground.channels,
                at=release.at,
                use_before=ends,
                record_id=ground.record_id,
                notice=ground.notice,
                offer_category=ground.offer_category,
            )
            for ground in release.grounds
        ]
    )


def _merged(known: tuple[Use, ...], release: Served) -> tuple[tuple[Use, ...], bool]:
    """The uses after a release that continues some of them, and whether it lifts a stop."""
    now = _channels_of(release)
    uses: list[Use] = []
    former: list[Use] = []
    for use in known:
        left = tuple(channel for channel in use.channels if channel not in now)
        if use.purpose != release.purpose or len(left) == len(use.channels):
            uses.append(use)
            continue
        former.append(use)
        if left:
            uses.append(replace(use, channels=left))
    lifts = any(use.stop is not None or use.restricted is not None for use in former)
    return (*uses, *_uses_of(release, tuple(former))), lifts


def take_away(
    facts: StateFacts, state: ProspectState, horizon: dt.datetime, party: str, known: ServedParty
) -> ServedParty:
    """What is left to the party by the state of the prospect as it is now; the very same object where nothing more is
    taken away, else the version is the next one.
    """
    erased_at, restricted = state.erased_at, _restriction(state, horizon)
    uses: list[Use] = []
    erases = changes = False
    for use in known.uses:
        for channel in use.channels:
            act = _act_that_covers(facts, state, channel, use, party)
            if erased_at is not None and not _overcome(act, erased_at):
                erases = True
                continue
            stop = use.stop or _stop(facts, state, horizon, party, use, channel, act)
            suspended = use.restricted or restricted
            if stop is not use.stop or suspended is not use.restricted:
                changes = True
            _add(uses, replace(use, channels=(channel,), stop=stop, restricted=suspended))
    if not (erases or changes):
        return known
    erased = known.erased
    if erases and erased_at is not None:
        ids = _newest_ids(erased.transfer_ids if erased is not None else (), known.transfer_ids)
        erased = ToErase(since=erased_at, transfer_ids=ids)
    return ServedParty(
        uses=tuple(uses),
        transfer_ids=known.transfer_ids if uses else (),
        erased=erased,
        version=known.version + 1,
    )


def stops_of(party: ServedParty) -> list[tuple[Stop, str, tuple[Channel, ...]]]:
    """Every stop with its purpose and channels, an erasure apart; in a fixed order."""
    found: dict[tuple[Stop, str], set[Channel]] = {}
    for use in party.uses:
        for stop in (use.stop, use.restricted):
            if stop is not None:
                found.setdefault((stop, use.purpose), set()).update(use.channels)
    ordered = sorted(found.items(), key=lambda each: (each[0][0].since, each[0][0].cause, each[0][1]))
    return [
        (stop, purpose, tuple(channel for channel in CHANNELS if channel in channels))
        for (stop, purpose), channels in ordered
    ]


def newest_stop(before: ServedParty, after: ServedParty) -> dt.datetime | None:
    """Since when the latest of what `after` stops and `before` does not; None where it only lifts."""
    known = {(stop, purpose, channel) for stop, purpose, channels in stops_of(before) for channel in channels}
    new = [
        stop.since
        for stop, purpose, channels in stops_of(after)
        if any((stop, purpose, channel) not in known for channel in channels)
    ]
    if after.erased is not None and after.erased != before.erased:
        new.append(after.erased.since)
    return max(new, default=None)


def forget(known: Mapping[str, ServedParty], before: dt.datetime) -> dict[str, ServedParty]:
    """What was served, without the parties that were served last before this time."""
    return {party: served for party, served in known.items() if not served_before(served, before)}


def served_before(party: ServedParty, time: dt.datetime) -> bool:
    """Whether the party was served last before this time."""
    if party.uses and party.uses[-1].at >= time:
        return False
    last = party.last_at
    return last is None or last < time


def join(known: Mapping[str, ServedParty], more: Mapping[str, ServedParty]) -> dict[str, ServedParty]:
    """What both know, of a prospect who had states in two partitions."""
    return {
        party: _joined(known[party], more[party])
        if party in known and party in more
        else known.get(party) or more[party]
        for party in {**known, **more}
    }


def _joined(known: ServedParty, other: ServedParty) -> ServedParty:
    erased = max(filter(None, (known.erased, other.erased)), key=lambda each: each.since, default=None)
    return ServedParty(
        uses=known.uses + tuple(use for use in other.uses if use not in known.uses),
        transfer_ids=_newest_ids(known.transfer_ids, other.transfer_ids),
        erased=erased,
        version=max(known.version, other.version),
    )


def _newest_ids(known: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, the newest last, so many as are kept."""
    if len(more) == 1 and more[0] not in known:
        return (*known, *more)[-MOST_TRANSFERS:]
    return tuple(dict.fromkeys((*(each for each in known if each not in more), *more)))[-MOST_TRANSFERS:]


def _add(uses: list[Use], use: Use) -> None:
    """Add a use, to one that differs in its channels only where there is one."""
    for place, other in enumerate(uses):
        if replace(other, channels=use.channels) == use:
            uses[place] = replace(other, channels=other.channels + use.channels)
            return
    uses.append(use)


def _restriction(state: ProspectState, horizon: dt.datetime) -> Stop | None:
    """The restriction that stands (rules.md 1.4)."""
    restricted_at = state.restricted_at
    if restricted_at is None:
        return None
    lifted_at = state.lifted_by(horizon)
    return Stop("restriction", restricted_at) if lifted_at is None or restricted_at >= lifted_at else None


def _overcome(act: dt.datetime | None, time: dt.datetime) -> bool:
    return act is not None and act > time


def _act_that_covers(
    facts: StateFacts, state: ProspectState, channel: Channel, use: Use, party: str
) -> dt.datetime | None:
    """act(c) of the relevant consent, where that covers (rules.md 1.3)."""
    c = _covering(facts, channel, use, party)
    if c is None or c.proof is None or c.proof.proof_id is None:
        return None
    return state.proofs.get(c.proof.proof_id)


def _covering(facts: StateFacts, channel: Channel, use: Use, party: str) -> KeptConsent | None:
    c = facts.relevant(channel, use.purpose, party, use.offer_category)
    if c is None or c.lawful_basis != "consent" or use.purpose not in c.purposes or party not in c.party_ids:
        return None
    return c


def _stop(
    facts: StateFacts,
    state: ProspectState,
    horizon: dt.datetime,
    party: str,
    use: Use,
    channel: Channel,
    act: dt.datetime | None,
) -> Stop | None:
    """What ends a use: an opposition that stands (rules.md 1.4), or the end of the consent record on which it stood,
    unless another consent covers it.
    """
    objection = facts.objection(channel, use.purpose, party)
    if objection is not None and not _overcome(act, objection.counted_at):
        return Stop("objection", objection.counted_at)
    withdrawal = facts.withdrawal(channel, use.purpose, party)
    if withdrawal is not None and not _overcome(act, withdrawal.counted_at):
        withdrawn = any(withdrawal is known for known in state.withdrawals)
        return Stop("withdrawal" if withdrawn else "refusal", withdrawal.counted_at)
    if use.record_id is None or _covering(facts, channel, use, party) is not None:
        return None
    record = current_versions(state, horizon).get(use.record_id)
    cause = None if record is None else _ENDED.get(record.state)
    return None if record is None or cause is None else Stop(cause, record.counted_at)
