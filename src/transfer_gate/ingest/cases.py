"""Cases of a source: bodies as its platform sends them, and what has to become of them. They stand beside its file."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Struct
from pydantic import Field

from transfer_gate.errors import InvalidInput
from transfer_gate.ingest.reading import BodyReader, Reading
from transfer_gate.ingest.source import CASES, SUFFIX, SourceFile, load_source, load_sources
from transfer_gate.model.reviewed import Flag, Reviewed, Text, Whole
from transfer_gate.registry.checks import Problem
from transfer_gate.registry.parse import parse_object
from transfer_gate.registry.yamlfile import Document, load

_DO = "docs/how-to/consent-platforms.md has the format"


class Expected(Reviewed):
    """What becomes of a body; what is not named must not come of it."""

    events: tuple[Mapping[str, Any], ...] = ()
    """Consent events in their order: of each, the members that are named here."""
    unreadable: tuple[str, ...] = ()
    """Prospects that are blocked by an event that could not be mapped."""
    refused: Flag = False
    """Whether an event is of nobody known: the body is kept and answered with 422."""
    passed_over: Annotated[Whole, Field(ge=0)] = 0
    other_regulation: Annotated[Whole, Field(ge=0)] = 0


class WrittenCase(Reviewed):
    """One case: a body as JSON, or as a text where it is none."""

    name: Text
    body: Any = None
    text: str | None = None
    expect: Expected


class WrittenCases(Reviewed):
    """A file of cases."""

    cases: Annotated[tuple[WrittenCase, ...], Field(min_length=1)]


class Outcome(Struct, frozen=True):
    """How a case ended: `differences` is empty where it passed."""

    path: Path
    line: int
    name: str
    differences: tuple[str, ...]


def sources_at(paths: Iterable[Path]) -> list[SourceFile]:
    """The source files that are named, or stand in folders that are. Raises InvalidInput."""
    found: list[SourceFile] = []
    for path in paths:
        if path.is_dir():
            found += load_sources(path)
        else:
            own = path.with_name(path.name.removesuffix(CASES) + SUFFIX) if path.name.endswith(CASES) else path
            found.append(load_source(own))
    return found


def run_cases(file: SourceFile) -> list[Outcome]:
    """Run the cases of a source; none where it has no file of cases. Raises InvalidInput when that file is wrong."""
    if not file.cases.exists():
        return []
    document = load(file.cases)
    written, problems = parse_object(WrittenCases, document.value)
    if written is not None:
        both = "needs exactly one of body and text"
        problems = [
            Problem(("cases", number), both)
            for number, case in enumerate(written.cases)
            if ("body" in case.model_fields_set) == ("text" in case.model_fields_set)
        ]
    if written is None or problems:
        raise InvalidInput("\n".join(document.error(problem.path, problem.what) for problem in problems), do=_DO)
    reader = BodyReader(file.source)
    return [_run(document, number, case, reader) for number, case in enumerate(written.cases)]


def _run(document: Document, number: int, case: WrittenCase, reader: BodyReader) -> Outcome:
    body = msgspec.json.encode(case.body) if case.text is None else case.text.encode()
    reading = reader.read(body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    differences = tuple(_differences(case.expect, reading))
    return Outcome(document.path, document.line_of(("cases", number)), case.name, differences)


def _differences(expected: Expected, reading: Reading) -> Iterator[str]:
    yield from _of_events(expected.events, [msgspec.json.decode(event.value) for event in reading.events])
    blocked = {record.key.decode(): record.reason for record in reading.unreadable if record.key is not None}
    for prospect in expected.unreadable:
        if prospect not in blocked:
            yield f"{prospect} is not blocked by an unreadable event"
    for prospect, reason in blocked.items():
        if prospect not in expected.unreadable:
            yield f"{prospect} is blocked by an unreadable event: {reason}"
    refused = reading.of_nobody
    if expected.refused and refused is None:
        yield "the body is not refused"
    elif refused is not None and not expected.refused:
        yield f"the body is refused: {refused.reason}"
    for name in ("passed_over", "other_regulation"):
        if (found := getattr(reading, name)) != (wanted := getattr(expected, name)):
            yield f"{name}: expected {wanted}, found {found}"


def _of_events(expected: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(expected) != len(found):
        yield f"expected {len(expected)} consent events, found {len(found)}: {_json(found)}"
        return
    for number, (wanted, event) in enumerate(zip(expected, found, strict=True)):
        for name, value in wanted.items():
            if event.get(name) != value:
                yield f"events[{number}].{name}: expected {_json(value)}, found {_json(event.get(name))}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
