"""Write the files of a new partner: all of them, or none."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from transfer_gate.errors import InvalidInput, RefusedByGuard


def refuse_existing(paths: Mapping[Path, str]) -> None:
    """Raise RefusedByGuard where one of the files exists."""
    there = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if there:
        raise RefusedByGuard(
            f"would overwrite {', '.join(there)}", do="choose another id or --out; nothing was written"
        )


def write(paths: Mapping[Path, str]) -> Iterator[Path]:
    """Write each file and yield its path. Raises RefusedByGuard, InvalidInput where one can't be written."""
    refuse_existing(paths)
    for path, text in paths.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise InvalidInput(f"{path}: can't be written: {error.strerror}", do="name another folder") from None
        yield path
