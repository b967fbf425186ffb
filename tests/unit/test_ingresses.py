"""Where Ingresses lead a host and a path."""

from __future__ import annotations

import pytest

from postflight.cluster.kinds import INGRESS
from postflight.deployment.ingresses import Route, claims, route
from tests.unit.worlds import Json, container, endpoints, pod, pods_of, service, snapshot, thing

HOST = "matrix.lab.test"


def to(name: str, path: str = "/", kind: str = "Prefix", port: Json | None = None) -> Json:
    backend = {"service": {"name": name, "port": port or {"number": 80}}}
    return {"path": path, "pathType": kind, "backend": backend}


def ingress(host: str, *paths: Json, name: str = "front", annotations: dict[str, str] | None = None) -> Json:
    rule = {"http": {"paths": list(paths)}} | ({"host": host} if host else {})
    made = thing(INGRESS, name, spec={"rules": [rule]})
    made["metadata"]["annotations"] = annotations or {}
    return made


def stands(name: str) -> tuple[Json, ...]:
    return pod(f"{name}-1", container()), service(name, 80, target=8080), endpoints(name, f"{name}-1", port=8080)


def led(path: str, *ingresses: Json, host: str = HOST, known: bool = True) -> Route | None:
    world = snapshot(*stands("web"), *stands("jwt"), *ingresses)
    return route(world, pods_of(world), host, path, known=known)


def where(found: Route | None) -> str:
    return found.endpoint.service if found else ""


class TestPaths:
    def test_the_longest_wins(self) -> None:
        front = ingress(HOST, to("web"), to("jwt", "/livekit/jwt"))
        assert where(led("/livekit/jwt/get_token", front)) == "jwt"
        assert where(led("/livekit/jwtx", front)) == "web"

    def test_of_several_ingresses_too(self) -> None:
        both = ingress(HOST, to("web"), name="a"), ingress(HOST, to("jwt", "/livekit"), name="b")
        assert where(led("/livekit/jwt/get_token", *both)) == "jwt"

    def test_exact(self) -> None:
        front = ingress(HOST, to("web"), to("jwt", "/sfu/get", "Exact"))
        assert (where(led("/sfu/get", front)), where(led("/sfu/get/", front))) == ("jwt", "web")

    @pytest.mark.parametrize("path", ["/livekit/jwt(/|$)(.*)", "/livekit/jwt/*"])
    def test_patterns(self, path: str) -> None:
        front = ingress(HOST, to("web"), to("jwt", path, "ImplementationSpecific"))
        assert where(led("/livekit/jwt/get_token", front)) == "jwt"

    def test_none(self) -> None:
        assert led("/livekit", ingress(HOST, to("jwt", "/sfu"))) is None


class TestHosts:
    def test_the_nearest_wins(self) -> None:
        rules = ingress("*.lab.test", to("web", "/livekit/jwt"), name="a"), ingress(HOST, to("jwt"), name="b")
        assert where(led("/livekit/jwt", *rules)) == "jwt"
        assert where(led("/livekit/jwt", *rules, host="other.lab.test")) == "web"
        assert led("/", *rules, host="lab.test") is None

    def test_without_one_it_speaks_for_names_that_are_known(self) -> None:
        front = ingress("", to("web"))
        assert where(led("/", front)) == "web"
        assert led("/", front, known=False) is None

    def test_that_are_claimed(self) -> None:
        world = snapshot(ingress("*.lab.test", to("web")), ingress("", to("web"), name="b"))
        assert [claims(world, each) for each in (HOST, "lab.test")] == [True, False]


class TestWhereItLeads:
    def test_to_the_pods_of_the_service_by_their_own_port(self) -> None:
        found = led("/", ingress(HOST, to("jwt", port={"name": "one"})))
        assert found
        assert [(each.name, port) for each, port in found.endpoint.pods] == [("jwt-1", 8080)]

    def test_to_a_service_that_there_is_not(self) -> None:
        found = led("/", ingress(HOST, to("none")))
        assert found
        assert found.endpoint.problem == "no Service none in namespace matrix"

    def test_with_the_path_changed(self) -> None:
        notes = {"nginx.ingress.kubernetes.io/rewrite-target": "/$2"}
        plain, changed = led("/", ingress(HOST, to("web"))), led("/", ingress(HOST, to("web"), annotations=notes))
        assert plain
        assert changed
        assert (plain.rewrites, changed.rewrites) == (False, True)

    def test_over_tls(self) -> None:
        found = led(
            "/", ingress(HOST, to("web"), annotations={"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"})
        )
        assert found
        assert found.tls
