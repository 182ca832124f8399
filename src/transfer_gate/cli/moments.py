"""Times as people give them on the command line: RFC 3339, or how long ago."""

import datetime as dt
import re
from typing import Final

from pydantic import TypeAdapter, ValidationError

from transfer_gate.errors import InvalidInput
from transfer_gate.model.reviewed import When

_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(option: str, text: str | None, now: dt.datetime) -> dt.datetime | None:
    """An aware time: `2026-09-01T10:00:00+02:00`, or `2h` for two hours before `now`. Raises InvalidInput."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        try:
            return now - dt.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            pass
    else:
        try:
            return TypeAdapter(When).validate_python(text)
        except ValidationError:
            pass
    raise InvalidInput(
        f"{option} {text}: not a time", do="write it as 2026-09-01T10:00:00+02:00, or as 30m, 2h, 3d, 1w ago"
    )
