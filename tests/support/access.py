"""The rights of docs/reference/access.md, as data: what tests grant, and what deployment files are compared with."""

import re
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "access.md"

Kind = Literal["topic", "group", "transactional id", "cluster"]


class Right(NamedTuple):
    """One operation on one resource; `prefixed`: on every resource whose name begins with `name`."""

    kind: Kind
    name: str
    prefixed: bool
    operation: str


def documented(principal: str) -> set[Right]:
    """What the page gives to the principal of a section, or to one that a table names in its first column."""
    page = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^## [^\n]*`{re.escape(principal)}`\n(.*?)(?=^## |\Z)", page, flags=re.DOTALL | re.MULTILINE)
    if section is not None:
        rows = [_cells(line) for line in section[1].splitlines() if line.startswith("|")][2:]
    else:
        rows = [_cells(line)[1:] for line in page.splitlines() if line.startswith(f"| `{principal}` |")]
    assert rows, f"{PAGE.name} has no rights of {principal}"
    return {_right(row[0], row[1], operation.strip()) for row in rows for operation in row[2].split(",")}


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _right(kind: str, name: str, operation: str) -> Right:
    plain = name.strip("`")
    return Right(cast(Kind, kind), plain.removesuffix("*"), plain.endswith("*"), operation)
