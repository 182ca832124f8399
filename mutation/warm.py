"""The quickest tests, kept warm: a process that has everything in memory but the decision, and forks for each mutant.

Run by mutation/run.py in the copied tree, with the project's Python; it serves one question at a time on a Unix socket.
The child imports the mutated decision, runs every case file, and compares with what the oracle of the property tests
says to a thousand scenarios: a fraction of a second, where a new Python needs several.
"""

import os
import signal
import socket
import sys
from typing import Any, Final

from hypothesis import Phase, given, settings

SCENARIOS: Final = 1000
#: Seconds after which a mutant that loops for ever is dead.
PATIENCE: Final = 30
#: What is imported anew in each child: the mutated code, and everything that holds on to it.
COLD: Final = ("transfer_gate.policy", "transfer_gate.cases", "tests")


def main(path: str) -> None:
    """Serve until killed."""
    sys.dont_write_bytecode = True
    cases, worlds = _prepare()
    for name in [name for name in sys.modules if name.startswith(COLD)]:
        del sys.modules[name]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        while True:
            asked, _ = server.accept()
            with asked:
                asked.sendall(b"0" if _survives(cases, worlds) else b"1")


def _prepare() -> tuple[list[Any], list[Any]]:
    from pathlib import Path

    from tests.property.oracle import verdict
    from tests.property.scenarios import scenarios, world
    from transfer_gate.cases import read

    cases = [case for file in read([Path("tests/cases")]) for case in file.cases]
    worlds: list[Any] = []

    @settings(max_examples=SCENARIOS, phases=[Phase.generate], derandomize=True, database=None, deadline=None)
    @given(scenarios())
    def remember(scenario: Any) -> None:
        here = world(scenario)
        of_partner = [verdict(here.transfer, here.events, here.registry, here.t, p) for p in here.transfer.partner_ids]
        worlds.append((here.transfer, here.events, here.registry, here.t, of_partner))

    remember()
    return cases, worlds


def _survives(cases: list[Any], worlds: list[Any]) -> bool:
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        passed = False
        try:
            passed = _passes(cases, worlds)
        finally:
            os._exit(0 if passed else 1)
    return os.waitpid(child, 0)[1] == 0


def _passes(cases: list[Any], worlds: list[Any]) -> bool:
    from transfer_gate.cases.run import run
    from transfer_gate.model.state import EMPTY
    from transfer_gate.policy.decide import decide
    from transfer_gate.policy.fold import fold, fold_unreadable

    for transfer, events, registry, t, expected in worlds:
        state = EMPTY
        for offset, event in enumerate(events):
            state = fold_unreadable(state, offset) if event is None else fold(state, event, offset)
        for decision, said in zip(decide(transfer, state, registry, t), expected, strict=True):
            held = {channel: list(reasons) for channel, reasons in decision.quarantined.items()}
            if list(decision.released) != said.released or held != said.quarantined:
                return False
            if decision.release is not None and decision.release.obligations.use_before != said.use_before:
                return False
    return all(run(case).passed for case in cases)


if __name__ == "__main__":
    main(sys.argv[1])
