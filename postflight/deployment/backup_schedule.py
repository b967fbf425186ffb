"""The schedule of a ScheduledBackup, as CloudNativePG reads it: with seconds first, unlike crontab.

Source: robfig/cron v1, ``Parse``, which CloudNativePG 1.27 parses it with: six fields, of which the last, the day of the
week, may be left out; so a crontab's five are taken for seconds, minutes, hours, days and months.
"""

from __future__ import annotations

import re

from postflight.deployment.schedule import DAYS, MONTHS, NAMED, numbers

EVERY = re.compile(r"@every (\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")
FIELDS = ("second", "minute", "hour", "day", "month", "weekday")
RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def unreadable(schedule: str) -> str:
    """Why CloudNativePG cannot read a schedule and so never runs it; "" where it can."""
    if schedule.startswith("@"):
        return "" if schedule in NAMED or EVERY.fullmatch(schedule) else f"{schedule} is no name of a schedule"
    fields = schedule.lower().split()
    if len(fields) not in (5, 6):
        return f"it has {len(fields)} fields, and CloudNativePG takes six, seconds first"
    for name, field, (first, last) in zip(FIELDS, fields, RANGES, strict=False):
        names = {"month": MONTHS, "weekday": DAYS}.get(name)
        try:
            numbers(field, first, last, names)
        except ValueError:
            return f"{field} is no {name} ({first} to {last})"
    return ""


def misread(schedule: str) -> str:
    """What CloudNativePG makes of a schedule with a crontab's five fields; "" where it has not five."""
    fields = schedule.split()
    if len(fields) != 5 or schedule.startswith("@"):
        return ""
    return ", ".join(f"{name} {field}" for name, field in zip(FIELDS, fields, strict=False))
