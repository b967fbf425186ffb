"""Schedules, as far as they tell how long there is nothing between two rounds.

Sources: robfig/cron v3, ``ParseStandard``, which Kubernetes parses a CronJob's with: five fields, or a name for them;
robfig/cron v1.2, ``Parse``, which CloudNativePG 1.27 parses a ScheduledBackup's with: six fields, seconds first, of which
the last may be left out.
"""

from __future__ import annotations

import calendar
import re
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


def seconds_of(schedule: str) -> frozenset[int] | None:
    """The seconds of a minute in which a ScheduledBackup's schedule comes; None where it is not understood."""
    words = schedule.split()
    if schedule.strip().startswith("@"):
        return frozenset({0})
    try:
        return frozenset(numbers(words[0], 0, 59)) if len(words) in (5, 6) else None
    except ValueError:
        return None


def longest_gap_of_backups(schedule: str) -> timedelta | None:
    """The longest time between two rounds of a ScheduledBackup, leaving the seconds aside; None where its schedule is not
    understood, or never comes."""
    text = schedule.strip()
    if text.startswith("@every "):
        return _duration(text.removeprefix("@every ").strip())
    if text.startswith("@"):
        return longest_gap(text)
    fields = text.split()
    if len(fields) not in (5, 6) or seconds_of(text) is None:
        return None
    weekdays = fields[5] if len(fields) == 6 else "*"
    # That parser has no seventh day.
    return None if re.search(r"(^|[,-])7", weekdays) else longest_gap(" ".join([*fields[1:5], weekdays]))


def _duration(text: str) -> timedelta | None:
    """As Go writes one, to seconds: 1h30m."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not text or found is None:
        return None
    hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds) or None


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
