"""Bringing an installation to a higher partition count (`transfer-gate topics grow`, docs/how-to/grow.md)."""
