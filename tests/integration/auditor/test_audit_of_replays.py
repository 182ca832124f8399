"""The auditor explains what a replay released, from the decision of the replay and the source of the first one."""

import asyncio
from pathlib import Path

from tests.support.replays import held_transfer, send_back
from tests.support.stream_gate import open_gate


async def test_a_release_by_replay_is_explained_and_one_under_a_withdrawal_is_not_made(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    async with open_gate(bootstrap_servers, tmp_path, partitions=1) as gate:
        for prospect in ("audited-free", "audited-withdrawn"):
            _, record = await held_transfer(gate, prospect)
            await gate.consent(prospect)
            if prospect == "audited-withdrawn":
                left = gate.events.against("withdrawal", prospect, "w-1")
                await gate.send(gate.topics.consents, left, prospect.encode())
            await send_back(gate, record)
        await gate.settled()
        code, counts, errors = await asyncio.to_thread(gate.place.audit)
    assert (code, errors) == (0, "")
    assert counts["records"] == counts["ok"] == 1
