"""Read case files: deep-merged with their defaults, and everything that is wrong with them with its place."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from transfer_gate.cases.written_stops import WrittenStop
from transfer_gate.errors import InvalidInput, NothingMatched
from transfer_gate.model.registry import Registry
from transfer_gate.model.reviewed import Flag, Reviewed, When
from transfer_gate.model.state import BOUNDS, Bounds
from transfer_gate.model.terms import RANK, REASONS, Channel, Reason
from transfer_gate.registry import InvalidRegistry, objects_in, registry_from_objects
from transfer_gate.registry.parse import parse_object
from transfer_gate.registry.yamlfile import Document, InvalidFile, Steps, did_you_mean, load


def merge(under: Any, over: Any) -> Any:
    """`over` on top of `under`; a null in a mapping removes the field, in nested mappings too. Neither is changed."""
    if not isinstance(over, Mapping):
        return without_nulls(over)
    merged = dict(under) if isinstance(under, Mapping) else {}
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def without_nulls(value: Any) -> Any:
    """The value without the members of mappings that are null, at any depth: null means that there is nothing."""
    if isinstance(value, Mapping):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(member) for member in value]
    return value


SUFFIXES: Final = (".yaml", ".yml")
_MERGED: Final = ("bounds", "consents", "registry", "stops", "transfer")


def _known(reason: Any) -> Any:
    # Before pydantic looks: it would list every reason of every group.
    if not isinstance(reason, str) or reason not in RANK:
        raise ValueError(f"no such reason{did_you_mean(str(reason), REASONS)}; docs/reference/rules.md lists them")
    return reason


KnownReason = Annotated[Reason, BeforeValidator(_known)]


def _named(expected: Any) -> Any:
    # Before pydantic counts: a case that expects nothing of anybody would hold whatever is decided.
    if isinstance(expected, Mapping) and not all(expected):
        raise ValueError("a partner's id must not be empty")
    if isinstance(expected, Mapping) and not expected:
        raise ValueError("must name a partner, as in {acme: {release: [email]}}")
    return expected


class RegistryObjects(Reviewed):
    """Objects of the registry by id, perhaps in part: what is missing comes from the defaults."""

    partners: Mapping[str, Mapping[str, Any] | None] | None = None
    notices: Mapping[str, Mapping[str, Any] | None] | None = None
    policy: Mapping[str, Any] | None = None


class Expectation(Reviewed):
    """What is expected for one partner."""

    release: tuple[Channel, ...] = ()
    quarantine: Mapping[Channel, tuple[KnownReason, ...]] = {}
    contact: Mapping[str, Any] | None = None
    attributes: Mapping[str, Any] | None = None
    obligations: Mapping[str, Any] | None = None


class WrittenBounds(Reviewed):
    """How much is kept of a prospect, where that is not what a worker keeps by default."""

    history_records: Annotated[int, Field(ge=1)] = BOUNDS.history_records
    state_bytes: Annotated[int, Field(ge=1)] = BOUNDS.state_bytes


class Defaults(Reviewed):
    """What every case of the file starts from."""

    at: When | None = None
    registry: RegistryObjects | None = None
    transfer: Mapping[str, Any] | None = None
    consents: tuple[Mapping[str, Any], ...] | None = None
    stops: tuple[WrittenStop, ...] | None = None
    bounds: WrittenBounds | None = None


class WrittenCase(Defaults):
    """A case as it stands in the file."""

    name: Annotated[str, Field(min_length=1)]
    exactly: Flag = False
    expect: Annotated[Mapping[str, Expectation], Field(min_length=1), BeforeValidator(_named)]


class WrittenFile(Reviewed):
    """A case file as it stands."""

    defaults: Defaults | None = None
    cases: tuple[WrittenCase, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One case, merged and ready to run; `transfer` and `consents` are the JSON that the worker would read.

    `received` is when each of the consents was received; `bounds` is how much is kept of them.
    """

    path: Path
    line: int
    name: str
    at: dt.datetime
    registry: Registry
    transfer: bytes
    consents: tuple[bytes, ...]
    received: tuple[dt.datetime, ...]
    stops: tuple[WrittenStop, ...]
    prospect: bytes | None
    expect: Mapping[str, Expectation]
    exactly: bool
    bounds: Bounds = BOUNDS


@dataclass(frozen=True, slots=True)
class CaseFile:
    """The cases of one file."""

    path: Path
    cases: tuple[Case, ...]


def read(paths: Sequence[Path], registry: Path | None = None) -> list[CaseFile]:
    """The case files among `paths`, which are files or folders to look through.

    What stands in the folder `registry` is under the defaults of every file, as the defaults are under its cases.

    Raises InvalidInput that names file, line and field of everything that is wrong; NothingMatched when there is no
    case.
    """
    under = {} if registry is None else {"registry": objects_in(registry)}
    problems: list[str] = []
    files: list[CaseFile] = []
    for path in _found(paths, problems):
        try:
            document = load(path)
        except InvalidFile as error:
            problems.append(str(error))
            continue
        cases, wrong = _cases(document, under)
        files.append(CaseFile(path, tuple(cases)))
        problems += wrong
    if problems:
        raise InvalidInput("\n".join(problems), do="correct the case files; docs/how-to/case-files.md has the format")
    if not any(file.cases for file in files):
        raise NothingMatched("no case found", do=f"name files or folders that hold cases ({', '.join(SUFFIXES)})")
    return files


