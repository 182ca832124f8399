"""Browse a real quarantine: find, page, count, show, explain, export. One gate, filled once, for all of it."""

import json
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from pyarrow import parquet

from tests.support.quarantine_gate import OPERATOR, Operator, hold, id_of, open_sealed_gate
from tests.support.stream_gate import Sent, StreamGate

#: What the transfers of tests hold of a person; must not come out unless it is revealed.
PERSONAL: Final = ("courriel.example", "639980011", "Claire", "Lyon", "1985-06-15")
NOBODY: Final = "00000000-0000-5000-8000-000000000000"


@dataclass
class Filled:
    """A gate and what was sent to it."""

    gate: StreamGate
    held: dict[str, Sent] = field(default_factory=dict)
    undecodable: list[Sent] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def filled(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Filled]:
    """Five people in two partitions quarantined for want of consent, one of them for two partners; two records that
    can't be read; one person erased; one whose consent came later."""
    async with open_sealed_gate(bootstrap_servers, tmp_path_factory.mktemp("browse")) as gate:
        done = Filled(gate)
        for prospect in ("br-anna", "br-ben", "br-cleo", "br-dora", "br-emil"):
            partners = ("acme", "helios") if prospect == "br-cleo" else ("acme",)
            done.held[prospect] = await hold(gate, prospect, partners)
        for partition, key in ((0, b"br-fred"), (1, None)):
            broken = b'{"event_id": "t-9", "contact": {"email": {"value": "claire@courriel.exa'
            headers = [("traceparent", b"00-4bf9-claire-01")]
            done.undecodable.append(await gate.send(gate.topics.transfers, broken, key, headers, partition))
        await gate.settled()
        erasure = gate.events.against("erasure", "br-dora", "erase-dora")
        await gate.send(gate.topics.consents, erasure, b"br-dora", partition=done.held["br-dora"].place[1])
        await gate.consent("br-emil")
        await gate.settled()
        yield done


@pytest.fixture
def run(filled: Filled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    """An operator of that gate."""
    return Operator(filled.gate, monkeypatch, capsys)


def of(filled: Filled, *prospects: str, partner: str = "acme") -> list[str]:
    """Quarantine ids of these prospects' records."""
    return [id_of(filled.held[prospect], partner) for prospect in prospects]


def names_in(folder: Path) -> list[str]:
    """Files of a folder."""
    return [path.name for path in folder.iterdir()]


def found(rows: list[dict[str, Any]]) -> list[str]:
    """Ids of rows."""
    return [row["quarantine_id"] for row in rows]


async def test_everything_is_listed_once_by_place_and_no_person_is_named(filled: Filled, run: Operator) -> None:
    rows = await run.rows()
    places = [tuple(map(int, row["place"].split(":"))) for row in rows]
    assert places == sorted(places)
    expected = [*of(filled, *filled.held), *of(filled, "br-cleo", partner="helios")]
    assert sorted(found(rows)) == sorted([*expected, *map(id_of, filled.undecodable)])
    text = json.dumps(rows)
    assert "br-" not in text
    assert not any(secret in text for secret in PERSONAL)
    assert {row["encrypted"] for row in rows} == {True}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--partner", "helios"), {"br-cleo"}),
        (("--prospect", "br-ben"), {"br-ben"}),
        (("--partner", "acme", "--channel", "sms", "--partition", "0"), {"br-ben", "br-dora"}),
        (("--reason", "electronic-optin", "--partition", "1"), {"br-anna", "br-cleo", "br-emil"}),
        (("--stage", "decode"), {"br-fred", "nobody"}),
        (("--reason", "not-withdrawn"), set()),
        (("--channel", "postal"), set()),
        (("--until", "1h"), set()),
        (("--since", "1h", "--partner", "helios"), {"br-cleo"}),
        (("--since", "2999-01-01T00:00:00Z"), set()),
    ],
)
async def test_a_filter_finds_what_it_means_and_nothing_else(
    filled: Filled, run: Operator, options: tuple[str, ...], expected: set[str]
) -> None:
    names = {id_of(sent, partner): name for name, sent in filled.held.items() for partner in ("acme", "helios")}
    names |= {id_of(sent): "nobody" if sent.key is None else sent.key.decode() for sent in filled.undecodable}
    assert {names[quarantine_id] for quarantine_id in found(await run.rows(*options))} == expected


async def test_a_list_names_people_only_with_a_reason_that_is_audited(run: Operator) -> None:
    rows = await run.rows("--stage", "decode", "--reveal", "--why", "who sent these?")
    assert {row["prospect_id"] for row in rows} == {"br-fred", None}
    act = (await run.audit_events("quarantine list"))[-1]
    assert (act["why"], act["details"]) == ("who sent these?", {"stage": "decode"})


async def test_pages_put_together_are_the_whole(run: Operator) -> None:
    whole, pages = await run.rows(), []
    after: tuple[str, ...] = ()
    while True:
        page = await run.json("quarantine", "list", "--limit", "3", *after)
        pages += page["records"]
        if page["next"] is None:
            break
        assert len(page["records"]) == 3
        after = ("--after", page["next"])
    assert pages == whole


