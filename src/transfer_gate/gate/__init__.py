"""The streaming path: Faust app, partitions, read barrier, transactions. Faust and aiokafka live here."""
