"""What the check of logs says of lines that are known to be bad, of others, and of those that nobody could read."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from postflight.deployment.federation import SENDING
from postflight.deployment.known_bad import TABLE, KnownBad
from postflight.deployment.known_harmless import HARMLESS, Harmless
from postflight.deployment.log_lines import Level, Record
from postflight.deployment.log_meaning import harmless, known, provoked, strange, wanted
from postflight.deployment.parts import Side
from postflight.probes.logs import ProcessLog
from postflight.session import all_ids
from postflight.verdict.blame import resolve
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.record import CheckMeta, Statement
from postflight.verdict.status import Nature, Severity, Status
from tests.unit import storing
from tests.unit.observations import MODEL, ask, only
from tests.unit.processes import BEGAN, logs
from tests.unit.test_registry import CHECKS

CHECK = "workers.logs"
MAIN = next(each for each in MODEL.synapse if each.is_main and each.side is Side.MAIN)
WORKERS = [each for each in MODEL.synapse if not each.is_main]
PROCESS = "Background process 'update_client_ips' threw an exception"
REFUSED = "Failed handle request via 'Replication{}RestServlet': <SynapseRequest at 0x7f method='POST' uri='/x'>"
#: A record as upstream logs it, by the row of the table that it must fit.
LINES = {
    "wrong persister": f"{REFUSED.format('SendEvents')}\nTraceback (most recent call last):\nAssertionError",
    "unmapped instance": f"{REFUSED.format('X')}\nException: Instance 'two' not in 'instance_map' config",
    "replication secret": f"{REFUSED.format('X')}\nRuntimeError: Invalid Authorization header.",
    "wrong sender": "Trying to start a transaction to one.test on wrong worker",
    "sender without a position": "Error updating federation stream position\nsynapse.api.errors.StoreError: 404: No row found",
    "unknown stream": "Got RDATA for unknown stream: thread_subscriptions",
    "foreign words in Redis": "Failed to parse replication line: 'hello'",
    "replica written to": f"{PROCESS}\ntxredisapi.ResponseError: READONLY You can't write against a read only replica.",
    "Redis password": "Background process 'subscribe-replication' threw an exception\n"
    "txredisapi.ResponseError: NOAUTH Authentication required.",
    "table refused": f"{PROCESS}\npsycopg2.errors.InsufficientPrivilege: permission denied for table user_ips\n",
    "schema": f'{PROCESS}\npsycopg2.errors.UndefinedTable: relation "events" does not exist',
    "duplicate key": f'{PROCESS}\npsycopg2.errors.UniqueViolation: duplicate key value violates unique constraint "one"',
    "corruption": f"{PROCESS}\npsycopg2.errors.DataCorrupted: invalid page in block 3 of relation base/1/2",
    "disk full": '[TXN OPERROR] {update_presence-c569} could not extend file "base/2/8": No space left on device 2/5',
    "no connection slot": f"{PROCESS}\npsycopg2.OperationalError: connection failed: FATAL:  sorry, too many clients already",
    "read-only database": f"{PROCESS}\npsycopg2.errors.ReadOnlySqlTransaction: cannot execute nextval() in a read-only"
    " transaction",
    "transaction given up": "[TXN DEADLOCK] {store_room-1f} 5/5",
    "background update": "Error doing update: 'populate_what_never_was'\nKeyError: 'populate_what_never_was'",
    "media not stored": "Error storing file\nboto3.exceptions.S3UploadFailedError: Failed to upload /data/x to media/x",
    "open files": "Could not accept new connection (EMFILE)",
    "module": "Failed to run module API callback <function f at 0x7f>: no answer",
    "request for main": "Failed handle request via 'X'\nAttributeError: 'GenericWorkerStore' object has no attribute 'get'",
}
NORMAL = (
    "[TXN DEADLOCK] {store_room-1f} 1/5",
    "[TXN OPERROR] {persist} could not serialize access due to concurrent update\n 1/5",
    'IntegrityError when upserting into devices; retrying: duplicate key value violates unique constraint "one"',
    "Timed out waiting for repl stream 'events' to reach 7 (main); currently at: 6",
)
#: An error as upstream logs it, by the row of the harmless ones that it must fit.
PASSES = {
    "metrics that change while they are read": "Traceback (most recent call last):\n"
    '  File "/x/prometheus_client/registry.py", line 97, in collect\n    yield from collector.collect()\n'
    "RuntimeError: dictionary changed size during iteration",
    "database connection": f"{PROCESS}\npsycopg2.OperationalError: server closed the connection unexpectedly",
    "others in the way": f"{PROCESS}\npsycopg2.errors.SerializationFailure: could not serialize access",
    "Redis connection": "Background process 'subscribe-replication' threw an exception\n"
    "txredisapi.ConnectionError: Lost connection",
    "lost subscriber": "Failed to write command POSITION to connection <RedisSubscriber>\nValueError: x",
    "process not there": f"{PROCESS}\nsynapse.api.errors.SynapseError: 502: Failed to talk to main process",
    "cut in the background": f"{PROCESS}\ntwisted.internet.error.ConnectionRefusedError: Connection was refused",
    "homeserver out of reach": "TX [one.test] Failed to send transaction\n"
    "twisted.web._newclient.ResponseNeverReceived: [<Failure twisted.internet.error.ConnectionLost>]",
    "keys of another homeserver": "Error getting keys from one.test\nValueError: Expecting value: line 1",
    "certificate of another homeserver": "Error during info_callback\n"
    "service_identity.exceptions.VerificationError: VerificationError(errors=[DNSMismatch()])",
    "no homeserver's name": "Invalid destination: a b.\nValueError: invalid",
    "cut within Twisted": "Unhandled Error\nTraceback\nOpenSSL.SSL.Error: [('SSL routines', '', 'http request')]",
    "file whose reader has gone": "while calling from thread\nTraceback (most recent call last):\n"
    '  File "/opt/synapse/s3_storage_provider.py", line 389, in _finish\n    self.consumer.unregisterProducer()\n'
    "builtins.AttributeError: 'XForwardedForRequest' object has no attribute 'channel'",
    "asked by the verifier without the secret": "Failed handle request via 'ReplicationGetStreamUpdates': <Request at 0x1"
    " method='GET' uri='/_synapse/replication/get_repl_stream_updates/events/postflight?from_token=1' site='9093'>\n"
    "RuntimeError: Missing Authorization header.",
    "client gone": "Failed handle request via 'X': <R>\n"
    "AttributeError: 'NoneType' object has no attribute 'unregisterProducer'",
    "cancelled": "Got cancellation before client disconnection from 'X': <R>\ntwisted.internet.defer.CancelledError",
    "token of a client": "Failed to parse stream token: 's1_x'\nValueError: x",
    "sign-on of another page": "OIDC session uses unknown IdP 'x'",
    "page of a preview": "Error handling downloaded http://one.test/x: ValueError()",
    "book-keeping": "Context have unexpectedly changed <A>, <B>",
}
MORE_PASSES = (
    f"{PROCESS}\npsycopg2.errors.AdminShutdown: terminating connection due to administrator command",
    "Background process 'subscribe-replication' threw an exception\nConnectionError: Lost connection",
    "Failed handle request via 'X': <R>\nsynapse.api.errors.RequestSendFailed: Failed to send request",
    "Unhandled error in Deferred:\nTraceback\ntwisted.internet.error.ConnectionDone: Connection was closed cleanly.",
)
#: What looks like those and is not.
STRANGE = (
    "Traceback (most recent call last):\nRuntimeError: dictionary changed size during iteration",
    "Failed handle request via 'LoginRestServlet': <R>\n"
    "twisted.web._newclient.RequestTransmissionFailed: [<Failure OpenSSL.SSL.Error: certificate verify failed>]",
    "Failed to fetch remote media one.test/x\nPermissionError: [Errno 13] Permission denied",
    "Error while preloading OIDC provider 'x'. Login may be broken!\ntwisted.internet.error.ConnectError: x",
    f"{PROCESS}\nKeyError: 'x'",
    "Unhandled error in Deferred:\nTraceback\nValueError: x",
    "while calling from thread\nTraceback\nbuiltins.AttributeError: 'XForwardedForRequest' object has no attribute 'channel'",
)
OPENID = "Failed handle request via 'OpenIdUserInfo': <X>\nAttributeError: 'GenericWorkerStore' object has no attribute 'get'"


def record(text: str, level: Level = Level.ERROR, *, ago: float = -3.0, **fields: Any) -> Record:
    """Something that is logged three seconds after the run began, or some before."""
    return Record(BEGAN - timedelta(seconds=ago), level, "synapse.x", "GET-1", text, **fields)


def said(*records: Record, by: Any = MAIN, **fields: Any) -> Judge:
    """What is said where one process has logged this."""
    now = tuple(each for each in records if each.at >= BEGAN)
    before = tuple(each for each in records if each.at < BEGAN)
    one = ProcessLog(by, BEGAN, now, before, **fields)
    return ask(CHECK, process_logs=tuple(one if each.process.id == by.id else each for each in logs(MODEL)))


def row(name: str) -> KnownBad:
    return next(each for each in TABLE if each.name == name)


class TestTable:
    def test_there_is_a_line_for_every_row(self) -> None:
        assert list(LINES) == [each.name for each in TABLE]

    @pytest.mark.parametrize("name", LINES)
    def test_a_line_fits_its_row_and_no_other_before_it(self, name: str) -> None:
        found = known(record(LINES[name], row(name).least, agent="somebody"))
        assert found
        assert found.name == name

    @pytest.mark.parametrize("name", LINES)
    def test_a_line_makes_one_failure_that_names_process_meaning_and_source(self, name: str) -> None:
        line = record(LINES[name], row(name).least, agent="somebody")
        found = only(said(line, line))
        assert found.headline.startswith("synapse-main-0 ")
        assert "{" not in found.headline
        assert row(name).source in found.cause
        assert found.remedy == row(name).remedy
        assert found.evidence

    @pytest.mark.parametrize("found", TABLE, ids=lambda each: each.name)
    def test_each_row_says_where_it_comes_from(self, found: KnownBad) -> None:
        assert "#" in found.source or found.source.startswith("synapse/")

    @pytest.mark.parametrize("text", NORMAL)
    def test_what_is_normal_is_in_no_row(self, text: str) -> None:
        assert not known(record(text, Level.WARNING))
        assert said(record(text, Level.WARNING)).failures == []

    def test_a_row_below_warning_is_kept_by_the_reader(self) -> None:
        assert wanted(LINES["open files"])
        assert not wanted("Processed request")


class TestHarmless:
    def test_there_is_a_line_for_every_row(self) -> None:
        assert list(PASSES) == [each.name for each in HARMLESS]

    @pytest.mark.parametrize("name", PASSES)
    def test_a_line_fits_its_row_and_no_other_before_it(self, name: str) -> None:
        found = harmless(record(PASSES[name]))
        assert found
        assert found.name == name

    @pytest.mark.parametrize("text", [*PASSES.values(), *MORE_PASSES])
    def test_is_no_finding(self, text: str) -> None:
        assert not strange(record(text))
        assert said(record(text), record(text, Level.CRITICAL)).failures == []

    @pytest.mark.parametrize("found", HARMLESS, ids=lambda each: each.name)
    def test_each_row_says_why_and_where_it_comes_from(self, found: Harmless) -> None:
        assert "#" in found.source or found.source.startswith("synapse/")
        assert found.why
        assert not found.check or found.check in all_ids(CHECKS)

    @pytest.mark.parametrize("text", STRANGE)
    def test_what_looks_alike_is_told(self, text: str) -> None:
        assert only(said(record(text)), Status.WARNED)


class TestKnown:
    def test_the_headline_names_process_and_table(self) -> None:
        found = only(said(record(LINES["table refused"]), record(LINES["table refused"])))
        assert found.headline == ("synapse-main-0 is refused by its own database: permission denied for table user_ips")
        assert found.observed.startswith("logged 2 times; ERROR by synapse.x at 12:00:03Z: Background process")
        assert found.nature is Nature.WRONG

    def test_two_processes_with_the_same_line_are_one_failure(self) -> None:
        both = [ProcessLog(each, BEGAN, (record(LINES["schema"]),)) for each in WORKERS[:2]]
        seen = (*both, *(each for each in logs(MODEL) if each.process not in WORKERS[:2]))
        found = only(ask(CHECK, process_logs=seen))
        assert f"{WORKERS[0].name} and {WORKERS[1].name} misses something" in found.headline
        assert {each.id for each in WORKERS[:2]} <= set(found.needs)

    def test_two_tables_are_two_failures(self) -> None:
        other = LINES["table refused"].replace("user_ips", "devices")
        assert len(said(record(LINES["table refused"]), record(other)).failures) == 2

    def test_what_may_follow_from_something_beneath_is_blamed_on_it(self) -> None:
        found = only(said(record(LINES["schema"])))
        assert (found.nature, found.needs) == (Nature.UNAVAILABLE, (MAIN.id,))

    def test_a_fight_over_sending_follows_from_the_lists(self) -> None:
        found = only(said(record(LINES["sender without a position"])))
        assert SENDING in found.needs

    def test_a_question_of_the_jwt_service_follows_from_the_call(self) -> None:
        found = only(said(record(LINES["request for main"])))
        ids = {each.id for each in ask_calls()}
        assert ids <= set(found.needs)

    def test_media_that_are_not_stored_follow_from_the_object_store(self) -> None:
        found = only(said(record(LINES["media not stored"])))
        assert found.nature is Nature.UNAVAILABLE
        assert storing.ID in found.needs

    def test_what_stops_a_process_is_said_to(self) -> None:
        assert only(said(record(LINES["disk full"]))).stops == (MAIN.id,)
        assert only(said(record(LINES["table refused"]))).stops == ()

    def test_what_was_logged_before_the_run_is_no_finding(self) -> None:
        assert said(record(LINES["table refused"], ago=30)).failures == []

    def test_what_was_logged_before_is_counted_where_it_goes_on(self) -> None:
        found = only(said(record(LINES["table refused"], ago=30), record(LINES["table refused"])))
        assert found.observed.startswith("logged once, once before; ERROR by")

    def test_what_may_be_chance_is_warned_of_where_it_is_said_once(self) -> None:
        found = only(said(record(LINES["duplicate key"])), Status.WARNED)
        assert found.cause.startswith("once it may be chance; else a sequence is behind its table")
        assert only(said(record(LINES["duplicate key"], ago=900), record(LINES["duplicate key"])))

    def test_it_says_how_far_back_it_looked(self) -> None:
        reach, read = BEGAN - timedelta(minutes=40), BEGAN + timedelta(seconds=38)
        pen = said(record(LINES["table refused"], ago=60), record(LINES["table refused"]), reach=reach, read=read)
        assert only(pen).observed.startswith(
            "logged once in the 38 s since this run began, once before back to 11:20:00Z;"
        )
        assert "log of synapse-main-0 since 11:20:00Z" in pen.seen

    def test_what_only_a_restart_ends_still_holds(self) -> None:
        line = LINES["unmapped instance"]
        assert "'two' not in 'instance_map'" in only(said(record(line, ago=200))).headline


def blamed(*parts: str) -> Status:
    """What a quarrel of two senders in the log comes to, while another check's failure stops these parts."""
    meta = [CheckMeta(id, "", "", Severity.MAJOR) for id in ("other", CHECK)]
    other = Failure(Status.FAILED, Nature.WRONG, "one", "both send", stops=parts)
    found = tuple(said(record(LINES["sender without a position"])).failures)
    verdict = resolve([Statement(meta[0], (), (other,)), Statement(meta[1], (MAIN.id,), found)], MODEL.depends)
    return verdict.results[1].status


