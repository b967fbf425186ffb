"""Redis servers, their Sentinels, and the address by which Synapse reaches them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.files import Files, Wanted
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.commands import words_of
from postflight.deployment.parts import Pod, RedisEndpoint, RedisGroup, RedisNode, SynapseProcess
from postflight.deployment.places import Place
from postflight.deployment.pods import number
from postflight.deployment.rendering import Spec, Unreadable
from postflight.deployment.services import resolve
from postflight.secrets import Secret
from postflight.settings import RedisNames

PORT, SENTINEL_PORT = 6379, 26379
IMAGE = re.compile(r"(^|/)(redis|valkey|keydb|redis-sentinel|valkey-sentinel)([:@]|$)")
SERVER, SENTINEL = "server", "sentinel"
MONITOR = re.compile(r"^\s*sentinel\s+monitor\s+(\S+)", re.MULTILINE)
SETTING = r"^\s*{}\s+\"?([^\s\"]+)"


@dataclass(frozen=True, slots=True)
class Found(Place):
    """A container that runs a Redis server or a Sentinel."""

    role: str
    config_path: str


@dataclass(frozen=True, slots=True)
class Password:
    """The one that a Synapse process gives to Redis; ``problem`` says why it is not known."""

    secret: Secret | None = None
    problem: str = ""


def password_of(spec: Spec, container: Mapping[str, Any], config: Mapping[str, Any] | None) -> Password:
    """From the configuration, else from the file that it names (``password_path``), as the specs have that."""
    redis = (config or {}).get("redis")
    if not isinstance(redis, dict):
        return Password()
    if redis.get("password"):
        return Password(Secret(str(redis["password"])))
    if not (path := str(redis.get("password_path") or "")):
        return Password()
    try:
        text = spec.file(container, path)
    except Unreadable as error:
        return Password(problem=f"its password is in {path}: {error}")
    if text is None:
        return Password(problem=f"its password is in {path}, which is not to be had from the pod's spec")
    return Password(Secret(text.strip()))


def role_of(container: Mapping[str, Any]) -> str:
    """``server``, ``sentinel`` or "": by command, then by image and port. Clients (exporters, CLIs)
    are neither."""
    words = words_of(container)
    programs = {word.rpartition("/")[2] for word in words}
    if "redis-sentinel" in programs or "valkey-sentinel" in programs or "--sentinel" in words:
        return SENTINEL
    if programs & {"redis-server", "valkey-server", "keydb-server"}:
        return SERVER
    if not IMAGE.search(container.get("image") or ""):
        return ""
    ports = {each.get("containerPort") for each in container.get("ports") or ()}
    if SENTINEL_PORT in ports or "sentinel" in container["image"]:
        return SENTINEL
    return SERVER if PORT in ports or not words else ""


def find(places: Iterable[Place], named: Collection[str] = ()) -> tuple[Found, ...]:
    """All containers that run a Redis server or a Sentinel. Those that are ``named`` run a server
    whatever they look like."""
    found: list[Found] = []
    for each in places:
        role = role_of(each.container) or (SERVER if each.is_among(named) else "")
        if role:
            path = next((word for word in words_of(each.container) if word.endswith(".conf")), "")
            found.append(Found(each.workload, each.pod, each.spec, each.container, each.first, role, path))
    return tuple(found)


def wanted_files(found: Sequence[Found]) -> tuple[Wanted, ...]:
    return tuple(
        Wanted(pod.namespace, pod.name, each.name, (each.config_path,))
        for each in found
        if each.config_path and (pod := each.running_pod)
    )


def find_groups(found: Sequence[Found], files: Files, names: RedisNames) -> tuple[RedisGroup, ...]:
    """One group per workload of servers; Sentinels join the group of their own workload, else the
    only group there is, else they are a group without servers, whose master only they can name."""
    texts = {id(each): _config(each, files) for each in found}
    servers: dict[str, list[Found]] = {}
    sentinels: dict[str, list[Found]] = {}
    for each in found:
        (servers if each.role == SERVER else sentinels).setdefault(each.workload.id, []).append(each)
    groups: list[RedisGroup] = []
    apart = {key: each for key, each in sentinels.items() if key not in servers} if len(servers) > 1 else {}
    for identity, members in servers.items():
        workload = members[0].workload
        watching = sentinels.get(identity) or (
            [s for group in sentinels.values() for s in group] if len(servers) == 1 else []
        )
        watched = [m[1] for each in watching if (m := MONITOR.search(texts[id(each)]))]
        groups.append(
            RedisGroup(
                id=group_id(workload.namespace, workload.name),
                namespace=workload.namespace,
                name=workload.name,
                expected=workload.desired,
                nodes=tuple(_node(each, texts[id(each)], PORT, names) for each in members if each.pod),
                expected_sentinels=watching[0].workload.desired if watching else 0,
                sentinels=_sentinels(watching, texts),
                master_name=names.sentinel_master or next(iter(watched), "mymaster"),
                workload=workload.id,
            )
        )
    for identity, watching in apart.items():
        workload = watching[0].workload
        seen = _sentinels(watching, texts)
        groups.append(
            RedisGroup(
                id=group_id(workload.namespace, workload.name),
                namespace=workload.namespace,
                name=workload.name,
                expected=0,
                nodes=(),
                expected_sentinels=workload.desired,
                sentinels=seen,
                master_name="",
                workload=identity,
            )
        )
    return tuple(groups)


def _sentinels(watching: Sequence[Found], texts: Mapping[int, str]) -> tuple[RedisNode, ...]:
    return tuple(_node(each, texts[id(each)], SENTINEL_PORT, RedisNames()) for each in watching if each.pod)


def find_endpoints(
    snapshot: Snapshot,
    pods: Mapping[str, Pod],
    processes: Iterable[SynapseProcess],
    groups: Sequence[RedisGroup],
    passwords: Mapping[str, Password],
) -> tuple[RedisEndpoint, ...]:
    """The addresses that Synapse processes have in effect. One whose backends are no Redis servers (a
    proxy's) belongs to the only group there is. ``passwords`` is theirs by process id."""
    groups = [each for each in groups if not each.only_sentinels]
    grouped: dict[tuple[str, int, Password, bool, str], list[SynapseProcess]] = {}
    for process in processes:
        config = (process.config or {}).get("redis")
        if isinstance(config, dict) and config.get("enabled"):
            host, port = str(config.get("host") or "localhost"), number(config.get("port"), PORT)
            password = passwords.get(process.id) or Password()
            key = (host, port, password, bool(config.get("use_tls")), process.namespace)
            grouped.setdefault(key, []).append(process)
    found: list[RedisEndpoint] = []
    for (host, port, password, tls, namespace), users in grouped.items():
        endpoint = resolve(snapshot, pods, host, port, namespace)
        backends = {pod.id for pod, _ in endpoint.pods}
        direct = [group for group in groups if backends & {node.id for node in group.nodes}]
        group = (direct or groups if len(direct or groups) == 1 else direct)[:1]
        found.append(
            RedisEndpoint(
                id=f"redis-endpoint/{endpoint.namespace or 'outside'}/{endpoint.service or host}:{port}",
                endpoint=endpoint,
                password=password.secret,
                server_name=users[0].server_name,
                users=tuple(user.id for user in users),
                group=group[0].id if group else "",
                tls=tls,
                hidden=password.problem,
            )
        )
    return tuple(found)


def group_id(namespace: str, name: str) -> str:
    return f"redis/{namespace}/{name}"


def _config(found: Found, files: Files) -> str:
    if not found.config_path:
        return ""
    read = files.of(found.pod.namespace, found.pod.name, found.container["name"]) if found.pod else None
    if read and found.config_path in read:
        return read[found.config_path].decode("utf-8", "replace")
    return found.spec.file(found.container, found.config_path) or ""


def _node(found: Found, text: str, port: int, names: RedisNames) -> RedisNode:
    assert found.pod is not None
    words = words_of(found.container)
    limits = found.pod.container(found.container["name"])
    plain = number(_setting(text, words, "port") or _variable(found), port)
    secure = number(_setting(text, words, "tls-port"), 0)
    return RedisNode(
        pod=found.pod,
        container=found.container["name"],
        port=plain or secure,
        password=_named_password(found, names) or _password(found, text, words),
        memory_limit=limits.memory_limit if limits else None,
        tls=not plain,
    )


def _named_password(found: Found, names: RedisNames) -> Secret | None:
    secret, _, key = names.password_secret.partition("/")
    return found.spec.secrets.value(found.workload.namespace, secret, key) if key else None


def _password(found: Found, text: str, words: Sequence[str]) -> Secret | None:
    """Its own requirepass: from its configuration, its arguments, else a variable named for it."""
    if value := _setting(text, words, "requirepass"):
        environment = found.spec.environment(found.container)
        if value.startswith("$") and (known := environment.get(value.strip("${}()"))):
            return Secret(known.value)
        return Secret(value)
    if found.role == SENTINEL:
        return None
    environment = found.spec.environment(found.container)
    for name in ("REDIS_PASSWORD", "VALKEY_PASSWORD"):
        if name in environment and environment[name].value:
            return Secret(environment[name].value)
        # Bitnami's charts mount it.
        if f"{name}_FILE" in environment and (text := _file(found, environment[f"{name}_FILE"].value)):
            return Secret(text.strip())
    return None


def _file(found: Found, path: str) -> str:
    try:
        return found.spec.file(found.container, path) or ""
    except Unreadable:
        return ""


def _variable(found: Found) -> str:
    """The port that Bitnami's images take from a variable, where no configuration is known."""
    environment = found.spec.environment(found.container)
    names = ("REDIS_SENTINEL_PORT",) if found.role == SENTINEL else ("REDIS_PORT", "REDIS_PORT_NUMBER", "VALKEY_PORT")
    return next((environment[name].value for name in names if name in environment), "")


def _setting(text: str, words: Sequence[str], name: str) -> str:
    flag = f"--{name}"
    if flag in words[:-1]:
        return words[words.index(flag) + 1]
    match = re.search(SETTING.format(name), text, re.MULTILINE)
    return match[1] if match else ""
