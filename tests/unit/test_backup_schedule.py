"""What CloudNativePG makes of a schedule."""

from __future__ import annotations

import pytest

from postflight.deployment.backup_schedule import misread, unreadable


@pytest.mark.parametrize("schedule", ["0 0 2 * * *", "0 30 3 * * 0", "0 0 0 1 JAN ?", "*/30 * * * * *", "@daily"])
def test_six_fields_and_names_are_what_it_takes(schedule: str) -> None:
    assert (unreadable(schedule), misread(schedule)) == ("", "")


@pytest.mark.parametrize("schedule", ["@every 1h30m", "@every 1.5h"])
def test_intervals(schedule: str) -> None:
    assert (unreadable(schedule), misread(schedule)) == ("", "")


def test_five_fields_are_seconds_to_months() -> None:
    assert unreadable("0 2 * * *") == ""
    assert misread("0 2 * * *") == "second 0, minute 2, hour *, day *, month *"


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("", "it has 0 fields, and CloudNativePG takes six, seconds first"),
        ("0 2 * *", "it has 4 fields, and CloudNativePG takes six, seconds first"),
        ("0 0 25 * * *", "25 is no hour (0 to 23)"),
        ("30 3 * * 0", "0 is no month (1 to 12)"),
        ("0 0 2 * * 7", "7 is no weekday (0 to 6)"),
        ("0 0 two * * *", "two is no hour (0 to 23)"),
        ("@dayly", "@dayly is no name of a schedule"),
    ],
)
def test_what_it_cannot_read(schedule: str, why: str) -> None:
    assert unreadable(schedule) == why
