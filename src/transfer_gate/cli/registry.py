"""`transfer-gate registry`: check a registry folder; list in words what changed between two."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import click

from transfer_gate.cli.options import PATH, with_output
from transfer_gate.cli.render import echo, echo_json, show
from transfer_gate.registry import Change, Inspection, compare, inspect, load_registry
from transfer_gate.settings import load_settings


@click.group()
def registry() -> None:
    """Check and compare partners, notices and policy."""


@registry.command()
@click.argument("folder", metavar="[DIR]", required=False, type=PATH)
@click.option("--strict", is_flag=True, help="Exit 1 when there are warnings.")
@with_output
def check(folder: Path | None, strict: bool, output: str) -> None:
    """Check the registry in DIR (default: TRANSFER_GATE_REGISTRY) and print its revision.

    Errors are listed all at once, as file:line: field: what is wrong; then the exit code is 2. Warnings are doubts
    that a person should look at; they fail only with --strict, exit 1.
    """
    inspection = inspect(folder or load_settings().registry)
    if output == "json":
        echo_json(_as_json(inspection))
    else:
        for finding in (*inspection.errors, *inspection.warnings):
            echo(f"{finding.severity}: {finding}", err=True)
        echo(f"{_counted(inspection.errors, 'error')}, {_counted(inspection.warnings, 'warning')}", err=True)
        if inspection.registry:
            echo(inspection.registry.revision)
    if inspection.errors:
        raise click.exceptions.Exit(2)
    if strict and inspection.warnings:
        raise click.exceptions.Exit(1)


@registry.command()
@click.argument("before", metavar="A", type=PATH)
@click.argument("after", metavar="B", type=PATH)
@with_output
def diff(before: Path, after: Path, output: str) -> None:
    """List which partners, notices and inputs of the rules differ between the registries A and B.

    Exit 0 whether or not something changed; 2 when one of them is not a valid registry.
    """
    old, new = load_registry(before), load_registry(after)
    changes = compare(old, new)
    if output != "json":
        echo(f"{old.revision} -> {new.revision}", err=True)
    changed = [asdict(change) for change in changes]
    show(output, {"before": old.revision, "after": new.revision, "changes": changed}, _changes(changes))


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    if not changes:
        yield "nothing changed"
    for title, group in groupby(changes, key=lambda change: change.title):
        yield title
        yield from (f"  {_sentence(change)}" for change in group)


def _sentence(change: Change) -> str:
    return f"{change.text} [{', '.join(change.rules)}]" if change.rules else change.text


def _counted(found: tuple[object, ...], noun: str) -> str:
    return f"{len(found)} {noun}{'' if len(found) == 1 else 's'}"


def _as_json(inspection: Inspection) -> dict[str, object]:
    found = inspection.registry
    return {
        "revision": found.revision if found else None,
        "partners": sorted(found.partners) if found else [],
        "notices": sorted(found.notices) if found else [],
        "errors": [asdict(finding) for finding in inspection.errors],
        "warnings": [asdict(finding) for finding in inspection.warnings],
    }
