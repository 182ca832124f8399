"""`consent import` beside a real gate: what was in a file decides, in every format, once and again."""

import csv
import datetime as dt
import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.support.quarantine_gate import Operator
from tests.support.registry import COLLECTOR, NOTICE, PARTNER_LIST, TEXT_HASH
from tests.support.states import states_of_changelog, states_of_events
from tests.support.stream_gate import StreamGate

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAPPING: Final = f"""\
source: crm
times: {{format: iso}}
events:
  - name: opt-in
    fields:
      type: {{constant: consent}}
      prospect_id: {{column: id}}
      event_time: {{column: in}}
      record_id: {{uuid5: [id]}}
      state: {{constant: given}}
      lawful_basis: {{constant: consent}}
      indication: {{constant: signature}}
      purposes: {{constant: direct_marketing}}
      channels: {{column: by, separator: "|"}}
      party_ids: {{constant: acme}}
      partner_list_version: {{constant: {PARTNER_LIST}}}
      notice_version: {{constant: {NOTICE}}}
      proof:
        proof_id: {{column: id}}
        text_hash: {{constant: "{TEXT_HASH}"}}
        individual: {{constant: true}}
        collector: {{constant: {COLLECTOR}}}
        kept_until: {{constant: "2099-01-01T00:00:00Z"}}
  - name: opt-out
    when: {{out: present}}
    fields:
      type: {{constant: withdrawal}}
      prospect_id: {{column: id}}
      event_time: {{column: out}}
      scope: {{channels: {{column: of, separator: "|"}}}}
"""
FORMATS: Final = ("csv", "jsonl", "parquet")


def written(folder: Path, form: str, rows: list[dict[str, Any]]) -> Path:
    file = folder / f"crm.{form}"
    if form == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file)
    elif form == "jsonl":
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    else:
        with file.open("w", encoding="utf-8", newline="") as opened:
            out = csv.DictWriter(opened, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
    return file


async def test_what_was_imported_decides_and_a_second_import_changes_nothing(
    gate: StreamGate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Consents release, withdrawals hold, in all three formats; order and repetition make the same states."""
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(MAPPING, encoding="utf-8")
    now = dt.datetime.now(dt.UTC)
    long_ago, lately = (now - dt.timedelta(days=30)).isoformat(), (now - dt.timedelta(days=2)).isoformat()
    files = {}
    for form in FORMATS:
        rows: list[dict[str, Any]] = [
            {"id": f"{form}-in", "in": long_ago, "by": "email|sms", "out": None, "of": None},
            {"id": f"{form}-part", "in": long_ago, "by": "email|sms", "out": lately, "of": "sms"},
            {"id": f"{form}-out", "in": long_ago, "by": "email|sms", "out": lately, "of": None},
        ]
        files[form] = written(tmp_path, form, rows)
    imports = [["consent", "import", str(file), "--mapping", str(mapping)] for file in files.values()]
    operator = Operator(gate, monkeypatch, capsys)

    async def run(arguments: list[str], *more: str) -> tuple[int, dict[str, Any]]:
        code, out, err = await operator(*arguments, *more, "--output", "json")
        assert out.startswith("{"), err
        return code, json.loads(out)

    code, would = await run(imports[0], "--dry-run")
    assert (code, would["prospects"]) == (0, {"prospects": 3, "changed": 3, "new": 3})
    for arguments in imports:
        code, counts = await run(arguments)
        assert (code, counts["rows"], counts["events"]) == (0, 3, {"consent": 3, "withdrawal": 2})
    people = [f"{form}-{what}" for form in FORMATS for what in ("in", "part", "out")]
    for who in people:
        await gate.send(gate.topics.transfers, gate.events.transfer(who, f"t-{who}"), who.encode())
    outputs = await gate.outputs()
    released = {body["prospect_id"]: body["channels"] for body in outputs.released_to("acme", *people)}
    assert released == {
        f"{form}-{what}": channels
        for form in FORMATS
        for what, channels in (("in", ["email", "sms"]), ("part", ["email"]))
    }
    assert gate.worker.metric("transfer_gate_stray_consents_total") == 0
    before = await states_of_changelog(gate.place)
    code, would = await run(imports[2], "--dry-run")
    assert (code, would["prospects"]) == (0, {"prospects": 3, "changed": 0, "new": 0})
    code, again = await run(imports[0], "--restart")
    assert (code, again["events"]) == (0, {"consent": 3, "withdrawal": 2})
    await gate.settled()
    after = await states_of_changelog(gate.place)
    mine = {who for who in after if who[1].decode() in people}
    assert len(mine) == 9
    from_events = await states_of_events(gate.place)
    assert all(before[who] == after[who] == from_events[who] for who in mine)
