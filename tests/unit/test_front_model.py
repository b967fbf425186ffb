"""The public names, the controllers that serve them, and whose certificates count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.api import Object
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import front
from postflight.deployment.front import PublicNames
from postflight.deployment.listeners import hides_clients
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.pods import read_pod
from postflight.rights_manifest import manifest
from postflight.settings import IngressNames
from tests.unit.observations import MODEL
from tests.unit.test_ingresses import HOST, ingress, to
from tests.unit.worlds import NO_SECRETS, config_map, container, pod, service, snapshot

MAIN = next(each for each in MODEL.synapse if each.is_main)
NAMES = IngressNames()


def main(server: str = HOST, **config: Any) -> SynapseProcess:
    return replace(MAIN, server_name=server, config=config)


def controller(name: str, *args: str, image: str = "ingress-nginx/controller:v1.11.3", space: str = "edge") -> Object:
    spec = {"containers": [container(image=image, args=list(args))]}
    labels = {"matchLabels": {"app": name}}
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": space},
        "spec": {"selector": labels, "template": {"spec": spec}},
    }


def world(*controllers: Object, kind: str = "nginx") -> Snapshot:
    clients = ingress(HOST, to("web"), name="clients")
    clients["spec"] |= {"ingressClassName": kind, "tls": [{"hosts": [HOST], "secretName": "clients-tls"}]}
    clients["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"hostname": "lb.cloud.test"}]}}
    return replace(snapshot(clients, service("web", ip="10.96.1.1")), controllers=controllers)


class TestNames:
    @pytest.mark.parametrize(
        ("process", "names"),
        [
            (main(public_baseurl="https://chat.lab.test/"), PublicNames(HOST, None, "chat.lab.test", 443)),
            (main(public_baseurl="https://chat.lab.test:8443"), PublicNames(HOST, None, "chat.lab.test", 8443)),
            (main(), PublicNames(HOST, None, HOST, 443)),
            (main("lab.test:8448"), PublicNames("lab.test", 8448, "lab.test", 443)),
        ],
    )
    def test_are_those_of_the_configuration(self, process: SynapseProcess, names: PublicNames) -> None:
        assert front.names_of(process) == names

    def test_are_two_where_clients_have_one_of_their_own(self) -> None:
        names = front.names_of(main("lab.test", public_baseurl=f"https://{HOST}"))
        assert names.hosts == (HOST, "lab.test")


class TestControllers:
    @pytest.mark.parametrize(
        "image",
        [
            "registry.k8s.io/ingress-nginx/controller:v1.11.3@sha256:0",
            "traefik:v3",
            "nginx/nginx-ingress:3.7",
            "haproxytech/kubernetes-ingress:3.0",
            "rancher/nginx-ingress-controller:1",
        ],
    )
    def test_are_known_by_their_images(self, image: str) -> None:
        (found,) = front.controllers(world(controller("front", image=image)), NAMES, (HOST,))
        assert (found.id, found.selector) == ("ingress-controller/edge/front", {"app": "front"})

    @pytest.mark.parametrize(("kind", "known"), [("DaemonSet", True), ("StatefulSet", False)])
    def test_stand_on_each_node_too(self, kind: str, known: bool) -> None:
        image = "rancher/nginx-ingress-controller:v1.12.1-hardened1"
        found = front.controllers(world({**controller("rke2", image=image), "kind": kind}), NAMES, (HOST,))
        assert [(each.id, each.selector) for each in found] == (
            [("ingress-controller/edge/rke2", {"app": "rke2"})] if known else []
        )

    @pytest.mark.parametrize("image", ["nginx:1", "haproxy:2.8", "registry.test/traefik-mesh:1"])
    def test_are_no_other_proxies(self, image: str) -> None:
        assert front.controllers(world(controller("front", image=image)), NAMES, (HOST,)) == ()

    def test_of_several_that_of_the_class_counts(self) -> None:
        both = controller("inner", "--ingress-class=inner"), controller("outer", "--ingress-class=nginx")
        found = front.controllers(world(*both), NAMES, (HOST,))
        assert [each.name for each in found] == ["outer"]

    def test_of_several_all_count_where_the_class_does_not_tell(self) -> None:
        assert len(front.controllers(world(controller("a"), controller("b")), NAMES, (HOST,))) == 2

    def test_are_those_that_the_settings_name(self) -> None:
        known, other = controller("known", image="web:1"), controller("front")
        found = front.controllers(world(known, other), IngressNames(("edge/known", "edge/daemon")), (HOST,))
        assert [(each.name, each.selector) for each in found] == [("known", {"app": "known"}), ("daemon", None)]

    def test_the_settings_say_where_they_are(self) -> None:
        with pytest.raises(ValueError, match="must be <namespace>/<workload>"):
            IngressNames(("known",))

    @pytest.mark.parametrize(
        ("ports", "port"),
        [
            ([{"name": "https", "containerPort": 8443}], 8443),
            ([{"name": "web", "containerPort": 8000}, {"name": "websecure", "containerPort": 4443}], 4443),
            ([{"containerPort": 80}, {"containerPort": 8443}], 8443),
            ([], 443),
        ],
    )
    def test_take_tls_at_a_port_of_theirs(self, ports: list[Any], port: int) -> None:
        assert front.tls_port(pod("front-1", container(ports=ports))) == port

    def test_need_rights_where_they_stand(self) -> None:
        objects = manifest(world(controller("front")), frozenset(), [], "me", "home")
        (role,) = [each for each in objects if each["kind"] == "Role" and each["metadata"]["namespace"] == "edge"]
        assert role["metadata"]["name"] == "me-front-door"
        assert role["rules"] == [
            {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["list"]},
            {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["list"]},
        ]


class TestAddresses:
    def test_are_what_ingresses_services_and_nodes_say(self) -> None:
        found = front.announced(world(), (HOST,), [service("balancer", ip="10.96.2.2")])
        assert found == ("203.0.113.7", "lb.cloud.test", "10.96.1.1", "10.96.2.2")

    def test_of_the_nodes(self) -> None:
        stands = pod("one", container())
        stands["status"]["hostIP"] = "10.0.0.1"
        assert front.nodes(snapshot(stands)) == ("10.0.0.1",)

    def test_of_another_host_are_not(self) -> None:
        assert front.announced(world(), ("other.test",)) == ("10.96.1.1",)


class TestCertificates:
    def test_come_from_the_secret_that_an_ingress_names(self) -> None:
        assert front.tls_secret(world(), HOST) == "Secret clients-tls, which Ingress clients names"
        assert front.tls_secret(world(), "other.test") == ""

    def test_of_authorities_that_synapse_is_told_to_trust_count(self) -> None:
        mount = {"name": "ca", "mountPath": "/ca"}
        raw = pod("synapse-main-0", container("synapse", volumeMounts=[mount]), ip="10.1.1.2")
        raw["spec"]["volumes"] = [{"name": "ca", "configMap": {"name": "authority"}}]
        told = config_map("authority", ca__crt="-----BEGIN CERTIFICATE-----\n")
        process = replace(main(federation_custom_ca_list=["/ca/ca.crt", "/ca/none.crt"]), pod=read_pod(raw))
        (found,), unread = front.authorities(process, snapshot(raw, told), NO_SECRETS)
        assert unread == ("/ca/none.crt",)
        assert found.origin == f"federation_custom_ca_list of {process.workload_name}"
        assert found.pem.startswith("-----BEGIN")

    def test_of_no_other(self) -> None:
        assert front.authorities(main(), snapshot(), NO_SECRETS) == ((), ())


class TestListeners:
    @pytest.mark.parametrize(
        ("listener", "hidden"),
        [
            ({"resources": [{"names": ["client"]}]}, True),
            ({"resources": [{"names": ["client"]}], "x_forwarded": False}, True),
            ({"resources": [{"names": ["client"]}], "x_forwarded": True}, False),
            ({"resources": [{"names": ["replication"]}]}, False),
            ({"type": "metrics"}, False),
        ],
    )
    def test_that_take_the_proxy_for_the_client(self, listener: dict[str, Any], hidden: bool) -> None:
        assert hides_clients(main(listeners=[{"port": 8008, "type": "http", **listener}])) is hidden
