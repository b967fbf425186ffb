"""Which homeserver is the lawful-intercept one, by whatever tells it, and what feeds it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postflight.cluster.kinds import CRON_JOB, JOB
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Import, Side
from postflight.settings import Names, Settings, SynapseNames
from tests.unit.li_world import HELD, model, read, world
from tests.unit.worlds import Json, config_map, container, deployment, secrets, snapshot, thing


def sides(found: Deployment) -> dict[str, Side]:
    return {each.workload_name: each.side for each in found.synapse}


def cron(name: str, pod_spec: Json) -> Json:
    return thing(
        CRON_JOB, name, spec={"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": pod_spec}}}}
    )


EXPECTED = {"hs": Side.MAIN, "hs-worker": Side.MAIN, "second": Side.LI}


class TestWhichOneItIs:
    @pytest.mark.parametrize(
        "told",
        [
            {"subscribes": False, "job": False},
            {"labels": False, "job": False},
            {"labels": False, "subscribes": False},
            {"labels": False, "subscribes": False, "job": False},
        ],
        ids=["by label", "by its Cluster's external one", "by having no workers", "the same without a Job"],
    )
    def test_is_told_by_one_of_several_things(self, told: dict[str, Any]) -> None:
        assert sides(model(world(**told))) == EXPECTED

    def test_the_settings_win_over_labels(self) -> None:
        named = Settings(names=Names(synapse=SynapseNames(li=("hs",))))
        assert sides(model(settings=named)) == {"hs": Side.LI, "hs-worker": Side.LI, "second": Side.MAIN}

    def test_another_homeserver_without_workers_is_none(self) -> None:
        found = model(world(labels=False, subscribes=False, job=False), server_name="other.lab.test")
        assert set(sides(found).values()) == {Side.MAIN}
        assert found.li is None

    def test_two_without_workers_are_not_guessed_at(self) -> None:
        found = model(world(labels=False, subscribes=False, job=False, workers=False))
        assert set(sides(found).values()) == {Side.MAIN}

    def test_an_li_on_mains_own_database_takes_nobody_along(self) -> None:
        args = {"host": "pg-rw", "dbname": "matrix", "user": "synapse", "password": "of-main-itself"}
        assert sides(model(database={"name": "psycopg2", "args": args})) == EXPECTED

    def test_a_worker_stands_where_its_database_is(self) -> None:
        named = Settings(names=Names(synapse=SynapseNames(li=("hs",))))
        assert sides(model(settings=named))["hs-worker"] is Side.LI


class TestWhatFeedsIt:
    def test_the_databases_and_who_opens_them(self) -> None:
        li = model().li
        assert li
        assert (li.cluster and li.cluster.name, li.main_cluster and li.main_cluster.name) == ("pg-li", "pg")
        assert [(each.name, each.login.user) for each in li.doors] == [
            ("second", "synapse_li"),
            ("pg-li", "synapse_li"),
        ]
        assert [each.login.user for each in li.main_doors] == ["synapse", "synapse", "reader"]
        assert [each.workload_name for each in li.processes] == ["second"]
        assert [each.workload_name for each in li.mains] == ["hs"]

    def test_a_job_that_has_ended_tells_the_role_on_main(self) -> None:
        li = model(world(subscribes=False)).li
        assert li
        assert [(each.name, each.login.user, each.origin) for each in li.sync] == [
            ("Job setup", "reader", "Secret sync/MAIN_DB_PASSWORD")
        ]

    def test_so_does_the_cluster_that_names_main_as_external(self) -> None:
        li = model(world(job=False)).li
        assert li
        assert [(each.name, each.login.user, each.login.password.reveal()) for each in li.sync] == [
            ("Cluster pg-li", "reader", "of-the-reader")
        ]

    def test_one_login_held_twice_is_one(self) -> None:
        li = model().li
        assert li
        assert len(li.sync) == 1

    def test_lis_data_lean_on_both_databases(self) -> None:
        found = model()
        assert found.li
        assert set(found.depends[found.li.id]) == {"postgresql/matrix/pg", "postgresql/matrix/pg-li"}

    def test_an_import_is_named(self) -> None:
        words = ["sh", "-c", "pg_dump -h pg-rw matrix | psql -h pg-li-rw matrix_li"]
        spec = {"jobTemplate": {"spec": {"template": {"spec": {"containers": [container(command=words)]}}}}}
        found = model(world(thing(CRON_JOB, "synapse-li-database-sync", spec=spec))).li
        assert found
        assert [each.name for each in found.imports] == ["synapse-li-database-sync"]

    def test_an_import_whose_script_is_mounted_is_named(self) -> None:
        script = {"name": "scripts", "mountPath": "/scripts"}
        pod_spec = {
            "containers": [
                container(
                    command=["bash", "/scripts/copy.sh"],
                    volumeMounts=[script],
                    envFrom=[{"secretRef": {"name": "li-only"}}],
                )
            ],
            "volumes": [{"name": "scripts", "configMap": {"name": "scripts"}}],
        }
        texts = config_map("scripts", copy__sh="set -e\npg_dump matrix | psql -h $LI_HOST matrix_li\n")
        nightly = cron("nightly", pod_spec)
        held = replace(HELD, found={**HELD.found, **secrets(li_only={"LI_HOST": "pg-li-rw"}).found})
        found = deployment(world(nightly, texts), held, read()).li
        assert found
        assert found.imports == (Import("nightly", timedelta(days=1)),)

    def test_its_newest_rounds_are_told(self) -> None:
        def job(name: str, hour: int, **status: Any) -> Json:
            made = thing(JOB, name, spec={}, status={"startTime": f"2026-01-01T0{hour}:00:00Z", **status})
            made["metadata"]["ownerReferences"] = [{"kind": "CronJob", "name": "nightly", "controller": True}]
            return made

        both = [{"secretRef": {"name": "sync"}}]
        nightly = cron("nightly", {"containers": [container(envFrom=both)]})
        failed = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
        good, bad = job("one", 1, succeeded=1), job("two", 2, conditions=failed)
        other = thing(JOB, "other", spec={}, status={"startTime": "2026-01-01T09:00:00Z", "succeeded": 1})

        def told(*jobs: Json) -> tuple[datetime | None, str]:
            found = model(world(nightly, other, *jobs)).li
            assert found
            return found.imports[0].brought, found.imports[0].trouble

        at = datetime(2026, 1, 1, 1, tzinfo=UTC)
        assert told() == (None, "")
        assert told(good) == (at, "")
        assert told(bad, good) == (at, "Job two failed: BackoffLimitExceeded")
        assert told(job("three", 3, succeeded=1), bad) == (datetime(2026, 1, 1, 3, tzinfo=UTC), "")

    def test_an_import_by_whatever_program_holds_logins_for_both_databases(self) -> None:
        both = [{"secretRef": {"name": "sync"}}]
        found = model(world(cron("nightly", {"containers": [container(envFrom=both)]}))).li
        assert found
        assert found.imports == (Import("nightly", timedelta(days=1)),)

    def test_how_often_an_import_comes(self) -> None:
        weekly = cron("li-weekly", {"containers": [container(command=["pg_dump"])]})
        weekly["spec"] |= {"schedule": "0 3 * * 0", "suspend": True}
        odd = cron("li-odd", {"containers": [container(command=["pg_dump"])]})
        odd["spec"]["schedule"] = "now and then"
        found = model(world(weekly, odd)).li
        assert found
        assert found.imports == (
            Import("li-weekly", timedelta(days=7), suspended=True),
            Import("li-odd", timedelta(days=1)),
        )

    def test_a_cron_job_that_knows_main_alone_is_no_import(self) -> None:
        known = [
            {"name": f"MAIN_DB_{part}", "valueFrom": {"secretKeyRef": {"name": "sync", "key": f"MAIN_DB_{part}"}}}
            for part in ("HOST", "NAME", "USER", "PASSWORD")
        ]
        found = model(world(cron("backup", {"containers": [container(env=known, command=["pg_dump"])]}))).li
        assert found
        assert found.imports == ()

    def test_a_job_that_speaks_of_li_is_enough_to_miss_it(self) -> None:
        """Nobody runs LI, but something here feeds it."""
        objects = [each for items in world().objects.values() for each in items if each["metadata"]["name"] != "second"]
        found = deployment(snapshot(*map(dict, objects)), HELD, read()).li
        assert found
        assert (found.processes, {each.login.database for each in found.doors}) == ((), {"matrix_li"})

    def test_there_is_none_where_nothing_refers_to_one(self) -> None:
        objects = [
            each
            for items in world(job=False, subscribes=False).objects.values()
            for each in items
            if each["metadata"]["name"] != "second"
        ]
        assert deployment(snapshot(*map(dict, objects)), HELD, read()).li is None
