"""What produces and what reads, in processes of their own: confluent-kafka in .venv-bench."""