async def test_a_table_shows_where_to_continue(run: Operator) -> None:
    code, out, err = await run("quarantine", "list", "--limit", "1")
    header, row = out.splitlines()
    assert (code, header.split()[:2]) == (0, ["quarantine", "id"])
    assert f"--after {row.split()[1]}" in err


async def test_counts_are_by_partner_and_first_reason(run: Operator) -> None:
    shown = await run.json("quarantine", "list", "--counts")
    counts = {(row["partner"], row["reason"]): (row["records"], row["open"]) for row in shown["counts"]}
    assert counts == {
        ("acme", "electronic-optin"): (5, 5),
        ("helios", "electronic-optin"): (1, 1),
        (None, "undecodable"): (2, 2),
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("list", "--partner", "nobody"), 3, "nothing in quarantine matches"),
        (("list", "--since", "yesterday"), 2, "not a time"),
        (("list", "--after", "x"), 2, "partition:offset"),
        (("list", "--partition", "7"), 2, "no partition 7"),
        (("list", "--reason", "because"), 2, "not a reason"),
        (("list", "--reveal"), 5, "needs a reason"),
        (("show", NOBODY), 3, "no record"),
        (("show", "7"), 2, "not a quarantine id"),
        (("show", NOBODY, "--offset", "3"), 2, "--offset needs --partition"),
        (("show", NOBODY, "--reveal", "--why", "  "), 5, "needs a reason"),
        (("explain", NOBODY, "--reveal"), 5, "needs a reason"),
        (("discard", "--why", "x"), 2, "by ID or by a filter"),
    ],
)
async def test_what_a_user_can_get_wrong_is_one_message(
    run: Operator, arguments: tuple[str, ...], code: int, message: str
) -> None:
    got, out, err = await run("quarantine", *arguments)
    assert (got, out) == (code, "")
    assert message in err


async def test_show_masks_the_payload_of_a_record(filled: Filled, run: Operator) -> None:
    (quarantine_id,) = of(filled, "br-anna")
    code, out, _ = await run("quarantine", "show", quarantine_id)
    assert code == 0
    assert not any(secret in out for secret in (*PERSONAL, "br-anna"))
    shown = await run.json("quarantine", "show", quarantine_id)
    assert shown["payload"]["condition"] == "decrypted"
    assert shown["payload"]["value"]["purpose"] == "direct_marketing"
    assert shown["payload"]["value"]["contact"]["email"]["value"] == "c***@***"
    assert shown["attempts"][0]["reasons"]["email"] == ["electronic-optin"]
    assert shown["ledger"] is None


async def test_show_finds_a_record_at_a_given_place(filled: Filled, run: Operator) -> None:
    (quarantine_id,) = of(filled, "br-dora")
    (row,) = [row for row in await run.rows() if row["quarantine_id"] == quarantine_id]
    partition, offset = row["place"].split(":")
    shown = await run.json("quarantine", "show", quarantine_id, "--partition", partition, "--offset", offset)
    assert [attempt["place"] for attempt in shown["attempts"]] == [row["place"]]
    past = str(int(offset) + 1)
    code, _, _ = await run("quarantine", "show", quarantine_id, "--partition", partition, "--offset", past)
    assert code == 3


async def test_a_payload_is_revealed_only_after_the_audit_topic_knows(filled: Filled, run: Operator) -> None:
    (quarantine_id,) = of(filled, "br-ben")
    shown = await run.json("quarantine", "show", quarantine_id, "--reveal", "--why", "the person asks what we hold")
    assert shown["payload"]["value"] == json.loads(filled.held["br-ben"].value or b"")
    assert shown["attempts"][0]["prospect_id"] == "br-ben"
    act = (await run.audit_events("quarantine show"))[-1]
    assert (act["by"], act["why"], act["outcome"]) == (OPERATOR, "the person asks what we hold", "revealed")
    assert act["details"]["quarantine_id"] == quarantine_id
    assert "br-ben" not in json.dumps(act)


async def test_what_the_audit_topic_does_not_take_is_not_revealed(filled: Filled, run: Operator) -> None:
    (quarantine_id,) = of(filled, "br-ben")
    audit = filled.gate.topics.audit
    await filled.gate.limit(audit, 100)
    code, out, _ = await run("quarantine", "show", quarantine_id, "--reveal", "--why", "curious")
    await filled.gate.limit(audit, 1_048_588)
    assert (code, out) == (6, "")


async def test_bytes_that_are_not_json_are_counted_and_shown_only_on_demand(filled: Filled, run: Operator) -> None:
    quarantine_id = id_of(filled.undecodable[0])
    shown = await run.json("quarantine", "show", quarantine_id)
    assert shown["payload"]["value"] == f"*** ({len(filled.undecodable[0].value or b'')} bytes that are not JSON)"
    assert shown["inbound_headers"] == [{"name": "traceparent", "value": "***"}]
    revealed = await run.json("quarantine", "show", quarantine_id, "--reveal", "--why", "what is broken?")
    assert revealed["payload"]["value"] == (filled.undecodable[0].value or b"").decode()
    assert revealed["inbound_headers"][0]["value"] == "00-4bf9-claire-01"


