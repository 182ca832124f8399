"""The command line in the process of the test: what it prints, and its exit code."""

import pytest

from transfer_gate.cli import main


class CommandLine:
    """Calls `transfer-gate` with some arguments in front."""

    def __init__(self, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str], *first: object) -> None:
        self._patch = patch
        self._captured = captured
        self._first = first

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self._patch.setattr("sys.argv", ["transfer-gate", *map(str, (*self._first, *arguments))])
        with pytest.raises(SystemExit) as stop:
            main()
        said = self._captured.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, said.out, said.err
