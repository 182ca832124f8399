"""Legal time (rules.md 1.1): dates in Europe/Paris, calendar years and months, durations, working days.

Everything here is exact and total: a sum beyond the year 9999 is FAR_FUTURE, later than any deadline. Instants go in
with any offset and come out in UTC.
"""

import calendar
import datetime as dt
import re
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from holidays import country_holidays

PARIS: Final = ZoneInfo("Europe/Paris")
FAR_PAST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
FAR_FUTURE: Final = dt.datetime.max.replace(tzinfo=dt.UTC)

_DURATION: Final = re.compile(
    r"P(?=[0-9T])(?:(?P<years>[0-9]+)Y)?(?:(?P<months>[0-9]+)M)?(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+)S)?)?"
)


def utc(instant: dt.datetime) -> dt.datetime:
    """The same instant in UTC; one that UTC can't write (year 0 or 10000) becomes the nearest that it can."""
    if instant.tzinfo is dt.UTC:
        return instant
    try:
        return instant.astimezone(dt.UTC)
    except OverflowError:
        return FAR_PAST if instant.year == dt.MINYEAR else FAR_FUTURE


def midnight(day: dt.date) -> dt.datetime:
    """The instant at which a day begins in Paris: what every date of rules.md means."""
    return dt.datetime.combine(day, dt.time.min, PARIS).astimezone(dt.UTC)


def day_of(instant: dt.datetime) -> dt.date:
    """The day in Paris."""
    try:
        return utc(instant).astimezone(PARIS).date()
    except OverflowError:  # Paris has reached the year 10000 already
        return dt.date.max


def elapsed(instant: dt.datetime, duration: dt.timedelta) -> dt.datetime:
    """`instant` + `duration` (not negative) of elapsed time."""
    try:
        return instant + duration
    except OverflowError:
        return FAR_FUTURE


def add_months(instant: dt.datetime, months: int) -> dt.datetime:
    """`instant` + calendar months (not negative) on the Paris clock, clamped to the last day of the month.

    A clock time that occurs twice is its first occurrence; one that is skipped is read with the offset before the
    change.
    """
    try:
        wall = utc(instant).astimezone(PARIS)
        year, month = divmod(wall.year * 12 + wall.month - 1 + months, 12)
        day = min(wall.day, calendar.monthrange(year, month + 1)[1])
        # PEP 495: fold=0 is the first of two occurrences, and in a gap the offset before it.
        return wall.replace(year=year, month=month + 1, day=day, fold=0).astimezone(dt.UTC)
    except (OverflowError, ValueError):
        return FAR_FUTURE


def add_years(instant: dt.datetime, years: int) -> dt.datetime:
    """`instant` + calendar years on the Paris clock; 29 February + 1 year is 28 February."""
    return add_months(instant, 12 * years)


def add_duration(instant: dt.datetime, duration: str) -> dt.datetime:
    """`instant` + an ISO 8601 duration: its years and months on the Paris clock, then the rest as elapsed time.

    Raises ValueError when the text is no duration.
    """
    months, rest = _parsed(duration)
    return elapsed(add_months(instant, months) if months else utc(instant), rest)


def within_months(instant: dt.datetime, start: dt.datetime, months: int) -> bool:
    """Whether `instant` is before `start` + calendar months; most answers need no calendar."""
    if is_days_before(instant, start, _least_days(months)):
        return True
    return not is_days_behind(instant, start, _most_days(months)) and instant < add_months(start, months)


def within_duration(instant: dt.datetime, start: dt.datetime, duration: str) -> bool:
    """Whether `instant` is before `start` + an ISO 8601 duration. Raises ValueError when the text is no duration."""
    least = _least_days(_parsed(duration)[0])
    return is_days_before(instant, start, least) or instant < add_duration(start, duration)


def is_within_months(duration: str, months: int) -> bool:
    """Whether an ISO 8601 duration is of so many calendar months or fewer, and of nothing else: then it ends no later
    than these, from whatever instant. False leaves it open.
    """
    found, rest = _parsed(duration)
    return found <= months and not rest


def is_days_before(instant: dt.datetime, start: dt.datetime, days: int) -> bool:
    """Whether `instant` is surely before `start` + `days` of 24 hours; False leaves it open.

    Much quicker than the comparison of instants with different offsets, which it often spares.
    """
    # Each date may be a day off the one in UTC, and a day has hours.
    return instant.toordinal() - start.toordinal() < days - 2


def is_days_behind(instant: dt.datetime, start: dt.datetime, days: int) -> bool:
    """Whether `instant` is surely not before `start` + `days` of 24 hours; False leaves it open. As quick."""
    return instant.toordinal() - start.toordinal() > days + 2


def _least_days(months: int) -> int:
    # m months are never shorter than 30 m - 2 days (31 January to 28 February); a change of clocks is less than a day.
    return 30 * months - 3


def _most_days(months: int) -> int:
    # Nor longer than 31 m days, and a change of clocks.
    return 31 * months + 1


@lru_cache(maxsize=1024)
def _parsed(duration: str) -> tuple[int, dt.timedelta]:
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError("not an ISO 8601 duration")
    units = {name: int(value) for name, value in match.groupdict(default="0").items()}
    months = 12 * units.pop("years") + units.pop("months")
    return months, dt.timedelta(**units)


def birthday(birth_date: dt.date, age: int) -> dt.date:
    """The day on which that age is reached; for a person born on 29 February, 28 February in common years."""
    year = birth_date.year + age
    if year > dt.MAXYEAR:
        return dt.date.max
    return birth_date.replace(year=year, day=min(birth_date.day, calendar.monthrange(year, birth_date.month)[1]))


def working_days_end(instant: dt.datetime, count: int) -> dt.datetime:
    """The midnight that ends the `count`-th working day (*jour ouvrable*: Monday to Saturday) after the day of
    `instant`."""
    day = day_of(instant)
    while count:
        if day == dt.date.max:
            return FAR_FUTURE
        day += dt.timedelta(days=1)
        count -= day.weekday() != calendar.SUNDAY and day not in _public_holidays(day.year)
    return midnight(day + dt.timedelta(days=1)) if day < dt.date.max else FAR_FUTURE


# French law of today. The library knows no holidays after 2100; that can only end a call-back sooner.
@lru_cache(maxsize=64)
def _public_holidays(year: int) -> frozenset[dt.date]:
    return frozenset(country_holidays("FR", years=year))
