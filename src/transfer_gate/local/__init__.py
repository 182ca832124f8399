"""A real Kafka on this machine, sample data, the demo."""
