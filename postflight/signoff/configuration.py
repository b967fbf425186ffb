"""The deployment's configuration as hashes: one per object, and one over all of them.

What people write counts. What a cluster writes by itself does not, or a signature would be void by the
morning: status and bookkeeping, the replicas of a workload that an autoscaler scales, Secrets and
certificates (they are rotated), addresses that are handed out, CA bundles, leader elections, Helm's records.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    CONFIGURATION,
    LISTED,
    SERVICE,
    SERVICE_ACCOUNT,
)
from postflight.cluster.snapshot import Snapshot
from postflight.traces import MANAGED_BY, NAME

#: Annotations by which controllers and tools keep books.
BOOKKEEPING = (
    "kubectl.kubernetes.io/",
    "deployment.kubernetes.io/",
    "deprecated.daemonset.template.generation",
    "kubernetes.io/change-cause",
    "kubernetes.io/description",
    "autoscaling.alpha.kubernetes.io/",
    "control-plane.alpha.kubernetes.io/",
    *(
        f"ingress.kubernetes.io/{each}"
        for each in ("backends", "forwarding-rule", "https-", "ssl-cert", "target-proxy")
    ),
    "ingress.kubernetes.io/url-map",
    "cloud.google.com/neg-status",
    "field.cattle.io/",
    "cattle.io/",
    "meta.helm.sh/",
    "argocd.argoproj.io/",
    "openshift.io/",
    "cnpg.io/operatorVersion",
    "reloader.stakater.com/last-",
    # What they are the checksum of counts by itself, and a Secret is rotated.
    "checksum/",
)
#: Those that say when something was last done, or how it is.
MOMENTS = re.compile(r"(?:At|[Tt]imestamp|[Ss]tatus)$")
#: Reloader's mark in a container: it changes with each rotated Secret.
RELOADED = "STAKATER_"
#: ConfigMaps that controllers publish into every namespace, or keep for themselves.
PUBLISHED = frozenset({"kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert", "cnpg-default-monitoring"})
PUBLISHED_LABELS = ("trust.cert-manager.io/bundle", "config.openshift.io/inject-trusted-cabundle")
LEADER = "control-plane.alpha.kubernetes.io/leader"
HELM = ("owner", "helm")
#: The kinds whose objects make others, which then only follow from them.
MAKERS = frozenset(kind.name for kind in (*LISTED, *CONFIGURATION))
#: Fields that the API server or a controller fills in: of any object, and of one kind beside those.
FILLED_IN = ("apiVersion", "metadata", "status")
FILLED_IN_OF = {SERVICE_ACCOUNT.name: ("secrets", "imagePullSecrets")}


def hashes(snapshot: Snapshot) -> Mapping[str, str]:
    """The SHA-256 of each object that configures the deployment, by ``kind/namespace/name``."""
    scaled = {
        (hpa["metadata"]["namespace"], target["kind"], target["name"])
        for hpa in snapshot.all(AUTOSCALER)
        for target in (hpa["spec"]["scaleTargetRef"],)
    }
    found = {}
    for each in _objects(snapshot):
        meta = each["metadata"]
        name = f"{each['kind'].lower()}/{meta['namespace']}/{meta['name']}"
        found[name] = digest(_written(each, (meta["namespace"], each["kind"], meta["name"]) in scaled))
    return dict(sorted(found.items()))


def digest(value: object) -> str:
    """The SHA-256 of a value's JSON: keys sorted, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _objects(snapshot: Snapshot) -> Iterator[Object]:
    for kind in CONFIGURATION:
        for each in snapshot.all(kind):
            meta = each["metadata"]
            labels: Mapping[str, str] = meta.get("labels") or {}
            made = any(owner["kind"] in MAKERS for owner in meta.get("ownerReferences") or ())
            if made or labels.get(MANAGED_BY) == NAME or (kind is CONFIG_MAP and _published(meta, labels)):
                continue
            yield each


def _published(meta: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return (
        meta["name"] in PUBLISHED
        or LEADER in (meta.get("annotations") or {})
        or labels.get(HELM[0]) == HELM[1]
        or any(label in labels for label in PUBLISHED_LABELS)
    )


def _written(each: Object, scaled: bool) -> Mapping[str, Any]:
    """The object without what nobody wrote."""
    left_out = (*FILLED_IN, *FILLED_IN_OF.get(each["kind"], ()))
    content = {key: _clean(value) for key, value in each.items() if key not in left_out}
    spec = content.get("spec") or {}
    if scaled:
        spec.pop("replicas", None)
    if each["kind"] == SERVICE.name:
        spec.pop("clusterIPs", None)
        if spec.get("clusterIP") != "None":
            spec.pop("clusterIP", None)
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.pop("status", None)
    meta = each["metadata"]
    return {**content, "metadata": _clean({key: meta[key] for key in ("labels", "annotations") if meta.get(key)})}


def _clean(value: Any) -> Any:
    """A copy without bookkeeping, at any depth: templates have metadata of their own."""
    if isinstance(value, Mapping):
        found = {key: _clean(each) for key, each in value.items() if each is not None and key != "creationTimestamp"}
        if isinstance(annotations := found.get("annotations"), dict):
            found["annotations"] = {key: each for key, each in annotations.items() if not _keeps_books(key)}
            if not found["annotations"]:
                del found["annotations"]
        return found
    if isinstance(value, list | tuple):
        return [_clean(each) for each in value if not _reloaded(each)]
    return value


def _keeps_books(annotation: str) -> bool:
    return annotation.startswith(BOOKKEEPING) or MOMENTS.search(annotation) is not None


def _reloaded(each: Any) -> bool:
    return isinstance(each, Mapping) and str(each.get("name", "")).startswith(RELOADED)
