"""From a host name to the pods behind it, in every form in which a pod may ask for one."""

from __future__ import annotations

import pytest

from postflight.deployment.parts import Endpoint
from postflight.deployment.services import resolve
from tests.unit import recorded
from tests.unit.worlds import Json, endpoints, pod, pods_of, service, snapshot

WORLD = (
    pod("redis-0", ip="10.244.0.1"),
    pod("redis-1", ip="10.244.0.2"),
    pod("proxy-x", ip="10.244.0.3"),
    service("redis", 6379, target=16379, ip="10.96.0.7"),
    endpoints("redis", "proxy-x", port=16379),
    service("redis-headless", 6379, headless=True),
    endpoints("redis-headless", "redis-0", "redis-1", port=6379),
)


def ask(host: str, port: int = 6379, *objects: Json, namespace: str = "matrix") -> Endpoint:
    world = snapshot(*(objects or WORLD))
    return resolve(world, pods_of(world), host, port, namespace)


def led_to(found: Endpoint) -> list[tuple[str, int]]:
    return [(each.name, port) for each, port in found.pods]


@pytest.mark.parametrize(
    "host",
    [
        "redis",
        "redis.matrix",
        "redis.matrix.svc",
        "redis.matrix.svc.cluster.local",
        "redis.matrix.svc.cluster.local.",
        "redis.matrix.svc.k8s.corp.test",
    ],
)
def test_a_service_by_every_form_of_its_name_leads_to_its_pods_at_their_port(host: str) -> None:
    found = ask(host)
    assert led_to(found) == [("proxy-x", 16379)]
    assert (found.namespace, found.service, found.problem) == ("matrix", "redis", "")
    assert not found.external
    assert not found.single_pod
    assert (found.host, found.port) == (host, 6379), "as it was asked for"


@pytest.mark.parametrize(
    "host",
    [
        "redis-1.redis-headless",
        "redis-1.redis-headless.matrix",
        "redis-1.redis-headless.matrix.svc",
        "redis-1.redis-headless.matrix.svc.cluster.local",
        "redis-1.redis-headless.matrix.svc.k8s.corp.test",
    ],
)
def test_a_pods_own_name_leads_to_that_pod(host: str) -> None:
    found = ask(host)
    assert led_to(found) == [("redis-1", 6379)]
    assert found.single_pod
    assert not found.external


def test_a_pods_own_name_leads_to_it_even_when_it_is_not_ready() -> None:
    world = (pod("redis-0"), service("redis-headless", headless=True), endpoints("redis-headless"))
    assert led_to(ask("redis-0.redis-headless.matrix.svc", 6379, *world)) == [("redis-0", 6379)]


def test_a_headless_service_leads_to_all_its_pods_at_any_port() -> None:
    found = ask("redis-headless", 26379)
    assert led_to(found) == [("redis-0", 26379), ("redis-1", 26379)]
    assert found.problem == ""


def test_a_short_name_is_asked_for_in_the_namespace_of_the_one_who_asks() -> None:
    assert ask("redis", namespace="other").problem == "namespace other is not looked at: --namespace matrix,other"
    assert led_to(ask("redis.matrix", namespace="other")) == [("proxy-x", 16379)]


def test_a_cluster_ip_leads_where_its_service_does() -> None:
    found = ask("10.96.0.7")
    assert (found.service, led_to(found)) == ("redis", [("proxy-x", 16379)])


def test_a_pods_address_leads_to_that_pod_alone() -> None:
    found = ask("10.244.0.2")
    assert led_to(found) == [("redis-1", 6379)]
    assert found.single_pod


@pytest.mark.parametrize("host", ["db.example.com", "redis.cloud.example.com", "203.0.113.7", "2001:db8::1"])
def test_what_no_name_within_the_cluster_can_be_is_outside(host: str) -> None:
    found = ask(host)
    assert (found.external, found.pods, found.problem) == (True, (), "")


@pytest.mark.parametrize("host", ["db.example", "example.com"])
def test_two_words_that_are_no_service_here_are_outside(host: str) -> None:
    assert ask(host).external


@pytest.mark.parametrize("host", ["rediss", "rediss.matrix", "rediss.matrix.svc.cluster.local"])
def test_a_service_that_does_not_exist_is_named(host: str) -> None:
    found = ask(host)
    assert (found.problem, found.external) == ("no Service rediss in namespace matrix", False)
    assert (found.namespace, found.service) == ("matrix", "rediss")


def test_a_namespace_out_of_scope_is_no_finding() -> None:
    found = ask("redis.elsewhere.svc")
    assert found.external
    assert found.problem == "namespace elsewhere is not looked at: --namespace matrix,elsewhere"


def test_a_port_that_the_service_does_not_have_is_named() -> None:
    assert ask("redis", 6380).problem == "Service redis has no port 6380"


