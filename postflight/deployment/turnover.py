"""What became of Synapse's pods since the snapshot: one that it does not list may answer requests meanwhile.

A pod that is deleted goes on answering until its process ends, up to its grace period, and a proxy finds it until
its name has been resolved anew; one that was made since the snapshot answers from its first ready second on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from postflight.cluster.api import Object
from postflight.deployment.model import Deployment
from postflight.deployment.pods import read_pod

#: Labels by which the pods of one controller differ (Kubernetes 1.35, Deployment and StatefulSet controllers).
OWN = frozenset(
    {
        "pod-template-hash",
        "controller-revision-hash",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
    }
)


def turnover(deployment: Deployment, before: Iterable[Object], now: Iterable[Object]) -> tuple[str, ...]:
    """What differs between two lists of pods, the snapshot's and a later one, as to those that run Synapse: one phrase
    each. A pod counts that is labelled, or owned, as a Synapse process's pod of the model is."""
    known = list(before)
    mine = {each.pod.id: each.container for each in deployment.synapse if each.pod}
    models = [raw for raw in known if read_pod(raw).id in mine]
    kin = {key for raw in models for key in (_labels(raw), _owner(raw)) if key}
    containers = frozenset(mine.values())

    def counts(raw: Object) -> bool:
        return _labels(raw) in kin or _owner(raw) in kin

    first = {_uid(raw): raw for raw in known if counts(raw)}
    last = {_uid(raw): raw for raw in now if counts(raw)}
    found: list[str] = []
    for uid, raw in first.items():
        name = raw["metadata"]["name"]
        if "deletionTimestamp" in raw["metadata"]:
            found.append(f"{name} was ending already")
        elif uid not in last:
            found.append(f"{name} is gone")
        elif "deletionTimestamp" in last[uid]["metadata"]:
            found.append(f"{name} is ending")
        elif _started(raw, containers) != _started(last[uid], containers):
            found.append(f"{name} was started anew")
    return (*found, *(f"{raw['metadata']['name']} is new" for uid, raw in last.items() if uid not in first))


def _uid(raw: Object) -> str:
    meta = raw["metadata"]
    return str(meta.get("uid") or f"{meta['namespace']}/{meta['name']}")


def _labels(raw: Object) -> object:
    meta: Mapping[str, object] = raw["metadata"]
    labels = meta.get("labels")
    kept = {key: value for key, value in labels.items() if key not in OWN} if isinstance(labels, dict) else {}
    return (meta["namespace"], tuple(sorted(kept.items()))) if kept else None


def _owner(raw: Object) -> object:
    owners = raw["metadata"].get("ownerReferences") or ()
    return next(((raw["metadata"]["namespace"], each["kind"], each["name"]) for each in owners), None)


def _started(raw: Object, containers: frozenset[str]) -> object:
    return [(each.name, each.started, each.restarts) for each in read_pod(raw).containers if each.name in containers]
