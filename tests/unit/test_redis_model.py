"""Redis: servers, Sentinels and clients told apart, their settings, and the address that Synapse uses."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from postflight.cluster.files import Files
from postflight.cluster.kinds import STATEFUL_SET
from postflight.deployment.model import Deployment
from postflight.deployment.parts import RedisEndpoint, RedisNode
from postflight.deployment.redis import SENTINEL, SERVER, role_of
from postflight.settings import RedisNames, Settings
from tests.unit import recorded
from tests.unit.worlds import (
    NAMESPACE,
    NO_FILES,
    Json,
    container,
    deployment,
    endpoints,
    pod,
    secrets,
    service,
    snapshot,
    thing,
)


def ports(*numbers: int) -> list[Json]:
    return [{"containerPort": number} for number in numbers]


class TestRoles:
    @pytest.mark.parametrize(
        ("fields", "role"),
        [
            ({"command": ["redis-server", "/etc/redis.conf"]}, SERVER),
            ({"command": ["/usr/local/bin/redis-server", "--port", "6380"]}, SERVER),
            ({"command": ["valkey-server"]}, SERVER),
            ({"command": ["sh", "-c", "exec redis-server /conf/redis.conf"]}, SERVER),
            ({"command": ["redis-sentinel", "/etc/sentinel.conf"]}, SENTINEL),
            ({"command": ["redis-server", "/etc/sentinel.conf", "--sentinel"]}, SENTINEL),
            ({"image": "redis:7"}, SERVER),
            ({"image": "registry.test/valkey/valkey:8-alpine"}, SERVER),
            ({"image": "bitnami/redis:7", "command": ["/opt/start-node.sh"], "ports": ports(6379)}, SERVER),
            ({"image": "bitnami/redis-sentinel:7", "command": ["/opt/start.sh"], "ports": ports(26379)}, SENTINEL),
            ({"image": "bitnami/redis:7", "command": ["/opt/sentinel.sh"], "ports": ports(26379)}, SENTINEL),
            ({"image": "oliver006/redis_exporter:v1", "ports": ports(9121)}, ""),
            ({"image": "bitnami/redis-exporter:1", "args": ["--redis.addr=redis://localhost:6379"]}, ""),
            ({"image": "redis:7", "command": ["sh", "-c", "while true; do redis-cli ping; done"]}, ""),
            ({"image": "registry.test/redis-commander:1"}, ""),
            ({"image": "haproxy:2.8", "ports": ports(6379)}, ""),
        ],
    )
    def test_are_told_by_command_then_image_and_port(self, fields: dict[str, Any], role: str) -> None:
        assert role_of(container(**fields)) == role


def node(
    config: str = "", held: dict[str, str] | None = None, names: RedisNames | None = None, **fields: Any
) -> RedisNode:
    """The one server of a group, with this configuration file and container."""
    fields.setdefault("command", ["redis-server", "/etc/redis.conf"])
    read = Files({(NAMESPACE, "one", "main"): {"/etc/redis.conf": config.encode()}}, {}) if config else NO_FILES
    settings = Settings(names=dataclasses.replace(Settings().names, redis=names or RedisNames()))
    model = deployment(snapshot(pod("one", container(**fields))), secrets(app=held or {}), read, settings)
    return model.redis[0].nodes[0]


def password(found: RedisNode) -> str | None:
    return found.password.reveal() if found.password else None


class TestANode:
    def test_listens_and_asks_for_what_its_configuration_says(self) -> None:
        found = node('port 6380\n# requirepass old\nrequirepass "hunter2"\nmasterauth other\n')
        assert (found.port, password(found)) == (6380, "hunter2")

    def test_its_arguments_come_first(self) -> None:
        found = node(command=["redis-server", "--port", "6381", "--requirepass", "hunter2"])
        assert (found.port, password(found)) == (6381, "hunter2")

    @pytest.mark.parametrize("reference", ["$(PASSWORD)", "$PASSWORD", "${PASSWORD}", '"$PASSWORD"'])
    def test_an_argument_may_name_a_variable(self, reference: str) -> None:
        source = {"secretKeyRef": {"name": "app", "key": "p"}}
        found = node(
            held={"p": "hunter2"},
            command=["sh", "-c", f"exec redis-server --requirepass {reference}"],
            env=[{"name": "PASSWORD", "valueFrom": source}],
        )
        assert password(found) == "hunter2"

    @pytest.mark.parametrize("name", ["REDIS_PASSWORD", "VALKEY_PASSWORD"])
    def test_else_a_variable_of_its_image_counts(self, name: str) -> None:
        assert password(node(env=[{"name": name, "value": "hunter2"}])) == "hunter2"

    def test_else_the_file_that_a_chart_mounts_counts_and_the_port_it_says(self) -> None:
        path = "/opt/bitnami/redis/secrets/redis-password"
        env = [{"name": "REDIS_PASSWORD_FILE", "value": path}, {"name": "REDIS_PORT", "value": "6380"}]
        held = {
            "name": "redis-password",
            "secret": {"secretName": "app", "items": [{"key": "p", "path": "redis-password"}]},
        }
        spec = container(
            image="docker.io/bitnami/redis:7.4.2",
            command=["/bin/bash"],
            args=["-ec", "/opt/bitnami/scripts/start-scripts/start-master.sh"],
            ports=ports(6379),
            env=env,
            volumeMounts=[{"name": "redis-password", "mountPath": "/opt/bitnami/redis/secrets/"}],
        )
        model = deployment(snapshot(pod("redis-master-0", spec, volumes=[held])), secrets(app={"p": "hunter2\n"}))
        (found,) = model.redis[0].nodes
        assert (found.port, password(found)) == (6380, "hunter2")
        model = deployment(snapshot(pod("redis-master-0", spec, volumes=[held])), secrets(unseen={"app": "no right"}))
        assert model.redis[0].nodes[0].password is None

    def test_the_settings_come_before_all(self) -> None:
        names = RedisNames(password_secret="app/p")
        assert password(node("requirepass other\n", {"p": "hunter2"}, names)) == "hunter2"

    def test_by_default_it_has_no_password(self) -> None:
        found = node()
        assert (found.port, found.password, found.memory_limit) == (6379, None, None)

    def test_its_memory_limit_is_its_containers(self) -> None:
        assert node(resources={"limits": {"memory": "96Mi"}}).memory_limit == 96 * 2**20

    def test_may_listen_over_tls_only(self) -> None:
        found = node("port 0\ntls-port 6390\n")
        assert (found.port, found.tls) == (6390, True)
        both = node("tls-port 6390\n")
        assert (both.port, both.tls) == (6379, False)

    def test_a_port_that_is_no_number_is_the_usual_one(self) -> None:
        assert node("port ${PORT}\n").port == 6379


def synapse(host: str, port: object = 6379, name: str = "hs") -> tuple[Json, dict[tuple[str, str, str], Json]]:
    config = {"server_name": "a.test", "redis": {"enabled": True, "host": host, "port": port, "password": "p"}}
    one = pod(name, container(image="matrixdotorg/synapse:1"))
    return one, {(NAMESPACE, name, "main"): {"/data/homeserver.yaml": yaml.safe_dump(config).encode()}}


def redis(name: str = "redis", nodes: int = 3) -> list[Json]:
    spec = {"containers": [container(command=["redis-server"])]}
    made: list[Json] = [thing(STATEFUL_SET, name, spec={"replicas": nodes, "template": {"spec": spec}})]
    for number in range(nodes):
        one = pod(f"{name}-{number}", container(command=["redis-server"]))
        one["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": name, "controller": True}]
        made.append(one)
    names = [f"{name}-{number}" for number in range(nodes)]
    made += [service(f"{name}-all", 6379), endpoints(f"{name}-all", *names, port=6379)]
    return [*made, service(f"{name}-headless", 6379, headless=True), endpoints(f"{name}-headless", *names)]


def world(host: str, *more: Json, port: object = 6379) -> Deployment:
    one, read = synapse(host, port)
    return deployment(snapshot(one, *redis(), *more), read=Files(read, {}))


def address(model: Deployment) -> RedisEndpoint:
    (found,) = model.redis_endpoints
    return found


class TestTheAddressOfSynapse:
    def test_may_lead_to_all_nodes(self) -> None:
        found = address(world("redis-all"))
        assert (found.group, len(found.endpoint.pods)) == ("redis/matrix/redis", 3)
        assert (found.server_name, found.users) == ("a.test", ("pod/matrix/hs",))
        assert found.password
        assert found.password.reveal() == "p"

    def test_may_lead_to_one_node_by_its_own_name(self) -> None:
        found = address(world("redis-0.redis-headless"))
        assert found.endpoint.single_pod
        assert [each.name for each, _ in found.endpoint.pods] == ["redis-0"]

    def test_may_lead_through_a_proxy_to_the_only_group_there_is(self) -> None:
        proxy = (pod("proxy", container(image="haproxy:2")), service("proxy", 6379), endpoints("proxy", "proxy"))
        found = address(world("proxy", *proxy))
        assert (found.group, [each.name for each, _ in found.endpoint.pods]) == ("redis/matrix/redis", ["proxy"])

    def test_through_a_proxy_belongs_to_none_where_there_are_two(self) -> None:
        proxy = (pod("proxy", container(image="haproxy:2")), service("proxy", 6379), endpoints("proxy", "proxy"))
        assert address(world("proxy", *proxy, *redis("other", 1))).group == ""
        assert address(world("redis-all", *redis("other", 1))).group == "redis/matrix/redis"

    def test_may_lead_nowhere(self) -> None:
        assert address(world("rediss")).endpoint.problem == "no Service rediss in namespace matrix"

    def test_may_lie_outside(self) -> None:
        assert address(world("redis.cloud.example.com")).endpoint.external

    def test_whose_port_was_not_rendered_is_at_the_usual_one(self) -> None:
        assert address(world("redis-all", port="${REDIS_PORT}")).endpoint.port == 6379

    def test_may_have_its_password_in_a_file(self) -> None:
        mounts = [{"name": "v", "mountPath": "/s"}]
        volumes = [{"name": "v", "secret": {"secretName": "app"}}]
        one = pod("hs", container(image="matrixdotorg/synapse:1", volumeMounts=mounts), volumes=volumes)
        text = b"server_name: a.test\nredis: {enabled: true, host: redis-all, use_tls: true, password_path: /s/p}\n"
        read = Files({(NAMESPACE, "hs", "main"): {"/data/homeserver.yaml": text}}, {})
        found = address(deployment(snapshot(one, *redis()), secrets(app={"p": "hunter2\n"}), read))
        assert (found.password and found.password.reveal(), found.hidden, found.tls) == ("hunter2", "", True)
        found = address(deployment(snapshot(one, *redis()), read=read))
        assert found.hidden == "its password is in /s/p, which is not to be had from the pod's spec"

    def test_is_none_where_redis_is_off(self) -> None:
        one = pod("hs", container(image="matrixdotorg/synapse:1"))
        read = {(NAMESPACE, "hs", "main"): {"/data/homeserver.yaml": b"server_name: a.test\nredis: {enabled: false}\n"}}
        assert deployment(snapshot(one), read=Files(read, {})).redis_endpoints == ()

    def test_is_beneath_those_that_use_it(self) -> None:
        model = world("redis-all")
        assert address(model).id in model.depends["pod/matrix/hs"]
        assert set(model.depends[address(model).id]) == {
            "redis/matrix/redis",
            *(f"pod/matrix/redis-{number}" for number in range(3)),
        }


class TestGroups:
    def test_nodes_that_are_missing_are_still_expected(self) -> None:
        spec = {"containers": [container(command=["redis-server"])]}
        world = snapshot(thing(STATEFUL_SET, "redis", spec={"replicas": 3, "template": {"spec": spec}}))
        (found,) = deployment(world).redis
        assert (found.expected, found.nodes) == (3, ())

    def test_sentinels_of_their_own_workload_watch_the_only_group(self) -> None:
        watch = pod("watch", container(command=["redis-sentinel", "/etc/s.conf"]))
        text = b"sentinel resolve-hostnames yes\nsentinel monitor main redis-0 6379 2\n"
        read = Files({(NAMESPACE, "watch", "main"): {"/etc/s.conf": text}}, {})
        (found,) = deployment(snapshot(*redis(), watch), read=read).redis
        assert (len(found.nodes), [each.port for each in found.sentinels]) == (3, [26379])
        assert found.master_name == "main"

    def test_sentinels_apart_from_two_groups_are_a_group_without_servers(self) -> None:
        watch = pod("watch", container(command=["redis-sentinel", "/etc/s.conf"]))
        model = deployment(snapshot(*redis("a"), *redis("b"), watch))
        assert [(each.name, each.only_sentinels) for each in model.redis] == [
            ("a", False),
            ("b", False),
            ("watch", True),
        ]
        assert [len(each.sentinels) for each in model.redis] == [0, 0, 1]

    def test_the_settings_name_the_master(self) -> None:
        settings = Settings(names=dataclasses.replace(Settings().names, redis=RedisNames(sentinel_master="m")))
        (found,) = deployment(snapshot(*redis()), settings=settings).redis
        assert found.master_name == "m"

    def test_of_the_lab_is_three_nodes_each_with_its_sentinel_behind_a_proxy(self) -> None:
        (found,) = recorded.model().redis
        assert [each.pod.name for each in found.nodes] == ["redis-0", "redis-1", "redis-2"]
        assert [each.container for each in found.sentinels] == ["sentinel"] * 3
        assert (found.expected, found.expected_sentinels, found.master_name) == (3, 3, "mymaster")
        held = recorded.healthy().secrets.value("matrix", "redis-password", "password")
        assert {each.password for each in found.nodes} == {held}
        led = address(recorded.model())
        assert (led.group, len(led.users), led.server_name) == (found.id, 15, "matrix.lab.test")
        assert all(each.name.startswith("haproxy-") for each, _ in led.endpoint.pods)

    def test_of_the_lab_keep_their_password_where_no_file_can_be_read(self) -> None:
        (found,) = recorded.healthy().deployment(files=Files({}, {})).redis
        held = recorded.healthy().secrets.value("matrix", "redis-password", "password")
        assert {each.password for each in found.nodes} == {held}
