"""LiveKit and its JWT service: told from other workloads, with the key pairs that they have in effect."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.cluster.files import ENVIRONMENT, Files
from postflight.deployment.call_parts import Calls, JwtService, KeyPair, Sfu
from postflight.deployment.calls import service_urls
from postflight.settings import CallsNames, Names, Settings
from tests.unit import recorded
from tests.unit.worlds import NAMESPACE, NO_FILES, Json, container, deployment, pod, secrets, snapshot

SECRET, OTHER = "a secret of LiveKit", "another secret"
SFU_IMAGE, JWT_IMAGE = "livekit/livekit-server:v1.9", "ghcr.io/element-hq/lk-jwt-service:0.4.0"
HELD = {"API_KEY": "APIkey", "API_SECRET": SECRET}


def of_secret(name: str, key: str, secret: str = "livekit") -> Json:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def plain(name: str, value: str) -> Json:
    return {"name": name, "value": value}


def calls(
    *,
    read: dict[str, str] | None = None,
    names: CallsNames | None = None,
    held: dict[str, str] | None = None,
    unseen: dict[str, str] | None = None,
    **fields: Any,
) -> Calls:
    """Of one pod with one container; ``read`` are the files seen in it."""
    files = Files({(NAMESPACE, "one", "main"): {k: v.encode() for k, v in read.items()}}, {}) if read else NO_FILES
    known = secrets(unseen, **({} if unseen else {"livekit": HELD if held is None else held}))
    settings = Settings(names=Names(calls=names or CallsNames()))
    return deployment(snapshot(pod("one", container(**fields))), known, files, settings).calls


def sfu(**fields: Any) -> Sfu:
    return calls(**{"image": SFU_IMAGE, **fields}).sfus[0]


def service(**fields: Any) -> JwtService:
    given = {
        "image": JWT_IMAGE,
        "env": [of_secret("LIVEKIT_KEY", "API_KEY"), of_secret("LIVEKIT_SECRET", "API_SECRET")],
    }
    return calls(**{**given, **fields}).jwt_services[0]


def pair(found: Sfu | JwtService) -> tuple[str, str, str]:
    one = found.keys[0] if isinstance(found, Sfu) else found.pair
    assert isinstance(one, KeyPair)
    return one.key, one.secret.reveal(), one.origin


class TestWorkloads:
    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"image": SFU_IMAGE}, "sfu"),
            ({"image": SFU_IMAGE, "args": ["--config", "/etc/livekit.yaml"]}, "sfu"),
            ({"command": ["/livekit-server", "--dev"]}, "sfu"),
            ({"image": "livekit/livekit-cli:2", "command": ["lk"]}, ""),
            ({"image": "livekit/egress:v1"}, ""),
            ({"image": JWT_IMAGE}, "jwt"),
            ({"command": ["/usr/bin/lk-jwt-service"]}, "jwt"),
            ({"env": [plain("LIVEKIT_URL", "wss://x"), plain("LIVEKIT_KEY", "k")]}, "jwt"),
            ({"env": [plain("LIVEKIT_URL", "wss://x"), plain("LIVEKIT_API_KEY", "k")]}, ""),
        ],
    )
    def test_are_told_by_command_image_and_environment(self, fields: dict[str, Any], kind: str) -> None:
        found = calls(**fields)
        assert (len(found.sfus), len(found.jwt_services)) == (int(kind == "sfu"), int(kind == "jwt"))

    def test_or_by_the_settings(self) -> None:
        assert calls(names=CallsNames(sfu_workloads=("one",))).sfus
        assert calls(names=CallsNames(jwt_workloads=("one",))).jwt_services


class TestTheKeysOfLiveKit:
    ENV = (of_secret("API_KEY", "API_KEY"), of_secret("API_SECRET", "API_SECRET"))

    def test_from_a_variable_made_of_a_secret(self) -> None:
        found = sfu(env=[*self.ENV, plain("LIVEKIT_KEYS", "$(API_KEY): $(API_SECRET)")])
        assert pair(found) == ("APIkey", SECRET, "Secret livekit/API_SECRET")

    def test_from_the_command_line(self) -> None:
        found = sfu(env=list(self.ENV), args=["--keys", "$(API_KEY): $(API_SECRET)"])
        assert pair(found) == ("APIkey", SECRET, "Secret livekit/API_SECRET")

    def test_from_the_configuration(self) -> None:
        found = sfu(args=["--config", "/c.yaml"], read={"/c.yaml": f"port: 7000\nkeys: {{APIkey: {SECRET}}}\n"})
        assert (pair(found)[:2], found.port) == (("APIkey", SECRET), 7000)

    def test_from_a_configuration_in_a_variable(self) -> None:
        assert pair(sfu(env=[plain("LIVEKIT_CONFIG", f"keys: {{APIkey: {SECRET}}}")]))[:2] == ("APIkey", SECRET)

    def test_a_key_file_comes_first(self) -> None:
        read = {"/c.yaml": "keys: {a: b}\nkey_file: /keys\n", "/keys": f"APIkey: {SECRET}\n"}
        assert pair(sfu(args=["--config=/c.yaml", "--key-file=/keys"], read=read))[:2] == ("APIkey", SECRET)

    def test_what_the_pod_started_with_is_in_effect(self) -> None:
        env = [*self.ENV, plain("LIVEKIT_KEYS", "$(API_KEY): $(API_SECRET)")]
        found = sfu(env=env, read={ENVIRONMENT: f"API_SECRET={OTHER}\0LIVEKIT_KEYS=APIkey: {OTHER}\0"})
        assert pair(found) == ("APIkey", OTHER, "Secret livekit/API_SECRET")
        assert found.keys[0].stale

    def test_what_a_restart_would_take_is_not_known_without_the_secret(self) -> None:
        env = [*self.ENV, plain("LIVEKIT_KEYS", "$(API_KEY): $(API_SECRET)")]
        read = {ENVIRONMENT: f"API_SECRET={OTHER}\0LIVEKIT_KEYS=APIkey: {OTHER}\0"}
        assert not sfu(env=env, read=read, unseen={"livekit": "no right"}).keys[0].stale

    def test_without_any_it_says_why(self) -> None:
        assert sfu().problem == "neither its environment nor its configuration holds a key"
        hidden = sfu(unseen={"livekit": "no right"}, env=[*self.ENV, plain("LIVEKIT_KEYS", "")])
        assert (hidden.keys, hidden.problem) == ((), "no right")


class TestTheRedisOfLiveKit:
    @pytest.mark.parametrize(
        ("fields", "where"),
        [
            ({}, None),
            ({"env": [plain("REDIS_HOST", "redis.test:6380")]}, ("redis.test", 6380)),
            ({"args": ["--redis-host", "redis.test:6380"]}, ("redis.test", 6380)),
            ({"env": [plain("LIVEKIT_CONFIG", "redis: {address: 'redis.test:6379'}")]}, ("redis.test", 6379)),
            (
                {"env": [plain("LIVEKIT_CONFIG", "redis: {sentinel_addresses: ['watch.test:26379']}")]},
                ("watch.test", 26379),
            ),
        ],
    )
    def test_is_where_it_says(self, fields: dict[str, Any], where: tuple[str, int] | None) -> None:
        assert sfu(**fields).redis == where


class TestTheJwtService:
    def test_has_its_pair_from_secrets(self) -> None:
        assert pair(service()) == ("APIkey", SECRET, "Secret livekit/API_SECRET")

    def test_or_from_files(self) -> None:
        env = [plain("LIVEKIT_KEY_FROM_FILE", "/k"), plain("LIVEKIT_SECRET_FROM_FILE", "/s")]
        assert pair(service(env=env, read={"/k": "APIkey\n", "/s": f"{SECRET}\n"}))[:2] == ("APIkey", SECRET)

    def test_or_from_one_file(self) -> None:
        env = [plain("LIVEKIT_KEY_FILE", "/both")]
        assert pair(service(env=env, read={"/both": f"APIkey: {SECRET}"}))[:2] == ("APIkey", SECRET)

    def test_says_where_livekit_is_and_where_it_listens(self) -> None:
        env = [plain("LIVEKIT_URL", "wss://sfu.test"), plain("LIVEKIT_JWT_BIND", ":8081"), plain("LIVEKIT_KEY", "k")]
        found = service(env=env)
        assert (found.sfu_url, found.port) == ("wss://sfu.test", 8081)
        assert service().port == 8080

    def test_whose_secret_cannot_be_read_says_so(self) -> None:
        found = service(unseen={"livekit": "no right"})
        assert (found.pair, found.problem) == (None, "no right")


class TestDiscovery:
    def test_lists_what_is_a_livekit_with_an_address(self) -> None:
        listed = [
            {"type": "livekit", "livekit_service_url": "https://a.test/"},
            {"type": "other", "livekit_service_url": "https://b.test"},
            {"type": "livekit"},
            "nonsense",
        ]
        assert service_urls(listed) == ("https://a.test",)
        assert service_urls(None) == ()

    def test_is_what_mains_configuration_announces(self) -> None:
        url = "https://matrix.lab.test/livekit/jwt"
        name = "server_name: matrix.lab.test"
        said = rf"{name}\nmatrix_rtc: {{transports: [{{type: livekit, livekit_service_url: {url}}}]}}"
        model = recorded.renamed((name, said)).deployment()
        assert model.calls.announced["matrix_rtc.transports of synapse-main"] == (url,)
        assert model.calls.referred


def test_a_jwt_service_leans_on_main_the_proxy_and_livekit() -> None:
    env = [plain("LIVEKIT_URL", "wss://sfu.test"), of_secret("LIVEKIT_KEY", "API_KEY")]
    main = container("synapse", command=["python", "-m", "synapse.app.homeserver", "-c", "/h.yaml"])
    world = snapshot(
        pod("jwt", container(image=JWT_IMAGE, env=env)),
        pod("sfu", container(image=SFU_IMAGE)),
        pod("door", container(command=["haproxy", "-f", "/c"])),
        pod("hs", main),
    )
    model = deployment(world, secrets(livekit=HELD))
    beneath = model.depends[model.calls.jwt_services[0].id]
    assert {model.calls.sfus[0].id, model.proxies[0].id, model.synapse[0].id} <= set(beneath)
