"""The verdict as people read it, and where the time went."""

from __future__ import annotations

import re

import pytest

from postflight.reports import console, durations
from postflight.verdict.judge import Judge
from postflight.verdict.record import (
    ProbeTime,
)
from postflight.verdict.status import Severity
from tests.unit.records import (
    PROBES,
    absent,
    down,
    full,
    green,
    record,
    said,
)

VERDICT = """\
postflight · cluster lab · namespace matrix · Synapse 1.163.2, main + 12 workers · 8 checks · 9.8 s

FAILED  database.login  synapse-main cannot log in to matrix-postgresql-rw: password rejected
  observed  SCRAM refused for role synapse, database matrix, as each of 13 processes would log in
  expected  the password a process has in effect opens its database
  cause     Secret synapse-secrets/DB_PASSWORD differs from matrix-postgresql-app/password (<a> is
            not <b>)
  remedy    take the operator's password over into synapse-secrets, then restart the 13 processes:
            $ kubectl -n matrix get secret matrix-postgresql-app -o jsonpath='{.data.password}' and so on and on
  blocks    2: clients.journey, media.storage

UNKNOWN redis.replication  no right to get pods/exec in namespace matrix
  remedy    bind the role of deploy/rights

WARNED  availability.synapse_main  a single main process: every restart is an outage
  remedy    accept it by a waiver
WAIVED  availability.front_door  haproxy until 2099-07-31 by alice (OPS-7): second node in July
TROUBLE waivers.yaml:9: entry 2 (redis.memory, redis): expired on 2026-05-01 (bob, OPS-3)

1 failed, 1 unknown, 2 blocked, 1 waived, 1 warned, 1 passed, 1 absent (media.antivirus: nothing
refers to a scanner)   exit 1
"""


class TestConsole:
    def test_the_verdict(self) -> None:
        assert console.render(full()) == VERDICT

    def test_a_green_run_is_two_lines(self) -> None:
        assert console.render(record(said("a.b", green("x")))) == (
            "postflight · cluster lab · namespace matrix · Synapse 1.163.2, main + 12 workers · 1 check · 9.8 s\n"
            "\n"
            "1 passed   exit 0\n"
        )

    def test_a_partial_run_says_so(self) -> None:
        assert "· partial: -k redis\n" in console.render(record(said("a.b", green("x")), partial="-k redis"), 200)

    def test_red_for_nothing_seen_is_explained(self) -> None:
        text = console.render(record(said("a.b", absent("no LI"))))
        assert "RED     nothing passed: a run that saw nothing is red" in text
        assert console.render(record()).endswith("no check ran   exit 1\n")

    def test_failures_with_one_cause_are_one_block(self) -> None:
        judge = Judge()
        for subject in ("w1", "w2", "w3"):
            judge.wrong(subject, f"{subject} is lost", observed=subject, cause="no instance_map")
        judge.wrong("w4", "w4 is twice")
        text = console.render(record(said("a.b", judge)))
        assert text.count("FAILED  a.b") == 2
        assert "  also      2: w2, w3\n" in text

    def test_long_lists_end_where_the_line_does(self) -> None:
        statements = [said("p", down("postgres"))]
        statements += [said(f"clients.journey_{n:02}", down("clients")) for n in range(20)]
        line = next(li for li in console.render(record(*statements)).splitlines() if "blocks" in li)
        assert line.startswith("  blocks    20: clients.journey_00, clients.journey_01, ")
        assert line.endswith(", ...")
        assert len(line) <= console.WIDTH

    def test_the_worst_comes_first(self) -> None:
        def bad(subject: str) -> Judge:
            judge = Judge()
            judge.wrong(subject, "bad")
            return judge

        text = console.render(
            record(
                said("a", bad("x"), Severity.MINOR),
                said("b", bad("y"), Severity.CRITICAL),
                said("c", down("postgres"), Severity.MAJOR),
                said("d", down("clients")),
                said("e", bad("z"), Severity.MAJOR),
            )
        )
        assert re.findall(r"FAILED  (\w)", text) == ["b", "c", "e", "a"]

    def test_blocked_parts_of_a_failed_check_are_told(self) -> None:
        judge = down("clients")
        judge.wrong("x", "x is wrong")
        text = console.render(record(said("p", down("postgres")), said("c", judge)))
        assert "BLOCKED c  clients blocked by p" in text

    def test_one_check(self) -> None:
        results = full().results
        assert console.check(results[0]).splitlines()[0].startswith("FAILED  database.login  synapse-main cannot")
        assert console.check(results[0]).endswith("blocks    2: clients.journey, media.storage")
        assert console.check(results[6]) == ""

    def test_a_terminal_is_safe_from_what_a_pod_logged(self) -> None:
        judge = Judge()
        judge.wrong("x", "\x1b[2Jgone\x07", observed="a\x00b\nc")
        assert "\x1b" not in console.render(record(said("a", judge)))

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_it_keeps_to_its_width_but_for_commands(self, width: int) -> None:
        long = [line for line in console.render(full(), width).splitlines() if len(line) > width]
        assert all("$ kubectl" in line for line in long)


class TestDurations:
    def test_the_table_and_the_slowest_chain(self) -> None:
        assert durations.render(full()) == (
            "probe              began    took   chain  outcome\n"
            "redis_roles         0.10    4.00    4.10  no answer within 4 s\n"
            "postgres_login      0.80    1.25    2.05  seen\n"
            "deployment_files    0.10    0.70    0.80  seen\n"
            "\n"
            "slowest chain 4.10 s: redis_roles 4.00\n"
        )

    def test_the_chain_is_led_back_through_its_inputs(self) -> None:
        assert [probe.name for probe in durations.slowest_chain(PROBES[:2])] == [
            "deployment_files",
            "postgres_login",
        ]

    def test_without_probes_there_is_nothing_to_say(self) -> None:
        assert durations.render(record(probes=())) == ""
        assert durations.slowest_chain(()) == ()

    def test_inputs_in_a_circle_end(self) -> None:
        circle = (ProbeTime("a", 0, 1, 1, "seen", ("b",)), ProbeTime("b", 0, 1, 1, "seen", ("a",)))
        assert len(durations.slowest_chain(circle)) == 2
