"""Whether the logs still hold what the gate needs of them. Nobody may decide from a history with holes: the missing
part may have been an objection.

A consumer that finds its place deleted, or a table that finds its changelog empty, would go on as if nothing had ever
been there. So every commit notes beside the offset of consents up to where changelog and replay ledger reach, and every
new owner compares. Whoever resets that offset to the earliest resets the note with it: then the history is folded anew,
and with that begins another *life* of the logs, so that a table on disk that stems from the one before is not believed.

The offsets themselves can be gone, too: brokers forget those of a group that stood still for too long.
"""

import secrets
from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from transfer_gate.errors import GateError
from transfer_gate.stream.transaction import Committed

#: The way out of every loss that forgets nobody and decides no transfer twice.
_FOLD_ANEW: Final = (
    "stop all workers and reset the group's offsets of consent-events, and of no other topic, to the earliest "
    "(kafka-consumer-groups --reset-offsets --to-earliest): the gate then folds it anew before it decides"
)


class Reach(NamedTuple):
    """Up to which offset a log must reach, and of which life a table that follows it must be."""

    end: int
    life: str


class Noted(Struct, frozen=True):
    """What stands beside the committed offset of `consent-events`: the life, and up to where the consent changelog and
    the replay ledger reached at that commit.
    """

    life: str
    changelog_end: int = 0
    ledger_end: int = 0

    def __str__(self) -> str:
        return f"life={self.life} changelog={self.changelog_end} ledger={self.ledger_end}"

    @property
    def changelog(self) -> Reach:
        """What holds for the consent changelog."""
        return Reach(self.changelog_end, self.life)

    @property
    def ledger(self) -> Reach:
        """What holds for the replay ledger."""
        return Reach(self.ledger_end, self.life)


class OffsetsLost(GateError):
    """The group has forgotten up to where transfers are decided: all that are still there would be sent once more."""


class HistoryLost(GateError):
    """Records that tell what people want are gone from a log: nobody can know what they said."""


def noted(consents: Committed | None) -> Noted:
    """Read the note beside a committed offset. Where there is none, as at a first start, another life begins."""
    return _read(consents) or Noted(secrets.token_hex(8))


def _read(consents: Committed | None) -> Noted | None:
    parts = dict(part.partition("=")[::2] for part in (consents.note if consents else "").split())
    try:
        return Noted(parts["life"], int(parts["changelog"]), int(parts["ledger"]))
    except (KeyError, ValueError):
        return None


def require_offsets(
    transfers: str, consents: str, partition: int, committed: Mapping[str, Committed], *, worked: bool
) -> None:
    """Hold that the group still knows up to where it has decided: that it has an offset of `transfers` where the
    changelog holds states (`worked`). Raises OffsetsLost.

    Whoever committed a state committed offsets with it, in the same transaction, and the changelog is this app id's
    alone. A partition that never folded a consent has no state, and is not protected. A note of ours beside the offset
    of `consents` tells that the group is not forgotten: then transfers were not looked at yet, or their topic was made
    anew, and they are to be read from their beginning.
    """
    if not worked or transfers in committed or _read(committed.get(consents)) is not None:
        return
    raise OffsetsLost(
        f"partition {partition}: the group has no offset of {transfers} any more, but the states in its changelog say "
        "that it has worked here: its offsets expired (offsets.retention.minutes of the brokers), or were deleted. All "
        "transfers that are still there would be decided and sent once more",
        do=f"stop all workers and set the group's offsets of {transfers} to where the decisions end "
        "(docs/reference/what-happens-when.md has the commands); raise offsets.retention.minutes",
    )


def require_events(topic: str, partition: int, applied: int | None, begin: int, end: int) -> None:
    """Hold that the consent topic still runs on from where the gate stands: that it begins at or before the offset up
    to which events were applied, None for nowhere, and ends at or behind it. Raises HistoryLost.
    """
    if applied is None or begin <= applied <= end:
        return
    if applied < begin:
        found = (
            f"begins at offset {begin}, but only those below {applied} were applied: events in between were deleted "
            "unread, withdrawals maybe among them"
        )
    else:
        found = (
            f"ends at offset {end}, but events up to {applied} were applied: it was truncated, or deleted and made "
            "anew, and what comes now would be taken for known"
        )
    raise HistoryLost(
        f"partition {partition} of {topic} {found}",
        do=f"publish the consent history anew; {_FOLD_ANEW}; "
        "raise retention.ms of the topic (`transfer-gate topics apply` lists what it should be)",
    )


def require_log(topic: str, partition: int, reach: int, held: int, begin: int, end: int) -> None:
    """Hold that a log of the gate's own has all that was committed to it: that it runs from `begin` to `end`.

    `reach`: see `Reach.end`; `held`: offset up to which this worker has it already. Raises HistoryLost.
    """
    if end < reach:
        found = f"ends at offset {end}, but committed rounds have written it up to {reach}"
    elif reach and held < begin:
        # A compacted topic keeps the newest record of every key, so its first offset never moves.
        found = f"begins at offset {begin}: records before it were deleted"
    else:
        return
    raise HistoryLost(
        f"partition {partition} of {topic} {found}. It was truncated, or deleted and made anew; what it held is gone: "
        "withdrawals and objections, or what was replayed",
        do=f"{_FOLD_ANEW}, if consent-events still has the whole history; else bring the topic back from a copy first "
        "(docs/reference/what-happens-when.md). A replay ledger can't be folded anew: what was replayed may then be "
        "replayed again",
    )
