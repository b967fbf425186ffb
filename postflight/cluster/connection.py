"""From a kubeconfig, or from inside a pod, to a configuration that the API server accepts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOME_FILE = Path("~/.kube/config")
POOL = 32


class ClusterError(Exception):
    """Why the cluster cannot be used: one line, with the remedy."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A way to one API server.

    ``configuration`` is a ``kubernetes.client.Configuration``; ``namespace`` is the one that the
    context names ("" when it names none).
    """

    configuration: Any
    name: str
    namespace: str
    in_cluster: bool


def connect(kubeconfig: Path | None, context: str | None, environ: Mapping[str, str] = os.environ) -> Connection:
    """Use the file given, else KUBECONFIG, else the home file, else the pod's service account.

    Raises :class:`ClusterError` when there is none, or the one given cannot be used.
    """
    if kubeconfig is not None:
        if not kubeconfig.is_file():
            raise ClusterError(f"--kubeconfig {kubeconfig}: no such file")
        return _from_file(str(kubeconfig), f"--kubeconfig {kubeconfig}", context)
    if listed := environ.get("KUBECONFIG"):
        if not any(Path(part).is_file() for part in listed.split(os.pathsep) if part):
            raise ClusterError(f"KUBECONFIG={listed}: no such file")
        return _from_file(listed, f"KUBECONFIG={listed}", context)
    if HOME_FILE.expanduser().is_file():
        return _from_file(str(HOME_FILE.expanduser()), str(HOME_FILE), context)
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return _from_pod()
    raise ClusterError(f"no cluster: give --kubeconfig FILE, or set KUBECONFIG, or make {HOME_FILE}, or run in a pod")


def _from_file(files: str, source: str, context: str | None) -> Connection:
    import yaml
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException
    from kubernetes.config.kube_config import _get_kube_config_loader

    configuration = Configuration(host="")
    try:
        chosen = context or _first_context(files)
        loader = _get_kube_config_loader(filename=files, active_context=chosen, persist_config=False)
        current: Mapping[str, Any] = loader.current_context
        with _complaints() as complaints:
            loader.load_and_set(configuration)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError) as error:
        raise ClusterError(f"{source} cannot be used: {_one_line(error)}") from error
    if not configuration.host:
        raise ClusterError(f"{source} names no server for context {current.get('name')}")
    if "exec" in (loader._user or ()) and not (configuration.api_key or configuration.cert_file):
        why = " ".join(" ".join(complaints).split())[:300]
        raise ClusterError(f"{source}: its exec plug-in gives no credentials: {why}")
    configuration.connection_pool_maxsize = POOL
    details: Mapping[str, Any] = current.get("context") or {}
    return Connection(
        configuration,
        name=str(current.get("name") or "?"),
        namespace=str(details.get("namespace") or ""),
        in_cluster=False,
    )


def _first_context(files: str) -> str | None:
    """The first current-context of a list of files, as kubectl has it (the library takes the last)."""
    import yaml

    for each in map(Path, filter(None, files.split(os.pathsep))):
        document = yaml.safe_load(each.read_text(encoding="utf-8")) if each.is_file() else None
        if isinstance(document, dict) and document.get("current-context"):
            return str(document["current-context"])
    return None


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the library only logs: it goes on without credentials where an exec plug-in fails."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)


def _from_pod() -> Connection:
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, load_incluster_config

    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)
    except ConfigException as error:
        raise ClusterError(f"the pod's service account cannot be used: {_one_line(error)}") from error
    configuration.connection_pool_maxsize = POOL
    own = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    namespace = own.read_text(encoding="ascii").strip() if own.is_file() else ""
    return Connection(configuration, name="in-cluster", namespace=namespace, in_cluster=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
