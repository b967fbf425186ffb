"""TURN servers as parts of the model: found by what they are, with what they go by, and who asks for its address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.files import ENVIRONMENT, Files
from postflight.deployment.address_echo import Echo
from postflight.deployment.coturn import is_denied
from postflight.deployment.turn import Difference, difference, uri_of
from postflight.deployment.turn_parts import TurnServer, TurnSetup, TurnUse
from postflight.secrets import Secret
from postflight.settings import CallsNames, Names, Settings
from tests.unit.relaying import OURS, SECRET, SERVER, THEIRS
from tests.unit.worlds import (
    NAMESPACE,
    NO_FILES,
    Json,
    config_map,
    container,
    deployment,
    endpoints,
    pod,
    pods_of,
    secrets,
    service,
    snapshot,
)

IMAGE = "coturn/coturn:4.6.2"
VALUE = SECRET.reveal()
OTHER = Secret("another secret")
HELD = {"TURN_SHARED_SECRET": VALUE}
FROM_SECRET = {
    "name": "TURN_SHARED_SECRET",
    "valueFrom": {"secretKeyRef": {"name": "coturn-secrets", "key": "TURN_SHARED_SECRET"}},
}
TEMPLATE = "# ask ifconfig.me\nlistening-port=3479\nuse-auth-secret\nstatic-auth-secret=${TURN_SHARED_SECRET}\nexternal-ip=${NODE_IP}\n"
RENDER = container(
    "render",
    args=["envsubst < /templates/turnserver.conf > /config/turnserver.conf"],
    env=[FROM_SECRET, {"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
    volumeMounts=[{"name": "templates", "mountPath": "/templates"}, {"name": "config", "mountPath": "/config"}],
)
VOLUMES = [{"name": "templates", "configMap": {"name": "coturn-config"}}, {"name": "config", "emptyDir": {}}]
RENDERED = {
    "image": IMAGE,
    "command": ["turnserver", "-c", "/config/turnserver.conf"],
    "volumeMounts": [{"name": "config", "mountPath": "/config"}],
}


def setup(
    *objects: Json,
    read: dict[str, str] | None = None,
    names: CallsNames | None = None,
    init: tuple[Json, ...] = (),
    volumes: Any = (),
    **fields: Any,
) -> TurnSetup:
    """Of one pod with one container; ``read`` are the files seen in it."""
    files = Files({(NAMESPACE, "one", "main"): {k: v.encode() for k, v in read.items()}}, {}) if read else NO_FILES
    one = pod("one", container(**fields), ip="10.244.0.7", initContainers=list(init), volumes=list(volumes))
    one["status"]["hostIP"] = "10.10.0.2"
    world = snapshot(one, *objects)
    settings = Settings(names=Names(calls=names or CallsNames()))
    return deployment(world, secrets(coturn_secrets=HELD), files, settings).turn


def server(*objects: Json, **given: Any) -> TurnServer:
    return setup(*objects, **given).servers[0]


class TestWhereItIs:
    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ({"image": IMAGE}, True),
            ({"image": IMAGE, "args": ["--log-file=stdout"]}, True),
            ({"command": ["/usr/bin/turnserver", "-n"]}, True),
            ({"command": ["sh", "-c", "exec turnserver -c /etc/t.conf"]}, True),
            ({"image": "registry.test/coturn-exporter:1"}, False),
            ({"image": IMAGE, "command": ["sleep", "1d"]}, False),
        ],
    )
    def test_is_told_by_command_and_image(self, fields: dict[str, Any], found: bool) -> None:
        assert bool(setup(**fields).servers) is found

    def test_or_by_the_settings(self) -> None:
        assert setup(names=CallsNames(turn_workloads=("one",))).servers

    def test_or_by_the_address_that_clients_are_told(self) -> None:
        """Something that is no coturn: what it goes by is not known."""
        synapse = pod("hs", container("synapse", command=["python", "-m", "synapse.app.homeserver", "-c", "/hs.yaml"]))
        text = (
            "server_name: a.test\nturn_uris: ['turn:relays:3479']\nturn_shared_secret: x\n"
            "listeners: [{port: 8008, type: http, resources: [{names: [client]}]}]\n"
        )
        world = snapshot(
            synapse,
            pod("one", container(image="eturnal:1"), ip="10.1.1.1"),
            service("relays", 3479),
            endpoints("relays", "one", port=3479),
        )
        read = Files({(NAMESPACE, "hs", "synapse"): {"/hs.yaml": text.encode()}}, {})
        found = deployment(world, read=read)
        (one,) = found.turn.servers
        assert (one.port, one.problem) == (3479, "it does not run coturn")
        assert {"10.1.1.1", "10.96.0.9"} <= {*one.addresses}
        assert found.depends[one.id] == (one.workload,)

    def test_it_stands_on_its_workload(self) -> None:
        model = deployment(snapshot(pod("one", container(image=IMAGE))))
        assert model.depends["turn/matrix/one"] == (model.turn.servers[0].workload,)


class TestWhatItGoesBy:
    def test_its_file_as_it_is_in_the_pod(self) -> None:
        text = f"listening-port=3480\nstatic-auth-secret={VALUE}\nexternal-ip=1.2.3.4/10.0.0.1\ndenied-peer-ip=10.0.0.0-10.255.255.255\n"
        found = server(
            config_map("coturn-config", turnserver__conf=TEMPLATE),
            read={"/config/turnserver.conf": text},
            init=(RENDER,),
            volumes=VOLUMES,
            **RENDERED,
        )
        assert (found.port, found.external, found.denied) == (
            3480,
            ("1.2.3.4/10.0.0.1",),
            ("10.0.0.0-10.255.255.255",),
        )
        assert [(each.value, each.origin, each.stale) for each in found.secrets] == [
            (SECRET, "Secret coturn-secrets/TURN_SHARED_SECRET", False)
        ]

    def test_its_file_as_the_spec_makes_it(self) -> None:
        found = server(
            config_map("coturn-config", turnserver__conf=TEMPLATE), init=(RENDER,), volumes=VOLUMES, **RENDERED
        )
        assert (found.port, found.external, found.problem) == (3479, ("10.10.0.2",), "")
        assert found.secrets[0].value == SECRET

    def test_a_secret_that_was_changed_since(self) -> None:
        text = "static-auth-secret=the one before\n"
        found = server(
            config_map("coturn-config", turnserver__conf=TEMPLATE),
            read={"/config/turnserver.conf": text},
            init=(RENDER,),
            volumes=VOLUMES,
            **RENDERED,
        )
        assert (found.secrets[0].stale, found.secrets[0].origin) == (True, "Secret coturn-secrets/TURN_SHARED_SECRET")

    @pytest.mark.parametrize(
        "args",
        [
            ["-n", "--static-auth-secret=$(TURN_SHARED_SECRET)", "-p", "3481", "-X", "1.2.3.4"],
            ["--static-auth-secret", "$(TURN_SHARED_SECRET)", "--listening-port=3481", "--external-ip", "1.2.3.4"],
        ],
    )
    def test_its_command_line(self, args: list[str]) -> None:
        found = server(image=IMAGE, args=args, env=[FROM_SECRET])
        assert (found.port, found.external, found.secrets[0].value) == (3481, ("1.2.3.4",), SECRET)

    def test_a_shell_in_front_is_not_taken_for_it(self) -> None:
        script = (
            'EXT=$(cat /ip); exec turnserver -c /t.conf --external-ip=$EXT --static-auth-secret="$TURN_SHARED_SECRET"'
        )
        found = server(
            command=["sh", "-c", script],
            env=[FROM_SECRET],
            read={"/t.conf": "listening-port=3482\n", ENVIRONMENT: f"TURN_SHARED_SECRET={VALUE}\0"},
        )
        assert (found.port, found.external, found.secrets[0].value) == (3482, (), SECRET)

    def test_without_any_it_says_so(self) -> None:
        found = server(command=["turnserver"])
        assert (found.secrets, found.problem) == ((), "/etc/turnserver.conf is not to be had from the pod's spec")

    def test_the_addresses_that_are_its_own(self) -> None:
        front = service("relays", 3478, ip="10.96.84.44")
        front["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"hostname": "lb.test"}]}}
        front["spec"]["externalIPs"] = ["203.0.113.8"]
        found = server(front, endpoints("relays", "one", port=3478), image=IMAGE)
        assert found.addresses == ("10.244.0.7", "10.10.0.2", "10.96.84.44", "203.0.113.8", "203.0.113.7")
        assert found.names == ("lb.test",)


class TestWhatClientsAreTold:
    @pytest.mark.parametrize(
        ("text", "means"),
        [
            ("turn:turn.a.test:3478?transport=udp", ("turn.a.test", 3478, "udp", False)),
            ("turn:turn.a.test", ("turn.a.test", 3478, "udp", False)),
            ("turns:turn.a.test", ("turn.a.test", 5349, "tcp", True)),
            ("turns:turn.a.test:443?transport=udp", ("turn.a.test", 443, "udp", True)),
            ("turn:[2001:db8::1]:3478?transport=tcp", ("2001:db8::1", 3478, "tcp", False)),
        ],
    )
    def test_an_address(self, text: str, means: tuple[str, int, str, bool]) -> None:
        found = uri_of(text, snapshot(), {}, NAMESPACE)
        assert found
        assert (found.host, found.port, found.transport, found.tls) == means

    @pytest.mark.parametrize("text", ["stun:turn.a.test", "turn.a.test", "turn:a?transport=sctp", ""])
    def test_what_is_no_address_of_turn(self, text: str) -> None:
        assert uri_of(text, snapshot(), {}, NAMESPACE) is None

    def test_a_service_of_its_own(self) -> None:
        world = snapshot(
            pod("one", container(image=IMAGE)), service("relays", 3478), endpoints("relays", "one", port=3478)
        )
        found = uri_of("turn:relays.matrix.svc.cluster.local", world, pods_of(world), NAMESPACE)
        assert found
        assert [each.name for each, _ in found.endpoint.pods] == ["one"]

    @pytest.mark.parametrize(
        ("lines", "gives", "hidden"),
        [
            ("turn_uris: ['turn:a.test']\nturn_shared_secret: abc\n", True, ""),
            ("turn_uris: ['turn:a.test']\nturn_username: u\nturn_password: p\n", True, ""),
            ("turn_uris: ['turn:a.test']\n", False, ""),
            ("turn_shared_secret: abc\n", False, ""),
            (
                "turn_uris: ['turn:a.test']\nturn_shared_secret_path: /s\n",
                True,
                "/s is not to be had from the pod's spec",
            ),
        ],
    )
    def test_by_its_configuration(self, lines: str, gives: bool, hidden: str) -> None:
        text = "server_name: a.test\nlisteners: [{port: 8008, type: http, resources: [{names: [client]}]}]\n" + lines
        synapse = pod("hs", container("synapse", command=["python", "-m", "synapse.app.homeserver", "-c", "/hs.yaml"]))
        read = Files({(NAMESPACE, "hs", "synapse"): {"/hs.yaml": text.encode()}}, {})
        (use,) = deployment(snapshot(synapse), read=read).turn.uses
        assert (use.gives, use.hidden) == (gives, hidden)

    def test_a_process_that_no_client_comes_to_counts_for_nothing(self) -> None:
        synapse = pod("hs", container("synapse", command=["python", "-m", "synapse.app.homeserver", "-c", "/hs.yaml"]))
        read = Files({(NAMESPACE, "hs", "synapse"): {"/hs.yaml": b"server_name: a.test\nturn_uris: ['turn:a']\n"}}, {})
        assert not deployment(snapshot(synapse), read=read).turn.referred


class TestWhoAsksForItsAddress:
    @pytest.mark.parametrize(
        ("fields", "echo"),
        [
            (
                {"args": ["--log-file=stdout", "--external-ip=$(detect-external-ip)"]},
                ("detect-external-ip", "its command"),
            ),
            (
                {"env": [{"name": "DETECT_EXTERNAL_IP", "value": "yes"}], "args": ["-n"]},
                ("detect-external-ip", "its variable DETECT_EXTERNAL_IP"),
            ),
            ({}, ("detect-external-ip", "the image's own command, as the spec gives none")),
            (
                {"command": ["sh", "-c", "exec turnserver --external-ip=$(curl -s https://api.ipify.org)"]},
                ("api.ipify.org", "its command"),
            ),
            (
                {"args": ["-n"], "env": [{"name": "ECHO", "value": "http://checkip.amazonaws.com/"}]},
                ("checkip.amazonaws.com", "its variable ECHO"),
            ),
        ],
    )
    def test_the_server_itself(self, fields: dict[str, Any], echo: tuple[str, str]) -> None:
        (found,) = server(**{"image": IMAGE, **fields}).echoes
        assert (found.asks, found.where, found.who) == (*echo, "container main")

    def test_an_init_container(self) -> None:
        script = "EXTERNAL_IP=$(wget -qO- ifconfig.me || hostname -i | awk '{print $1}')"
        found = server(image=IMAGE, args=["-n"], init=(container("detect", command=["sh", "-c", script]),))
        assert found.echoes == (Echo("detect", True, "ifconfig.me", "its command"),)

    def test_a_script_that_it_has_from_a_config_map(self) -> None:
        script = config_map("scripts", start__sh="#!/bin/sh\n# not ident.me\ncurl icanhazip.com\n")
        mounts = {"volumeMounts": [{"name": "scripts", "mountPath": "/scripts"}], "args": ["-n"]}
        volumes = [{"name": "scripts", "configMap": {"name": "scripts"}}]
        (found,) = server(script, image=IMAGE, volumes=volumes, **mounts).echoes
        assert (found.asks, found.where) == ("icanhazip.com", "ConfigMap scripts/start.sh")

    @pytest.mark.parametrize(
        "fields",
        [
            {"args": ["-n", "--realm=ifconfig.me.example.org"]},
            {
                "args": ["--external-ip=$(detect-external-ip)"],
                "env": [{"name": "REAL_EXTERNAL_IP", "value": "1.2.3.4"}],
            },
            {"args": ["-n"], "env": [{"name": "DETECT_EXTERNAL_IP", "value": "no"}]},
            {"command": ["turnserver", "--external-ip=$(NODE_IP)"]},
        ],
    )
    def test_nobody(self, fields: dict[str, Any]) -> None:
        assert server(**{"image": IMAGE, **fields}).echoes == ()

    def test_a_comment_asks_nobody(self) -> None:
        found = server(
            config_map("coturn-config", turnserver__conf=TEMPLATE), init=(RENDER,), volumes=VOLUMES, **RENDERED
        )
        assert found.echoes == ()


class TestPeers:
    @pytest.mark.parametrize(
        ("address", "denied"),
        [("10.1.2.3", "10.0.0.0-10.255.255.255"), ("10.10.0.2", ""), ("192.0.2.1", ""), ("2001:db8::1", "")],
    )
    def test_what_is_allowed_is_allowed_whatever_is_denied(self, address: str, denied: str) -> None:
        assert is_denied(address, SERVER) == denied

    def test_a_single_address_and_one_that_is_none(self) -> None:
        one = replace(SERVER, denied=("no address", "192.0.2.7"), allowed=())
        assert is_denied("192.0.2.7", one) == "192.0.2.7"


class TestTheSecretOfBoth:
    OURS = TurnUse("pod/matrix/synapse-main-0", (), (), OURS)

    def theirs(self, **fields: Any) -> TurnServer:
        return replace(SERVER, secrets=(replace(THEIRS, **fields),))

    def test_is_the_same(self) -> None:
        assert difference(SERVER, (self.OURS,)) is None

    def test_is_not_known_on_one_side(self) -> None:
        assert difference(replace(SERVER, secrets=()), (self.OURS,)) is None
        assert difference(self.theirs(value=OTHER), (replace(self.OURS, secret=None),)) is None

    def test_differs(self) -> None:
        assert difference(self.theirs(value=OTHER), (self.OURS,)) == Difference(
            "Secret synapse-secrets/TURN_SECRET differs from Secret coturn-secrets/TURN_SHARED_SECRET",
            "make coturn-secrets/TURN_SHARED_SECRET equal to synapse-secrets/TURN_SECRET, then restart coturn",
        )

    def test_differs_since_one_was_changed(self) -> None:
        found = difference(self.theirs(value=OTHER, stale=True), (self.OURS,))
        assert found == Difference(
            "Secret coturn-secrets/TURN_SHARED_SECRET was changed, and coturn still has the value before",
            "restart coturn",
        )
        ours = replace(self.OURS, secret=replace(OURS, stale=True))
        found = difference(self.theirs(value=OTHER), (ours,))
        assert found
        assert found.remedy == "restart Synapse"
