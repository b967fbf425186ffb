"""The pytest side, run as a user runs it: options, phases, held reports, and no word where none is due."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests.unit import recorded
from tests.unit.loopback import RecordedApi, answering

pytest_plugins = ("pytester",)

ROOT = Path(__file__).parents[2]
HEAD = """
from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

COMMON = {"severity": Severity.MAJOR, "finding": "1.1", "remedy": "do what helps", "blind_spots": "much"}
"""
SEEN = """
@check("redis.memory", severity=Severity.MAJOR, finding="2.4", remedy="raise it", blind_spots="later growth")
def test_redis_holds_its_working_set(deployment: Deployment, judge: Judge) -> None:
    '''Keys that are evicted are lost.'''
    judge.saw("redis")
"""


ASKING = """
    import logging, httpx
    logging.getLogger("check").info("said by a check")
    answer = lambda request: httpx.Response(200)
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        client.get("http://livekit.test/rtc/validate?access_token=a-token-of-livekit")
"""


@pytest.fixture(autouse=True)
def alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, no other plugin, and our package from this checkout."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("HOME", str(pytester.path))
    monkeypatch.setenv("COLUMNS", "200")


def checks(pytester: pytest.Pytester, *bodies: str) -> None:
    folder = pytester.mkdir("checks")
    (folder / "test_generated.py").write_text(HEAD + "\n".join(bodies or (SEEN,)))


def run(pytester: pytest.Pytester, *arguments: str) -> tuple[int, str]:
    result = pytester.runpytest_subprocess("-p", "postflight.plugin", "-p", "no:cacheprovider", *arguments)
    text = "\n".join((*result.outlines, *result.errlines))
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    return int(result.ret), text


def error(pytester: pytest.Pytester, *arguments: str) -> str:
    """The one line that an option is refused with."""
    code, text = run(pytester, *arguments, "checks")
    assert code == 4, text
    lines = [line for line in text.splitlines() if line.startswith("ERROR:")]
    assert len(lines) == 1, text
    return lines[0].removeprefix("ERROR: ")


class TestOptions:
    def test_an_unknown_key_of_the_settings_is_named_with_its_place_and_the_nearest(
        self, pytester: pytest.Pytester
    ) -> None:
        checks(pytester)
        (pytester.path / "s.yaml").write_text("expct: [redis]\n")
        assert error(pytester, "--settings", "s.yaml") == "s.yaml:1: unknown key 'expct'; nearest is 'expect'"

    def test_a_file_that_is_not_there_is_named_with_its_option(self, pytester: pytest.Pytester) -> None:
        checks(pytester)
        assert error(pytester, "--waivers", "none.yaml") == "--waivers none.yaml: no such file"

    def test_an_account_that_cannot_be_read_is_named_before_anything_is_touched(
        self, pytester: pytest.Pytester
    ) -> None:
        checks(pytester)
        (pytester.path / "s.yaml").write_text("probe_user: {token_file: none}\n")
        line = error(pytester, "--settings", "s.yaml")
        assert line == "settings: probe_user: token_file: none: No such file or directory"

    def test_a_folder_that_takes_no_reports_is_named_before_anything_is_touched(
        self, pytester: pytest.Pytester
    ) -> None:
        checks(pytester)
        (pytester.path / "taken").write_text("a file")
        line = error(pytester, "--report-dir", "taken/reports")
        assert line == "taken/reports cannot take reports (Not a directory): name another by --report-dir"

    def test_an_unknown_id_is_named_with_the_nearest(self, pytester: pytest.Pytester) -> None:
        checks(pytester)
        line = error(pytester, "--explain", "redis.memry")
        assert line == "--explain redis.memry: no such check: do you mean redis.memory?"

    def test_many_processes_are_refused_with_the_reason(self, pytester: pytest.Pytester) -> None:
        """As xdist hands it over; xdist itself need not be there."""
        checks(pytester)
        (pytester.path / "conftest.py").write_text(
            "def pytest_addoption(parser): parser.addoption('--processes', dest='numprocesses')\n"
        )
        line = error(pytester, "--processes", "4")
        assert line.startswith("-n is refused: every worker would run every canary")

    def test_a_check_that_asks_for_request_is_refused(self, pytester: pytest.Pytester) -> None:
        checks(pytester, SEEN.replace("deployment: Deployment", "request"))
        line = error(pytester)
        assert line.endswith("a check states its needs by parameter name, not by request")


def test_listing_explaining_and_collecting_need_no_cluster(pytester: pytest.Pytester) -> None:
    checks(pytester)
    code, text = run(pytester, "--list-checks", "checks")
    assert code == 0
    assert re.search(r"^redis\.memory +2\.4 +major +redis holds its working set$", text, re.MULTILINE)
    code, text = run(pytester, "--explain", "redis.memory", "checks")
    assert code == 0
    assert "redis.memory: redis holds its working set\nseverity major, finding 2.4 of the review" in text
    assert "Keys that are evicted are lost." in text
    code, text = run(pytester, "--collect-only", "-q", "checks")
    assert code == 0
    assert "checks/test_generated.py::test_redis_holds_its_working_set" in text


def test_without_a_cluster_a_run_is_red_and_one_line_says_why(pytester: pytest.Pytester) -> None:
    checks(pytester)
    code, text = run(pytester, "--kubeconfig", "none.yaml", "checks")
    assert code == 1
    assert "UNKNOWN redis.memory  --kubeconfig none.yaml: no such file" in text
    assert text.count("no such file") == 1
    assert text.rstrip().splitlines()[-1] == "1 unknown   exit 1"
    record = json.loads((pytester.path / "reports" / "run.json").read_text())
    assert (record["exit"], record["trouble"]) == (1, ["--kubeconfig none.yaml: no such file"])


def test_a_run_that_is_told_to_end_ends_as_after_ctrl_c(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, signal, time
        def test_that_is_cut_short():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        """
    )
    code, text = run(pytester)
    assert code == 2
    assert "KeyboardInterrupt" in text


