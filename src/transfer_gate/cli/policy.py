"""`transfer-gate policy`: test the rules with case files; explain a decision."""

from pathlib import Path

import click

from transfer_gate.cli.explain import explain
from transfer_gate.cli.render import echo
from transfer_gate.errors import CheckFailed, InvalidInput

_PATH = click.Path(path_type=Path)


@click.group()
def policy() -> None:
    """Test the rules with case files; explain a decision."""


@policy.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=_PATH)
@click.option(
    "--registry",
    metavar="DIR",
    type=_PATH,
    help="A registry folder under what the case files say: they then hold your own registry.",
)
@click.option("--junit", metavar="FILE", type=_PATH, help="Write the outcome as JUnit XML too.")
def test(paths: tuple[Path, ...], registry: Path | None, junit: Path | None) -> None:
    """Run the cases in the files and folders PATH... and say what differs.

    Exit 0 when all pass, 1 when one fails, 2 when a file is wrong, 3 when there is no case.
    """
    from transfer_gate import cases

    outcomes = [cases.run(case) for file in cases.read(paths, registry) for case in file.cases]
    for line in cases.lines(outcomes):
        echo(line)
    if junit is not None:
        try:
            junit.write_bytes(cases.junit(outcomes))
        except OSError as error:
            raise InvalidInput(f"{junit}: can't be written: {error.strerror}", do="name another file") from None
    if not all(outcome.passed for outcome in outcomes):
        raise click.exceptions.Exit(CheckFailed.exit_code)


policy.add_command(explain)
