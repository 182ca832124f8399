"""Consent events of consent platforms, by webhook: an HTTP service that writes `consent-events` and nothing else."""
