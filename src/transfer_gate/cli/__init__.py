"""The command `transfer-gate`: a module a command group, each imported only when it is called."""

import errno
import importlib
import sys
from typing import Final

import click
from click.shell_completion import CompletionItem

from transfer_gate import __version__, printable
from transfer_gate.errors import GateError

#: What writing to a full disk, or to a closed pipe, fails with.
_OUTPUT_FAILED: Final = (errno.ENOSPC, errno.EDQUOT, errno.EPIPE)

#: Command -> (module of this package that defines it under its name, its help in a line).
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("project", "Lay out a new installation: registry, cases, settings, CI checks."),
    "worker": ("services", "Decide transfers until it is stopped."),
    "topics": ("topics", "Create topics that are missing; bring them to more partitions."),
    "registry": ("registry", "Check and compare partners, notices and policy."),
    "partner": ("partner", "Set a new partner up, on rehearsal, with a kit for its developers."),
    "sample": ("sample", "Make transfers like real ones, about invented people."),
    "policy": ("policy", "Test the rules with case files; explain a decision."),
    "quarantine": ("quarantine", "List, explain, export, discard quarantined records."),
    "consent": ("consent", "Import and watch consent events, settle unreadable ones."),
    "ingest": ("services", "Take consent events of consent platforms, by webhook."),
    "key": ("key", "Make and rotate the master keys of quarantine."),
    "replay": ("replay", "Decide quarantined records again: plan, approve, run."),
    "verify": ("checks", "Prove that every record ended in exactly one place."),
    "audit": ("checks", "Check every released record against its evidence."),
    "doctor": ("checks", "Check broker, topics, registry, clock and versions."),
    "schema": ("project", "Export the schemas of what goes in and out."),
    "completion": ("project", "Print the script for completion in a shell."),
    "kafka": ("kafka", "Run a real single-node Apache Kafka for development."),
    "demo": ("demo", "Watch transfers flow through the gate, end to end."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used: `--help` stays fast and Faust stays out."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of a command; None when there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands that begin so, without importing them, and options of the program itself."""
        named = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands with their helps, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from transfer_gate.policy.written import is_compiled

    click.echo(f"transfer-gate, version {__version__} ({'compiled' if is_compiled() else 'interpreted'})")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version, and whether the decision is compiled.",
)
def cli() -> None:
    """Route prospects to partners only where the law lets them go.

    Settings come from the environment, prefix TRANSFER_GATE_. Exit codes: 0 ok, 1 failed check or internal error,
    2 usage or invalid input, 3 nothing matched, 4 partial failure, 5 refused by a guard, 6 broker unavailable,
    130 interrupted.
    """


def main() -> None:
    """Entry point: turns every error a user can cause into one message and its exit code."""
    try:
        code = cli(standalone_mode=False)  # click hands `Exit` back as a return value here
        sys.exit(code if isinstance(code, int) else 0)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2 if isinstance(error, click.UsageError) else error.exit_code)
    except GateError as error:
        click.echo(printable.lines(f"transfer-gate: {error}"), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _OUTPUT_FAILED:
            raise
        click.echo(f"transfer-gate: the output can't be written: {error.strerror}", err=True)
        sys.stdout = None  # else Python tries once more at its end, with a traceback
        sys.exit(GateError.exit_code)
