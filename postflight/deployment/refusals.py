"""What Synapse refuses to start a process with, of what is set for workers.

Source: synapse/config/workers.py, 1.119 and 1.163 (every ConfigError there but those of ``stream_writers`` with main's
place in ``instance_map``, and of ``send_federation``: other modules have those).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postflight.deployment.parts import SynapseProcess

Config = Mapping[str, Any]
#: What workers once had of their own, and have from ``main`` in ``instance_map`` now.
MOVED = ("worker_replication_host", "worker_replication_http_port", "worker_replication_http_tls")
#: Setting, app that it was made for, and the setting that came in its place.
DUTIES = (
    ("notify_appservices", "synapse.app.appservice", "notify_appservices_from_worker"),
    ("update_user_directory", "synapse.app.user_dir", "update_user_directory_from_worker"),
)
RESTRICTED = "outbound_federation_restricted_to"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a process does not start, by which settings, and what helps."""

    settings: tuple[str, ...]
    why: str
    remedy: str


def refusals(process: SynapseProcess, config: Config) -> tuple[Refusal, ...]:
    """All that Synapse would refuse of this configuration, were it the one that the process starts with."""
    name = None if process.is_main else config.get("worker_name") or process.app
    rules: tuple[Callable[[], Iterator[Refusal]], ...] = (
        lambda: _replication(config, worker=name is not None),
        lambda: _pushers(process.app, config),
        lambda: _duties(process.app, name, config),
        lambda: _restricted(config),
    )
    return tuple(refusal for rule in rules for refusal in rule())


def _replication(config: Config, *, worker: bool) -> Iterator[Refusal]:
    if "worker_replication_port" in config:
        why = "worker_replication_port is for replication over TCP, which Synapse has no more"
        yield Refusal(("worker_replication_port",), why, "take worker_replication_port out: Redis replicates")
    for setting in (each for each in MOVED if worker and config.get(each)):
        why = f"{setting} is no worker's setting any more"
        yield Refusal((setting,), why, "take it out, and name main in the instance_map of the shared configuration")
    both = ("worker_replication_secret", "worker_replication_secret_path")
    if all(map(config.get, both)):
        yield Refusal(both, f"{both[0]} and {both[1]} are both set", f"take one of {both[0]} and {both[1]} out")
    log = config.get("worker_log_config")
    if log is not None and not isinstance(log, str):
        yield Refusal(("worker_log_config",), "worker_log_config is no path", "name a file in worker_log_config")


def _pushers(app: str, config: Config) -> Iterator[Refusal]:
    if app == "synapse.app.pusher" and config.get("pusher_instances") is None and config.get("start_pushers", True):
        why = f"{app} runs pushers while start_pushers has main run them"
        remedy = "name the worker in pusher_instances, and let it run synapse.app.generic_worker"
        yield Refusal(("start_pushers", "pusher_instances"), why, remedy)


def _duties(app: str, name: str | None, config: Config) -> Iterator[Refusal]:
    for old, made_for, new in DUTIES:
        remedy = f"name the worker in {new}, let it run synapse.app.generic_worker, and take {old} out"
        on_main = bool(config.get(old, True))
        if app == made_for and on_main:
            yield Refusal((old,), f"{app} does what {old} has main do", remedy)
        elif old in config and new in config:
            here_by_old = (name is None and on_main) or (app == made_for and not on_main)
            designated = config[new] or "master"
            here_by_new = (name is None and designated == "master") or designated == name
            if here_by_old != here_by_new:
                yield Refusal((old, new), f"{old} and {new} contradict each other", remedy)


def _restricted(config: Config) -> Iterator[Refusal]:
    allowed, known = config.get(RESTRICTED), config.get("instance_map")
    if not isinstance(allowed, list) or not allowed:
        return
    if not (config.get("worker_replication_secret") or config.get("worker_replication_secret_path")):
        why = f"{RESTRICTED} is set and no worker_replication_secret is"
        yield Refusal((RESTRICTED, "worker_replication_secret"), why, "set worker_replication_secret for all processes")
    for each in allowed:
        if each not in (known if isinstance(known, Mapping) else {}):
            why = f"{RESTRICTED} names {each}, which is not in instance_map"
            yield Refusal((RESTRICTED, "instance_map"), why, f"name {each}, with host and port, in instance_map")
