"""What people write on the command line: times, rates."""

import datetime as dt
from typing import Final

import pytest
from click import BadParameter

from transfer_gate.cli.options import Rate, moment
from transfer_gate.errors import InvalidInput

NOW: Final = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - dt.timedelta(hours=2)),
        ("3d", NOW - dt.timedelta(days=3)),
        ("1w", NOW - dt.timedelta(weeks=1)),
        ("2026-11-24T12:00:00+02:00", NOW),
        (None, None),
    ],
)
def test_times_are_rfc_3339_or_ago(text: str | None, expected: dt.datetime | None) -> None:
    """Offsets count."""
    assert moment("--since", text, NOW) == expected


@pytest.mark.parametrize("text", ["", "2", "2x", "-2h", "2026-11-24", "2026-11-24T12:00:00", "999999w", "now"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    """A date without an offset is the classic mistake."""
    with pytest.raises(InvalidInput, match="--since"):
        moment("--since", text, NOW)


def test_a_time_without_a_now_is_rfc_3339_alone() -> None:
    with pytest.raises(InvalidInput, match="--at 2h: not a time"):
        moment("--at", "2h")


@pytest.mark.parametrize(("given", "a_second"), [("500/s", 500), ("6000/m", 100), ("50", 50), ("7200/h", 2)])
def test_rates_are_a_number_in_a_time(given: str, a_second: float) -> None:
    assert Rate().convert(given, None, None) == a_second
    for wrong in ("0/s", "-1", "many", "5/day", "nan", "inf/s"):
        with pytest.raises(BadParameter):
            Rate().convert(wrong, None, None)
