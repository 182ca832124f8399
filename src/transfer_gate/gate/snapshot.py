"""Gauges of a worker, set when somebody asks: a scrape pays for them, not a round."""

import time
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from transfer_gate.gate.lag import Lag
from transfer_gate.gate.meter import plausible
from transfer_gate.observe import metrics

#: What is told of each partition; a partition that was given up must not leave a number behind.
_OF_PARTITIONS: Final = (
    metrics.BARRIER_WAITING,
    metrics.BARRIER_WAITING_SECONDS,
    metrics.CONSENT_POSITION,
    metrics.INBOX_RECORDS,
    metrics.LAG,
    metrics.OLDEST_WAITING_SECONDS,
    metrics.PROSPECTS,
    metrics.STOPPED,
)


class Standing(Struct, frozen=True, kw_only=True):
    """Where one partition stands now."""

    number: int
    #: Consent events below this offset are applied.
    applied: int | None
    #: By input topic: the next offset that is not committed, None before the first; and fetched records that wait.
    positions: Mapping[str, int | None]
    inbox: Mapping[str, int]
    #: Transfers in front of the barrier, and since when (`time.monotonic`).
    waiting: int
    since: float | None
    #: Timestamp of the transfer that waits first, ms.
    oldest: int | None
    prospects: int


def tell(partitions: Iterable[Standing], lag: Lag, *, ready: bool, stopped: Mapping[int, str]) -> None:
    """Set every gauge of the worker's partitions; `stopped`: the error by its name, by partition that can't go on."""
    for gauge in _OF_PARTITIONS:
        gauge.clear()
    assigned = 0
    for partition in partitions:
        assigned += 1
        _tell(partition, lag)
    metrics.ASSIGNED.set(assigned)
    metrics.READY.set(ready)
    for number, error in stopped.items():
        metrics.STOPPED.labels(str(number), error).set(1)


def _tell(partition: Standing, lag: Lag) -> None:
    label = str(partition.number)
    metrics.BARRIER_WAITING.labels(label).set(partition.waiting)
    waited = 0.0 if partition.since is None else time.monotonic() - partition.since
    metrics.BARRIER_WAITING_SECONDS.labels(label).set(waited)
    now = time.time()
    known = partition.oldest is not None and plausible(partition.oldest, now)
    age = max(0.0, now - partition.oldest / 1000) if known and partition.oldest is not None else 0.0
    metrics.OLDEST_WAITING_SECONDS.labels(label).set(age)
    metrics.PROSPECTS.labels(label).set(partition.prospects)
    if partition.applied is not None:
        metrics.CONSENT_POSITION.labels(label).set(partition.applied)
    for topic, records in partition.inbox.items():
        metrics.INBOX_RECORDS.labels(topic, label).set(records)
    for topic, position in partition.positions.items():
        behind = lag.behind(topic, partition.number, position)
        if behind is not None:
            metrics.LAG.labels(topic, label).set(behind)