def test_another_projects_tests_run_unchanged(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_good(request): assert request
        def test_bad(): assert 1 == 2
        """
    )
    code, text = run(pytester)
    assert code == 1
    assert "1 failed, 1 passed" in text
    assert "assert 1 == 2" in text
    assert "postflight" not in text.partition("test session starts")[2]
    assert not (pytester.path / "reports").exists()


STATED = """
@check("a.passed", **COMMON)
def test_it_holds(deployment: Deployment, judge: Judge) -> None:
    '''Reasons.'''
    judge.saw(*(each.id for each in deployment.synapse))

@check("a.warned", **COMMON)
def test_it_holds_with_a_limit(deployment: Deployment, judge: Judge) -> None:
    '''Reasons.'''
    judge.warn("redis", "seen by a weaker way")

@check("a.blocked", **COMMON)
def test_it_is_up(deployment: Deployment, judge: Judge) -> None:
    '''Reasons.'''
    judge.unavailable("pod/matrix/synapse-main-0", "main is down")

@check("a.failed", **COMMON)
def test_it_is_right(deployment: Deployment, judge: Judge) -> None:
    '''Reasons.'''
    secret = deployment.database_uses[0].login.password.reveal()
    judge.wrong("postgresql/matrix/matrix-postgresql", f"{secret} is wrong", stops=("postgresql/matrix/matrix-postgresql",))

@check("a.absent", **COMMON)
def test_it_is_there(deployment: Deployment, judge: Judge) -> None:
    '''Reasons.'''
    judge.absent("nothing refers to it")

@check("a.nothing", **COMMON)
def test_nothing_is_looked_at(deployment: Deployment, judge: Judge) -> None:
    '''Reasons.'''

@check("a.right", **COMMON)
def test_a_right_is_missing(database_instances: object, judge: Judge) -> None:
    '''Reasons.'''
    judge.saw("never")

@check("a.safety", **COMMON)
def test_a_level_is_missing(redis_write: object, judge: Judge) -> None:
    '''Reasons.'''
    judge.saw("never")
"""
BROKEN = """
@check("a.broken", **COMMON)
def test_it_has_a_mistake(deployment: Deployment, judge: Judge) -> None:
    '''Reasons.'''
    judge.saw("x")
    raise KeyError("mistake")
"""
WAIVER = """
- {id: a.warned, subject: redis, owner: alice, reason: known, ticket: OPS-1, expires: 2099-01-01}
"""


@contextmanager
def up(pytester: pytest.Pytester, world: recorded.Recording) -> Iterator[str]:
    """A kubeconfig for a server that answers as a recorded lab's did."""
    with answering(RecordedApi(world.snapshot, secrets=world.secrets)) as (port, _):
        document = {
            "clusters": [{"name": "lab", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "lab", "user": {"token": "a-token-of-the-lab"}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
            "current-context": "lab",
        }
        (pytester.path / "kubeconfig").write_text(yaml.safe_dump(document))
        yield "kubeconfig"


@pytest.fixture
def lab(pytester: pytest.Pytester) -> Iterator[str]:
    with up(pytester, recorded.healthy()) as kubeconfig:
        yield kubeconfig


def test_every_report_says_the_same_of_every_check(pytester: pytest.Pytester, lab: str) -> None:
    checks(pytester, STATED)
    (pytester.path / "w.yaml").write_text(WAIVER)
    options = ("--kubeconfig", lab, "--safety", "read-only", "--waivers", "w.yaml", "--junitxml", "own.xml", "-v")
    code, text = run(pytester, *options, "checks")
    expected = {
        "a.passed": "passed",
        "a.warned": "waived",
        "a.blocked": "blocked",
        "a.failed": "failed",
        "a.absent": "absent",
        "a.nothing": "unknown",
        "a.right": "unknown",
        "a.safety": "absent",
    }
    assert code == 1
    record = json.loads((pytester.path / "reports" / "run.json").read_text())
    assert {each["id"]: each["status"] for each in record["checks"]} == expected
    own = {}
    for case in ElementTree.parse(pytester.path / "own.xml").iter("testcase"):
        said = {each.get("name"): each.get("value") for each in case.iter("property")}
        own[said["id"]] = said["status"]
        kinds = {child.tag for child in case} - {"properties", "system-out"}
        assert (
            kinds
            == {
                "passed": set(),
                "waived": {"skipped"},
                "blocked": {"skipped"},
                "absent": {"skipped"},
                "failed": {"failure"},
                "unknown": {"error"},
            }[str(said["status"])]
        )
        assert said["severity"] == "major"
        assert said["finding"] == "1.1"
        assert said.get("blocked_by") == ("a.failed" if said["id"] == "a.blocked" else None)
    assert own == expected
    for id, status in expected.items():
        name = next(line for line in STATED.split("@check(") if f'"{id}"' in line).split("def ")[1].partition("(")[0]
        assert re.search(rf"::{name} {status.upper()}", text), name
    assert "1 failed, 2 unknown, 1 blocked, 1 waived, 1 passed, 2 absent" in text
    assert "needs --safety canary" in text
    assert "no right: create pods/exec in namespace matrix" in text
    password = recorded.model().database_uses[0].login.password.reveal()
    written = [path.read_text() for path in (pytester.path / "reports").iterdir()]
    assert not any(password in each for each in (text, (pytester.path / "own.xml").read_text(), *written))
    assert "<a> is wrong" in text


def test_a_check_that_raises_is_the_verifiers_own_fault_and_red(pytester: pytest.Pytester, lab: str) -> None:
    checks(pytester, STATED.partition('@check("a.warned", **COMMON)')[0], BROKEN)
    code, text = run(pytester, "--kubeconfig", lab, "-k", "holds or mistake", "checks")
    assert code == 1
    line = "check a.broken crashed, the verifier's own fault: KeyError: 'mistake'"
    assert f"UNKNOWN a.broken  {line}" in text
    assert json.loads((pytester.path / "reports" / "run.json").read_text())["trouble"] == [line]
    assert "partial: -k" in text
    assert "1 unknown, 1 passed   exit 1" in text


def test_no_log_says_the_urls_that_are_asked(pytester: pytest.Pytester, lab: str) -> None:
    """Some hold a token, and the file of --log-file is opened before anything can redact it."""
    checks(pytester, SEEN + ASKING)
    code, text = run(pytester, "--kubeconfig", lab, "--log-cli-level=DEBUG", "--log-file=log", "checks")
    assert code == 0
    written = (pytester.path / "log").read_text()
    assert "said by a check" in written
    assert "access_token" not in text + written


class TestWhatIsNoCheckCannotTurnGreen:
    def test_a_module_of_checks_that_does_not_import_stops_the_run(self, pytester: pytest.Pytester, lab: str) -> None:
        checks(pytester)
        (pytester.path / "checks" / "test_broken.py").write_text("import nothing_like_this\n")
        result = pytester.runpytest_subprocess("-p", "postflight.plugin", "--kubeconfig", lab, "checks")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        text = "\n".join(result.outlines)
        assert "No module named 'nothing_like_this'" in text
        assert "passed" not in text

    def test_who_goes_on_all_the_same_is_told_and_red(self, pytester: pytest.Pytester, lab: str) -> None:
        checks(pytester)
        (pytester.path / "checks" / "test_broken.py").write_text("import nothing_like_this\n")
        result = pytester.runpytest_subprocess(
            *("-p", "postflight.plugin", "--kubeconfig", lab, "--continue-on-collection-errors", "checks")
        )
        assert result.ret == 1
        assert "TROUBLE 1 of the files did not import: their checks are not in this run" in "\n".join(result.outlines)

    def test_a_plain_test_that_fails_is_red_with_its_reason(self, pytester: pytest.Pytester, lab: str) -> None:
        checks(pytester, SEEN, "def test_plain(): assert 1 == 2\n")
        code, text = run(pytester, "--kubeconfig", lab, "checks")
        assert code == 1
        assert "TROUBLE checks/test_generated.py::test_plain, which is no check, failed: assert 1 == 2" in text
        assert "1 passed   exit 1" in text

    def test_a_file_that_was_left_out_makes_the_run_partial(self, pytester: pytest.Pytester, lab: str) -> None:
        checks(pytester)
        other = HEAD + SEEN.replace("redis.memory", "redis.other")
        (pytester.path / "checks" / "test_other.py").write_text(other)
        code, text = run(pytester, "--kubeconfig", lab, "--ignore=checks/test_other.py", "checks")
        assert code == 0
        assert "partial: 1 of 2 checks, without redis.other" in text
        assert "· partial" not in run(pytester, "--kubeconfig", lab, "checks")[1]


@pytest.mark.parametrize(
    ("options", "body", "counts"),
    [
        (("--waivers", "w.yaml"), SEEN, ("0", "1")),
        (("--fail-on", "warned"), SEEN.replace('judge.saw("redis")', 'judge.warn("redis", "weak")'), ("1", "0")),
    ],
    ids=["a waiver that expired", "warned is red"],
)
def test_a_red_that_belongs_to_no_check_is_in_pytests_own_junit_too(
    pytester: pytest.Pytester, lab: str, options: tuple[str, ...], body: str, counts: tuple[str, str]
) -> None:
    checks(pytester, body)
    (pytester.path / "w.yaml").write_text(
        "- {id: redis.memory, subject: x, owner: a, reason: b, ticket: c, expires: 2020-01-01}\n"
    )
    code, text = run(pytester, "--kubeconfig", lab, *options, "--junitxml", "own.xml", "checks")
    assert code == 1
    (own,) = ElementTree.parse(pytester.path / "own.xml").iter("testsuite")
    ours = ElementTree.parse(pytester.path / "reports" / "junit.xml").getroot()
    assert (own.get("failures"), own.get("errors")) == counts == (ours.get("failures"), ours.get("errors"))
    assert text.count("redis.memory: expired") + text.count("warned counts as failed") <= 1
