"""The auditor counts replay runs that are under way by what they wrote to the audit topic."""

import datetime as dt

from tests.support.topics import make_topics
from transfer_gate.auditor.open_work import OpenRuns
from transfer_gate.kafka.session import Session, open_session
from transfer_gate.operators import AuditEvent, record_audit_events
from transfer_gate.settings import Settings


async def test_a_run_is_open_from_its_start_to_its_end_or_cancellation(settings: Settings) -> None:
    await make_topics(settings.bootstrap_servers, {settings.topics.audit: {}}, partitions=1)
    runs = OpenRuns()
    async with open_session(settings) as session:
        await _goes_through_all(session, runs)


async def _goes_through_all(session: Session, runs: OpenRuns) -> None:
    assert await runs.count(session) == 0
    for action, outcome, plan_id, open_after in (
        ("replay plan", "planned", "a", 0),
        ("replay run", "started", "a", 1),
        ("replay run", "refused", "b", 1),
        ("replay run", "started", "b", 2),
        ("replay run", "started", "a", 2),  # resumed after a kill -9
        ("replay run", "done", "a", 1),
        ("replay cancel", "refused", "b", 1),
        ("replay cancel", "cancelled", "b", 0),
        ("quarantine list", "revealed", None, 0),
    ):
        event = AuditEvent(action=action, by="ops", at=dt.datetime.now(dt.UTC), outcome=outcome, plan_id=plan_id)
        await record_audit_events(session, [event])
        assert await runs.count(session) == open_after, (action, outcome, plan_id)
    assert await OpenRuns().count(session) == 0
