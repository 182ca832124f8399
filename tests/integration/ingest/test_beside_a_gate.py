"""`ingest` beside a real gate: the next decision counts what a platform sent, and what can't be mapped blocks."""

import datetime as dt
import json
from pathlib import Path
from typing import Final

import pytest

from tests.support.ingest_service import IngestService, opt_outs, post, signed
from tests.support.quarantine_gate import settings_of
from tests.support.stream_gate import StreamGate

pytestmark = pytest.mark.asyncio(loop_scope="session")

ODD: Final = b'{"events": [{"kind": "opt-sideways", "person": "hook-odd", "at": "2026-09-14T08:30:11Z"}]}'
NOBODY: Final = b'{"events": [{"kind": "opt-out", "at": "2026-09-14T08:30:11Z"}]}'


async def test_a_webhook_forbids_the_next_release_and_one_that_can_not_be_mapped_blocks(
    gate: StreamGate, tmp_path: Path
) -> None:
    """And what was sent can be seen in quarantine, also that of nobody."""
    settings = settings_of(gate)
    environment = {
        f"TRANSFER_GATE_{name.upper()}": str(getattr(settings, name))
        for name in ("bootstrap_servers", "security_protocol", "topic_prefix", "app_id", "registry")
    }
    people = ("hook-yes", "hook-out", "hook-odd")
    for who in people:
        await gate.consent(who)
    out = opt_outs("hook-out", at=dt.datetime.now(dt.UTC).isoformat())  # an older one would not forbid a newer consent
    async with IngestService(environment, tmp_path) as service:
        await service.start()
        for body, status in ((out, 200), (out, 200), (ODD, 200), (NOBODY, 422)):
            assert (await post(service, "signed", body, signed(body)))[0] == status
        assert await service.stop() == 0, service.log()
    for who in people:
        await gate.send(gate.topics.transfers, gate.events.transfer(who, f"t-{who}"), who.encode())
    outputs = await gate.outputs()
    assert [body["prospect_id"] for body in outputs.released_to("acme", *people)] == ["hook-yes"]
    copies = {
        record.key: json.loads(record.value or b"")
        for place, records in outputs.quarantine.items()
        if place[0] == gate.topics.consents
        for record in records
        if b'"source":"signed"' in (record.value or b"")
    }
    assert {key: copy["body"].encode() for key, copy in copies.items()} == {b"hook-odd": ODD, None: NOBODY}
