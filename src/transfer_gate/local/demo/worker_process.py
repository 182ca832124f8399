"""A worker as a process of its own, as in production, with its log in a file."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp

from transfer_gate.errors import GateError
from transfer_gate.settings import PREFIX, Settings

READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 12.0
_POLL_SECONDS: Final = 0.1


class WorkerProcess:
    """`transfer-gate worker` under the settings of the demo."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 before `start`."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start the process; `until_ready` waits for it."""
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "transfer_gate", "worker"),
                env=_environment(self._settings),
                cwd=self.log.parent,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is passed on by the demo, in order
            )

    async def until_ready(self) -> None:
        """Wait until every partition decides. Raises GateError when the process ends or takes too long."""
        url = f"http://{self._settings.metrics_host}:{self._settings.metrics_port}/readyz"
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while True:
                self.check()
                try:
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                if asyncio.get_running_loop().time() > deadline:
                    raise GateError(f"the worker was not ready after {READY_SECONDS:.0f} s", do=f"see {self.log}")
                await asyncio.sleep(_POLL_SECONDS)

    def check(self) -> None:
        """Raises GateError when the process has ended."""
        if self._process is not None and self._process.returncode is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            last = lines[-1] if lines else "(no output)"
            raise GateError(f"the worker ended with exit code {self._process.returncode}: {last}", do=f"see {self.log}")

    async def stop(self) -> None:
        """Let it finish its round, and end it by force when that takes too long."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def _environment(settings: Settings) -> Mapping[str, str]:
    """The environment of the demo, with the settings of the demo alone.

    Paths are absolute, because the worker runs in another folder, out of reach of a `.env` file.
    """
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    if "PYTHONPATH" in kept:
        kept["PYTHONPATH"] = os.pathsep.join(
            str(Path(part).absolute()) for part in kept["PYTHONPATH"].split(os.pathsep)
        )
    given = {
        f"{PREFIX}{name}".upper(): str(value.absolute() if isinstance(value, Path) else value)
        for name, value in settings.model_dump(exclude_none=True).items()
    }
    return kept | given
