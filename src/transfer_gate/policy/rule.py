"""What a rule is: an article of law with its dates, whom it applies to, and a condition on the facts.

A rule is written as a plain function on `Facts` under the decorator `rule`: see any of the family modules, and
docs/how-to/add-a-rule.md.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from transfer_gate.model.terms import CHANNELS, Channel, RuleId
from transfer_gate.model.transfer import SubjectKind
from transfer_gate.policy.facts import Basis, Facts
from transfer_gate.policy.legal_time import midnight

#: What must exist for a rule to apply (rules.md 1.2): the partner's file, the relevant consent c, the notice n.
Mark = Literal["p", "c", "n"]
Condition = Callable[[Facts], bool]

#: The GDPR applies from this day; rules without a date of their own do too.
GDPR: Final = dt.date(2018, 5, 25)

BASES: Final[tuple[Basis, ...]] = ("consent", "legitimate_interest", "request", "none")
KINDS: Final[tuple[SubjectKind, ...]] = ("consumer", "professional", "legal_person")


class Status(StrEnum):
    """How sure the law is."""

    SETTLED = "S"
    CONTESTED = "C"
    HOUSE = "H"


class Scope(StrEnum):
    """What a condition may look at: the narrower, the less often it is evaluated. Property tests hold these claims.

    PARTNER: t and the partner's file. SHARED: what channels with the same kind, basis, consent and notice have in
    common. CHANNEL: anything. OPPOSITION: anything, but it fails only for a person who ever opposed something
    (`Facts.opposed`).
    """

    PARTNER = "partner"
    SHARED = "shared"
    CHANNEL = "channel"
    OPPOSITION = "opposition"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of rules.md section 3.

    It applies to `channels`, `kinds` and the keys of `bases`, where what the marks of the basis name exists, while the
    campaign window W meets [start, end), and where `when` holds. Where it applies, `holds` must be true.
    """

    id: RuleId
    title: str
    words: str
    reference: str
    status: Status
    holds: Condition
    channels: frozenset[Channel]
    kinds: frozenset[SubjectKind]
    bases: Mapping[Basis, frozenset[Mark]]
    first_day: dt.date
    end_day: dt.date | None
    when: Condition | None
    when_words: str
    scope: Scope
    start: dt.datetime = field(init=False)
    end: dt.datetime | None = field(init=False)

    def __post_init__(self) -> None:
        if not all(marks <= set("pcn") for marks in self.bases.values()):
            raise ValueError(f"{self.id}: marks are letters of p, c, n")
        object.__setattr__(self, "start", midnight(self.first_day))
        object.__setattr__(self, "end", midnight(self.end_day) if self.end_day else None)

    def in_force(self, t: dt.datetime, w: dt.datetime) -> bool:
        """Whether W = [t, w] meets [start, end): a campaign that runs past a change of law answers to both (1.2)."""
        return w >= self.start and (self.end is None or t < self.end)

    def dates(self) -> str:
        """The days on which the rule is in force, in words."""
        until = f" until {self.end_day - dt.timedelta(days=1)}" if self.end_day else ""
        return f"from {self.first_day}{until}"

    def concerns(self, facts: Facts) -> bool:
        """Whether channel, kind, basis and what exists are the rule's; dates and `when` apart."""
        marks = self.bases.get(facts.basis)
        return (
            marks is not None
            and facts.channel in self.channels
            and facts.kind in self.kinds
            and ("p" not in marks or facts.partner is not None)
            and ("c" not in marks or facts.consent is not None)
            and ("n" not in marks or facts.notice is not None)
        )

    def applies(self, facts: Facts) -> bool:
        """Whether the rule applies at all; one that does not holds and is never a reason (1.2)."""
        return self.concerns(facts) and self.in_force(facts.t, facts.w) and (self.when is None or self.when(facts))


def rule(
    rule_id: RuleId,
    *,
    title: str,
    reference: str,
    status: Status = Status.SETTLED,
    channels: tuple[Channel, ...] = CHANNELS,
    kinds: tuple[SubjectKind, ...] = KINDS,
    bases: Mapping[Basis, str] | None = None,
    marks: str = "",
    first_day: dt.date = GDPR,
    end_day: dt.date | None = None,
    when: Condition | None = None,
    when_words: str = "",
    scope: Scope = Scope.SHARED,
) -> Callable[[Condition], Rule]:
    """Make a rule of a condition, whose docstring is what must hold, in words.

    `bases` gives marks for each basis; without it the rule applies to every basis with `marks`. Dates are days in
    Paris.
    """

    def of(holds: Condition) -> Rule:
        of_basis = bases if bases is not None else dict.fromkeys(BASES, marks)
        return Rule(
            id=rule_id,
            title=title,
            words=" ".join((holds.__doc__ or "").split()),
            reference=reference,
            status=status,
            holds=holds,
            channels=frozenset(channels),
            kinds=frozenset(kinds),
            bases={basis: frozenset(letters) for basis, letters in of_basis.items()},  # type: ignore[arg-type]
            first_day=first_day,
            end_day=end_day,
            when=when,
            when_words=when_words,
            scope=scope,
        )

    return of
