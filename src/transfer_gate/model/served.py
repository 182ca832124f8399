"""What partners were served of a prospect, and what was taken away from them since (contract section 5a).

It stands beside the consent state of the prospect, apart from it: a release does not write a history anew. What is kept
is bounded: so many parties, and of each the newest transfers.
"""

import datetime as dt
from typing import Final, Literal

from msgspec import Struct

from transfer_gate.model.terms import Channel, PartyId, Token

#: Parties of one prospect. Where they are so many, transfers to further ones are quarantined (`history-overflow`).
MOST_PARTIES: Final = 256
#: Transfers of one party that are named; what a party must stop using does not depend on them.
MOST_TRANSFERS: Final = 8

#: Why a partner must stop using what it was served.
Cause = Literal[
    "withdrawal",
    "objection",
    "refusal",
    "erasure",
    "restriction",
    "consent-expired",
    "consent-invalidated",
]


class Stop(Struct, frozen=True, gc=False):
    """`since` is the counted time of the event that took something away (rules.md 1.1)."""

    cause: Cause
    since: dt.datetime


class Use(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a party may do with what it was served, for one purpose over some channels.

    `at` is the last release, `use_before` the latest end that a release of it had. `record_id` names the consent record
    on which the last release stood, None where consent was not its basis, `notice` its notice; `offer_category` is kept
    of calls, whose consent hangs on it (rules.md 1.3). `stop` is what ended the use, a withdrawal for instance;
    `restricted` what suspends it (GDPR 18), beside that.
    """

    purpose: Token
    channels: tuple[Channel, ...]
    at: dt.datetime
    use_before: dt.datetime
    record_id: str | None = None
    notice: str | None = None
    offer_category: Token | None = None
    stop: Stop | None = None
    restricted: Stop | None = None


class ToErase(Struct, frozen=True, gc=False, kw_only=True):
    """What a party must erase: everything that it was served before `since`."""

    since: dt.datetime
    transfer_ids: tuple[str, ...]


class ServedParty(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What one party was served. `version` counts the records on its suppression topic about this prospect."""

    uses: tuple[Use, ...] = ()
    transfer_ids: tuple[str, ...] = ()
    erased: ToErase | None = None
    version: int = 0

    @property
    def usable(self) -> frozenset[Channel]:
        """Channels over which something may be used."""
        free = (use.channels for use in self.uses if use.stop is None and use.restricted is None)
        return frozenset(channel for channels in free for channel in channels)

    @property
    def last_at(self) -> dt.datetime | None:
        """The last release, or the erasure where nothing else is left; None of a party that was never served."""
        times = [use.at for use in self.uses]
        if self.erased is not None:
            times.append(self.erased.since)
        return max(times, default=None)


class ServedIndex(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """By party. Sources of the record (`source.chain`) stand here like partners."""

    parties: dict[PartyId, ServedParty] = {}


NEVER_SERVED: Final = ServedParty()
NOBODY_SERVED: Final = ServedIndex()
