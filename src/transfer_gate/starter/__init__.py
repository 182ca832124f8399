"""The files of a new installation: a registry, case files, settings, compose and CI checks to start from.

`files/` holds them as they are written, but for two things: `dot-` in front of a name is a dot (so that no tool takes
them for its own here), and `{{version}}` in a text is the version of transfer-gate.
"""

from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from typing import Final

from transfer_gate import __version__
from transfer_gate.new_files import write_new

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
    """Write the files of a new installation below `folder`: see `write_new`."""
    texts = {folder / path: text for path, text in starter_files().items()}
    yield from write_new(texts, "name a folder without these files")


def _as_written(path: Path) -> PurePosixPath:
    return PurePosixPath(*("." + part.removeprefix(_DOT) if part.startswith(_DOT) else part for part in path.parts))
