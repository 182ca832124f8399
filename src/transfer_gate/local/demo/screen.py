"""What the demo shows while it runs: a live table on a terminal, plain lines elsewhere; always on stderr."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from transfer_gate.local.demo.streams import Feed, QuarantinedTransfer, Watch
from transfer_gate.model.transfer import Transfer
from transfer_gate.policy.catalogue import RULES
from transfer_gate.records import masking
from transfer_gate.records.transfers import decode_transfer

_FRAMES_PER_SECOND: Final = 4
_LINE_SECONDS: Final = 2.0
_REASONS_SHOWN: Final = 8


@contextlib.asynccontextmanager
async def beside(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run something beside the block, and end it with the block; its failure is the block's."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class DemoScreen:
    """Messages and progress. `terminal` None: look whether stderr is one."""

    def __init__(self, terminal: bool | None = None) -> None:
        self.console = Console(stderr=True, force_terminal=terminal, highlight=False, soft_wrap=True)
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """One line with the time."""
        self.console.print(f"[dim]{self.elapsed:5.1f} s[/dim]  {text}")

    @contextlib.asynccontextmanager
    async def progress(self, feed: Feed, watch: Watch) -> AsyncIterator[None]:
        """Show both until the block ends."""
        show = self._live if self.console.is_terminal else self._lines
        async with beside(show(feed, watch)):
            yield

    async def _live(self, feed: Feed, watch: Watch) -> None:
        rate = _Rate(lambda: watch.outcomes)
        with Live(console=self.console, auto_refresh=False, transient=True) as live:  # the summary repeats it
            while True:
                live.update(_frame(feed, watch, rate.per_second()), refresh=True)
                await asyncio.sleep(1 / _FRAMES_PER_SECOND)

    async def _lines(self, feed: Feed, watch: Watch) -> None:
        rate = _Rate(lambda: watch.outcomes)
        while True:
            await asyncio.sleep(_LINE_SECONDS)
            self.say(
                f"sent {feed.transfers:,} transfers; released {watch.released.total():,}, "
                f"quarantined {watch.held.total():,} ({rate.per_second():,.0f}/s); "
                f"{feed.changes} people changed their minds"
            )


class _Rate:
    """Growth of a count over the last two seconds."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._seen = [(time.monotonic(), count())]

    def per_second(self) -> float:
        now, count = time.monotonic(), self._count()
        self._seen = [(at, seen) for at, seen in self._seen if at > now - 2.5] or [(now - 1, count)]
        first_at, first = self._seen[0]
        self._seen.append((now, count))
        return (count - first) / max(now - first_at, 0.001)


def _frame(feed: Feed, watch: Watch, rate: float) -> Group:
    head = Text(
        f"sent {feed.transfers:,} transfers, {feed.changes} people changed their minds; {rate:,.0f} decisions a second"
    )
    return Group(head, partners_table(watch), reasons_table(watch, _REASONS_SHOWN))


def partners_table(watch: Watch) -> Table:
    """Released channels by partner."""
    channels = sorted({channel for _, channel in watch.released})
    table = Table(box=None, pad_edge=False, title="released", title_justify="left", title_style="bold green")
    table.add_column("partner")
    for channel in (*channels, "all"):
        table.add_column(channel, justify="right")
    for partner in sorted({partner for partner, _ in watch.released}):
        counts = [watch.released[partner, channel] for channel in channels]
        table.add_row(partner, *(f"{count:,}" for count in (*counts, sum(counts))))
    return table


def reasons_table(watch: Watch, shown: int) -> Table:
    """Quarantined channels by their first reason, commonest first."""
    table = Table(box=None, pad_edge=False, title="quarantined", title_justify="left", title_style="bold yellow")
    table.add_column("first reason")
    table.add_column("channels", justify="right")
    for reason, count in watch.held.most_common(shown):
        table.add_row(reason, f"{count:,}")
    rest = watch.held.total() - sum(count for _, count in watch.held.most_common(shown))
    if rest:
        table.add_row("others", f"{rest:,}")
    return table


#: Reasons that make good stories, best first.
_TELLING: Final = (
    "not-withdrawn",
    "sector-ban-home-works",
    "consent-valid-act",
    "minor-consent",
    "no-onward-consent",
    "special-category-block",
    "not-objected",
    "electronic-optin",
    "sector-ban-messages",
)
#: Reasons of the gate itself, which no article stands behind.
_OF_THE_GATE: Final[Mapping[str, str]] = {
    "key-mismatch": "the record's key is not its prospect_id",
    "key-misplaced": "the record is in another partition than its key's",
    "prospect-unidentified": "the prospect_id identifies no person",
    "history-overflow": "there are more consent events of this person than the gate keeps",
    "consent-unreadable": "a consent event of this person could not be read: it might have been a withdrawal",
    "partner-unknown": "the registry has no such partner",
    "partner-paused": "the partner is paused",
    "partner-on-rehearsal": "the partner is on rehearsal, and receives invented people alone",
    "partner-recall-overdue": "the partner has not acknowledged a suppression in time",
}

#: The domain that most sample people share: it identifies no person.
_DOMAINS: Final = frozenset({"courriel.example"})

_RULES: Final = {str(rule.id): rule for rule in RULES}


def explained(examples: Mapping[str, QuarantinedTransfer], count: int = 3) -> list[list[str]]:
    """Up to `count` examples of different reasons, each a few lines; the first one of each is its heading."""
    chosen = [reason for reason in (*_TELLING, *sorted(examples)) if reason in examples]
    return [_explain(examples[reason]) for reason in list(dict.fromkeys(chosen))[:count]]


def _explain(held: QuarantinedTransfer) -> list[str]:
    transfer = decode_transfer(held.value)
    lines = [f"{transfer.event_id} to {held.partner}: {', '.join(held.reasons)} held", f"  about {_masked(transfer)}"]
    for reason in dict.fromkeys(reason for reasons in held.reasons.values() for reason in reasons):
        channels = [channel for channel, reasons in held.reasons.items() if reason in reasons]
        lines.append(f"  {reason} ({', '.join(channels)}) {_meaning(reason)}")
    return lines


def _meaning(reason: str) -> str:
    rule = _RULES.get(reason)
    if rule is None:
        return f"of the gate itself: {_OF_THE_GATE.get(reason, reason)}"
    return f"does not hold: {rule.title} [{rule.reference}]"


def _masked(transfer: Transfer) -> str:
    contact = transfer.contact
    points: Iterable[str | None] = (
        (
            masking.email(contact.email.value, _DOMAINS) if contact.email else None,
            masking.phone(contact.phone.value) if contact.phone else None,
            masking.postal_code(contact.postal.postal_code or "") if contact.postal else None,
        )
        if contact
        else ()
    )
    return ", ".join(point for point in points if point) or "(no contact point)"
