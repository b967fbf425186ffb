"""The Roles that a run needs: rights of reading the cluster, those that the probes declare, Secrets by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from postflight.cluster.access import Way
from postflight.cluster.kinds import (
    BUDGET,
    CONFIGURATION,
    DAEMON_SET,
    DEPLOYMENT,
    LISTED,
    NAMESPACE,
    POD,
    SECRET,
    SERVICE,
)
from postflight.cluster.references import secret_names
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import front
from postflight.probes.probe import EXEC, FORWARD, Probe, Right, Safety
from postflight.settings import IngressNames

RBAC = "rbac.authorization.k8s.io"
Object = dict[str, Any]


def rights(probes: Iterable[Probe], safety: Safety, way: Way) -> frozenset[Right]:
    """Everything that a run at this level asks for in the deployment's namespaces, Secrets aside."""
    found = {Right("list", kind.plural, kind.group) for kind in (*LISTED, *CONFIGURATION)}
    found.add(EXEC)  # files in pods
    for each in probes:
        if safety.allows(each.safety):
            found |= {*each.rights, *each.helped_by}
            if each.reaches and way is Way.TUNNEL:
                found.add(FORWARD)
    return frozenset(found)


def manifest(
    snapshot: Snapshot,
    wanted: frozenset[Right],
    secrets: Iterable[tuple[str, str]],
    account: str,
    home: str,
    ingress: IngressNames | None = None,
) -> list[Object]:
    """A ServiceAccount, its Role in each namespace in scope, a smaller one where an ingress controller stands, and
    what finding operators and ingress controllers, and knowing namespaces by their labels, needs in all.

    ``secrets`` are the namespace and name of those to be read beside the ones that workloads name; the
    ServiceAccount is called ``account`` and stands in namespace ``home``.
    """
    names: dict[str, set[str]] = {namespace: set() for namespace in snapshot.namespaces}
    for namespace, name in (*secret_names(snapshot), *secrets):
        names.setdefault(namespace, set()).add(name)
    found: list[Object] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": home}}
    ]
    doors = {each.namespace for each in front.controllers(snapshot, ingress or IngressNames(), ())}
    for namespace in sorted(doors - names.keys()):
        rules = _rules(
            {*(Right("list", kind.plural, kind.group) for kind in (POD, SERVICE, BUDGET)), *(wanted & {FORWARD})}
        )
        found.append(_object("Role", f"{account}-front-door", namespace, rules=rules))
        found.append(_binding("Role", f"{account}-front-door", namespace, account, home))
    for namespace, its_secrets in names.items():
        rules = [*_rules(wanted), *_secrets(its_secrets)]
        found.append(_object("Role", account, namespace, rules=rules))
        found.append(_binding("Role", account, namespace, account, home))
    operators = f"{account}-operators"
    # The labels of namespaces are what policies know them by.
    everywhere = {Right("list", kind.plural, kind.group) for kind in (DEPLOYMENT, DAEMON_SET, NAMESPACE)}
    found.append(_object("ClusterRole", operators, rules=_rules(everywhere)))
    found.append(_binding("ClusterRole", operators, "", account, home))
    return found


def _rules(wanted: Iterable[Right]) -> list[Object]:
    """One rule for each API group and set of verbs."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for each in wanted:
        verbs.setdefault((each.group, each.resource), set()).update(each.verbs)
    resources: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), its_verbs in sorted(verbs.items()):
        resources.setdefault((group, tuple(sorted(its_verbs))), []).append(resource)
    return [
        {"apiGroups": [group], "resources": each, "verbs": list(its_verbs)}
        for (group, its_verbs), each in resources.items()
    ]


def _secrets(names: Iterable[str]) -> list[Object]:
    listed = sorted(names)
    rule = {"apiGroups": [""], "resources": [SECRET.plural], "resourceNames": listed, "verbs": ["get"]}
    # No names would mean all of them.
    return [rule] if listed else []


def _binding(kind: str, role: str, namespace: str, account: str, home: str) -> Object:
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": home}]
    reference = {"apiGroup": RBAC, "kind": kind, "name": role}
    return _object(f"{kind}Binding", role, namespace, roleRef=reference, subjects=subjects)


def _object(kind: str, name: str, namespace: str = "", **rest: Any) -> Object:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": meta, **rest}
