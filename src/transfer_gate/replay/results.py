"""What became of an attempt, in one word and with its channels: by an entry of the replay ledger."""

from typing import Final, Literal, get_args

from msgspec import Struct

from transfer_gate.model.reasons import Reason
from transfer_gate.records.ledger import ERASED, LedgerEntry

#: released: everything that was held went out. partly: some channels went out, the others are held again. held:
#: everything is held again. split: a record that could not be read became one for each partner. discarded: by an
#: operator. erased: its payload can't be read any more. refused: the gate can't decide it, see the ledger's `why`.
Outcome = Literal["released", "partly", "held", "split", "discarded", "erased", "refused"]

#: Outcomes after which something of the record is in quarantine as it was before, or again.
BACK: Final[frozenset[str]] = frozenset({"partly", "held", "split", "refused"})

#: What a plan's record can be by the ledger: `open`, one of the outcomes, or settled by somebody else meanwhile.
Standing = Literal["open", "elsewhere"] | Outcome
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
STANDINGS: Final[tuple[Standing, ...]] = ("open", *OUTCOMES, "elsewhere")


class Result(Struct, frozen=True):
    """An outcome, the channels that went out, and those that are held again with their reasons."""

    outcome: Outcome
    released: tuple[str, ...] = ()
    quarantined: dict[str, tuple[Reason, ...]] = {}


def result_of(entry: LedgerEntry) -> Result:
    """What the last attempt of an entry came to."""
    return Result(_outcome_of(entry), entry.released, dict(entry.quarantined))


def result_by(entry: LedgerEntry | None, attempt: int, plan_id: str) -> Result | Literal["elsewhere"] | None:
    """What a plan came to that sent this attempt of a record: None as long as it is open.

    `elsewhere`: another plan or an operator settled it, before or after this one could.
    """
    if entry is None or entry.attempt < attempt:
        return None
    ours = entry.run == plan_id
    if entry.attempt == attempt and entry.state == "open":
        return result_of(entry) if ours and entry.why is not None else None
    # A discard keeps the attempt, a decision makes the next one.
    newest = attempt if entry.state == "discarded" else attempt + 1
    return result_of(entry) if ours and entry.attempt == newest else "elsewhere"


def _outcome_of(entry: LedgerEntry) -> Outcome:
    if entry.state == "discarded":
        return "erased" if entry.why == ERASED else "discarded"
    if entry.state == "replayed":
        return "split" if entry.split else "released"
    if entry.why is not None:
        return "refused"
    return "partly" if entry.released else "held"
