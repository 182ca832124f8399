"""Whatever stands in a row: events that the gate reads, or a rejection that repeats nothing of it."""

import datetime as dt
from pathlib import Path
from typing import Any, Final

import yaml
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate import imports
from transfer_gate.imports.event_fields import FIELDS, TYPES
from transfer_gate.imports.mapper import Mapper
from transfer_gate.imports.mapping import load_mapping
from transfer_gate.imports.readers import Rejection
from transfer_gate.records.consents import decode_consent

#: Each field has a column of its name.
COLUMNS: Final = sorted({"when", *FIELDS})


def _value(name: str) -> dict[str, Any]:
    if FIELDS[name] == "list":
        return {"column": name, "separator": "|"}
    return {"column": name}


def _mapping(folder: Path) -> Path:
    fields: dict[str, Any] = {}
    for name in FIELDS:
        outer, _, inner = name.partition(".")
        if not inner:
            fields[name] = _value(name)
        elif outer == "call_slots":
            fields.setdefault(outer, [{}])[0][inner] = _value(name)
        else:
            fields.setdefault(outer, {})[inner] = _value(name)
    fields["record_id"] = {"uuid5": ["record_id", "prospect_id"]}
    events = [
        {"name": "every field", "when": {"when": "present"}, "fields": fields},
        {"name": "none", "when": {"when": ["none", "1"]}, "skip": True},
    ]
    file = folder / "mapping.yaml"
    file.write_text(yaml.safe_dump({"source": "crm", "times": {"zone": "Europe/Paris"}, "events": events}))
    return file


SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(
        ["2026-09-05T18:42:00+02:00", "2026-09-05 18:42", "email", "email|sms", "all", "given", "p-1", "P1Y"]
    ),
    st.sampled_from(sorted(TYPES)),
    st.text(alphabet=st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)),
    st.datetimes().map(lambda at: at.replace(tzinfo=dt.UTC)),
    st.datetimes(),
    st.dates(),
    st.decimals(),
    st.binary(),
)
CELLS: Final = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
#: A row that makes an event; a few of its cells are replaced.
GOOD: Final[dict[str, Any]] = {
    **dict.fromkeys(COLUMNS, "x"),
    **{name: "2026-09-05T18:42:00+02:00" for name, kind in FIELDS.items() if kind == "time"},
    **{name: "true" for name, kind in FIELDS.items() if kind == "flag"},
    "type": "consent",
    "channels": "email|sms",
    "scope.channels": "all",
    "state": "given",
    "lawful_basis": "consent",
    "indication": "signature",
    "validity": "P1Y",
}
ROWS: Final = st.tuples(
    st.sampled_from(sorted(TYPES)), st.dictionaries(st.sampled_from(COLUMNS), CELLS, max_size=2)
).map(lambda drawn: GOOD | {"type": drawn[0]} | drawn[1])


#: Where the words of the messages stand, names of columns among them: a value may happen to be one of them.
MESSAGES: Final = " ".join(
    [*(path.read_text(encoding="utf-8") for path in Path(imports.__path__[0]).glob("*.py")), *COLUMNS, *TYPES]
)


def test_any_row_makes_events_that_the_gate_reads_or_is_rejected(tmp_path: Path) -> None:
    mapping = load_mapping(_mapping(tmp_path)).mapping
    as_objects, as_cells = Mapper(mapping, None), Mapper(mapping, COLUMNS)
    said: list[tuple[str, dict[str, Any]]] = []

    @given(ROWS)
    def holds(row: dict[str, Any]) -> None:
        try:
            events = as_objects.events(row)
        except Rejection as rejection:
            said.append((rejection.reason, row))
        else:
            assert as_cells.events([row.get(name) for name in COLUMNS]) == events
            for event in events:
                decode_consent(event.value, event.key)

    assert {event.kind for kind in TYPES for event in as_objects.events(GOOD | {"type": kind})} == set(TYPES)
    holds()
    for reason, row in said:
        texts = [value for value in row.values() if isinstance(value, str) and len(value) > 3]
        assert not any(text in reason for text in texts if text not in MESSAGES)
