"""How long a CronJob, or a ScheduledBackup, may be silent, by its schedule."""

from __future__ import annotations

from datetime import timedelta

import pytest

from postflight.deployment.schedule import longest_gap, longest_gap_of_backups, seconds_of


@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        ("* * * * *", timedelta(minutes=1)),
        ("*/15 * * * *", timedelta(minutes=15)),
        ("7,37 * * * *", timedelta(minutes=30)),
        ("0 */6 * * *", timedelta(hours=6)),
        ("0 8-18/2 * * *", timedelta(hours=14)),
        ("30 3 * * *", timedelta(days=1)),
        ("@daily", timedelta(days=1)),
        ("0 3 * * SUN", timedelta(days=7)),
        ("0 3 * * 7", timedelta(days=7)),
        ("0 3 * * mon-fri", timedelta(days=3)),
        ("0 0 1 * *", timedelta(days=31)),
        ("0 0 1 * 1", timedelta(days=7)),
        ("0 0 ? * 1", timedelta(days=7)),
    ],
)
def test_the_longest_time_between_two_rounds(schedule: str, gap: timedelta) -> None:
    assert longest_gap(schedule) == gap


@pytest.mark.parametrize(
    "schedule", ["", "hourly", "0 3 * *", "TZ=UTC 0 3 * * *", "0 25 * * *", "a * * * *", "*/0 * * * *", "0 0 31 2 *"]
)
def test_what_is_not_understood_tells_nothing(schedule: str) -> None:
    assert longest_gap(schedule) is None


@pytest.mark.parametrize(
    ("schedule", "gap", "seconds"),
    [
        ("0 0 2 * * *", timedelta(days=1), {0}),
        ("30 0 2 * * 0", timedelta(days=7), {30}),
        ("0 0 2 * *", timedelta(days=1), {0}),
        ("0 2 * * *", timedelta(hours=1), {0}),
        ("*/20 0 2 * * mon", timedelta(days=7), {0, 20, 40}),
        ("@weekly", timedelta(days=7), {0}),
        ("@every 1h30m", timedelta(minutes=90), {0}),
    ],
)
def test_of_backups_seconds_come_first_and_the_day_of_the_week_may_be_left_out(
    schedule: str, gap: timedelta, seconds: set[int]
) -> None:
    assert longest_gap_of_backups(schedule) == gap
    assert seconds_of(schedule) == seconds


@pytest.mark.parametrize(
    "schedule", ["", "0 2 * *", "0 0 2 * * 7", "99 0 2 * * *", "0 0 2 31 2 *", "@every x", "@never"]
)
def test_of_backups_too(schedule: str) -> None:
    assert longest_gap_of_backups(schedule) is None
