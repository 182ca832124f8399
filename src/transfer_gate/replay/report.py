"""What a run is asked for, what it came to, and where it is watched."""

from typing import Final, Protocol

from msgspec import Struct

from transfer_gate.replay.progress import Difference

#: How long nobody may be in the gate's group while records are in flight, seconds: a worker that is started again needs
#: a while.
_AWAY_SECONDS: Final = 30.0


class RunOptions(Struct, frozen=True, kw_only=True):
    """What was asked for. `rate`: records a second; `limit`, `canary`: records; `breaker`: a share, 0 to 1."""

    rate: float | None = None
    limit: int | None = None
    canary: int | None = None
    breaker: float
    ticket: str | None = None
    away_seconds: float = _AWAY_SECONDS


class Report(Struct, frozen=True, kw_only=True):
    """What a run came to. `outcomes` counts all records of the plan by standing, `sent` those that this run sent;
    `gone` records were deleted by retention, `altered` ones are not those that were planned: neither is sent.
    `stopped` says why it did not come to the end."""

    plan_id: str
    digest: str
    records: int
    outcomes: dict[str, int]
    sent: int
    gone: int
    altered: int
    stopped: str | None
    seconds: float
    differences: list[Difference]

    @property
    def undecided(self) -> int:
        """Records that were not decided, gone and altered ones apart."""
        return self.outcomes.get("open", 0) - self.gone - self.altered


class Screen(Protocol):
    """Where a run is watched."""

    def begin(self, records: int) -> None:
        """The plan has so many records."""

    def show(self, settled: int, in_flight: int) -> None:
        """So many are settled, so many in flight."""

    async def go_on(self, report: Report) -> bool:
        """Whether to send the rest after the canary came to this."""
