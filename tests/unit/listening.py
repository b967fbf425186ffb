"""What a look into each pod would show where all is well: right clocks, whoever is asked listens, and half of each volume
is free."""

from __future__ import annotations

from postflight.cluster.kinds import POD, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import selections
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.probes.looks import Disk, Listener, Look, Looks

GIB = 2**30


def looks(deployment: Deployment, of: Snapshot) -> Looks:
    return Looks({pod.id: look(pod, of, ports(deployment, of, pod)) for pod in deployment.pods.values()}, {})


def look(pod: Pod, of: Snapshot, listened: frozenset[Listener]) -> Look:
    raw = of.get(POD, pod.namespace, pod.name) or {"spec": {}}
    mounts = [
        str(mount["mountPath"])
        for each in raw["spec"].get("containers") or ()
        for mount in each.get("volumeMounts") or ()
    ]
    first = next((each["name"] for each in raw["spec"].get("containers") or ()), "main")
    disks = {path: Disk(path, "/dev/vda", 20 * GIB, 10 * GIB, 10 * GIB, 1000, 500) for path in ("/", *mounts)}
    return Look(pod.id, first, 0.0, 0.01, listened, disks, tuple(disks))


def ports(deployment: Deployment, of: Snapshot, pod: Pod) -> frozenset[Listener]:
    """All that a Service leads to in it."""
    found: set[Listener] = set()
    raw = of.get(POD, pod.namespace, pod.name)
    for service in of.all(SERVICE) if raw else ():
        if raw and pod in selections.pods_of(deployment, pod.namespace, selections.of_service(service)):
            for each in service["spec"].get("ports") or ():
                if number := selections.target(each, raw):
                    found.add(Listener(each.get("protocol") or "TCP", "0.0.0.0", number))
    return frozenset(found)