@pytest.mark.parametrize(
    "slice_of", [endpoints("redis", "redis-0", ready=False), endpoints("redis"), endpoints("another", "redis-0")]
)
def test_a_service_without_a_ready_pod_is_named(slice_of: Json) -> None:
    assert ask("redis", 80, pod("redis-0"), service("redis"), slice_of).problem == (
        "Service redis has no ready pod behind it"
    )


def test_a_service_that_was_filled_by_hand_is_outside() -> None:
    piece = endpoints("db")
    piece["endpoints"] = [{"addresses": ["192.0.2.9"], "conditions": {"ready": True}}]
    found = ask("db", 5432, service("db", 5432), piece)
    assert (found.external, found.problem, found.service) == (True, "", "db")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_loopback_is_no_service_and_no_pod_of_the_model(host: str) -> None:
    found = ask(host)
    assert (found.external, found.problem, found.pods) == (True, "", ())


def test_a_second_address_is_as_good_as_the_first() -> None:
    both, one = service("redis", 6379, ip="10.96.0.7"), pod("redis-0", ip="10.244.0.1")
    both["spec"]["clusterIPs"] = ["10.96.0.7", "fd00::7"]
    one["status"]["podIPs"] = [{"ip": "10.244.0.1"}, {"ip": "fd00::1"}]
    world = (both, one, endpoints("redis", "redis-0", port=6379))
    assert ask("fd00::7", 6379, *world).service == "redis"
    assert led_to(ask("fd00::1", 6379, *world)) == [("redis-0", 6379)]


def test_an_external_name_is_outside() -> None:
    outside = service("redis")
    outside["spec"] = {"type": "ExternalName", "externalName": "redis.example.com"}
    assert ask("redis", 6379, outside).external


def test_a_port_is_followed_by_its_name_where_a_service_has_several() -> None:
    both = service("web", 80)
    both["spec"]["ports"] = [{"name": "http", "port": 80}, {"name": "metrics", "port": 9090}]
    piece = endpoints("web", "a")
    piece["ports"] = [{"name": "metrics", "port": 1}, {"name": "http", "port": 2}]
    assert led_to(ask("web", 80, pod("a"), both, piece)) == [("a", 2)]
    assert led_to(ask("web", 9090, pod("a"), both, piece)) == [("a", 1)]


def test_every_name_in_the_labs_configuration_leads_to_a_pod() -> None:
    lab = recorded.healthy()
    main = next(each for each in recorded.model().synapse if each.is_main)
    assert main.config
    hosts = [(each["host"], each["port"]) for each in main.config["instance_map"].values()]
    for host, port in (*hosts, (main.config["redis"]["host"], 6379), (main.config["database"]["args"]["host"], 5432)):
        found = resolve(lab.snapshot, recorded.model().pods, host, port, "matrix")
        assert found.pods, host
        assert not found.problem


def with_labels(made: Json, **spec: object) -> Json:
    return {**made, "spec": {**made["spec"], **spec}}


def stateful(name: str, replicas: int, **labels: str) -> Json:
    template = {"metadata": {"labels": labels}, "spec": {"containers": []}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"kind": "StatefulSet", "metadata": {"name": name, "namespace": "matrix"}, "spec": spec}


def selecting(*objects: Json, **selector: str) -> Endpoint:
    led = with_labels(service("redis", 6379), selector={key.replace("__", "/"): each for key, each in selector.items()})
    return ask("redis", 6379, led, endpoints("redis", "redis-0", port=6379), *objects)


@pytest.mark.parametrize("label", ["statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"])
def test_a_service_by_a_pods_own_label_is_pinned_to_it(label: str) -> None:
    found = selecting(pod("redis-0"), **{"app": "redis", label: "redis-0"})
    assert (found.pinned, found.single_pod, led_to(found)) == (f"{label}: redis-0", False, [("redis-0", 6379)])


def test_a_service_that_selects_one_workload_of_one_pod_says_which() -> None:
    first, others = stateful("redis-a", 1, app="redis", part="a"), stateful("redis-b", 2, app="redis", part="b")
    pods = (pod("redis-0", labels={"app": "redis", "part": "a"}), pod("redis-1", labels={"app": "redis", "part": "b"}))
    assert selecting(first, others, *pods, app="redis", part="a").sole == "StatefulSet redis-a"
    assert selecting(first, others, *pods, app="redis").sole == "", "both"
    assert selecting(first, others, *pods, app="redis", part="b").sole == "", "it has two pods"
    assert selecting(first, others, *pods, app="redis", role="master").sole == "", "nothing is made with that label"


def test_a_label_that_is_switched_while_pods_run_follows() -> None:
    first, others = stateful("redis-a", 1, app="a", role="master"), stateful("redis-b", 1, app="b", role="replica")
    first["spec"]["selector"]["matchLabels"] = {"app": "a"}
    switched = (
        pod("redis-0", labels={"app": "a", "role": "replica"}),
        pod("redis-1", labels={"app": "b", "role": "master"}),
    )
    assert selecting(first, others, *switched, role="master").sole == ""
