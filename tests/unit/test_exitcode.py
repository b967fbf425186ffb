"""The exit code: green is kept for runs that saw something and found it right."""

from __future__ import annotations

import pytest

from postflight.verdict.exitcode import NOTHING_RIGHT, WARNED_IS_RED, exit_code, unexplained
from postflight.verdict.record import CheckMeta, CheckResult
from postflight.verdict.status import Severity, Status


def results(*statuses: str) -> list[CheckResult]:
    return [CheckResult(CheckMeta(f"c{n}", "", "", Severity.MAJOR), Status(s)) for n, s in enumerate(statuses)]


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["passed"], 0),
        (["passed", "absent"], 0),
        (["warned"], 0),
        (["passed", "waived"], 0),
        (["passed", "failed"], 1),
        (["failed", "unknown"], 1),
        (["failed", "blocked"], 1),
        (["passed", "unknown"], 6),
        (["unknown"], 6),
        (["unknown", "waived", "absent"], 6),
        ([], 1),
        (["absent"], 1),
        (["waived", "absent"], 1),
    ],
)
def test_the_code_of_a_run(statuses: list[str], code: int) -> None:
    assert exit_code(results(*statuses)) == code


def test_trouble_is_red_whatever_the_checks_say() -> None:
    assert exit_code(results("passed"), ["waiver expired"]) == 1
    assert exit_code(results("unknown"), ["waiver expired"]) == 1


def test_warned_can_be_made_red() -> None:
    assert exit_code(results("passed", "warned"), fail_on="warned") == 1
    assert exit_code(results("passed", "warned"), fail_on="failed") == 0
    assert exit_code(results("passed", "waived"), fail_on="warned") == 0


def test_a_red_that_no_check_explains_is_explained() -> None:
    assert unexplained(results("absent"), (), 1) == NOTHING_RIGHT
    assert unexplained(results("passed", "warned"), (), 1) == WARNED_IS_RED
    assert unexplained(results("passed"), (), 2) == "the run ended with exit 2"
    assert unexplained(results("failed"), (), 1) == ""
    assert unexplained(results("absent"), ["trouble"], 1) == ""
    assert unexplained(results("passed"), (), 0) == ""