def test_where_two_send_their_quarrel_in_the_log_is_no_second_finding() -> None:
    assert blamed(SENDING) is Status.BLOCKED
    assert blamed("elsewhere") is Status.FAILED


def ask_calls() -> tuple[Any, ...]:
    from tests.unit import calling

    return tuple(calling.with_calls(MODEL).calls.jwt_services)


class TestOwn:
    @pytest.mark.parametrize("agent", [None, "postflight"])
    def test_what_the_verifier_provokes_is_no_finding(self, agent: str | None) -> None:
        assert provoked(record(OPENID, agent=agent))
        assert said(record(OPENID, agent=agent)).failures == []

    def test_the_same_of_someone_else_is(self) -> None:
        assert "only main can answer" in only(said(record(OPENID, agent="Python-urllib/3.12"))).headline

    def test_another_failure_of_its_own_requests_is(self) -> None:
        found = only(said(record("Failed handle request via 'X': <R>", agent="postflight")), Status.WARNED)
        assert found.headline.startswith("synapse-main-0 logged an error that is in no table")

    def test_a_replication_listener_asked_without_its_secret(self) -> None:
        assert said(record(LINES["replication secret"], agent="postflight")).failures == []
        assert "worker_replication_secret" in only(said(record(LINES["replication secret"], agent="x"))).headline


