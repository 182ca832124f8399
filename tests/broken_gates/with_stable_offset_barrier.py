"""Starts the gate with a barrier on the last stable offset, which stops in front of open transactions. Test only."""

from transfer_gate.cli import main
from transfer_gate.kafka import watermarks as barrier

#: ListOffsets with isolation level `read_committed` answers with the last stable offset (KIP-98).
barrier.READ_UNCOMMITTED = 1  # type: ignore[misc]

if __name__ == "__main__":
    main()
