"""Files of `consent import`: rows of every format, rejected rows, and the checkpoint."""

import csv
import json
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from msgspec.structs import replace
from pyarrow import parquet

from transfer_gate.errors import InvalidInput, NothingMatched, RefusedByGuard
from transfer_gate.imports.mapping import Csv, ImportMapping, load_mapping
from transfer_gate.imports.rows import FORMATS, FileRow, FileRows, Reject, RejectsFile, open_rows, rejects_beside
from transfer_gate.imports.run import (
    Checkpoint,
    Chunk,
    Counts,
    Import,
    Job,
    Source,
    chunks,
    load_checkpoint,
    open_source,
    save_checkpoint,
)

ROWS: Final = [{"id": f"p-{number}", "note": f"é {number}"} for number in range(5)]
MAPPING: Final = """\
source: crm
events:
  - name: only
    fields:
      type: {constant: erasure}
      prospect_id: {column: id}
      event_time: {constant: "2026-09-01T00:00:00Z"}
"""


def mapping(tmp_path: Path, text: str = MAPPING) -> Path:
    file = tmp_path / "mapping.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def written(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """A file of these rows, in the format of its name."""
    file = folder / name
    if name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(rows), file, row_group_size=2)
    elif name.endswith(".jsonl"):
        file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        with file.open("w", encoding="utf-8-sig", newline="") as opened:
            out = csv.DictWriter(opened, list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",")
            out.writeheader()
            out.writerows(rows)
    return file


@contextmanager
def opened(file: Path, tmp_path: Path, form: Csv | None = None) -> Iterator[FileRows]:
    read = load_mapping(mapping(tmp_path)).mapping
    changed = read if form is None else ImportMapping.model_validate({**read.model_dump(by_alias=True), "csv": form})
    with open_rows(file, FORMATS[file.suffix], changed, lambda: ["id", "note"]) as rows:
        yield rows


def as_dict(rows: FileRows, row: FileRow) -> dict[str, Any]:
    assert row.row is not None, row.fault
    return dict(row.row) if rows.columns is None else dict(zip(rows.columns, row.row, strict=True))


@pytest.mark.parametrize("name", ["crm.csv", "crm.tsv", "crm.jsonl", "crm.parquet"])
@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_every_format_gives_the_rows_behind_those_that_are_done(tmp_path: Path, name: str, after: int) -> None:
    with opened(written(tmp_path, name, ROWS), tmp_path) as rows:
        found = list(rows.rows(after))
        assert [as_dict(rows, row) for row in found] == ROWS[after:]
        assert [row.number for row in found] == list(range(after + 1, 6))
        assert rows.position == rows.total or after == len(ROWS)


def test_what_breaks_csv_is_a_row_of_its_own_and_what_follows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "crm.csv"
    file.write_bytes(b'id;note\r\np-1;"two\nlines"\r\n\r\np-2\r\np-3;"x"y\r\np-4;\xe9\r\np-5;"open\r\np-6;z\r\n')
    with opened(file, tmp_path, Csv(delimiter=";")) as rows:
        found = list(rows.rows(0))
    assert [row.number for row in found] == [1, 2, 3, 4, 5]
    assert found[0].row == ["p-1", "two\nlines"]
    assert (found[1].row, found[1].fault) == (None, "has 1 cells, the header has 2")
    assert (found[2].row, found[2].fault[:13]) == (None, "malformed CSV")
    assert found[3].row == ["p-4", "\udce9"]
    assert found[4].fault == "malformed CSV (2 lines): unexpected end of data"
    assert found[4].raw == ['p-5;"open\r\np-6;z\r\n']


def test_other_encodings_of_csv_are_read(tmp_path: Path) -> None:
    file = tmp_path / "crm.csv"
    file.write_bytes("id,note\np-1,é€\n".encode("cp1252"))
    with opened(file, tmp_path, Csv(encoding="cp1252")) as rows:
        assert [row.row for row in rows.rows(0)] == [["p-1", "é€"]]


def test_lines_that_are_no_objects_are_rows_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "crm.jsonl"
    file.write_bytes(b'{"id":"p-1"}\n\n[1]\n{"id":\n{"id":"a","id":"b"}\n{"id":"\xff"}\n' + b"[" * 9000 + b"\n")
    with opened(file, tmp_path) as rows:
        found = [(row.number, row.fault) for row in rows.rows(0)]
    assert found == [
        (1, ""),
        (2, "is not a JSON object"),
        (3, "malformed JSON"),
        (4, "names a member twice (RFC 8259 section 4)"),
        (5, "malformed JSON"),
        (6, "malformed JSON"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.csv", b"", "is empty"),
        ("x.csv", b'"id', "its header can't be read"),
        ("x.csv", b"id\n" + b"x" * (5 << 20), "a line of more than 4 MiB"),
        ("x.jsonl", b"[" + b"1," * (3 << 20), "a line of more than 4 MiB"),
        ("x.parquet", b"PAR1PAR1", "can't be read as Parquet"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=told), opened(file, tmp_path) as rows:
        list(rows.rows(0))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transfer_gate.imports.parquet", None)
    file = written(tmp_path, "crm.parquet", ROWS)
    with pytest.raises(InvalidInput, match="pyarrow") as caught, opened(file, tmp_path):
        pass
    assert "transfer-gate[parquet]" in caught.value.do


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="can't be read: No such file"), opened(tmp_path / "x.csv", tmp_path):
        pass


def source(tmp_path: Path, file: Path, text: str = MAPPING) -> Source:
    read = load_mapping(mapping(tmp_path, text))
    return Source(file=file, form=FORMATS[file.suffix], mapping=read, folder=tmp_path)


@pytest.mark.parametrize("name", ["crm.csv", "crm.parquet"])
def test_a_column_that_is_not_in_the_file_is_told_by_its_line_in_the_mapping(tmp_path: Path, name: str) -> None:
    text = MAPPING.replace("column: id", "column: idd")
    wrong = source(tmp_path, written(tmp_path, name, ROWS), text)
    told = rf"mapping.yaml:6: .*prospect_id: column idd is not in {name}"
    with pytest.raises(InvalidInput, match=told), open_source(wrong, frozenset()):
        pass


async def test_chunks_hold_events_and_rejects_and_count_what_may_forbid(tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "", "note": ""}]
    with open_source(source(tmp_path, written(tmp_path, "crm.csv", rows)), frozenset({"p-0"})) as read:
        found: list[Chunk] = [chunk async for chunk in chunks(read.rows, read.mapper, 0, 4)]
    assert [(chunk.counts.rows, len(chunk.events)) for chunk in found] == [(4, 3), (2, 1)]
    total = found[0].counts.plus(found[1].counts)
    assert total == Counts(rows=6, events={"erasure": 4}, rejected=2, rejected_may_forbid=2)
    assert [reject.explanation for chunk in found for reject in chunk.rejects] == [
        "prospect_id identifies no person",
        "prospect_id: is absent (column id)",
    ]


@pytest.mark.parametrize("name", ["crm.csv", "crm.jsonl", "crm.parquet"])
async def test_rejected_rows_can_be_put_right_in_their_file_and_imported(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, name, [{"id": "p-1", "note": "é"}, {"id": "N/A", "note": "ü|;,\"'"}])
    beside = rejects_beside(file, FORMATS[file.suffix], tmp_path)
    text = MAPPING + "  - name: note\n    when: {note: present, id: absent}\n    skip: true\n"
    with open_source(source(tmp_path, file, text), frozenset()) as read:
        (chunk,) = [chunk async for chunk in chunks(read.rows, read.mapper, 0, 9)]
        rejects = RejectsFile(beside, read.rows, 0)
        rejects.append(chunk.rejects)
        rejects.close()
    assert beside.name == ("crm.rejected.jsonl" if name == "crm.parquet" else name.replace(".", ".rejected."))
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    assert rejects.size == beside.stat().st_size
    beside.write_text(beside.read_text(encoding="utf-8").replace("N/A", "p-2"), encoding="utf-8")
    with open_source(source(tmp_path, beside, text), frozenset()) as read:
        (row,) = read.rows.rows(0)
        assert as_dict(read.rows, row)["note"] == "ü|;,\"'"
        assert as_dict(read.rows, row)["rejected_reason"] == "prospect_id identifies no person"
        assert str(as_dict(read.rows, row)["rejected_row"]) == "2"
        assert [made.key for made in read.mapper.events(row.row)] == [b"p-2"]  # type: ignore[arg-type]


def test_what_an_earlier_run_had_not_made_sure_of_is_cut_off(tmp_path: Path) -> None:
    file = written(tmp_path, "crm.jsonl", ROWS)
    beside = tmp_path / "crm.rejected.jsonl"
    with opened(file, tmp_path) as rows:
        first = RejectsFile(beside, rows, 0)
        first.append([Reject(1, "is absent", "id", None, b'{"id":1}')])
        sure = first.size
        first.append([Reject(2, "is absent", "id", None, b"not json")])
        first.close()
        again = RejectsFile(beside, rows, sure)
        again.append([Reject(3, "is absent", None, None, b'{ "id" :')])
        again.close()
        lines = beside.read_text(encoding="utf-8").splitlines()
        assert lines == [
            '{"rejected_row":1,"rejected_reason":"is absent (column id)","id":1}',
            '{"rejected_row":3,"rejected_reason":"is absent","id" :',
        ]
        RejectsFile(beside, rows, 0)
    assert not beside.exists()


JOB: Final = Job(
    file_sha256="f", mapping_sha256="m", topic="t", topic_id="i", partitions=4, partitioner="murmur2"
)  # fmt: skip


def test_a_checkpoint_of_another_job_is_refused_in_words(tmp_path: Path) -> None:
    place = tmp_path / "crm.csv.import.json"
    assert load_checkpoint(place, JOB) is None
    checkpoint = Checkpoint(job=JOB, counts=Counts(rows=3, events={"erasure": 3}))
    save_checkpoint(place, checkpoint)
    assert load_checkpoint(place, JOB) == checkpoint
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    others = {
        "the file has changed, and the topic was made anew": replace(JOB, file_sha256="x", topic_id="y"),
        "the mapping has changed": replace(JOB, mapping_sha256="x"),
        "it went to another topic": replace(JOB, topic="x"),
        "another partition count": replace(JOB, partitions=5),
        "the partitioner is another": replace(JOB, partitioner="crc32"),
    }
    for told, other in others.items():
        with pytest.raises(RefusedByGuard, match=told):
            load_checkpoint(place, other)
    place.write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInput, match="can't be read"):
        load_checkpoint(place, JOB)


def test_an_import_begins_once_and_ends_once(tmp_path: Path) -> None:
    one = source(tmp_path, written(tmp_path, "crm.csv", ROWS))
    running = Import(one, JOB, restart=False)
    with pytest.raises(RefusedByGuard, match="is being imported"):
        Import(one, JOB, restart=False)
    running.close()
    save_checkpoint(one.checkpoint, Checkpoint(job=JOB, counts=Counts(rows=5), finished=True))
    with pytest.raises(NothingMatched, match="is imported already: 5 rows"):
        Import(one, JOB, restart=False)
    again = Import(one, JOB, restart=True)
    assert again.resumed_after == 0
    again.close()
    one.rejects.write_text("somebody's", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"crm.rejected.csv exists"):
        Import(one, JOB, restart=False)


def test_a_file_that_is_written_to_meanwhile_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "crm.csv", ROWS)
    with open_source(source(tmp_path, file), frozenset()) as read:
        read.require_unchanged()
        with file.open("a", encoding="utf-8") as more:
            more.write("p-9,x\n")
        with pytest.raises(InvalidInput, match="was changed while it was read"):
            read.require_unchanged()


def test_a_column_that_stands_twice_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "crm.csv"
    file.write_text("id,id\np-1,p-2\n", encoding="utf-8")
    told = r"mapping.yaml:6: .*: column id stands 2 times in crm.csv"
    with pytest.raises(InvalidInput, match=told), open_source(source(tmp_path, file), frozenset()):
        pass
