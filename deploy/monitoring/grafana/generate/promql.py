"""Queries that come again and again. `$__rate_interval` is Grafana's: at least four scrapes."""

from typing import Final

#: Topics may carry a prefix.
TRANSFERS: Final = 'topic=~".*prospect-transfers"'
CONSENTS: Final = 'topic=~".*consent-events"'
REPLAYED: Final = 'topic=~".*transfers-replay"'


def rate(metric: str, labels: str = "", by: str = "") -> str:
    """Per second, over all workers."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({metric}{_braces(labels)}[$__rate_interval]))"


def quantile(which: float, histogram: str) -> str:
    """A quantile over all workers."""
    return f"histogram_quantile({which}, sum by (le) (rate({histogram}_bucket[$__rate_interval])))"


def quantiles(histogram: str) -> dict[str, str]:
    """Middle and worst in a hundred."""
    return {"p50": quantile(0.5, histogram), "p99": quantile(0.99, histogram)}


def lag(topic: str) -> str:
    """Offsets that are not committed, by partition."""
    return f"sum by (partition) (transfer_gate_consumer_lag_offsets{_braces(topic)})"


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
