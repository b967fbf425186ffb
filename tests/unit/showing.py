"""Certificates of the recorded lab as the probe would see them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from postflight.deployment.model import Deployment
from postflight.probes.certificates import Certificates, Issued, Shown, instances, used_names
from postflight.probes.public_tls import Certificate

HOST, PUBLIC = "element.lab.test", "matrix.lab.test"
NOW = datetime(2027, 1, 1, tzinfo=UTC)
GOOD = Certificate(
    HOST,
    names=(HOST,),
    issuer="CN=authority",
    begins=NOW - timedelta(days=30),
    ends=NOW + timedelta(days=60),
    seen=NOW,
    der=b"good",
)
ISSUED = Issued("matrix", "element-web-tls", "Ingress element-web", GOOD)
WAY = "by tunnel to ingress-nginx-controller-1"
SHOWN = Shown(HOST, (HOST,), WAY, GOOD, (ISSUED,))


def door(shown: dict[str, Any] | None = None, issued: dict[str, Any] | None = None, **door: Any) -> Certificates:
    """Element's host alone, with another certificate or another Secret."""
    given = replace(ISSUED, **(issued or {}))
    return Certificates(
        (replace(SHOWN, certificate=replace(GOOD, **(shown or {})), issued=(given,), **door),), (PUBLIC,)
    )


def whole(model: Deployment) -> Certificates:
    """Everything that the recorded lab has."""
    public = replace(SHOWN, host=PUBLIC, names=(PUBLIC,), certificate=replace(GOOD, host=PUBLIC, names=(PUBLIC,)))
    found = [SHOWN, public]
    for cluster, pod in instances(model):
        names = used_names(cluster)
        shown = replace(GOOD, host=names[0], names=names)
        issued = Issued("matrix", f"{cluster.name}-server", f"Cluster {cluster.name}", shown)
        found.append(Shown(names[0], names, f"by tunnel to {pod.name}", shown, (issued,), pod.id, cluster))
    return Certificates(tuple(found), (PUBLIC,))
