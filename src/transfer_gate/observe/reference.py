"""Writes docs/reference/metrics.md from the catalogue: `python -m transfer_gate.observe.reference > …`."""

import sys
from typing import Final

from transfer_gate.observe.metrics import CATALOGUE, VALUES, Metric

_HEAD: Final = """\
# Metrics

Written by `python -m transfer_gate.observe.reference`; a test compares.

OpenMetrics at `/metrics` of `METRICS_HOST`:`METRICS_PORT`, by default on 127.0.0.1 only. Counters begin at 0 when the
program starts. Labels are closed sets: no record can add a value to one, and nothing personal ever stands in one.
Gauges of partitions are measured on request, and exist only for partitions that the program has.

Beside these there are the `process_*` metrics that every Prometheus client has (CPU, memory, open files, start time; on
Linux). What to look at, and what pages an operator, is in `deploy/monitoring/`; what to do then, in
[runbooks](../runbooks).

## Health

All three are answered by threads of their own, within a second, also while the event loop is busy with a long decision:
`/readyz` and the gauges of partitions then say what was so when the loop last turned.

`/healthz` is 200 while the stream has not crashed and the worker gets on: its event loop turned (a beat each 0.25 s),
or a record was folded or decided, within the last 60 s. Else 503; no answer at all means the same. A decision that
takes seconds is slow, not dead.

`/readyz` is 200 once the group has given this worker its partitions (maybe none: then it is a standby), they are fenced
and restored, and each knows up to where consent is applied, so that it decides. It is 503 before that, in every
rebalance, and while a partition that failed waits to be given out anew.

A worker that waits at the read barrier, or for the broker, is alive and stays ready: restarting it would help nothing.
Use `/healthz` to restart, `/readyz` to pace a rollout.

The auditor's `/healthz` is 200 whenever it answers, its `/readyz` once everything that stood in the topics at its start
is checked.

Of `ingest`, `/healthz` is 200 whenever it answers, and `/readyz` once it has reached the brokers. It stays ready when
they go away: it then answers requests itself, with 503 and `Retry-After`.
"""
_TITLES: Final = {"worker": "Of a worker", "auditor": "Of the auditor", "ingest": "Of ingest"}


def page() -> str:
    """The reference, in Markdown."""
    parts = [_HEAD]
    for exporter, title in _TITLES.items():
        rows = sorted((metric for metric in CATALOGUE if metric.exporter == exporter), key=lambda metric: metric.name)
        parts.append(f"\n## {title}\n\n| name | kind | labels | what |\n|---|---|---|---|\n")
        parts += map(_row, rows)
    used = {label for metric in CATALOGUE for label in metric.labels}
    parts.append("\n## Labels\n\n| label | values |\n|---|---|\n")
    parts += [f"| `{label}` | {values} |\n" for label, values in VALUES.items() if label in used]
    return "".join(parts)


def _row(metric: Metric) -> str:
    labels = " ".join(f"`{label}`" for label in metric.labels) or "–"
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
