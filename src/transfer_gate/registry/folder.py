"""A registry folder: which files it must and may hold, read whole, with everything that is wrong said at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from transfer_gate.errors import InvalidInput
from transfer_gate.model.registry import Notice, Partner, Policy, Registry
from transfer_gate.registry.checks import Finding, Problem, Severity, errors_in, warnings_in
from transfer_gate.registry.parse import KINDS, assemble, parse_named, parse_object
from transfer_gate.registry.yamlfile import Document, InvalidFile, did_you_mean, dotted, load

_YAML: Final = ".yaml"
_NEARLY: Final = (".yml", ".YAML", ".YML")


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything found in a folder; `registry` is there exactly when there is no error."""

    registry: Registry | None
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


def load_registry(folder: Path) -> Registry:
    """The registry in `folder`.

    Raises InvalidInput with a line `file:line: field: what is wrong` for everything that is wrong in the whole folder.
    """
    inspection = inspect(folder)
    if inspection.registry is None:
        listed = "\n".join(f"  {finding}" for finding in inspection.errors)
        raise InvalidInput(
            f"the registry {folder} is wrong:\n{listed}", do=f"fix it and run: transfer-gate registry check {folder}"
        )
    return inspection.registry


def inspect(folder: Path) -> Inspection:
    """Read and check everything in `folder`; warnings are looked for once there is no error.

    Raises InvalidInput when there is no such folder.
    """
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder}: no such folder", do="give the registry's folder, or set TRANSFER_GATE_REGISTRY to it"
        )
    try:
        reading = _Reading(folder)
        partners, notices, policy = reading.partners(), reading.notices(), reading.policy()
    except OSError as error:
        raise InvalidInput(f"{error.filename}: {error.strerror}", do="make the folder readable") from None
    reading.report("error", errors_in(partners, notices))
    if reading.errors or policy is None:
        return Inspection(None, tuple(sorted(reading.errors)), ())
    registry = assemble(partners, notices, policy)
    reading.report("warning", warnings_in(registry))
    return Inspection(registry, (), tuple(sorted(reading.warnings)))


def objects_in(folder: Path) -> dict[str, Any]:
    """What the files of a valid registry say, as plain objects: `partners` and `notices` by id, and `policy`.

    Raises InvalidInput like load_registry.
    """
    registry = load_registry(folder)
    objects: dict[str, Any] = {
        kind: {name: load(folder / kind / (name + _YAML)).value for name in names}
        for kind, names in (("partners", registry.partners), ("notices", registry.notices))
    }
    return objects | {"policy": load(folder / ("policy" + _YAML)).value}


class _Reading:
    """One pass over a folder: what was read so far, and what was wrong with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._documents: dict[tuple[str, ...], Document] = {}
        self.errors: list[Finding] = []
        self.warnings: list[Finding] = []
        self._strangers(folder, ("policy" + _YAML,), tuple(KINDS))

    def partners(self) -> dict[str, Partner]:
        return {name: found for name, found in self._named("partners") if isinstance(found, Partner)}

    def notices(self) -> dict[str, Notice]:
        return {name: found for name, found in self._named("notices") if isinstance(found, Notice)}

    def policy(self) -> Policy | None:
        path = self._folder / ("policy" + _YAML)
        if not path.exists():
            self._wrong(path, 1, "is missing; it must say at least: jurisdiction: FR and published_at")
            return None
        document = self._load(path, ("policy",))
        if document is None:
            return None
        policy, problems = parse_object(Policy, document.value)
        if policy is not None and policy.published_at is None:
            what = "is required: it orders revisions; write a time such as 2026-09-01T00:00:00+02:00"
            problems = [Problem(("published_at",), what)]
        self.report("error", [problem.under("policy") for problem in problems])
        return policy

    def report(self, severity: Severity, problems: list[Problem]) -> None:
        """Keep problems, whose paths start with the kind and the name of an object, under their file and line."""
        for problem in problems:
            depth = 1 if problem.path[0] == "policy" else 2
            document = self._documents[tuple(str(step) for step in problem.path[:depth])]
            inside = problem.path[depth:]
            finding = Finding(str(document.path), document.line_of(inside), dotted(inside), problem.what, severity)
            (self.errors if severity == "error" else self.warnings).append(finding)

    def _named(self, kind: str) -> Iterator[tuple[str, Partner | Notice | None]]:
        folder = self._folder / kind
        if not folder.is_dir():
            return
        self._strangers(folder, None, ())
        for path in sorted(folder.glob("*" + _YAML)):
            if path.name.startswith("."):
                continue
            document = self._load(path, (kind, path.stem))
            if document is None:
                continue
            found, problems = parse_named(kind, path.stem, document.value)
            self.report("error", [problem.under(kind, path.stem) for problem in problems])
            yield path.stem, found

    def _load(self, path: Path, key: tuple[str, ...]) -> Document | None:
        try:
            self._documents[key] = load(path)
        except InvalidFile as error:
            self._wrong(path, error.line, error.what)
        return self._documents.get(key)

    def _strangers(self, folder: Path, files: tuple[str, ...] | None, folders: tuple[str, ...]) -> None:
        """A file in the wrong place would be a partner or a safeguard that is never read: an error, not silence."""
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.name in folders:
                if not path.is_dir():
                    self._wrong(path, 1, "must be a folder")
            elif path.is_dir():
                if any(path.rglob("*" + _YAML)):
                    self._wrong(path, 1, f"no folder of a registry{did_you_mean(path.name, folders)}")
            elif path.suffix in _NEARLY:
                self._wrong(path, 1, f"is not read: the name of a registry file ends in {_YAML}")
            elif files is not None and path.suffix == _YAML and path.name not in files:
                self._wrong(
                    path, 1, f"is not read here; expected {', '.join(files)} and the folders {', '.join(folders)}"
                )

    def _wrong(self, path: Path, line: int, what: str) -> None:
        self.errors.append(Finding(str(path), line, "", what))
