"""A plain Faust agent that does the same join, as its documentation teaches: one event at a time, `await topic.send`.

At least once, no read barrier, no changelog transaction. Run by `throughput.py`.
"""

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import faust
import orjson

PREFIX = os.environ["TRANSFER_GATE_TOPIC_PREFIX"]
PARTITIONS = int(os.environ["BENCH_PARTITIONS"])
EVENTS = int(os.environ["BENCH_EVENTS"])
RESULT = Path(os.environ["BENCH_RESULT"])

app = faust.App(
    os.environ["TRANSFER_GATE_APP_ID"],
    broker="kafka://" + os.environ["TRANSFER_GATE_BOOTSTRAP_SERVERS"],
    store="memory://",
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    key_serializer="raw",
    value_serializer="raw",
    web_enabled=False,
    topic_disable_leader=True,
    datadir=os.environ["TRANSFER_GATE_DATA_DIR"],
)
transfers = app.topic(PREFIX + "prospect-transfers", key_type=bytes, value_type=bytes)
consents = app.topic(PREFIX + "consent-events", key_type=bytes, value_type=bytes)
partner = app.topic(PREFIX + "plain-partner", key_type=bytes, value_type=bytes)
quarantine = app.topic(PREFIX + "plain-quarantine", key_type=bytes, value_type=bytes)
table = app.Table("consent", partitions=PARTITIONS, key_type=bytes, value_type=bytes)
done = 0
began = 0.0
cpu = 0.0


def _grants(state: bytes, value: bytes) -> bool:
    try:
        return orjson.loads(value)["partner_ids"][0] in orjson.loads(state)["party_ids"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return False


@app.agent(consents)
async def fold(stream: Any) -> None:
    async for key, value in stream.items():
        table[key] = value


@app.agent(transfers)
async def route(stream: Any) -> None:
    global done, began, cpu
    async for key, value in stream.items():
        if not began:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            began, cpu = time.perf_counter(), usage.ru_utime + usage.ru_stime
        state = table.get(key)
        granted = state is not None and _grants(state, value)
        await (partner if granted else quarantine).send(key=key, value=value)
        done += 1
        if done == EVENTS:
            wall = time.perf_counter() - began
            usage = resource.getrusage(resource.RUSAGE_SELF)
            result = {"events": done, "wall": wall, "cpu": usage.ru_utime + usage.ru_stime - cpu}
            RESULT.write_bytes(orjson.dumps(result))  # noqa: ASYNC240 - the last thing this process does
            os._exit(0)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--without-web", "-l", "error"]
    app.main()
