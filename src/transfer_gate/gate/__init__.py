"""The streaming path: Faust app, partitions, read barrier, transactions. `gate.faust` is the door to Faust."""
