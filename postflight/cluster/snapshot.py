"""One immutable picture of what stands in the namespaces in scope: one LIST per kind, in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.connection import ClusterError
from postflight.cluster.kinds import (
    CONFIG_MAP,
    DAEMON_SET,
    DEPLOYMENT,
    EVENT,
    LISTED,
    NAMESPACE,
    STATEFUL_SET,
    Kind,
)
from postflight.cluster.threads import in_threads, spawn
from postflight.limits import Limit

Key = tuple[Kind, str]
#: Listed in the whole cluster: they say where the deployment, its operators and ingress controllers stand. Of pods and
#: Secrets other tenants may have ten thousands, and theirs are nobody's business here.
WIDE = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET)
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the API server said once; ``taken`` is by its clock.

    ``objects`` holds raw objects by kind and namespace; ``unseen`` says why a kind could not be
    listed there (namespace "" for the whole cluster); ``served`` are the custom kinds that the API
    server knows; ``controllers`` are the Deployments, StatefulSets and DaemonSets of the whole
    cluster.
    """

    namespaces: tuple[str, ...]
    taken: datetime
    objects: Mapping[Key, tuple[Object, ...]]
    unseen: Mapping[Key, str] = field(default_factory=dict)
    served: frozenset[Kind] = frozenset()
    controllers: tuple[Object, ...] = ()

    def all(self, kind: Kind, namespace: str | None = None) -> Iterator[Object]:
        """The objects of a kind, of one namespace or of all in scope."""
        for each in self.namespaces if namespace is None else (namespace,):
            yield from self.objects.get((kind, each), ())

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        found = self.objects.get((kind, namespace), ())
        return next((each for each in found if each["metadata"]["name"] == name), None)

    def why_unseen(self, *kinds: Kind) -> str:
        """Why one of these kinds is not in the picture; "" when all are."""
        return next((why for (kind, where), why in self.unseen.items() if where and kind in kinds), "")


def take(
    api: Api,
    requested: Sequence[str],
    holds_homeserver: Callable[[Object], bool],
    kinds: Sequence[Kind] = LISTED,
) -> Snapshot:
    """Read the cluster once, each of these ``kinds``.

    Without ``requested`` namespaces, those are in scope whose workloads hold a homeserver. Raises
    :class:`ClusterError` when the API server cannot be reached or no namespace can be settled on.
    """
    objects: dict[Key, tuple[Object, ...]] = {}
    unseen: dict[Key, str] = {}
    groups = dict.fromkeys((kind.group, kind.version) for kind in kinds if kind.custom)
    known = {each: spawn(partial(_served, api, *each)) for each in groups}
    wide = in_threads([_lister(api, kind, "") for kind in WIDE], Limit.REQUEST * 3)
    controllers: list[Object] = []
    for kind, outcome in zip(WIDE, wide, strict=True):
        try:
            controllers += outcome.result()
        except ApiError as error:
            if error.status != 403:
                raise
            unseen[(kind, "")] = str(error)
        except TimeoutError as error:
            raise ClusterError(f"API server {api.server} does not list {kind.plural} within its time limit") from error
    namespaces = tuple(requested) or _scope(api, controllers, unseen, holds_homeserver)
    wanted = [
        (kind, namespace) for namespace in namespaces for kind in kinds if kind not in WIDE or (kind, "") in unseen
    ]
    plurals = {each: answer.result(Limit.REQUEST * 3) for each, answer in known.items()}
    served = frozenset(kind for kind in kinds if kind.custom and kind.plural in plurals[(kind.group, kind.version)])
    wanted = [(kind, ns) for kind, ns in wanted if not kind.custom or kind in served]
    works = [_lister(api, kind, namespace) for kind, namespace in wanted]
    works += [_exists(api, namespace) for namespace in requested]
    outcomes = in_threads(works, Limit.REQUEST * 3)
    for outcome in outcomes[len(wanted) :]:
        with suppress(TimeoutError):
            outcome.result()
    for key, outcome in zip(wanted, outcomes, strict=False):
        try:
            objects[key] = tuple(outcome.result())
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            unseen[key] = str(error)
        except TimeoutError:
            unseen[key] = f"LIST {key[0].plural} in {key[1]} did not end within its time limit"
    for kind in WIDE:
        for namespace in namespaces:
            if (kind, "") not in unseen:
                objects[(kind, namespace)] = tuple(
                    each
                    for each in controllers
                    if each["kind"] == kind.name and each["metadata"]["namespace"] == namespace
                )
    return Snapshot(namespaces, api.now(), objects, unseen, served, tuple(controllers))


def _lister(api: Api, kind: Kind, namespace: str) -> Callable[[], list[Object]]:
    return lambda: [_lean(kind, each) for each in api.list_all(kind, namespace) if _matters(kind, each)]


def _matters(kind: Kind, each: Object) -> bool:
    return kind is not EVENT or each.get("type") != "Normal"


def _lean(kind: Kind, each: Object) -> Object:
    """The object with its kind, which lists leave out, and without what nobody here reads and a large cluster has much
    of: the copy of itself that kubectl keeps in it, and who wrote which field. A ConfigMap's tell when its data
    changed, and the copy in an object of a custom kind what was written of it that the kind does not know."""
    meta = {key: value for key, value in each["metadata"].items() if key != "managedFields" or kind is CONFIG_MAP}
    if not kind.custom and APPLIED in (notes := meta.get("annotations") or {}):
        meta["annotations"] = {key: value for key, value in notes.items() if key != APPLIED}
    return {**each, "kind": kind.name, "metadata": meta}


def _exists(api: Api, namespace: str) -> Callable[[], list[Object]]:
    def look() -> list[Object]:
        try:
            api.get(NAMESPACE.path(name=namespace))
        except ApiError as error:
            if error.status == 404:
                raise ClusterError(f"namespace {namespace} does not exist in {api.connection.name}") from error
            if error.status != 403:
                raise
        return []

    return look


def _served(api: Api, group: str, version: str) -> frozenset[str]:
    """The kinds that the API server knows of a group, by their plurals; every authenticated user may ask that."""
    try:
        answer = api.get(f"/apis/{group}/{version}")
    except ApiError as error:
        if error.status != 404:
            raise
        return frozenset()
    return frozenset(str(each.get("name")) for each in answer.get("resources") or ())


def _scope(
    api: Api,
    controllers: Sequence[Object],
    unseen: Mapping[Key, str],
    holds_homeserver: Callable[[Object], bool],
) -> tuple[str, ...]:
    found = {each["metadata"]["namespace"] for each in controllers if holds_homeserver(each)}
    if found:
        return tuple(sorted(found))
    if api.connection.namespace:
        return (api.connection.namespace,)
    if unseen:
        raise ClusterError("no right to list workloads in all namespaces: name the deployment's by --namespace")
    raise ClusterError("no homeserver found in any namespace: is this the right cluster? name one by --namespace")
