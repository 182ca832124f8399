"""What the auditor says of each released record, and how often."""

from collections import Counter
from typing import Final, Literal, get_args

from msgspec import Struct

Outcome = Literal["ok", "leak", "stray", "unexplained", "revision-unknown", "source-gone"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

#: Findings that are listed one by one; the rest is only counted.
MOST_TOLD: Final = 50


class Verdict(Struct, frozen=True):
    """`why` is for people: ids and offsets, nothing of the prospect. Empty for `ok`."""

    outcome: Outcome
    why: str = ""


OK: Final = Verdict("ok")


class Finding(Struct, frozen=True, kw_only=True):
    """A released record that is not `ok`, by its place."""

    topic: str
    partition: int
    offset: int
    outcome: Outcome
    why: str


class Tally:
    """Counts of one audit.

    `too_close`: released records against which an event was appended just before the decision, within the margin in
    which it is unknown whether it was acknowledged by then. `without_record`: decisions to release whose record is
    no longer on the partner's topic.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.findings: list[Finding] = []
        self.too_close = 0
        self.without_record = 0

    def add(self, topic: str, partition: int, offset: int, verdict: Verdict) -> Finding | None:
        """Count one released record; returns the finding, if there is one."""
        self.outcomes[verdict.outcome] += 1
        if verdict.outcome == "ok":
            return None
        finding = Finding(topic=topic, partition=partition, offset=offset, outcome=verdict.outcome, why=verdict.why)
        if len(self.findings) < MOST_TOLD:
            self.findings.append(finding)
        return finding

    @property
    def holds(self) -> bool:
        """Whether every record that could be checked is explained, and none leaked."""
        return not (self.outcomes["leak"] or self.outcomes["unexplained"])

    def as_counts(self) -> dict[str, int]:
        """What `audit --json` prints."""
        return {
            "records": self.outcomes.total(),
            **{outcome: self.outcomes[outcome] for outcome in OUTCOMES},
            "too-close": self.too_close,
            "without-record": self.without_record,
        }
