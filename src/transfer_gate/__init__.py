"""transfer-gate: a streaming gatekeeper between collected prospects and the partners who want them."""

__version__ = "0.1.0"
