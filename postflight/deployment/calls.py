"""LiveKit, the JWT services that give tokens for it, and what tells clients of them.

Sources: livekit-server 1.13 (cmd/server/main.go, pkg/config/config.go), lk-jwt-service 0.4 (README, main.go).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from postflight.cluster.files import ENVIRONMENT, Files, Wanted
from postflight.cluster.secrets import SecretStore
from postflight.deployment.call_parts import Calls, JwtService, KeyPair, Proxy, Sfu
from postflight.deployment.clients import parse_environment
from postflight.deployment.commands import words_of
from postflight.deployment.media_ports import MEDIA_FLAGS, sfu_media
from postflight.deployment.parts import Pod, Side, SynapseProcess
from postflight.deployment.places import Place
from postflight.deployment.pods import number
from postflight.deployment.rendering import ANY, REFERENCE, Variable
from postflight.secrets import Secret
from postflight.settings import CallsNames

PORT, JWT_PORT, REDIS_PORT = 7880, 8080, 6379
SFU_IMAGE = re.compile(r"(^|/)livekit(-server)?([:@]|$)")
JWT_IMAGE = re.compile(r"(^|/)lk-jwt-service([:@]|$)")
FOCI = "org.matrix.msc4143.rtc_foci"
SERVICE_URL = "livekit_service_url"
PATHS = ("LIVEKIT_KEY_FROM_FILE", "LIVEKIT_SECRET_FROM_FILE", "LIVEKIT_KEY_FILE")
KEYS = ("LIVEKIT_KEY", "LIVEKIT_SECRET", *PATHS)


@dataclass(frozen=True, slots=True)
class Found:
    """The containers that run LiveKit, and those that run a JWT service."""

    sfus: tuple[Place, ...]
    jwt_services: tuple[Place, ...]


def find(places: Iterable[Place], names: CallsNames) -> Found:
    sfus: list[Place] = []
    services: list[Place] = []
    for each in places:
        if _is(each, "livekit-server", SFU_IMAGE, names.sfu_workloads):
            sfus.append(each)
        elif _is(each, "lk-jwt-service", JWT_IMAGE, names.jwt_workloads) or _has_jwt_environment(each):
            services.append(each)
    return Found(tuple(sfus), tuple(services))


def _is(place: Place, program: str, image: re.Pattern[str], named: Collection[str]) -> bool:
    """By its command, by its image where that runs its own command, or by the settings."""
    programs = {word.rpartition("/")[2] for word in words_of(place.container)}
    own = not place.container.get("command") and bool(image.search(place.container.get("image") or ""))
    return program in programs or own or (place.first and place.workload.name in named)


def _has_jwt_environment(place: Place) -> bool:
    names = {each["name"] for each in place.container.get("env") or ()}
    if not place.container.get("envFrom") and "LIVEKIT_URL" not in names:
        return False
    names |= place.spec.environment(place.container).keys()
    return "LIVEKIT_URL" in names and bool(names & set(KEYS))


def wanted_files(found: Found) -> tuple[Wanted, ...]:
    wanted: list[Wanted] = []
    for each in (*found.sfus, *found.jwt_services):
        if pod := each.running_pod:
            by_spec = {name: held.value for name, held in each.spec.environment(each.container).items()}
            paths = [by_spec[name] for name in PATHS if by_spec.get(name)]
            paths += [path for flag in ("--config", "--key-file") if (path := _flag(each, flag, by_spec))]
            wanted.append(Wanted(pod.namespace, pod.name, each.name, (ENVIRONMENT, *paths)))
    return tuple(wanted)


def read_calls(
    found: Found,
    files: Files,
    secrets: SecretStore,
    processes: Iterable[SynapseProcess],
    proxies: Iterable[Proxy],
) -> Calls:
    return Calls(
        sfus=tuple(_sfu(group, files, secrets) for group in _by_workload(found.sfus)),
        jwt_services=tuple(_jwt_service(group, files, secrets) for group in _by_workload(found.jwt_services)),
        announced=dict(_announced(processes, proxies)),
    )


def _by_workload(places: Iterable[Place]) -> Iterator[Sequence[Place]]:
    groups: dict[str, list[Place]] = {}
    for each in places:
        groups.setdefault(each.workload.id, []).append(each)
    yield from groups.values()


def _pods(group: Sequence[Place]) -> tuple[Pod, ...]:
    return tuple(each.pod for each in group if each.pod)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a container works with: its environment and the texts of its files, as they are in it, and as its spec
    would make them today."""

    environment: Mapping[str, str]
    today: Mapping[str, Variable]
    files: Mapping[str, str]

    @property
    def values_today(self) -> Mapping[str, str]:
        return {name: each.value for name, each in self.today.items()}

    @property
    def hidden(self) -> str:
        """Why some variable of its spec is not known."""
        return next((each.unreadable for each in self.today.values() if each.unreadable), "")


