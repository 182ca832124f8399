"""The arithmetic of the reports: medians, spread, quantiles, ratios within one round of an interleaved run."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

#: Systems count CPU time in hundredths of a second: a pace from less than this is a guess.
LEAST_CPU: Final = 0.1


class Spread(Struct, frozen=True):
    """Several measurements of one thing."""

    median: float
    least: float
    most: float
    runs: int


def spread(values: Iterable[float]) -> Spread:
    """Median, least and most. Raises ValueError without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was measured")
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Spread(median, ordered[0], ordered[-1], len(ordered))


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that `share` of the values do not exceed. Raises ValueError without values."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(rank, 1) - 1]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours to theirs, run by run: neighbours in time share the noise of the machine. Raises ValueError."""
    return spread(our / their for our, their in zip(ours, theirs, strict=True))


class Reading(Struct, frozen=True):
    """One look at a worker: when, how much it has put out, and what it and the broker have used (seconds, bytes)."""

    at: float
    done: int
    cpu: float
    resident: int
    broker_cpu: float = 0.0


class Pace(Struct, frozen=True):
    """What a worker did between two readings."""

    per_second: float
    per_cpu_second: float
    peak_mib: float
    broker_cpu_us: float
    """CPU of the broker for one event, microseconds."""


def pace(readings: Sequence[Reading], events_per_output: float, warm_up: float = 0.0) -> Pace:
    """Events per second and per CPU second, from the first output, or from `warm_up` of the outputs, to the last one.

    The outputs of the first reading are taken off the work, because nobody saw how long they took. Raises ValueError
    when fewer than two readings show progress.
    """
    last = readings[-1].done
    working = [reading for reading in readings if reading.done > warm_up * last]
    ended = next(reading for reading in readings if reading.done == last)
    if not working or working[0].done == last:
        raise ValueError("too few readings to tell a pace")
    if ended.cpu - working[0].cpu < LEAST_CPU:
        raise ValueError(f"too little work to tell a pace: less than {LEAST_CPU:g} s of CPU")
    events = (last - working[0].done) * events_per_output
    return Pace(
        per_second=events / (ended.at - working[0].at),
        per_cpu_second=events / (ended.cpu - working[0].cpu),
        broker_cpu_us=(ended.broker_cpu - working[0].broker_cpu) / events * 1e6,
        peak_mib=max(reading.resident for reading in readings) / (1 << 20),
    )
