"""The served index in the rounds of a partition: what a release adds to it, and the notices that consent events cause.

Both stand in the transaction that serves, or that applies the event. So a release and an opposition that race end in no
release, or in a release that the index knows and a notice (contract section 6, promise 6).
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from transfer_gate.gate.rulebook import Rulebook
from transfer_gate.gate.table import Slice
from transfer_gate.model.decision import Release
from transfer_gate.model.served import NEVER_SERVED, ServedParty
from transfer_gate.model.state import ProspectState
from transfer_gate.model.transfer import Transfer
from transfer_gate.policy.legal_time import elapsed
from transfer_gate.policy.recall import Served, forget, has_room, serve, take_away
from transfer_gate.policy.state_facts import state_facts
from transfer_gate.policy.view import view_of
from transfer_gate.records.headers import Headers
from transfer_gate.records.state import decode_served, encode_served, prospect_of, served_key
from transfer_gate.records.suppressions import WRITTEN_HEADERS, encode_suppression, suppression_of

#: One record to write: topic, key, value, headers.
Notice = tuple[str, bytes, bytes | None, Headers]

#: What a round adds to the index of a prospect most often, bytes.
MORE_BYTES: Final = 512


class Recalls:
    """The served indexes that one round changes, over the table; `at` (UTC) is when the gate began to decide."""

    __slots__ = (
        "_book", "_changed", "_forgotten_before", "_horizon", "_table", "_to_second", "_view", "held", "notices",
        "unaddressed",
    )  # fmt: skip

    def __init__(self, book: Rulebook, table: Slice, at: dt.datetime) -> None:
        self._book = book
        self._view = view_of(book.registry)
        self._table = table
        self._to_second = at.replace(microsecond=0)
        self._horizon = elapsed(at, self._view.clock_skew)
        self._forgotten_before = at - book.registry.policy.recall_memory()
        self._changed: dict[bytes, dict[str, ServedParty]] = {}
        #: Bytes of the indexes that this round changes, generous.
        self.held = 0
        #: Party id to number of records on its suppression topic; for metrics.
        self.notices: Counter[str] = Counter()
        #: Parties that were to be notified and have no file with an address any more.
        self.unaddressed = 0

    def _of(self, prospect: bytes) -> Mapping[str, ServedParty]:
        """What each party was served of a prospect, as this round has made it so far."""
        known = self._changed.get(prospect)
        if known is not None:
            return known
        raw = self._table.get(served_key(prospect))
        return decode_served(raw).parties

    def _to_change(self, prospect: bytes) -> dict[str, ServedParty]:
        known = self._changed.get(prospect)
        if known is None:
            raw = self._table.get(served_key(prospect))
            self.held += MORE_BYTES + len(raw or b"")
            known = self._changed[prospect] = {} if raw is None else decode_served(raw).parties
        return known

    def _notified(self, transfer: Transfer, party: str) -> list[str]:
        """Who is notified of what ends the use of a transfer: the partner, and the sources of the record that have a
        file with an address (C-129/21).
        """
        notified = [party]
        if transfer.source is not None:
            for source in transfer.source.chain:
                if source != party and source in self._book.suppression_topics:
                    notified.append(source)  # noqa: PERF401 - most often there is none, and this costs less
        return notified

    def served(
        self, prospect: bytes, transfer: Transfer, party_id: str, release: Release, transfer_id: str
    ) -> Sequence[Notice] | None:
        """Note a release. Returns a record for each party of whom it lifts a stop; None, and nothing is noted, where so
        many parties were served that no more are kept.
        """
        known = self._to_change(prospect)
        notified = self._notified(transfer, party_id)
        if not has_room(known, notified):
            known = self._changed[prospect] = forget(known, self._forgotten_before)
            if not has_room(known, notified):
                return None
        new = Served(transfer_id, transfer.purpose, release.grounds, self._to_second, release.obligations.use_before)
        notices: list[Notice] = []
        for party in notified:
            before = known.get(party, NEVER_SERVED)
            after = known[party] = serve(before, new)
            if after.version != before.version:
                notices.append(self._notice(prospect, party, before, after))
        return notices

    def applied(self, prospect: bytes, state: ProspectState) -> Iterator[Notice]:
        """Take away what the state of a prospect, an event having been applied to it, forbids of what was served.

        Yields a record for each party that must stop more than it had to before. Of a party that has no file with an
        address any more nothing is taken away, so that it is notified when there is one again and another event comes.
        """
        served = self._of(prospect)
        if not served:
            return
        facts = state_facts(self._view, state, self._horizon)
        for party, before in tuple(served.items()):
            after = take_away(facts, state, self._horizon, party, before)
            if after is before:
                continue
            if party not in self._book.suppression_topics:
                self.unaddressed += 1
                continue
            self._to_change(prospect)[party] = after
            yield self._notice(prospect, party, before, after)

    def _notice(self, prospect: bytes, party: str, before: ServedParty, after: ServedParty) -> Notice:
        file = self._book.registry.partners[party]
        sla_hours = file.suppression.sla_hours if file.suppression is not None else None
        self.notices[party] += 1
        record = suppression_of(prospect.decode(), party, before, after, sla_hours)
        return self._book.suppression_topics[party], prospect, encode_suppression(record), WRITTEN_HEADERS

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drop what was served so long ago that it is not kept; `keys` are those of indexes in the table."""
        for key in keys:
            prospect = prospect_of(key)
            if prospect is not None:
                self._changed[prospect] = forget(self._to_change(prospect), self._forgotten_before)

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """The key in the table of every index that changed, and the new index; None where nothing is left."""
        for prospect, parties in self._changed.items():
            yield served_key(prospect), encode_served(parties)
