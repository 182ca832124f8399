"""The programs of docs/how-to/wire-a-partner-feed.md, run as they stand there against a gate."""

import asyncio
import contextlib
import re
import secrets
from typing import Any

import orjson
import pytest

from tests.support.registry_sample import ROOT
from tests.support.stream_gate import StreamGate

pytestmark = pytest.mark.asyncio(loop_scope="session")


def programs() -> dict[str, Any]:
    """The functions of the page's Python blocks."""
    page = (ROOT / "docs" / "how-to" / "wire-a-partner-feed.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec("\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)), names)  # noqa: S102
    return names


async def test_what_the_producer_sends_is_decided_and_reaches_the_consumer(gate: StreamGate) -> None:
    page, brokers, topics = programs(), gate.place.bootstrap_servers, gate.topics
    people = [f"feed-{number}" for number in range(4)]  # in both partitions
    assert {gate.home(person) for person in people} == {0, 1}
    await page["send"](brokers, topics.consents, [orjson.loads(gate.events.consent(p, f"c-{p}")) for p in people])
    requested = [orjson.loads(gate.events.transfer(p, f"t-{p}")) for p in people]
    await page["send"](brokers, topics.transfers, requested)
    await gate.settled()

    worked: list[str] = []
    all_seen = asyncio.Event()

    async def work(transfer: dict[str, Any]) -> None:
        worked.append(transfer["prospect_id"])
        if set(people) <= set(worked):
            all_seen.set()

    topic, group = f"{topics.prefix}partner.acme", f"feed-{secrets.token_hex(4)}"
    partner = asyncio.create_task(page["receive"](brokers, topic, group, set(), work))
    await asyncio.wait({partner, waiting := asyncio.create_task(all_seen.wait())}, return_when="FIRST_COMPLETED")
    waiting.cancel()
    partner.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await partner
    assert sorted(one for one in worked if one in people) == people, (
        "each transfer once, also the one that was repeated"
    )