def _found(paths: Iterable[Path], problems: list[str]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found |= dict.fromkeys(sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES))
        elif path.exists():
            found[path] = None
        else:
            problems.append(f"{path}: no such file or folder")
    return list(found)


def _cases(document: Document, under: Mapping[str, Any]) -> tuple[list[Case], list[str]]:
    written, wrong = parse_object(WrittenFile, document.value)
    if written is None:
        return [], [document.error(problem.path, problem.what) for problem in wrong]
    defaults = document.value.get("defaults") or {}
    registries = _Registries(document, defaults)
    beneath = merge(under, {name: defaults[name] for name in _MERGED if name in defaults})
    default_at = written.defaults.at if written.defaults else None
    cases: list[Case] = []
    problems: list[str] = []
    for index, case in enumerate(written.cases):
        try:
            at = case.at if "at" in document.value["cases"][index] else default_at
            cases.append(_case(document, index, case, at, beneath, registries))
        except _WrongCaseError as error:
            problems += error.problems
    return cases, list(dict.fromkeys(problems))


class _WrongCaseError(Exception):
    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def _case(
    document: Document,
    index: int,
    written: WrittenCase,
    at: dt.datetime | None,
    beneath: Mapping[str, Any],
    registries: "_Registries",
) -> Case:
    place: Steps = ("cases", index)
    own = document.value["cases"][index]
    whole = merge(beneath, {name: own[name] for name in _MERGED if name in own})
    missing = [name for name in ("registry", "transfer") if whole.get(name) is None]
    if at is None or missing:
        names = ", ".join(("at", *missing) if at is None else missing)
        raise _WrongCaseError(document.error(place, f"{names}: required, here or in the defaults"))
    transfer = without_nulls(whole["transfer"])
    prospect = transfer.get("prospect_id")
    stops = tuple(WrittenStop.model_validate(stop) for stop in whole.get("stops") or ())
    faults = [stop.fault() for stop in stops]
    if any(faults):
        wrong = [(number, what) for number, what in enumerate(faults) if what]
        raise _WrongCaseError(*(document.error((*place, "stops", number), what) for number, what in wrong))
    events = [dict(event) for event in without_nulls(whole.get("consents") or [])]
    received = tuple(
        _received(event.pop("received_at", at), document, (*place, "consents", number))
        for number, event in enumerate(events)
    )
    return Case(
        path=document.path,
        line=document.line_of(place),
        name=written.name,
        at=at,
        registry=registries.of(index, whole["registry"]),
        transfer=_json(transfer, document, (*place, "transfer")),
        consents=tuple(_json(event, document, (*place, "consents")) for event in events),
        received=received,
        stops=stops,
        prospect=prospect.encode() if isinstance(prospect, str) else None,
        expect=written.expect,
        exactly=written.exactly,
        bounds=Bounds(**WrittenBounds.model_validate(whole.get("bounds") or {}).model_dump()),
    )


def _received(value: Any, document: Document, place: Steps) -> dt.datetime:
    try:
        return TypeAdapter(When).validate_python(value)
    except ValidationError:
        what = "received_at: must be a date and time with an offset, such as 2026-09-01T00:00:00+02:00"
        raise _WrongCaseError(document.error(place, what)) from None


def _json(value: Any, document: Document, place: Steps) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, OverflowError, ValueError, UnicodeError):
        raise _WrongCaseError(document.error(place, "holds something that JSON can't carry")) from None


class _Registries:
    """The registries of one file; most cases share one, which is then parsed and compiled once."""

    def __init__(self, document: Document, defaults: Mapping[str, Any]) -> None:
        self._document = document
        self._defaults = defaults
        self._known: dict[bytes, Registry] = {}

    def of(self, index: int, objects: Mapping[str, Any]) -> Registry:
        """The registry of the case at `index`. Raises _WrongCaseError."""
        content = _json(objects, self._document, ("cases", index, "registry"))
        if content not in self._known:
            try:
                self._known[content] = registry_from_objects(without_nulls(objects))
            except InvalidRegistry as error:
                wrong = [(self._place(index, problem.path), problem.what) for problem in error.problems]
                raise _WrongCaseError(*(self._document.error(place, what) for place, what in wrong)) from None
        return self._known[content]

    def _place(self, index: int, path: Steps) -> Steps:
        """Where the object at `path` of a merged registry was written: in the case, or else in the defaults."""
        own = self._document.value["cases"][index].get("registry")
        if _depth(own, path) >= _depth(self._defaults.get("registry"), path):
            return ("cases", index, "registry", *path)
        return ("defaults", "registry", *path)


def _depth(value: Any, path: Steps) -> int:
    """How far `path` can be followed into `value`; -1 when there is nothing at all."""
    if value is None:
        return -1
    for depth, step in enumerate(path):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(path)
