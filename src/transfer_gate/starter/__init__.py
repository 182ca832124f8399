"""The files of a new installation: a registry, case files, settings, compose and CI checks to start from.

`files/` holds them as they are written, but for two things: `dot-` in front of a name is a dot (so that no tool takes
them for its own here), and `{{version}}` in a text is the version of transfer-gate.
"""

from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from typing import Final

from transfer_gate import __version__
from transfer_gate.errors import InvalidInput, RefusedByGuard

_DOT: Final = "dot-"
_VERSION: Final = "{{version}}"


def starter_files() -> dict[PurePosixPath, str]:
    """Content of every file of a new installation, by its path within the folder."""
    with as_file(files("transfer_gate.starter").joinpath("files")) as folder:
        return {
            _as_written(path.relative_to(folder)): path.read_text(encoding="utf-8").replace(_VERSION, __version__)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def lay_out(folder: Path) -> Iterator[Path]:
    """Write the files of a new installation below `folder`, and yield the path of each once it is written.

    Raises RefusedByGuard, before anything is written, where a file of the same name exists; InvalidInput where one
    can't be written.
    """
    wanted = {folder / path: text for path, text in starter_files().items()}
    there = [path for path in wanted if path.exists() or path.is_symlink()]
    if there:
        raise RefusedByGuard(
            f"would overwrite {', '.join(map(str, there))}", do="name a folder without these files; nothing was written"
        )
    for path, text in wanted.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise InvalidInput(f"{path}: can't be written: {error.strerror}", do="name another folder") from None
        yield path


def _as_written(path: Path) -> PurePosixPath:
    return PurePosixPath(*("." + part.removeprefix(_DOT) if part.startswith(_DOT) else part for part in path.parts))
