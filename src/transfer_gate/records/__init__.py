"""Bytes to model and back: JSON and record headers."""
