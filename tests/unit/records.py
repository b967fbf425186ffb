"""Run records to render, and a way to make any: for the tests of the reports."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

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
