"""Whatever stands in a case file, a registry or a record: it is read, or refused with its place; never a traceback."""

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.property.scenarios import CLEAN, CONSENT, Objects
from transfer_gate.cases import read, run
from transfer_gate.cases.input_files import events_in, transfer_in
from transfer_gate.errors import InvalidInput
from transfer_gate.records.consents import Unreadable, decode_consent
from transfer_gate.records.transfers import SchemaInvalid, decode_transfer
from transfer_gate.registry import InvalidRegistry, registry_from_objects

_lively = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

#: What people and programs put in the wrong place.
ODD: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=12),
        st.sampled_from(
            ["", " ", "all", "fax", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59-14:00", "P1Y", "P-1Y", "<<"]
        ),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=4,
)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything inside `value`."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, member in inside:
        yield (*path, step)
        yield from _places(member, (*path, step))


def _spoilt(whole: Objects, path: tuple[str | int, ...], value: Any) -> Objects:
    spoilt: Any = copy.deepcopy(whole)
    holder = spoilt
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return spoilt  # type: ignore[no-any-return]


def _refusal(kind: type[Exception], reading: Callable[[], object]) -> str:
    """What is said of an input that is refused; empty when it is read. Any other exception is a failure."""
    try:
        reading()
    except kind as error:
        return getattr(error, "message", "") or str(error)
    return ""


_FILE: Objects = {
    "defaults": {name: CLEAN[name] for name in ("at", "registry", "transfer", "consents")},
    "cases": [
        {"name": "released", "exactly": True, "expect": {"acme": {"release": ["email", "sms"], "attributes": {}}}},
        {"name": "held", "transfer": {"channels": ["postal"]}, "expect": {"acme": {"quarantine": {"postal": []}}}},
    ],
}
_FILE_PLACES = list(_places(_FILE))


@_lively
@given(st.sampled_from(_FILE_PLACES), ODD)
def test_a_case_file_is_run_or_refused_with_file_and_line(
    tmp_path: Path, place: tuple[str | int, ...], value: Any
) -> None:
    path = tmp_path / "spoilt.yaml"
    path.write_text(json.dumps(_spoilt(_FILE, place, value), indent=1))
    assume(place != ("cases",) or value)  # no case at all is another exit code
    refused = _refusal(InvalidInput, lambda: [run(case) for file in read([path]) for case in file.cases])
    assert all(line.startswith(f"{path}:") for line in refused.splitlines())


@_lively
@given(st.binary(max_size=40) | st.text(alphabet="{}[]:,-&*<>|\"'# \n\tab1", max_size=40).map(str.encode))
def test_bytes_that_are_no_case_file_are_refused_with_file_and_line(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "noise.yaml"
    path.write_bytes(raw)
    with pytest.raises(InvalidInput, match=r"noise\.yaml:\d+: "):
        read([path])


@_lively
@given(st.sampled_from(list(_places(CLEAN["registry"]))), ODD)
def test_a_registry_is_read_or_refused_with_the_field(place: tuple[str | int, ...], value: Any) -> None:
    spoilt = _spoilt(CLEAN["registry"], place, value)
    refused = _refusal(InvalidRegistry, lambda: registry_from_objects(spoilt))
    assert refused == "" or str(place[0]) in refused


@_lively
@given(st.sampled_from(list(_places(CLEAN["transfer"]))), ODD)
def test_a_transfer_is_read_or_refused(place: tuple[str | int, ...], value: Any) -> None:
    raw = json.dumps(_spoilt(CLEAN["transfer"], place, value)).encode()
    refused = _refusal(SchemaInvalid, lambda: decode_transfer(raw))
    assert refused == "" or str(place[0]) in refused


@_lively
@given(st.sampled_from(list(_places(CONSENT))), ODD)
def test_a_consent_event_is_read_or_refused(place: tuple[str | int, ...], value: Any) -> None:
    raw = json.dumps(_spoilt(CONSENT, place, value)).encode()
    refused = _refusal(Unreadable, lambda: decode_consent(raw, b"p-1"))
    assert refused == "" or str(place[0]) in refused


@_lively
@given(st.binary(max_size=60) | ODD.map(lambda value: json.dumps(value).encode()))
def test_files_of_policy_explain_are_read_or_refused_with_the_file(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "input.json"
    path.write_bytes(raw)
    for reading in (transfer_in, events_in):
        refused = _refusal(InvalidInput, partial(reading, path))
        assert refused == "" or refused.startswith(f"{path}:")