async def test_what_was_erased_is_shown_as_erased_even_when_revealed(filled: Filled, run: Operator) -> None:
    (quarantine_id,) = of(filled, "br-dora")
    shown = await run.json("quarantine", "show", quarantine_id, "--reveal", "--why", "to see that it is gone")
    assert (shown["payload"]["condition"], shown["payload"]["value"]) == ("erased", None)
    _, out, _ = await run("quarantine", "show", quarantine_id)
    assert "erased" in out


async def test_without_the_key_file_a_sealed_payload_names_the_setting(
    filled: Filled, run: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSFER_GATE_QUARANTINE_KEY_FILE")
    code, out, _ = await run("quarantine", "show", *of(filled, "br-anna"))
    assert code == 0
    assert "locked" in out
    assert "TRANSFER_GATE_QUARANTINE_KEY_FILE" in out


async def test_explain_puts_then_beside_now(filled: Filled, run: Operator) -> None:
    """Quarantined for want of consent; the consent came meanwhile."""
    (quarantine_id,) = of(filled, "br-emil")
    shown = await run.json("quarantine", "explain", quarantine_id)
    assert shown["then"]["from"] == "decision record"
    assert shown["then"]["quarantined"] == {"email": ["electronic-optin"], "sms": ["electronic-optin"]}
    (partner,) = shown["now"]["partners"]
    assert (partner["partner_id"], partner["released"]) == ("acme", ["email", "sms"])
    assert "1985-06-15" not in json.dumps(shown)
    code, out, _ = await run("quarantine", "explain", quarantine_id)
    assert code == 0
    assert [line.split() for line in out.splitlines() if line.startswith("  ")] == [
        ["email", "then", "held:", "electronic-optin"],
        ["now", "released"],
        ["sms", "then", "held:", "electronic-optin"],
        ["now", "released"],
    ]
    assert "GDPR 6(1)(a)" in out


async def test_explain_tells_of_then_also_when_the_payload_is_erased(filled: Filled, run: Operator) -> None:
    shown = await run.json("quarantine", "explain", *of(filled, "br-dora"))
    assert shown["then"]["quarantined"]["email"] == ["electronic-optin"]
    assert shown["now"] is None
    assert "erased" in shown["no_now"]


async def test_explain_gives_the_facts_only_with_a_reason(filled: Filled, run: Operator) -> None:
    why = ("--reveal", "--why", "counsel asks for the facts")
    code, out, _ = await run("quarantine", "explain", *of(filled, "br-anna"), *why)
    assert code == 0
    assert "1985-06-15" in out
    assert (await run.audit_events("quarantine explain"))[-1]["why"] == "counsel asks for the facts"


async def test_explain_of_what_could_not_be_read(filled: Filled, run: Operator) -> None:
    shown = await run.json("quarantine", "explain", id_of(filled.undecodable[1]))
    assert shown["then"]["quarantined"] == shown["now"]["quarantined"] == {"*": ["undecodable"]}


async def test_an_export_is_masked_whole_and_audited(filled: Filled, run: Operator, tmp_path: Path) -> None:
    file = tmp_path / "held.jsonl"
    code, _, err = await run("quarantine", "export", file, "--partner", "acme", "--ticket", "OPS-7")
    assert code == 0, err
    text = file.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert sorted(found(rows)) == sorted(of(filled, *filled.held))
    assert not any(secret in text for secret in (*PERSONAL, "br-"))
    assert sorted(row["payload_condition"] for row in rows) == ["decrypted"] * 4 + ["erased"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    started, finished = (await run.audit_events("quarantine export"))[-2:]
    assert (started["outcome"], finished["outcome"], finished["ticket"]) == ("started", "done", "OPS-7")
    assert finished["details"] == {"partner_id": "acme", "to": "held.jsonl", "records": 5}
    assert (await run("quarantine", "export", file))[0] == 2


async def test_a_parquet_export_holds_the_same(run: Operator, tmp_path: Path) -> None:
    lines, table = tmp_path / "held.jsonl", tmp_path / "held.parquet"
    for file, kind in ((lines, "jsonl"), (table, "parquet")):
        assert (await run("quarantine", "export", file, "--format", kind))[0] == 0
    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    columns = parquet.read_table(table).to_pylist()
    assert [row["quarantine_id"] for row in columns] == found(rows)
    assert [json.loads(row["payload"] or "null") for row in columns] == [row["payload"] for row in rows]


async def test_an_export_of_nothing_leaves_no_file(run: Operator, tmp_path: Path) -> None:
    code, _, _ = await run("quarantine", "export", tmp_path / "x", "--partner", "nobody")
    assert (code, names_in(tmp_path)) == (3, [])


async def test_parquet_without_pyarrow_names_what_to_install(
    run: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    code, _, err = await run("quarantine", "export", tmp_path / "x", "--format", "parquet")
    assert code == 2
    assert "transfer-gate[parquet]" in err
