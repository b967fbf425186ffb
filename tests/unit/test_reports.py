"""Reports: the verdict as people read it, JSON that reads back, JUnit that Jenkins takes, no secrets."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postflight.reports import console, durations, junit, run_json, write_all
from postflight.secrets import Redactor
from postflight.verdict.blame import resolve
from postflight.verdict.exitcode import exit_code
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.record import (
    CheckMeta,
    CheckResult,
    Judged,
    ProbeTime,
    RunRecord,
    Scene,
    Statement,
    Waiver,
)
from postflight.verdict.status import Nature, Severity, Status
from postflight.verdict.waivers import Waivers

DEPENDS = {"clients": ("synapse-main",), "synapse-main": ("postgres",), "media": ("synapse-main",)}
SCENE = Scene("lab", ("matrix",), "Synapse 1.163.2, main + 12 workers", "canary", "tunnel")
PROBES = (
    ProbeTime("postgres_login", 0.8, 1.25, 2.05, "seen", ("deployment_files",)),
    ProbeTime("deployment_files", 0.1, 0.7, 0.8, "seen"),
    ProbeTime("redis_roles", 0.1, 4.0, 4.1, "no answer within 4 s"),
)


def said(id: str, judge: Judge, severity: Severity = Severity.MAJOR, finding: str = "") -> Statement:
    meta = CheckMeta(id, f"{id} holds", "it matters", severity, finding)
    return Statement(meta, tuple(judge.seen), tuple(judge.failures), judge.absence, 0.5)


def login() -> Judge:
    judge = Judge()
    judge.wrong(
        "synapse-main",
        "synapse-main cannot log in to matrix-postgresql-rw: password rejected",
        observed="SCRAM refused for role synapse, database matrix, as each of 13 processes would log in",
        expected="the password a process has in effect opens its database",
        cause="Secret synapse-secrets/DB_PASSWORD differs from matrix-postgresql-app/password (<a> is not <b>)",
        remedy="take the operator's password over into synapse-secrets, then restart the 13 processes:\n"
        "$ kubectl -n matrix get secret matrix-postgresql-app -o jsonpath='{.data.password}' and so on and on",
        evidence=("FATAL: password authentication failed", "\x1b[31mred\x00"),
        stops=("synapse-main",),
    )
    return judge


def down(subject: str) -> Judge:
    judge = Judge()
    judge.unavailable(subject, f"{subject} does not answer", stops=(subject,))
    return judge


def green(*subjects: str) -> Judge:
    judge = Judge()
    judge.saw(*subjects)
    return judge


def absent(reason: str) -> Judge:
    judge = Judge()
    judge.absent(reason)
    return judge


def unknown() -> Judge:
    judge = Judge()
    judge.unknown("redis-0", "no right to get pods/exec in namespace matrix", remedy="bind the role of deploy/rights")
    return judge


def warned() -> Judge:
    judge = Judge()
    judge.warn("synapse-main", "a single main process: every restart is an outage", remedy="accept it by a waiver")
    return judge


def waived() -> Judge:
    judge = Judge()
    judge.wrong("haproxy", "one proxy only")
    return judge


def record(*statements: Statement, waivers: Waivers | None = None, **changed: object) -> RunRecord:
    verdict = resolve(statements, DEPENDS, waivers)
    made = RunRecord(
        run_id="r1",
        version="0.1.0",
        started="2026-06-01T12:00:00+00:00",
        seconds=9.84,
        scene=SCENE,
        results=verdict.results,
        probes=PROBES,
        trouble=verdict.trouble,
        notes=(),
        partial="",
        exit_code=exit_code(verdict.results, verdict.trouble),
    )
    return dataclasses.replace(made, **changed)  # type: ignore[arg-type]  # checked by the dataclass


def full() -> RunRecord:
    return record(
        said("database.login", login(), Severity.CRITICAL, "1.1"),
        said("clients.journey", down("clients")),
        said("media.storage", down("media")),
        said("redis.replication", unknown()),
        said("availability.synapse_main", warned()),
        said("availability.front_door", waived()),
        said("routing.backends", green("backend synchrotron_workers")),
        said("media.antivirus", absent("nothing refers to a scanner")),
        waivers=Waivers(
            (
                Waiver(
                    "availability.front_door",
                    "haproxy",
                    "alice",
                    "second node in July",
                    "OPS-7",
                    "2099-07-31",
                ),
            ),
            ("waivers.yaml:9: entry 2 (redis.memory, redis): expired on 2026-05-01 (bob, OPS-3)",),
        ),
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


words = st.text(max_size=12)
many_words = st.lists(words, max_size=3).map(tuple)
waivers = st.builds(Waiver, *[words] * 6, st.integers(1, 9), words)
judgements = st.builds(
    Judged,
    st.builds(
        Failure,
        st.sampled_from(Status),
        st.sampled_from(Nature),
        *[words] * 6,
        many_words,
        many_words,
        many_words,
    ),
    st.sampled_from([Status.FAILED, Status.UNKNOWN, Status.BLOCKED, Status.WARNED, Status.WAIVED]),
    many_words,
    many_words,
    st.none() | waivers,
)
checks = st.builds(CheckMeta, words, words, words, st.sampled_from(Severity), words, words, words)
seconds = st.floats(0, 1e4)
results = st.builds(
    lambda check, status, judged, *rest: CheckResult(
        check,
        status if status not in (Status.FAILED, Status.UNKNOWN) else Status.PASSED,
        tuple(judged),
        *rest,
    ),
    checks,
    st.sampled_from(Status),
    st.lists(judgements, max_size=3),
    many_words,
    many_words,
    words,
    seconds,
)
records = st.builds(
    RunRecord,
    words,
    words,
    words,
    seconds,
    st.builds(Scene, words, many_words, words, words, words),
    st.lists(results, max_size=3).map(tuple),
    st.lists(st.builds(ProbeTime, words, seconds, seconds, seconds, words, many_words), max_size=3).map(tuple),
    many_words,
    many_words,
    words,
    st.sampled_from([0, 1, 6]),
)


class TestJson:
    def test_the_contract(self) -> None:
        data = run_json.to_dict(full())
        assert {"schema", "exit", "partial", "checks", "probes", "trouble", "scene"} <= set(data)
        login_ = data["checks"][0]
        assert {
            "id": "database.login",
            "status": "failed",
            "severity": "critical",
            "finding": "1.1",
            "reason": "",
            "blocked_by": [],
            "seconds": 0.5,
        }.items() <= login_.items()
        assert set(login_["failures"][0]) >= {
            *("status", "nature", "subject", "headline", "observed", "expected", "cause", "remedy"),
            *("evidence", "blocked_by"),
        }
        assert data["checks"][1]["blocked_by"] == ["database.login"]
        assert data["checks"][1]["failures"][0]["status"] == "blocked"
        assert data["checks"][5]["failures"][0]["waiver"]["owner"] == "alice"

    def test_it_reads_back(self) -> None:
        assert run_json.load(run_json.render(full())) == full()

    @settings(max_examples=60, deadline=None)
    @given(records)
    def test_any_record_reads_back(self, made: RunRecord) -> None:
        assert run_json.load(run_json.render(made)) == made

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99}', '{"schema": 1, "scene": 3}'])
    def test_what_is_no_record_is_refused(self, text: str) -> None:
        with pytest.raises(run_json.SchemaError):
            run_json.load(text)


#: The rules of junit-10.xsd for what is written: element, its attributes (required ones marked), its children.
XSD = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "hostname", "id", "package"},
        {"name", "tests", "failures", "errors"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, {"name", "value"}, set()),
    "testcase": (
        {"name", "time", "classname", "group"},
        {"name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"type", "message"}, set(), set()),
    "error": ({"type", "message"}, set(), set()),
    "skipped": ({"type", "message"}, set(), set()),
    "system-out": (set(), set(), set()),
}
TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")


def valid(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        allowed, required, children = XSD[element.tag]
        assert required <= set(element.keys()) <= allowed
        assert {child.tag for child in element} <= children
        if element.tag in ("testsuites", "testsuite"):
            assert TIME.fullmatch(element.get("time", ""))
    return root


class TestJunit:
    def test_it_says_what_the_verdict_says(self) -> None:
        root = valid(junit.render(full()))
        cases = {case.get("name"): case for case in root.iter("testcase")}
        outcomes = {name: [child.tag for child in case][:-1] for name, case in cases.items()}
        assert outcomes == {
            "database.login": ["failure"],
            "clients.journey": ["skipped"],
            "media.storage": ["skipped"],
            "redis.replication": ["error"],
            "availability.synapse_main": [],
            "availability.front_door": ["skipped"],
            "routing.backends": [],
            "media.antivirus": ["skipped"],
            "trouble.1": [],
        }
        assert cases["trouble.1"].find("error") is not None
        messages = {name: case[0].get("message") for name, case in cases.items() if case[0].tag != "system-out"}
        assert messages["database.login"] == ("synapse-main cannot log in to matrix-postgresql-rw: password rejected")
        assert messages["clients.journey"] == "blocked by database.login"
        assert messages["availability.front_door"] == "waived until 2099-07-31 by alice (OPS-7): second node in July"
        assert messages["media.antivirus"] == "absent: nothing refers to a scanner"
        suite = root[0]
        assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["9", "1", "2", "4"]

    def test_properties_stand_in_system_out(self) -> None:
        case = next(ElementTree.fromstring(junit.render(full())).iter("testcase"))
        said_ = (case.findtext("system-out") or "").splitlines()
        assert {"status=failed", "severity=critical", "finding=1.1"} <= set(said_)
        warned_case = list(ElementTree.fromstring(junit.render(full())).iter("testcase"))[4]
        assert "status=warned" in (warned_case.findtext("system-out") or "")

    def test_a_red_that_no_check_explains_is_a_failure_of_its_own(self) -> None:
        root = valid(junit.render(record(said("a.b", absent("no LI")))))
        assert root[0].get("failures") == "1"
        root = valid(junit.render(record(said("a.b", warned()), exit_code=1)))
        assert root[0].get("failures") == "1"

    @settings(max_examples=60, deadline=None)
    @given(records)
    def test_any_record_is_valid(self, made: RunRecord) -> None:
        root = valid(junit.render(made))
        red = int(root.get("failures", "0")) + int(root.get("errors", "0"))
        if made.exit_code:
            assert red


class TestWriting:
    def test_files_appear_whole_and_nothing_else_is_left(self, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "reports"
        paths = write_all(full(), folder, Redactor())
        assert sorted(folder.iterdir()) == sorted(paths)
        assert {path.name for path in paths} == {"verdict.txt", "run.json", "junit.xml"}
        assert (folder / "verdict.txt").read_text().startswith(VERDICT)
        assert run_json.load((folder / "run.json").read_text()) == full()
        valid((folder / "junit.xml").read_text())

    def test_a_failed_write_leaves_the_old_reports(self, tmp_path: Path) -> None:
        write_all(record(said("a.b", green("x"))), tmp_path, Redactor())
        before = {path.name: path.read_text() for path in tmp_path.iterdir()}
        broken = dataclasses.replace(full(), trouble=(3,))  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError):
            write_all(broken, tmp_path, Redactor())
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before

    @pytest.mark.parametrize(
        "secret",
        [
            "hunter2-hunter2",
            "has \"quotes\" & <tags> \\ 'n' spaces in a long, long phrase",
            "zwölf Boxkämpfer",
        ],
    )
    def test_no_secret_is_in_any_report(self, tmp_path: Path, secret: str) -> None:
        judge = Judge()
        judge.wrong(
            f"subject {secret}",
            f"{'x' * 70} {secret}",
            observed=secret,
            expected=repr(secret),
            cause=f"{secret} {secret}",
            remedy=f"$ login -p '{secret}'",
            evidence=(secret, f"postgres://u:{secret}@h"),
        )
        made = record(
            said("a.b", judge),
            said("a.c", absent(f"{secret} is absent")),
            trouble=(secret,),
            notes=(secret,),
            partial=secret,
            probes=(ProbeTime("p", 0, 1, 1, f"refused {secret}"),),
        )
        redactor = Redactor()
        redactor.register(secret)
        for path in write_all(made, tmp_path, redactor):
            text = path.read_text()
            assert redactor.redact(text) == text
            assert not [word for word in re.split(r"\W+", secret) if len(word) > 6 and word in text]
        valid((tmp_path / "junit.xml").read_text())
        assert run_json.load((tmp_path / "run.json").read_text()).notes == ("<a>",)
