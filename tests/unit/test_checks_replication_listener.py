"""`security.replication_listener`, given each kind of fault alone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from postflight.network_settings import NetworkSettings
from postflight.probes.http import Said
from postflight.probes.network import ForeignWays
from postflight.probes.replication_listeners import ReplicationDoor
from postflight.probes.tries import Met
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import networking, recorded
from tests.unit.observations import MODEL, NOT_ALLOWED, READ_ONLY, ask, only
from tests.unit.recorded import Json, items

CHECK = "security.replication_listener"
LAB = recorded.healthy().snapshot
UPDATES = Said("pod", 200, '{"updates": [], "upto_token": 1, "limited": false}')
SELECTOR = {
    "app.kubernetes.io/name": "synapse",
    "app.kubernetes.io/instance": "main",
    "app.kubernetes.io/component": "homeserver",
}


def said(answer: Said, *, own: bool = True, pod: str = "synapse-main-0", **others: Any) -> Judge:
    """What the check says where one door answers like this."""
    doors = networking.doors(MODEL)
    hit = next(each for each in doors if each.own is own and each.way.endswith(pod))
    return ask(CHECK, replication_listeners=tuple(replace(e, said=answer) if e is hit else e for e in doors), **others)


def without_secret(model: Any) -> Any:
    return replace(
        model,
        synapse=tuple(
            replace(each, config={k: v for k, v in (each.config or {}).items() if k != "worker_replication_secret"})
            for each in model.synapse
        ),
    )


class TestSecret:
    def test_a_listener_that_serves_anybody(self) -> None:
        found = only(said(UPDATES))
        assert found.headline == "the replication listener of synapse-main-0 serves without the secret"
        assert found.observed.endswith("asked without Authorization: 200")
        assert found.cause.startswith("the process runs without worker_replication_secret")

    def test_all_of_them_are_one_finding(self) -> None:
        model = without_secret(MODEL)
        doors = tuple(replace(e, said=UPDATES) if e.own else e for e in networking.doors(model))
        found = only(ask(CHECK, deployment=model, replication_listeners=doors))
        assert "and 8 more" in found.headline
        assert found.cause == "worker_replication_secret is not set in the configuration in effect"

    @pytest.mark.parametrize("status", [400, 404])
    def test_any_answer_but_a_refusal_is_wrong(self, status: int) -> None:
        assert "serves without the secret" in only(said(Said("pod", status, "{}"))).headline

    def test_an_error_of_one_that_has_no_secret_is_no_refusal(self) -> None:
        model = without_secret(MODEL)
        pen = ask(CHECK, deployment=model, replication_listeners=networking.doors(model))
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}

    def test_silence(self) -> None:
        found = only(said(Said("pod", problem="timed out")))
        assert (found.nature, found.headline) == (
            Nature.UNAVAILABLE,
            "port 9093 of synapse-main-0 does not answer: timed out",
        )

    def test_where_none_runs(self) -> None:
        pen = ask(CHECK, replication_listeners=())
        assert {each.nature for each in pen.failures} == {Nature.UNAVAILABLE}

    def test_one_that_is_down_is_told_of_elsewhere(self) -> None:
        doors = [each for each in networking.doors(MODEL) if not each.way.endswith("synapse-main-0")]
        assert ask(CHECK, replication_listeners=tuple(doors)).failures == []


class TestPublished:
    def test_at_a_port_of_users(self) -> None:
        found = only(said(networking.NO_SECRET, own=False))
        assert found.headline == "replication is served at port 8008 of synapse-main-0, where users come in"

    def test_by_a_route_of_the_proxy(self) -> None:
        found = only(said(UPDATES, own=False, pod="haproxy"))
        assert found.headline == "replication is served at port 8008 of haproxy, where users come in"

    @pytest.mark.parametrize("status", [404, 403, 502, 503])
    def test_what_any_proxy_says_is_no_replication(self, status: int) -> None:
        assert said(Said("pod", status, "nobody"), own=False, pod="haproxy").failures == []

    def test_by_a_service_with_an_address_outside(self) -> None:
        service: Json = {
            "kind": "Service",
            "metadata": {"name": "out", "namespace": "matrix"},
            "spec": {
                "type": "NodePort",
                "selector": SELECTOR,
                "ports": [{"port": 1, "targetPort": 9093, "nodePort": 30093}],
            },
        }
        lab = recorded.changed(lambda raw: items(raw, "Service").append(service))
        found = only(ask(CHECK, lab, snapshot=networking.with_policies(lab.snapshot)))
        assert found.headline == (
            "Service out (NodePort) leads from outside the cluster to the replication listener of synapse-main-0"
        )
        assert "node port 30093" in found.observed

    def test_by_an_ingress(self) -> None:
        def lead(raw: Json) -> None:
            path = {
                "path": "/_synapse/replication",
                "backend": {"service": {"name": "synapse-main", "port": {"number": 9093}}},
            }
            rules = [{"host": "matrix.lab.test", "http": {"paths": [path]}}]
            at = {"name": "open", "namespace": "matrix"}
            found = [each for each in raw["objects"] if each["kind"] == "Ingress"]
            made = {"kind": "Ingress", "metadata": at, "spec": {"rules": rules}}
            if found:
                found[0]["items"].append(made)
            else:
                raw["objects"].append({"kind": "Ingress", "namespace": "matrix", "items": [made]})

        lab = recorded.changed(lead)
        found = only(ask(CHECK, lab, snapshot=networking.with_policies(lab.snapshot)))
        assert found.headline == "Ingress open leads matrix.lab.test to the replication listener of synapse-main-0"


class TestForeign:
    def ways(self, met: Met) -> ForeignWays:
        seen = networking.foreign(MODEL, LAB)
        return replace(seen, tried=tuple((p, replace(t, met=met)) for p, t in seen.tried if p.port == 9093))

    def test_a_foreign_pod_that_comes_in(self) -> None:
        found = only(ask(CHECK, foreign_ways=self.ways(Met.OPEN)))
        assert found.headline.startswith("a foreign pod reaches the replication listener of synapse-")

    def test_without_one_it_is_unproven(self) -> None:
        for instead in (READ_ONLY, NOT_ALLOWED):
            assert only(ask(CHECK, foreign_ways=instead), Status.WARNED).nature is Nature.UNPROVEN

    def test_one_that_could_not_be_had_is_unknown(self) -> None:
        found = only(ask(CHECK, foreign_ways=ForeignWays(problem="refused by admission")), Status.UNKNOWN)
        assert found.headline.endswith("refused by admission")


class TestPlainText:
    def on_two_nodes(self) -> Any:
        model = deepcopy(MODEL)
        first = next(each for each in model.synapse if each.is_main)
        assert first.pod
        moved = replace(first, pod=replace(first.pod, node="node2"))
        return replace(model, synapse=tuple(moved if each is first else each for each in model.synapse))

    @pytest.mark.parametrize(
        ("accepted", "two", "warned"),
        [(None, False, False), (None, True, True), (True, True, False), (False, False, True), (False, True, True)],
    )
    def test_what_is_accepted(self, accepted: bool | None, two: bool, warned: bool) -> None:
        model = self.on_two_nodes() if two else MODEL
        settings = Settings(network=NetworkSettings(plaintext_replication=accepted))
        pen = ask(CHECK, deployment=model, settings=settings, replication_listeners=networking.doors(model))
        assert [each.status for each in pen.failures] == ([Status.WARNED] if warned else [])


def test_a_deployment_without_workers_has_none() -> None:
    config: Json = {"listeners": [{"port": 8008, "type": "http", "resources": [{"names": ["client"]}]}]}
    (main,) = (replace(each, config=config) for each in MODEL.synapse if each.is_main)
    pen = ask(CHECK, deployment=replace(MODEL, synapse=(main,)), replication_listeners=())
    assert pen.absence.startswith("no Synapse process has a replication listener")


def test_a_door_says_whether_it_replicates() -> None:
    assert ReplicationDoor("x", True, UPDATES).replicates
    assert ReplicationDoor("x", True, networking.NO_SECRET).refused
    assert not ReplicationDoor("x", True, networking.UNRECOGNIZED).refused
    assert ReplicationDoor("x", True, Said("pod", 401, "{}")).refused
