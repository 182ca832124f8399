"""`transfer-gate completion`: the script by which a shell completes commands, options and files."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from transfer_gate.cli.render import echo
from transfer_gate.errors import InvalidInput

#: The name that click derives from the program's (its documentation, "Shell Completion").
_VARIABLE: Final = "_TRANSFER_GATE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script with which SHELL completes `transfer-gate` on Tab.

    For bash (4.4 or newer), in ~/.bashrc: eval "$(transfer-gate completion bash)". For zsh likewise, in ~/.zshrc. For
    fish: transfer-gate completion fish > ~/.config/fish/completions/transfer-gate.fish.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise InvalidInput(f"click knows no completion for {shell}", do="install click as the project says")
    root = click.get_current_context().find_root().command
    for line in kind(root, {}, "transfer-gate", _VARIABLE).source().splitlines():
        echo(line)
