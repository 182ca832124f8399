"""`transfer-gate init | schema | completion`: files and scripts to set an installation up with."""

from pathlib import Path
from typing import Final

import click
from click.shell_completion import get_completion_class

from transfer_gate.cli.options import PATH
from transfer_gate.cli.render import echo
from transfer_gate.errors import CheckFailed, InvalidInput
from transfer_gate.schemas.export import differences, exported
from transfer_gate.starter import lay_out

#: The name that click derives from the program's (its documentation, "Shell Completion").
_VARIABLE: Final = "_TRANSFER_GATE_COMPLETE"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Lay out a new installation in DIR: a registry with an invented partner, cases, settings, compose, CI checks.

    Prints the files that it writes. Exit 5 when one of them exists: nothing is overwritten.
    """
    for path in lay_out(folder):
        echo(path)
    echo(f"next: cd {folder}, read README.md, run: sh check.sh", err=True)


@click.group()
def schema() -> None:
    """Export the schemas of what goes in and out."""


@schema.command()
@click.argument("folder", metavar="[DIR]", type=PATH, default=Path("schemas"))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the files in DIR differ from the code.")
def export(folder: Path, check: bool) -> None:
    """Write JSON Schemas (2020-12) and asyncapi.yaml into DIR (default: schemas); print the files' paths."""
    try:
        if check:
            if different := differences(folder):
                listed = "\n".join(f"  {line}" for line in different)
                raise CheckFailed(
                    f"{folder} differs from the code:\n{listed}", do=f"transfer-gate schema export {folder}"
                )
            echo(f"{folder}: {len(exported())} files, as the code has them", err=True)
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in exported().items():
            (folder / name).write_bytes(content)
            echo(folder / name)
    except OSError as error:
        raise InvalidInput(
            f"{error.filename or folder}: {error.strerror}", do="give a folder that can be written"
        ) from None


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script with which SHELL completes `transfer-gate` on Tab.

    For bash (4.4 or newer), in ~/.bashrc: eval "$(transfer-gate completion bash)". For zsh likewise, in ~/.zshrc. For
    fish: transfer-gate completion fish > ~/.config/fish/completions/transfer-gate.fish.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise InvalidInput(f"click knows no completion for {shell}", do="install transfer-gate with its requirements")
    root = click.get_current_context().find_root().command
    for line in kind(root, {}, "transfer-gate", _VARIABLE).source().splitlines():
        echo(line)
