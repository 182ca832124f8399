"""Shows a download on stderr: a bar on a terminal, plain lines elsewhere, nothing when nothing is downloaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from transfer_gate.local import jars

#: A line every so many percent where there is no terminal.
_STEP: Final = 20


@contextmanager
def shown_download(what: str = "downloading Apache Kafka (once)") -> Iterator[jars.Progress]:
    """A `progress` for LocalKafka that people can follow."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        bar = Progress(*columns, console=console)
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.start()
            bar.update(task, completed=done, total=total)

        try:
            yield advance
        finally:
            bar.stop()
        return

    shown = -1

    def report(done: int, total: int) -> None:
        nonlocal shown
        step = done * 100 // total // _STEP if total else 0
        if step > shown:
            shown = step
            console.print(f"{what}: {done / 1e6:.0f} of {total / 1e6:.0f} MB", highlight=False)

    yield report
