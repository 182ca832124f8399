"""What every Python peer is told by the harness, and the decision that they all take."""

import os
from typing import Final

import orjson

BOOTSTRAP_SERVERS: Final = os.environ["BENCH_BOOTSTRAP_SERVERS"]
GROUP: Final = os.environ["BENCH_GROUP"]
PARTITIONS: Final = int(os.environ["BENCH_PARTITIONS"])
TRANSFERS: Final = os.environ["BENCH_TRANSFERS"]
CONSENTS: Final = os.environ["BENCH_CONSENTS"]
PARTNER: Final = os.environ["BENCH_PARTNER"]
QUARANTINE: Final = os.environ["BENCH_QUARANTINE"]
DATA_DIR: Final = os.environ["BENCH_DATA_DIR"]


def grants(consent: bytes | None, transfer: bytes) -> bool:
    """The trivial decision: the last consent event of the prospect names the first partner of the transfer."""
    if consent is None:
        return False
    try:
        return orjson.loads(transfer)["partner_ids"][0] in orjson.loads(consent)["party_ids"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return False
