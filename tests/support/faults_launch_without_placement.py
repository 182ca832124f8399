"""A worker that takes every record for one of its partition's, wherever its key belongs: as before issue 12."""

from transfer_gate.cli import main
from transfer_gate.wire.partitioner import Placement


def _at_home(*_: object) -> bool:
    return False


Placement.misplaced = _at_home  # type: ignore[method-assign,assignment]

if __name__ == "__main__":
    main()
