"""The checks of PostgreSQL, given each kind of fault alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from postflight.deployment.parts import Login, Unclear
from postflight.probes.databases import LoginOutcome, Pool
from postflight.probes.inside import InsideView
from postflight.secrets import Redactor, Secret
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.observations import CLUSTER, MODEL, NOT_ALLOWED, READ_ONLY, ask, only
from tests.unit.processes import inside
from tests.unit.recorded import Json
from tests.unit.stores import logins, pools, primary_says


def by_role(user: str, outcome: LoginOutcome, message: str = "said so") -> Callable[[Login], tuple[LoginOutcome, str]]:
    return lambda login: (outcome, message) if login.user == user else (LoginOutcome.ACCEPTED, "")


class TestDatabaseLogin:
    @pytest.mark.parametrize(
        ("outcome", "said"),
        [
            (LoginOutcome.PASSWORD, "password rejected"),
            (LoginOutcome.NO_ROLE, "role may not log in"),
            (LoginOutcome.NOT_ALLOWED, "refused by pg_hba.conf"),
            (LoginOutcome.NO_CONNECT, "role may not connect to the database"),
        ],
    )
    def test_a_login_that_is_refused_stops_its_process(self, outcome: LoginOutcome, said: str) -> None:
        found = only(ask("database.login", database_logins=logins(MODEL, by_role("key_vault", outcome))))
        assert found.headline == f"key-vault cannot log in to matrix-postgresql-rw: {said}"
        assert found.nature is Nature.WRONG
        assert any(part.startswith("pod/matrix/key-vault-") for part in found.stops)
        assert "deployment/matrix/key-vault" in found.stops

    def test_a_login_without_scram_is_one_and_stops_nobody(self) -> None:
        said = by_role("key_vault", LoginOutcome.NO_SCRAM, "authentication method requirement failed")
        found = only(ask("database.login", database_logins=logins(MODEL, said)))
        assert found.headline == (
            "key-vault logs in to matrix-postgresql-rw without SCRAM: the server asks for md5 or for the password itself"
        )
        assert (found.status, found.nature, found.stops) == (Status.FAILED, Nature.WRONG, ())

    def test_a_server_by_address_is_named_whole_and_is_no_other(self) -> None:
        """10.1.1.1 and 10.2.2.2 begin alike and are two servers."""
        hosts = {True: "10.1.1.1", False: "10.2.2.2"}
        uses = tuple(
            replace(each, login=replace(each.login, host=hosts[bool(each.pool)], user="one"), next_login=None)
            for each in MODEL.database_uses
        )
        clusters = tuple(
            replace(
                each,
                endpoints=tuple(replace(each.endpoints[0], host=host, external=True) for host in hosts.values()),
            )
            for each in MODEL.postgres
        )
        model = replace(MODEL, database_uses=uses, postgres=clusters)

        def outcome(login: Login) -> tuple[LoginOutcome, str]:
            wrong = login.host == "10.1.1.1"
            return (LoginOutcome.PASSWORD, "failed") if wrong else (LoginOutcome.ACCEPTED, "")

        found = ask("database.login", deployment=model, database_logins=logins(model, outcome)).failures[0]
        assert "cannot log in to 10.1.1.1: password rejected" in found.headline
        assert "differs from" not in found.cause

    def test_main_comes_first_of_all_that_share_a_password(self) -> None:
        def outcome(login: Login) -> tuple[LoginOutcome, str]:
            pod = login.user == "synapse" and login.host.endswith("cluster.local")
            return (LoginOutcome.PASSWORD, "password authentication failed") if pod else (LoginOutcome.ACCEPTED, "")

        found = only(ask("database.login", database_logins=logins(MODEL, outcome)))
        assert found.headline == "synapse-main and 9 more cannot log in to matrix-postgresql-rw: password rejected"
        assert "as each of 15 processes would log in" in found.observed
        assert found.cause.startswith(
            "Secret synapse-secrets/DB_PASSWORD differs from Secret matrix-postgresql-app/password"
        )
        assert "take the password over into synapse-secrets/DB_PASSWORD" in found.remedy

    def test_no_password_is_printed_however_weak_it_is_and_wherever_it_stands(self) -> None:
        """As a run prints it: with what the model holds registered, and nothing else."""
        weak, good = Secret("hunter2"), Secret("a-much-better-one")
        uses = tuple(
            replace(each, login=replace(each.login, password=weak if each.pool else good))
            for each in MODEL.database_uses
        )
        model = replace(MODEL, database_uses=uses)
        redactor = Redactor()
        for password, name in model.passwords():
            redactor.register(password, name)

        def outcome(login: Login) -> tuple[LoginOutcome, str]:
            right = login.password == good
            return (LoginOutcome.ACCEPTED, "") if right else (LoginOutcome.PASSWORD, "failed")

        pen = ask("database.login", deployment=model, database_logins=logins(model, outcome), redactor=redactor)
        found = redactor.scrub(pen.failures[0])
        assert "hunter2" not in repr(pen.failures)
        assert "(<a> is not <b>)" in found.cause
        assert redactor.weak == (
            "synapse-secrets/DB_PASSWORD is not hidden in reports: it is shorter than 8 characters",
        )
        assert redactor.redact(good.reveal()) == "<b>"

    def test_a_secret_changed_since_is_told_from_a_wrong_one(self) -> None:
        lab = recorded.changed(new_password)
        model = lab.deployment()

        def only_new(login: Login) -> tuple[LoginOutcome, str]:
            new = login.user != "synapse" or login.password == Secret("another-password")
            return (LoginOutcome.ACCEPTED, "") if new else (LoginOutcome.PASSWORD, "failed")

        found = ask("database.login", lab, database_logins=logins(model, only_new)).failures[0]
        assert "Secret synapse-secrets/DB_PASSWORD was changed at 2026-" in found.cause
        assert "started with the value before" in found.cause
        assert found.remedy == "restart synapse-main and 9 more"

    def test_a_secret_that_a_restart_would_fail_on_is_said_before_it(self) -> None:
        lab = recorded.changed(new_password)
        model = lab.deployment()

        def only_old(login: Login) -> tuple[LoginOutcome, str]:
            new = login.password == Secret("another-password")
            return (LoginOutcome.PASSWORD, "failed") if new else (LoginOutcome.ACCEPTED, "")

        found = only(ask("database.login", lab, database_logins=logins(model, only_old)))
        assert found.headline.startswith("synapse-main and 9 more will not log in after the next restart: ")
        assert found.stops == ()

    def test_a_server_that_does_not_answer_is_silence_of_the_server(self) -> None:
        refused = by_role("key_vault", LoginOutcome.UNREACHABLE, "connection refused")
        found = only(ask("database.login", database_logins=logins(MODEL, refused)))
        assert found.headline == "matrix-postgresql-rw does not take logins: connection refused"
        assert (found.nature, found.subject, found.stops) == (Nature.UNAVAILABLE, CLUSTER.id, (CLUSTER.id,))

    def test_a_server_whose_pods_are_ready_and_that_is_silent_is_unknown(self) -> None:
        late = by_role("key_vault", LoginOutcome.TIMED_OUT, "timeout expired")
        found = only(ask("database.login", database_logins=logins(MODEL, late)), Status.UNKNOWN)
        assert found.headline.startswith("matrix-postgresql-rw did not answer in time, though its pods are Ready")

    def test_a_database_that_is_missing_is_anothers_to_say(self) -> None:
        found = only(
            ask("database.login", database_logins=logins(MODEL, by_role("key_vault", LoginOutcome.NO_DATABASE)))
        )
        assert found.nature is Nature.UNAVAILABLE

    def test_one_outside_that_no_tunnel_leads_to_is_unknown(self) -> None:
        pen = ask("database.login", database_logins=logins(MODEL, by_role("key_vault", LoginOutcome.OUTSIDE)))
        assert only(pen, Status.UNKNOWN).headline.endswith("no tunnel leads there (--access direct)")

    def test_one_that_the_verifier_could_not_reach_is_unknown_in_the_streams_words(self) -> None:
        words = 'no right: pods "matrix-postgresql-1" is forbidden'
        refused = logins(MODEL, by_role("key_vault", LoginOutcome.UNSEEN, words))
        found = only(ask("database.login", database_logins=refused), Status.UNKNOWN)
        assert found.headline == f"whether matrix-postgresql-rw takes logins could not be seen: {words}"

    def test_a_secret_that_could_not_be_read_is_unknown(self) -> None:
        hidden = replace(recorded.healthy().secrets, unseen={("matrix", "other"): "no right"})
        found = only(ask("database.login", secrets=hidden), Status.UNKNOWN)
        assert found.headline == "logins that Secret other holds could not be tried: no right"

    def test_the_canarys_secret_holds_no_login(self) -> None:
        hidden = replace(recorded.healthy().secrets, unseen={("matrix", "postflight-canary-ca"): "no right"})
        assert not ask("database.login", secrets=hidden).failures

    def test_a_login_that_could_not_be_tried_is_unknown(self) -> None:
        unclear = Unclear("pod/matrix/mas-0", "mas", "DB_HOST names pg without a password")
        found = only(ask("database.login", deployment=replace(MODEL, unclear=(unclear,))), Status.UNKNOWN)
        assert found.headline == ("a login of mas-0, container mas, was not tried: DB_HOST names pg without a password")

    def test_the_way_by_name_is_warned_of_where_it_was_not_tried(self) -> None:
        found = only(ask("database.login", inside_connections=NOT_ALLOWED), Status.WARNED)
        assert found.headline == f"whether the processes reach the database by name was not seen: {NOT_ALLOWED.reason}"

    def test_a_process_that_does_not_reach_it_by_name_is_failed(self) -> None:
        found = only(ask("database.login", inside_connections=inside(MODEL, "timed out")))
        assert found.headline == "synapse-main does not reach matrix-postgresql-rw, which takes logins: timed out"

    def test_a_pod_that_could_not_be_asked_is_warned_of_unless_a_probe_pod_saw_it(self) -> None:
        main = next(each for each in MODEL.synapse if each.is_main)
        blind = InsideView((), {main.id: "exec into synapse-main-0 was refused (500)", "pod/matrix/b": "other"})
        pen = ask("database.login", inside_connections=blind)
        assert only(pen, Status.WARNED).headline == (
            "whether the processes reach the database by name was not seen: from synapse-main-0 and b:"
            " exec into synapse-main-0 was refused (500)"
        )
        assert ask("database.login", inside_connections=blind, probe_pod_connections=inside(MODEL)).failures == []

    def test_where_no_pod_runs_a_probe_pod_that_may_not_be_made_is_warned_of(self) -> None:
        pen = ask("database.login", inside_connections=InsideView((), {}), probe_pod_connections=READ_ONLY)
        assert only(pen, Status.WARNED).headline.endswith(
            "no Synapse process could be asked, and a probe pod in their stead needs --safety canary"
        )

    def test_the_same_from_a_probe_pod(self) -> None:
        pen = ask(
            "database.login", inside_connections=InsideView((), {}), probe_pod_connections=inside(MODEL, "dropped")
        )
        assert "does not reach matrix-postgresql-rw" in only(pen).headline


def new_password(raw: Json) -> None:
    held = next(each for each in raw["secrets"] if each["name"] == "synapse-secrets")
    held["data"]["DB_PASSWORD"] = "another-password"


class TestDatabaseNames:
    def test_a_database_that_is_missing(self) -> None:
        missing = by_role("key_vault", LoginOutcome.NO_DATABASE, 'database "key_vault" does not exist')
        facts = {"databases": {"matrix": "synapse", "keyvault": "key_vault"}}
        found = only(ask("database.names", database_logins=logins(MODEL, missing, **facts)))
        assert found.headline == "key-vault names database key_vault, which does not exist on matrix-postgresql"
        assert "there are: keyvault, matrix" in found.observed
        assert found.cause.startswith("Secret key-vault-secrets/DB_NAME says key_vault")

    def test_a_database_of_another_owner(self) -> None:
        facts = {"databases": {"matrix": "synapse", "key_vault": "postgres"}}
        found = only(ask("database.names", database_logins=logins(MODEL, None, **facts)))
        assert found.headline == "database key_vault, which key-vault uses as key_vault, is owned by postgres"

    def test_one_who_reads_in_anothers_database_need_not_own_it(self) -> None:
        reader = Login(CLUSTER.endpoints[0].host, 5432, "matrix", "exporter", Secret("p"))
        use = replace(MODEL.database_uses[0], client="pod/matrix/exporter", login=reader, next_login=None)
        model = replace(MODEL, database_uses=(*MODEL.database_uses, use))
        assert ask("database.names", deployment=model, database_logins=logins(model)).failures == []

    def test_a_role_that_is_in_use_is_not_told_to_give_its_database_away(self) -> None:
        facts = {"databases": {"matrix": "synapse", "key_vault": "synapse"}}
        found = only(ask("database.names", database_logins=logins(MODEL, None, **facts)))
        assert found.headline.endswith("is owned by synapse")
        assert "ALTER" not in found.remedy

    def test_a_database_that_cannot_be_seen_is_unknown(self) -> None:
        down = logins(MODEL, lambda login: (LoginOutcome.UNREACHABLE, "refused"))
        pen = ask("database.names", database_logins=down, database_instances=NOT_ALLOWED)
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}
        assert "whether database key_vault exists could not be seen: refused" in [f.headline for f in pen.failures]

    def test_a_wrong_password_does_not_hide_that_another_sees_the_database(self) -> None:
        refused = by_role("key_vault", LoginOutcome.PASSWORD)
        assert ask("database.names", database_logins=logins(MODEL, refused)).failures == []
        facts = {"databases": {"matrix": "synapse"}}
        found = only(ask("database.names", database_logins=logins(MODEL, refused, **facts)))
        assert "which does not exist on matrix-postgresql" in found.headline


class TestDatabaseConnections:
    def test_a_budget_that_the_maximum_exceeds(self) -> None:
        found = only(ask("database.connections", database_logins=logins(MODEL, None, max_connections=60)))
        assert found.headline.startswith(
            "matrix-postgresql takes 57 connections (max_connections 60), its processes at"
        )
        assert "autoscalers that may make more of" in found.cause

    def test_larger_pools_exceed_it_too(self) -> None:
        found = only(ask("database.connections", database_pools=pools(MODEL, 50)))
        assert found.cause.startswith("cp_max 50 in 15 processes")

    def test_processes_of_one_pod_count_each(self) -> None:
        one = MODEL.synapse[0]
        three = tuple(Pool(replace(one, container=name), 50, reported=True) for name in "abc")
        few = logins(MODEL, None, max_connections=60)
        wanted = {
            only(ask("database.connections", database_pools=each, database_logins=few)).headline.rpartition(" ")[2]
            for each in (three, (Pool(one, 150, reported=True),))
        }
        assert len(wanted) == 1

    def test_what_ends_at_a_pooler_is_not_the_servers(self) -> None:
        (pod, port), *_ = CLUSTER.endpoints[0].pods
        bouncer = replace(pod, containers=(replace(pod.containers[0], name="pgbouncer"),))
        ways = tuple(replace(each, pods=((bouncer, port),)) for each in CLUSTER.endpoints)
        model = replace(MODEL, postgres=(replace(CLUSTER, endpoints=ways),))
        pen = ask(
            "database.connections", deployment=model, database_pools=pools(MODEL, 50), database_logins=logins(model)
        )
        assert {each.status for each in pen.failures} == {Status.WARNED}
        assert pen.failures[0].headline.startswith("how many connections the pooler matrix-postgresql-rw takes")

    def test_a_budget_that_just_holds_is_green(self) -> None:
        wanted = next(
            int(word)
            for word in only(
                ask("database.connections", database_logins=logins(MODEL, None, max_connections=10, sessions=1))
            ).observed.split()
            if word.isdigit()
        )
        just = logins(MODEL, None, max_connections=wanted + 3)
        assert ask("database.connections", database_logins=just).failures == []
        assert only(ask("database.connections", database_logins=logins(MODEL, None, max_connections=wanted + 2)))

    @pytest.mark.parametrize("outcome", [LoginOutcome.NO_SLOT, LoginOutcome.FULL])
    def test_a_server_without_a_slot_is_wrong_whatever_the_budget_says(self, outcome: LoginOutcome) -> None:
        words = "remaining connection slots are reserved for roles with the SUPERUSER attribute"
        full = {"max_connections": 300, "reserved": 3, "sessions": 297}
        held = primary_says(**full, databases={"matrix": "synapse"})
        seen = ask(
            "database.connections",
            database_logins=logins(MODEL, lambda login: (outcome, words)),
            database_instances=held,
        )
        found = only(seen)
        assert (
            found.headline == "matrix-postgresql has no connection slot left: 297 of 297 in use (max_connections 300)"
        )
        assert (found.nature, found.stops) == (Nature.WRONG, (CLUSTER.id,))

    def test_a_server_without_a_slot_is_wrong_for_one_who_cannot_count(self) -> None:
        full = by_role("key_vault", LoginOutcome.NO_SLOT, "remaining connection slots are reserved")
        facts = {"sessions": 296}
        seen = ask("database.connections", database_logins=logins(MODEL, full, **facts))
        assert (
            only(seen).headline
            == "matrix-postgresql has no connection slot left: 296 of 297 in use (max_connections 300)"
        )
        down = logins(MODEL, lambda login: (LoginOutcome.FULL, "sorry, too many clients already"))
        seen = ask("database.connections", database_logins=down, database_instances=NOT_ALLOWED)
        assert only(seen).headline == "matrix-postgresql has no connection slot left: sorry, too many clients already"

    def test_sessions_that_fill_it_are_wrong_before_anybody_is_refused(self) -> None:
        assert only(ask("database.connections", database_logins=logins(MODEL, None, sessions=297))).stops
        assert ask("database.connections", database_logins=logins(MODEL, None, sessions=296)).failures == []

    def test_keepalives_that_are_missing(self) -> None:
        uses = tuple(replace(each, keepalives=False if each.pool else None) for each in MODEL.database_uses)
        pen = ask("database.connections", deployment=replace(MODEL, database_uses=uses))
        assert only(pen, Status.WARNED).headline.startswith("15 Synapse processes connect without TCP keepalives")

    def test_a_pool_that_could_not_be_asked_is_unknown(self) -> None:
        pen = ask("database.connections", database_pools=pools(MODEL, reported=False, problem="timed out"))
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}
        assert "synapse-main could not be asked for its pool: timed out" in [each.headline for each in pen.failures]

    def test_a_pool_that_is_only_configured_is_warned_of(self) -> None:
        pen = ask("database.connections", database_pools=pools(MODEL, reported=False))
        assert {each.status for each in pen.failures} == {Status.WARNED}

    def test_without_any_login_it_cannot_be_counted(self) -> None:
        down = logins(MODEL, lambda login: (LoginOutcome.UNREACHABLE, "refused"))
        seen = ask("database.connections", database_logins=down, database_instances=NOT_ALLOWED)
        found = only(seen, Status.UNKNOWN)
        assert found.headline == "the connections of matrix-postgresql cannot be counted: no login works"
