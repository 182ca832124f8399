"""Starts the gate with a defect in one rule, which raises for some events. Test only: a defect must hold, not hurt."""

from typing import Final

from transfer_gate.cli import main
from transfer_gate.policy import catalogue
from transfer_gate.policy.facts import Facts

RULE: Final = "form-not-deceptive"
_holds, _ = catalogue._TEST[RULE]


def _raises(f: Facts) -> bool:
    if f.event.event_id.startswith("raise-"):
        raise RuntimeError(f"a defect that tells of {f.contact}")
    return _holds(f)


catalogue._TEST[RULE] = (_raises, RULE)

if __name__ == "__main__":
    main()