def _shown(place: Place, files: Files) -> _Shown:
    today = place.spec.environment(place.container)
    read = files.of(place.pod.namespace, place.pod.name, place.name) if place.pod else None
    frozen = parse_environment(read[ENVIRONMENT]) if read and read.get(ENVIRONMENT) else None
    values = {name: each.value for name, each in today.items() if name != ANY}
    texts = {path: body.decode("utf-8", "replace") for path, body in (read or {}).items()}
    return _Shown(values if frozen is None else frozen, today, texts)


def _text(place: Place, shown: _Shown, path: str) -> str:
    return shown.files.get(path) or (place.spec.file(place.container, path) or "" if path else "")


def _flag(place: Place, name: str, environment: Mapping[str, str]) -> str:
    """The value of a command line's flag, with the variables in it."""
    given = [str(word) for part in ("command", "args") for word in place.container.get(part) or ()]
    found = ""
    for words in (given, words_of(place.container)):
        found = found or next((after for word, after in pairwise(words) if word == name), "")
        found = found or next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), "")
    return REFERENCE.sub(lambda m: environment.get(m[1] or "", m[0]), found)


def _sfu(group: Sequence[Place], files: Files, secrets: SecretStore) -> Sfu:
    """As its first running pod has it: all its nodes take the same keys."""
    place = next((each for each in group if each.running_pod), group[0])
    shown = _shown(place, files)
    config = _sfu_config(place, shown, shown.environment)
    keys = _sfu_keys(place, shown, shown.environment)
    today = _sfu_keys(place, shown, shown.values_today)
    pairs = tuple(_pair(key, secret, today.get(key, secret), shown, secrets) for key, secret in keys.items())
    workload = place.workload
    return Sfu(
        id=f"sfu/{workload.namespace}/{workload.name}",
        namespace=workload.namespace,
        name=workload.name,
        workload=workload.id,
        pods=_pods(group),
        port=number(config.get("port"), PORT),
        keys=pairs,
        redis=_sfu_redis(place, config, shown.environment),
        problem="" if pairs else shown.hidden or "neither its environment nor its configuration holds a key",
        **sfu_media(_flags(place, shown.environment), config),
    )


def _flags(place: Place, environment: Mapping[str, str]) -> Mapping[str, str]:
    """What its command line, else its environment, says of media."""
    named = {flag: _flag(place, f"--{flag}", environment) for flag in MEDIA_FLAGS}
    return {flag: named[flag] or environment.get(name, "") for flag, name in MEDIA_FLAGS.items()}


def _sfu_config(place: Place, shown: _Shown, environment: Mapping[str, str]) -> Mapping[str, Any]:
    body = _flag(place, "--config-body", environment) or environment.get("LIVEKIT_CONFIG", "")
    return _mapping(body or _text(place, shown, _flag(place, "--config", environment)))


