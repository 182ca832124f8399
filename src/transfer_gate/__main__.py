"""`python -m transfer_gate` is the command `transfer-gate`."""

from transfer_gate.cli import main

main()
