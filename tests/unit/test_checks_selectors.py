"""The check of selectors: that they select, of one side, and what listens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.kinds import AUTOSCALER, BUDGET, DEPLOYMENT, POLICY, SERVICE, SERVICE_MONITOR
from postflight.probes.looks import Listener, Look, Looks
from postflight.settings import CanarySettings, Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Status
from tests.unit.observations import NOT_ALLOWED, ask, only
from tests.unit.worlds import Json, container, deployment, pod, snapshot, thing

CHECK = "platform.selectors"
PORTS = [{"name": "http", "containerPort": 8080}]
WEB = pod("web-1", container(ports=PORTS), labels={"app": "web", "matrix.instance": "main"})
WEB_LI = pod("web-li-1", container(), labels={"app": "web", "matrix.instance": "li"})
HEARS = frozenset({Listener("TCP", "0.0.0.0", 8080), Listener("TCP", "127.0.0.1", 9113)})


def judged(*objects: Json, hears: Any = HEARS, pods: tuple[Json, ...] = (WEB,), **others: Any) -> Judge:
    world = snapshot(*pods, *objects)
    model = deployment(world)
    seen = {id: Look(id, "main", listeners=hears) for id in model.pods}
    given: Json = {"snapshot": world, "deployment": model, "pod_looks": Looks(seen, {})}
    return ask(CHECK, None, **(given | others))


def service(selector: Json | None, port: Json | None = None, name: str = "web", **spec: Any) -> Json:
    ports = [port or {"name": "http", "port": 80, "targetPort": "http"}]
    return thing(SERVICE, name, spec={"selector": selector, "ports": ports, **spec})


def budget(**labels: str) -> Json:
    return thing(BUDGET, "web", spec={"selector": {"matchLabels": labels}, "maxUnavailable": 1})


class TestNothing:
    @pytest.mark.parametrize(
        ("each", "line"),
        [
            (service({"app": "wbe"}), "Service web selects nothing: no pod and no workload has app=wbe"),
            (
                thing(
                    POLICY,
                    "web",
                    spec={"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["wbe"]}]}},
                ),
                "NetworkPolicy web selects nothing: no pod and no workload has app In wbe",
            ),
            (
                thing(
                    AUTOSCALER, "web", spec={"scaleTargetRef": {"kind": "Deployment", "name": "wbe"}, "maxReplicas": 2}
                ),
                "HorizontalPodAutoscaler web scales Deployment wbe, which does not exist",
            ),
        ],
    )
    def test_a_label_or_name_that_is_misspelt(self, each: Json, line: str) -> None:
        assert only(judged(each)).headline == line

    def test_a_workload_that_has_no_pod_now_is_something(self) -> None:
        template = {"metadata": {"labels": {"app": "idle"}}, "spec": {"containers": []}}
        idle = thing(
            DEPLOYMENT, "idle", spec={"replicas": 0, "selector": {"matchLabels": {"app": "idle"}}, "template": template}
        )
        assert judged(service({"app": "idle"}), budget(app="idle"), idle).failures == []

    @pytest.mark.parametrize(
        "each",
        [
            service(None),
            service({"app": "wbe"}, type="ExternalName"),
            service({"app": "wbe"}, name="postflight-canary"),
            thing(POLICY, "all", spec={"podSelector": {}}),
        ],
    )
    def test_what_is_meant_for_nobody_or_for_all(self, each: Json) -> None:
        assert judged(each).failures == []

    def test_what_an_operator_leaves_empty(self) -> None:
        empty = service({"cnpg.io/instanceRole": "replica"}, name="pg-ro")
        empty["metadata"]["ownerReferences"] = [
            {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "pg"}
        ]
        assert judged(empty).failures == []

    @pytest.mark.parametrize(("key", "count"), [("cnpg.io/cluster", 1), ("cnpg.io/jobRole", 0)])
    def test_what_only_an_operator_labels_is_judged_where_it_labels_some(self, key: str, count: int) -> None:
        own = pod("pg-1", container(), labels={"cnpg.io/cluster": "pg"})
        policy = thing(POLICY, "pg", spec={"podSelector": {"matchLabels": {key: "other"}}})
        assert len(judged(policy, pods=(own,)).failures) == count

    @pytest.mark.parametrize("left", [(), (pod("old", container(), labels={"postflight/purpose": "canary"}),)])
    def test_what_is_for_the_pods_of_a_run_whether_some_are_left_or_not(self, left: tuple[Json, ...]) -> None:
        selector = {"matchExpressions": [{"key": "postflight/purpose", "operator": "In", "values": ["turn"]}]}
        assert judged(thing(POLICY, "own", spec={"podSelector": selector}), pods=(WEB, *left)).failures == []

    def test_the_canarys_service_under_another_name(self) -> None:
        settings = Settings(canary=CanarySettings(service="other"))
        assert judged(service({"app": "wbe"}, name="other"), settings=settings).failures == []


class TestSides:
    @pytest.mark.parametrize("each", [budget(app="web"), service({"app": "web"}, {"port": 8080})])
    def test_pods_of_main_and_of_li(self, each: Json) -> None:
        found = only(judged(each, pods=(WEB, WEB_LI)))
        assert found.headline.endswith("web selects pods of main and of LI: web-1; web-li-1")

    def test_services_of_main_and_of_li(self) -> None:
        services = [service({"app": "web"}, {"port": 8080}, name=name) for name in ("one", "two")]
        for each, side in zip(services, ("main", "li"), strict=True):
            each["metadata"]["labels"] = {"app.kubernetes.io/instance": side, "app": "web"}
        monitor = thing(SERVICE_MONITOR, "web", spec={"selector": {"matchLabels": {"app": "web"}}})
        found = only(judged(*services, monitor))
        assert found.headline == "ServiceMonitor web selects Services of main and of LI: one, two"


class TestPorts:
    def test_one_that_nobody_listens_on(self) -> None:
        found = only(judged(service({"app": "web"}, {"name": "metrics", "port": 9113})))
        assert found.headline == (
            "port metrics (9113) of Service web leads to nobody: nothing in web-1 listens at TCP port 9113"
        )

    def test_a_name_that_no_container_has(self) -> None:
        found = only(judged(service({"app": "web"}, {"port": 80, "targetPort": "htpp"})))
        assert found.headline == "port 80 of Service web leads to nobody: web-1 has no port called htpp"

    def test_one_that_is_listened_on(self) -> None:
        assert judged(service({"app": "web"})).failures == []

    def test_udp_is_another(self) -> None:
        found = only(judged(service({"app": "web"}, {"port": 8080, "protocol": "UDP"})))
        assert "UDP port 8080" in found.headline

    def test_a_pod_that_is_not_ready_is_not_asked(self) -> None:
        down = pod("web-1", container(), labels={"app": "web"})
        down["status"]["conditions"][0]["status"] = "False"
        assert judged(service({"app": "web"}, {"port": 9}), pods=(down,)).failures == []

    def test_what_was_not_seen_is_said(self) -> None:
        found = only(judged(service({"app": "web"}), hears=None), Status.WARNED)
        assert found.headline == "whether anybody listens at port 8080 of web-1 was not seen"

    def test_without_the_right_too(self) -> None:
        found = only(judged(service({"app": "web"}), pod_looks=NOT_ALLOWED), Status.WARNED)
        assert found.headline.endswith("was not seen: no right: create pods/exec in namespace matrix")

    @pytest.mark.parametrize("port", ["http", 8080])
    def test_where_the_kubelet_asks_it_is_seen_all_the_same(self, port: Any) -> None:
        asked = container(ports=PORTS, readinessProbe={"tcpSocket": {"port": port}})
        pods = (pod("web-1", asked, labels={"app": "web"}),)
        assert judged(service({"app": "web"}), hears=None, pods=pods).failures == []


def test_synapse_of_both_sides_behind_a_service_is_told_of_by_another_check() -> None:
    command = ["python", "-m", "synapse.app.homeserver"]
    both = tuple(
        pod(f"synapse-{side}", container(command=command), labels={"app": "synapse", "matrix.instance": side})
        for side in ("main", "li")
    )
    world = snapshot(*both, service({"app": "synapse"}, {"port": 8080}, name="synapse"))
    model = deployment(world)
    seen = {id: replace(Look(id, "main"), listeners=HEARS) for id in model.pods}
    assert ask(CHECK, snapshot=world, deployment=model, pod_looks=Looks(seen, {})).failures == []