class TestOthers:
    def test_are_warned_of_once_for_each_kind(self) -> None:
        lines = [
            f"Failed to do @user{number}:lab.test at 0x{number:x}f in !room{number}:lab.test" for number in range(3)
        ]
        found = only(said(*(record(each) for each in lines)), Status.WARNED)
        assert found.headline.endswith("in no table: Failed to do @… at # in !…")
        assert found.observed == "3 times; ERROR by synapse.x at 12:00:03Z: Failed to do @… at # in !…"

    def test_are_told_with_what_came_before(self) -> None:
        reach, read = BEGAN - timedelta(minutes=40), BEGAN + timedelta(seconds=38)
        found = only(said(record("went wrong"), reach=reach, read=read), Status.WARNED)
        assert found.observed.startswith("once in the 38 s since this run began, never before back to 11:20:00Z;")

    def test_are_told_without_what_is_anybodys(self) -> None:
        text = (
            "Could not deal with 'a secret message' of @alice:lab.test (alice@one.test, 203.0.113.9): hunter2 said Alice"
            "\nTraceback (most recent call last):\nValueError: alice's own words"
            "\nDETAIL:  Key (user_id)=(@alice:lab.test) already exists."
        )
        found = only(said(record(text)), Status.WARNED)
        told = " ".join((found.headline, found.observed, *found.evidence)).lower()
        assert not [each for each in ("alice", "secret", "one.test", "203", "hunter", "words") if each in told]
        assert found.headline.endswith("(ValueError)")

    def test_a_request_is_told_by_method_and_path(self) -> None:
        text = (
            "Failed handle request via 'X': <XForwardedForRequest at 0x7f method='GET' uri='/sync?a=1' site='8'>\nE: no"
        )
        found = only(said(record(text)), Status.WARNED)
        assert found.headline.endswith("Failed handle request via 'X': GET /sync")

    def test_are_cut_where_there_are_many(self) -> None:
        pen = said(*(record(f"went wrong in {chr(65 + number)}") for number in range(10)))
        assert len(pen.failures) == 6
        assert pen.failures[-1].headline == "5 more kinds of errors that are in no table were logged, 5 times in all"

    def test_warnings_and_what_was_before_the_run_are_none(self) -> None:
        assert said(record("went wrong", Level.WARNING), record("went wrong", ago=1)).failures == []

    def test_critical_ones_are(self) -> None:
        assert said(record("Unhandled error in Deferred:", Level.CRITICAL)).failures

    def test_long_lines_are_cut(self) -> None:
        assert len(only(said(record("x" * 5000)), Status.WARNED).headline) < 400


