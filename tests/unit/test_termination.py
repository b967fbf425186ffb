"""What a kubelet is told of a run: the first cause in one line, or that all is right."""

from __future__ import annotations

from postflight.reports import termination
from postflight.verdict.judge import Judge
from tests.unit.records import absent, full, green, record, said, unknown, warned


def test_the_first_cause_is_told_with_its_check() -> None:
    assert termination.render(full()) == (
        "FAILED database.login: synapse-main cannot log in to matrix-postgresql-rw: password rejected:"
        " Secret synapse-secrets/DB_PASSWORD differs from matrix-postgresql-app/password (<a> is not <b>)"
    )


def test_what_could_not_be_seen_is_told_where_nothing_failed() -> None:
    made = record(said("a.b", green("x")), said("a.c", unknown()))
    assert termination.render(made) == "UNKNOWN a.c: no right to get pods/exec in namespace matrix"


def test_a_red_of_no_check_is_told() -> None:
    assert termination.render(record(said("a.b", green("x")), trouble=("a waiver is stale",), exit_code=1)) == (
        "TROUBLE a waiver is stale"
    )
    assert (
        termination.render(record(said("a.b", absent("no LI")))) == "RED nothing passed: a run that saw nothing is red"
    )


def test_a_green_run_says_its_counts() -> None:
    made = record(said("a.b", green("x")), said("a.c", warned()), said("a.d", absent("no LI")))
    assert termination.render(made) == "1 warned, 1 passed, 1 absent"


def test_it_is_one_line_that_a_kubelet_keeps_whole() -> None:
    judge = Judge()
    judge.wrong("x", "ü" * 9000)
    text = termination.render(record(said("a.b", judge)))
    assert len(text.encode()) <= termination.LONGEST
    assert text.startswith("FAILED a.b: üü")
