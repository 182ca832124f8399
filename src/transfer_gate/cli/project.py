"""`transfer-gate schema`: the JSON Schemas and the AsyncAPI document of everything that goes in and out."""

from pathlib import Path

import click

from transfer_gate.cli.render import echo
from transfer_gate.errors import CheckFailed, InvalidInput
from transfer_gate.schemas.export import differences, exported


@click.group()
def schema() -> None:
    """Export the schemas of what goes in and out."""


@schema.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=Path("schemas"))
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing; exit 1 when the files in DIR differ from the code.",
)
def export(folder: Path, check: bool) -> None:
    """Write JSON Schemas (2020-12) and asyncapi.yaml into DIR (default: schemas); print the files' paths."""
    try:
        if check:
            if different := differences(folder):
                listed = "\n".join(f"  {line}" for line in different)
                raise CheckFailed(
                    f"{folder} is not what the code says:\n{listed}",
                    do=f"transfer-gate schema export {folder}",
                )
            echo(f"{folder}: {len(exported())} files, as the code says", err=True)
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in exported().items():
            (folder / name).write_bytes(content)
            echo(folder / name)
    except OSError as error:
        raise InvalidInput(
            f"{error.filename or folder}: {error.strerror}",
            do="give a folder that can be written",
        ) from None