def _sfu_keys(place: Place, shown: _Shown, environment: Mapping[str, str]) -> dict[str, str]:
    """Key and secret of each: a key file comes before the command line, and that before the configuration."""
    config = _sfu_config(place, shown, environment)
    path = _flag(place, "--key-file", environment) or str(config.get("key_file") or "")
    given = _flag(place, "--keys", environment) or environment.get("LIVEKIT_KEYS", "")
    held = _mapping(_text(place, shown, path)) or _mapping(given) or config.get("keys")
    return {str(key): str(secret) for key, secret in held.items()} if isinstance(held, dict) else {}


def _sfu_redis(place: Place, config: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, int] | None:
    """The server, else the first Sentinel, through which its nodes find each other."""
    held = config.get("redis")
    redis: Mapping[str, Any] = held if isinstance(held, dict) else {}
    address = _flag(place, "--redis-host", environment) or environment.get("REDIS_HOST") or redis.get("address")
    address = address or next(iter(redis.get("sentinel_addresses") or redis.get("cluster_addresses") or ()), "")
    host, _, port = str(address or "").rpartition(":")
    return (host, number(port, REDIS_PORT)) if host else None


def _jwt_service(group: Sequence[Place], files: Files, secrets: SecretStore) -> JwtService:
    place = next((each for each in group if each.running_pod), group[0])
    shown = _shown(place, files)
    environment = shown.environment
    key, secret = _jwt_pair(place, shown, environment)
    _, later = _jwt_pair(place, shown, shown.values_today)
    bind = environment.get("LIVEKIT_JWT_BIND", "").rpartition(":")[2] or environment.get("LIVEKIT_JWT_PORT")
    workload = place.workload
    return JwtService(
        id=f"jwt-service/{workload.namespace}/{workload.name}",
        namespace=workload.namespace,
        name=workload.name,
        workload=workload.id,
        pods=_pods(group),
        port=number(bind, JWT_PORT),
        sfu_url=environment.get("LIVEKIT_URL", ""),
        pair=_pair(key, secret, later, shown, secrets) if key and secret else None,
        problem="" if key and secret else shown.hidden or "neither its environment nor its files hold a key",
    )


def _jwt_pair(place: Place, shown: _Shown, environment: Mapping[str, str]) -> tuple[str, str]:
    both = _mapping(_text(place, shown, environment.get("LIVEKIT_KEY_FILE", "")))
    for key, secret in both.items():
        return str(key), str(secret)

    def one(name: str) -> str:
        return environment.get(name) or _text(place, shown, environment.get(f"{name}_FROM_FILE", "")).strip()

    return one("LIVEKIT_KEY"), one("LIVEKIT_SECRET")


def _pair(key: str, secret: str, later: str, shown: _Shown, secrets: SecretStore) -> KeyPair:
    """``later`` is the secret that a restart would take: what its spec leads to today tells its origin."""
    origin, changed = "its configuration", None
    for each in shown.today.values():
        if each.secret and each.value and each.value == later:
            held = secrets.found.get(each.secret)
            origin, changed = each.origin, held.changed if held else None
            break
    return KeyPair(key, Secret(secret), origin, changed, stale=bool(later) and secret != later)


def _announced(processes: Iterable[SynapseProcess], proxies: Iterable[Proxy]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for process in processes:
        if not process.is_main or process.side is not Side.MAIN:
            continue
        config = process.config or {}
        extra = config.get("extra_well_known_client_content")
        foci = service_urls(extra.get(FOCI)) if isinstance(extra, dict) else ()
        if foci:
            yield f"extra_well_known_client_content of {process.workload_name}", foci
        rtc = config.get("matrix_rtc")
        if isinstance(rtc, dict) and (transports := service_urls(rtc.get("transports"))):
            yield f"matrix_rtc.transports of {process.workload_name}", transports
    for proxy in proxies:
        if FOCI in proxy.config:
            yield f"the configuration of {proxy.name}", ()


def service_urls(foci: Any) -> tuple[str, ...]:
    """The JWT services among what discovery lists."""
    listed = foci if isinstance(foci, list) else ()
    found = [each.get(SERVICE_URL) for each in listed if isinstance(each, dict) and each.get("type") == "livekit"]
    return tuple(str(url).rstrip("/") for url in found if url)


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        loaded = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