class TestNotSeen:
    def test_a_log_that_could_not_be_read(self) -> None:
        found = only(said(problem="no answer within the time limit"), Status.UNKNOWN)
        assert found.headline == "the log of synapse-main-0 could not be read: no answer within the time limit"

    def test_a_process_that_is_not_up_is_blamed_on_what_holds_it(self) -> None:
        rest = tuple(each for each in logs(MODEL) if each.process.id != MAIN.id)
        found = only(ask(CHECK, process_logs=rest))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, MAIN.id)

    def test_of_a_process_that_is_not_ready_other_errors_are_not_told(self) -> None:
        assert MAIN.pod
        containers = tuple(replace(each, ready=False) for each in MAIN.pod.containers)
        down = replace(MAIN, pod=replace(MAIN.pod, containers=containers))
        model = replace(MODEL, synapse=tuple(down if each.id == MAIN.id else each for each in MODEL.synapse))
        seen = ProcessLog(down, BEGAN, (record("Exception during startup"),))
        rest = (each for each in logs(MODEL) if each.process.id != MAIN.id)
        pen = ask(CHECK, deployment=model, process_logs=(seen, *rest))
        assert [each.nature for each in pen.failures] == [Nature.UNAVAILABLE]

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"silent": True}, "synapse-main-0 logs nothing to its standard output"),
            ({"understood": False}, "no line in the log of synapse-main-0 names its level"),
            ({"cut": datetime(2026, 1, 1, 12, 0, 5)}, "of this run it was seen up to 12:00:05Z only"),
        ],
        ids=["silent", "another form", "too much"],
    )
    def test_what_was_not_seen_is_unproven(self, fields: dict[str, Any], words: str) -> None:
        found = only(said(**fields), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert words in found.headline
