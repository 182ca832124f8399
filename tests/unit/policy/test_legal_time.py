"""Legal time: Paris days, calendar months, durations, working days, to the ends of the calendar."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.oracle import easter, is_working_day, plus_duration, plus_months
from transfer_gate.policy.legal_time import (
    FAR_FUTURE,
    FAR_PAST,
    add_duration,
    add_months,
    birthday,
    day_of,
    elapsed,
    is_days_before,
    is_days_behind,
    midnight,
    utc,
    within_duration,
    within_months,
    working_days_end,
)

_OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
_INSTANTS = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1), timezones=_OFFSETS)  # noqa: DTZ001
_ANY = st.datetimes(timezones=_OFFSETS)
_DATE = r"([0-9]{1,2}Y)?([0-9]{1,3}M)?([0-9]{1,3}W)?([0-9]{1,4}D)?"
_TIME = r"(T(?=[0-9])([0-9]{1,4}H)?([0-9]{1,4}M)?([0-9]{1,4}S)?)?"
_DURATIONS = st.from_regex(f"P(?=[0-9]){_DATE}{_TIME}", fullmatch=True)


def _at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2026-01-31T12:00:00+01:00", 1, "2026-02-28T12:00:00+01:00"),
        ("2024-01-31T12:00:00+01:00", 1, "2024-02-29T12:00:00+01:00"),
        ("2024-02-29T12:00:00+01:00", 12, "2025-02-28T12:00:00+01:00"),
        ("2024-02-29T12:00:00+01:00", 48, "2028-02-29T12:00:00+01:00"),
        ("2026-11-30T12:00:00+01:00", 1, "2026-12-30T12:00:00+01:00"),
        ("2026-12-15T12:00:00+01:00", 1, "2027-01-15T12:00:00+01:00"),
        ("2025-12-31T23:30:00Z", 2, "2026-02-28T23:30:00Z"),  # 1 January in Paris, so 1 March
        ("2026-09-25T02:30:00+02:00", 1, "2026-10-25T02:30:00+02:00"),  # occurs twice: the first
        ("2026-02-28T02:30:00+01:00", 13, "2027-03-28T03:30:00+02:00"),  # skipped: the offset before
        ("2025-10-26T02:30:00+01:00", 12, "2026-10-26T02:30:00+01:00"),  # from the second 02:30
        ("2026-10-25T02:30:00+01:00", 72, "2032-10-25T02:30:00+02:00"),  # summer time lasts longer that year
    ],
)
def test_months_are_added_on_the_clock_of_paris(start: str, months: int, end: str) -> None:
    assert add_months(_at(start), months) == _at(end)
    assert add_months(_at(start), months).tzinfo is dt.UTC
    assert within_months(_at(end) - dt.timedelta(microseconds=1), _at(start), months)
    assert not within_months(_at(end), _at(start), months)


@given(_INSTANTS, st.integers(1, 1200))
def test_months_agree_with_the_oracle(start: dt.datetime, months: int) -> None:
    assert add_months(start, months) == plus_months(start, months)


@given(_INSTANTS, _DURATIONS)
def test_durations_agree_with_the_oracle(start: dt.datetime, duration: str) -> None:
    assert add_duration(start, duration) == plus_duration(start, duration)


@given(_INSTANTS, st.integers(1, 60), st.timedeltas(dt.timedelta(days=-5), dt.timedelta(days=5)))
def test_being_within_months_is_being_before_their_end(start: dt.datetime, months: int, off: dt.timedelta) -> None:
    about = (add_months(start, months), *(start + dt.timedelta(days=days * months) for days in (30, 31)))
    for instant in (time + off for time in about):
        assert within_months(instant, start, months) == (instant < add_months(start, months))


@given(_INSTANTS, st.integers(1, 60), st.timedeltas(dt.timedelta(days=-400), dt.timedelta(days=2400)))
def test_being_within_months_is_the_same_whatever_the_offsets(
    start: dt.datetime, months: int, off: dt.timedelta
) -> None:
    for offset in (-23, -1, 0, 2, 23):
        instant = (start + off).astimezone(dt.timezone(dt.timedelta(hours=offset)))
        assert within_months(instant, start, months) == (instant < add_months(start, months))


@given(_INSTANTS, _DURATIONS, st.timedeltas(dt.timedelta(days=-5), dt.timedelta(days=5)))
def test_being_within_a_duration_is_being_before_its_end(start: dt.datetime, duration: str, off: dt.timedelta) -> None:
    instant = min(add_duration(start, duration), _at("9000-01-01T00:00:00Z")) + off
    assert within_duration(instant, start, duration) == (instant < add_duration(start, duration))


@given(_ANY, st.integers(0, 12 * 999_999))
def test_no_sum_raises_and_what_is_beyond_the_calendar_is_the_far_future(start: dt.datetime, months: int) -> None:
    end = add_months(start, months)
    assert FAR_PAST <= end <= FAR_FUTURE
    assert within_months(FAR_PAST, start, months) or start <= FAR_PAST
    assert elapsed(start, dt.timedelta(days=999_999_999)) == FAR_FUTURE
    assert add_duration(start, "P999999Y999999M999999W999999DT999999999H999999999M999999999S") == FAR_FUTURE
    assert dt.date.min <= day_of(start) <= dt.date.max


@pytest.mark.parametrize("text", ["", "P", "PT", "P1YT", "1Y", "P1", "P1Yx", "-P1Y", "P1.5Y", "PT1D"])
def test_what_is_no_duration_raises(text: str) -> None:
    with pytest.raises(ValueError, match="not an ISO 8601 duration"):
        add_duration(_at("2026-01-01T00:00:00Z"), text)


def test_utc_writes_what_it_cannot_write_as_the_nearest_it_can() -> None:
    assert utc(_at("2026-10-05T10:00:00+02:00")).isoformat() == "2026-10-05T08:00:00+00:00"
    assert utc(_at("0001-01-01T00:00:00+01:00")) == FAR_PAST
    assert utc(_at("9999-12-31T23:59:59-01:00")) == FAR_FUTURE


def test_a_day_begins_at_midnight_in_paris() -> None:
    assert midnight(dt.date(2026, 8, 11)) == _at("2026-08-10T22:00:00Z")
    assert midnight(dt.date(2026, 1, 5)) == _at("2026-01-04T23:00:00Z")
    assert day_of(_at("2026-08-10T22:00:00Z")) == dt.date(2026, 8, 11)
    assert day_of(_at("2026-08-10T21:59:59.999999Z")) == dt.date(2026, 8, 10)


def test_someone_born_on_29_february_has_birthday_on_28_february_in_common_years() -> None:
    assert birthday(dt.date(2008, 2, 29), 15) == dt.date(2023, 2, 28)
    assert birthday(dt.date(2008, 2, 29), 16) == dt.date(2024, 2, 29)
    assert birthday(dt.date(2011, 3, 10), 15) == dt.date(2026, 3, 10)
    assert birthday(dt.date(9990, 1, 1), 15) == dt.date.max
    assert birthday(dt.date(9984, 1, 1), 15) == dt.date(9999, 1, 1)


@given(st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2060, 1, 1), timezones=_OFFSETS))  # noqa: DTZ001
def test_working_days_are_monday_to_saturday_without_eleven_holidays(start: dt.datetime) -> None:
    end = working_days_end(start, 5)
    days = [day_of(start) + dt.timedelta(days=number) for number in range(1, 20)]
    worked = [day for day in days if is_working_day(day)]
    assert end == midnight(worked[4] + dt.timedelta(days=1))


def test_a_year_has_eleven_holidays() -> None:
    assert easter(2026) == dt.date(2026, 4, 5)
    year = [dt.date(2026, 1, 1) + dt.timedelta(days=number) for number in range(365)]
    assert sum(not is_working_day(day) and day.weekday() != 6 for day in year) == 10  # All Saints' is a Sunday


def test_working_days_end_with_the_calendar() -> None:
    assert working_days_end(_at("9999-12-31T00:00:00Z"), 5) == FAR_FUTURE
    assert working_days_end(_at("9999-12-25T00:00:00Z"), 5) == FAR_FUTURE


def test_surely_before_is_said_of_no_instant_that_is_not() -> None:
    """Two dates may be as far apart as the ends of their days, and those of the earth."""
    start = dt.datetime.fromisoformat("2026-01-01T00:00:00+14:00")
    instant = dt.datetime.fromisoformat("2026-01-02T23:59:59-12:00")
    assert instant - start > dt.timedelta(days=3)
    assert not is_days_before(instant, start, 3)
    assert is_days_before(instant, start, 4)


def test_surely_behind_is_said_of_no_instant_that_is_not() -> None:
    start = dt.datetime.fromisoformat("2026-01-01T23:59:59-12:00")
    instant = dt.datetime.fromisoformat("2026-01-04T00:00:00+14:00")
    assert instant - start < dt.timedelta(days=1)
    assert not is_days_behind(instant, start, 1)
    assert is_days_behind(instant, start, 0)


def test_the_last_day_of_the_calendar_has_no_morrow_in_paris() -> None:
    assert day_of(FAR_FUTURE) == dt.date.max
