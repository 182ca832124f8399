"""Write files that must not be there yet: all of them, or none where one exists."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from transfer_gate.errors import InvalidInput, RefusedByGuard


def refuse_existing(paths: Iterable[Path], do: str) -> None:
    """Raise RefusedByGuard where one of the files exists; `do`: what the user can do instead."""
    there = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if there:
        raise RefusedByGuard(f"would overwrite {', '.join(there)}", do=f"{do}; nothing was written")


def write_new(texts: Mapping[Path, str], do: str) -> Iterator[Path]:
    """Write each file, and yield its path once it is written.

    Raises RefusedByGuard, before anything is written, where one exists (`do`: what the user can do instead);
    InvalidInput where one can't be written.
    """
    refuse_existing(texts, do)
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise InvalidInput(f"{path}: can't be written: {error.strerror}", do="name another folder") from None
        yield path
