"""One line of the report of `doctor`."""

from typing import Literal

from msgspec import Struct

Status = Literal["ok", "warn", "FAIL"]


class Finding(Struct, frozen=True):
    """What was looked at, how it is, what was found, and what to do (empty when nothing is to be done)."""

    check: str
    status: Status
    found: str
    do: str = ""
