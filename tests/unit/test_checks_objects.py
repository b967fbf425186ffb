"""The check of operators' objects, its references and its schemas, given each kind of fault alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postflight.cluster.api import ApiError
from postflight.cluster.custom_references import custom_references
from postflight.cluster.kinds import POSTGRES_CLUSTER, SCHEDULED_BACKUP, SERVICE_MONITOR, TENANT, Kind
from postflight.cluster.references import secret_names
from postflight.deployment.schemas import APPLIED
from postflight.probes.custom_schemas import CustomSchemas, custom_schemas
from postflight.verdict.judge import Judge
from postflight.verdict.status import Status
from tests.unit.observations import ask, only
from tests.unit.worlds import Json, config_map, secrets, snapshot, thing

CHECK = "platform.objects"
VERSION = "postgresql.cnpg.io/v1"
DOCUMENT: Json = {
    "components": {
        "schemas": {
            "io.cnpg.postgresql.v1.ScheduledBackup": {
                "x-kubernetes-group-version-kind": [
                    {"group": "postgresql.cnpg.io", "version": "v1", "kind": "ScheduledBackup"}
                ],
                "properties": {
                    "spec": {
                        "properties": {
                            "schedule": {"type": "string"},
                            "cluster": {"properties": {"name": {"type": "string"}}},
                            "tags": {"additionalProperties": {"type": "string"}},
                            "free": {"x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {}}},
                            "targets": {"items": {"properties": {"name": {}}}},
                        }
                    }
                },
            }
        }
    }
}


def backup(schedule: str = "0 0 2 * * *", **applied: Any) -> Json:
    found = thing(SCHEDULED_BACKUP, "daily", spec={"schedule": schedule, "cluster": {"name": "pg"}})
    if applied:
        manifest = {"apiVersion": VERSION, "kind": "ScheduledBackup", "metadata": {"name": "daily"}, **applied}
        found["metadata"]["annotations"] = {APPLIED: json.dumps(manifest)}
    return found


def judged(*objects: Json, schemas: CustomSchemas | None = None, **held: Any) -> Judge:
    known = schemas or CustomSchemas({VERSION: DOCUMENT})
    return ask(CHECK, snapshot=snapshot(*objects), secrets=secrets(**held), custom_schemas=known)


class TestSchedules:
    def test_a_crontabs_five_fields(self) -> None:
        found = only(judged(backup("0 2 * * *")))
        assert found.headline == (
            "ScheduledBackup daily has a crontab's five fields, '0 2 * * *', and so runs at other times:"
            " CloudNativePG reads second 0, minute 2, hour *, day *, month *"
        )
        assert "'0 0 2 * * *'" in found.remedy

    def test_what_cannot_be_read(self) -> None:
        found = only(judged(backup("0 0 25 * * *")))
        assert (
            found.headline == "ScheduledBackup daily never runs: CloudNativePG cannot read its schedule '0 0 25 * * *'"
        )
        assert found.observed == "25 is no hour (0 to 23)"

    def test_six_fields(self) -> None:
        pen = judged(backup())
        assert (pen.failures, pen.seen) == ([], ["scheduledbackup/matrix/daily"])


def cluster(**spec: Any) -> Json:
    return thing(POSTGRES_CLUSTER, "pg", spec=spec)


LOGIN = {"username": "a", "password": "b"}
STORE = {
    "s3Credentials": {"accessKeyId": {"name": "minio", "key": "id"}, "secretAccessKey": {"name": "minio", "key": "no"}}
}


class TestKeys:
    def test_a_secret_that_is_not_there_is_named_once(self) -> None:
        found = only(judged(cluster(bootstrap={"initdb": {"secret": {"name": "gone"}}})))
        assert found.headline == "Secret gone does not exist; Cluster pg names it (spec.bootstrap.initdb.secret)"
        assert found.observed == "named by spec.bootstrap.initdb.secret, with username, password"

    def test_a_key_that_its_secret_does_not_have(self) -> None:
        found = only(judged(cluster(backup={"barmanObjectStore": STORE}), minio={"id": "x", "key": "y"}))
        assert found.headline == (
            "Secret minio/no does not exist; Cluster pg names it"
            " (spec.backup.barmanObjectStore.s3Credentials.secretAccessKey)"
        )

    def test_all_there(self) -> None:
        roles = [{"name": "r", "passwordSecret": {"name": "role"}}]
        pen = judged(
            cluster(managed={"roles": roles}, monitoring={"customQueriesConfigMap": [{"name": "own", "key": "q"}]}),
            config_map("own", q=""),
            role=LOGIN,
        )
        assert pen.failures == []

    def test_a_configmap_without_the_key(self) -> None:
        asked = {"customQueriesConfigMap": [{"name": "own", "key": "queries"}]}
        found = only(judged(cluster(monitoring=asked), config_map("own", q="")))
        assert found.headline.startswith("ConfigMap own/queries does not exist; Cluster pg names it")

    @pytest.mark.parametrize(
        ("kind", "spec", "line"),
        [
            (TENANT, {"configuration": {"name": "conf"}}, "Secret conf does not exist; Tenant x names it"),
            (
                SERVICE_MONITOR,
                {"endpoints": [{"basicAuth": {"password": {"name": "p", "key": "k"}}}]},
                "Secret p does not exist; ServiceMonitor x names it (spec.endpoints.0.basicAuth.password)",
            ),
        ],
    )
    def test_other_operators_kinds(self, kind: Kind, spec: Json, line: str) -> None:
        assert only(judged(thing(kind, "x", spec=spec))).headline.startswith(line)

    @pytest.mark.parametrize(
        "endpoint",
        [
            {"bearerTokenSecret": {"key": ""}},
            {"basicAuth": {"password": {"name": "p", "key": "k", "optional": True}}},
            {"tolerations": [{"key": "k", "operator": "Exists", "name": "p"}]},
        ],
    )
    def test_what_names_nothing_that_must_be_there(self, endpoint: Json) -> None:
        assert judged(thing(SERVICE_MONITOR, "x", spec={"endpoints": [endpoint]})).failures == []

    def test_what_may_not_be_read_is_unknown(self) -> None:
        made = snapshot(cluster(superuserSecret={"name": "root"}))
        held = secrets(unseen={"root": "no right"})
        found = only(ask(CHECK, snapshot=made, secrets=held), Status.UNKNOWN)
        assert found.headline == "Secret root, named by Cluster pg, could not be read: no right"

    def test_what_is_named_is_read(self) -> None:
        made = snapshot(cluster(superuserSecret={"name": "root"}))
        assert ("matrix", "root") in secret_names(made)

    def test_what_goes_needs_nothing(self) -> None:
        going = cluster(superuserSecret={"name": "root"})
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert custom_references(snapshot(going)) == ()


class TestFields:
    def test_a_field_that_the_crd_does_not_know(self) -> None:
        spec = {"schedule": "", "retention": 1, "cluster": {"name": "pg", "kind": "x"}, "targets": [{"nam": 1}]}
        found = only(judged(backup(spec=spec)))
        assert found.headline == (
            "ScheduledBackup daily was applied with spec.retention, spec.cluster.kind, spec.targets[0].nam, which its"
            " CRD does not know: the API server threw them away"
        )

    def test_what_takes_anything_has_no_unknown_field(self) -> None:
        spec = {"tags": {"a": "b"}, "free": {"x": {"y": 1}}, "schedule": "0 0 2 * * *"}
        assert judged(backup(spec=spec)).failures == []

    @pytest.mark.parametrize(
        ("schemas", "why"),
        [
            (CustomSchemas({VERSION: {}}), "the API server has no schema of ScheduledBackup in postgresql.cnpg.io/v1"),
            (CustomSchemas({}, {VERSION: "no answer"}), "no answer"),
        ],
    )
    def test_without_a_schema_it_is_not_known(self, schemas: CustomSchemas, why: str) -> None:
        found = only(judged(backup(spec={}), schemas=schemas), Status.UNKNOWN)
        assert found.headline.endswith(f"fields that its CRD does not know: {why}")


def test_without_such_objects_it_is_absent() -> None:
    assert judged().absence == "no object of an operator's kind stands here"


class TestProbe:
    def test_only_what_was_applied_is_asked_for(self) -> None:
        asked: list[str] = []

        class Api:
            def get(self, path: str) -> Json:
                asked.append(path)
                return DOCUMENT

        seen = custom_schemas(snapshot(backup(spec={}), cluster()), Api())  # type: ignore[arg-type]
        assert seen == CustomSchemas({VERSION: DOCUMENT})
        assert asked == [f"/openapi/v3/apis/{VERSION}"]

    @pytest.mark.parametrize(
        ("status", "why"), [(404, f"the API server has no OpenAPI v3 schemas of {VERSION}"), (500, "x")]
    )
    def test_a_refusal_is_kept(self, status: int, why: str) -> None:
        class Api:
            def get(self, path: str) -> Json:
                raise ApiError(status, "x")

        assert custom_schemas(snapshot(backup(spec={})), Api()).unseen == {VERSION: why}  # type: ignore[arg-type]


def test_an_annotation_that_is_no_manifest_says_nothing() -> None:
    odd = backup()
    odd["metadata"]["annotations"] = {APPLIED: "{"}
    assert judged(odd).failures == []
