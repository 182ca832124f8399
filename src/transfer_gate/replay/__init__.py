"""Replay: plan which quarantined records go back, run the plan under its guards, and follow what they come to."""
