"""The others: each does the same join with a trivial decision. A process of its own, told by the environment."""
