"""JSON that reads back, JUnit that Jenkins takes, and files without secrets."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from postflight.reports import junit, run_json, write_all
from postflight.secrets import Redactor
from postflight.verdict.judge import Judge
from postflight.verdict.record import (
    ProbeTime,
    RunRecord,
)
from tests.unit.records import (
    absent,
    full,
    green,
    record,
    records,
    said,
    warned,
)
from tests.unit.test_reports import VERDICT


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
