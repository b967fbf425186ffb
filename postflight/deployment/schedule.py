"""The schedule of a CronJob, as far as it tells how long there is nothing between two rounds.

Source: robfig/cron v3, ``ParseStandard``, which Kubernetes parses it with: five fields, or a name for them.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import date, timedelta
from itertools import pairwise

NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
#: Sunday is 0, and 7 as well.
DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
#: Two years, one of them a leap year.
DATES = tuple(date(2024, 1, 1) + timedelta(days=each) for each in range(731))


def longest_gap(schedule: str) -> timedelta | None:
    """The longest time between two rounds; None where the schedule is not understood, or never comes."""
    fields = NAMED.get(schedule.strip(), schedule).lower().split()
    if len(fields) != 5:
        return None
    try:
        minutes, hours = numbers(fields[0], 0, 59), numbers(fields[1], 0, 23)
        days, months = numbers(fields[2], 1, 31), numbers(fields[3], 1, 12, MONTHS)
        weekdays = {each % 7 for each in numbers(fields[4], 0, 7, DAYS)}
    except ValueError:
        return None
    # Where both are restricted, either suffices.
    either = not any(each.startswith(("*", "?")) for each in (fields[2], fields[4]))
    times = sorted(60 * hour + minute for hour in hours for minute in minutes)
    dates = [
        each
        for each in DATES
        for by_day, by_weekday in [(each.day in days, each.isoweekday() % 7 in weekdays)]
        if each.month in months and (by_day or by_weekday if either else by_day and by_weekday)
    ]
    gaps = [timedelta(minutes=later - earlier) for earlier, later in pairwise(times)] if dates else []
    overnight = timedelta(minutes=times[-1] - times[0])
    gaps += [later - earlier - overnight for earlier, later in pairwise(dates)]
    return max(gaps, default=None)


def numbers(field: str, first: int, last: int, names: Mapping[str, int] | None = None) -> set[int]:
    """What a field allows. Raises ValueError where it is none."""
    known = names or {}

    def number(word: str) -> int:
        return known[word] if word in known else int(word)

    found: set[int] = set()
    for piece in field.split(","):
        span, _, step = piece.partition("/")
        low, _, high = span.partition("-")
        if span in ("*", "?"):
            begin, end = first, last
        else:
            begin = number(low)
            end = number(high) if high else last if step else begin
        if not first <= begin <= end <= last:
            raise ValueError(field)
        found |= set(range(begin, end + 1, int(step or 1)))
    return found
