"""A plain Faust agent, as its documentation teaches: one event at a time, `await topic.send`.

At least once, no read barrier, no changelog transaction.
"""

import sys
from typing import Any

import faust

from benchmarks.peers import job

app = faust.App(
    job.GROUP,
    broker=f"kafka://{job.BOOTSTRAP_SERVERS}",
    store="memory://",
    topic_partitions=job.PARTITIONS,
    topic_replication_factor=1,
    key_serializer="raw",
    value_serializer="raw",
    web_enabled=False,
    topic_disable_leader=True,
    datadir=job.DATA_DIR,
    consumer_auto_offset_reset="earliest",
)
transfers = app.topic(job.TRANSFERS, key_type=bytes, value_type=bytes)
consents = app.topic(job.CONSENTS, key_type=bytes, value_type=bytes)
partner = app.topic(job.PARTNER, key_type=bytes, value_type=bytes)
quarantine = app.topic(job.QUARANTINE, key_type=bytes, value_type=bytes)
table = app.Table("consent", partitions=job.PARTITIONS, key_type=bytes, value_type=bytes)


@app.agent(consents)
async def fold(stream: Any) -> None:
    async for key, value in stream.items():
        table[key] = value


@app.agent(transfers)
async def route(stream: Any) -> None:
    async for key, value in stream.items():
        await (partner if job.grants(table.get(key), value) else quarantine).send(key=key, value=value)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--without-web", "-l", "error"]
    app.main()
