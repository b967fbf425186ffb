"""The verifier in the lab's cluster, as deploy/ has it: put there, started, and what its pod says when it has ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import verifier
from lab.cluster import Cluster
from lab.homes import home
from postflight.reports import termination
from postflight.verdict.record import RunRecord
from tests.lab.live.bench import Bench

Object = dict[str, Any]

SPACE = "postflight"
OVERLAYS = Path(__file__).parent / "in_cluster"
_MADE = (
    ("namespace", SPACE),
    *((kind, each) for each in ("postflight", "postflight-read-only") for kind in ("role", "rolebinding")),
    *(
        (kind, f"{each}-operators")
        for each in ("postflight", "postflight-read-only")
        for kind in ("clusterrole", "clusterrolebinding")
    ),
)
#: From the minute in which a schedule is due to the verdict.
_LONGEST = 180.0


class Inside:
    """Puts the verifier into whatever lab the bench has, once, and takes it out of it at the end."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._cluster: Cluster | None = None

    def install(self) -> Cluster:
        """The healthy lab with the verifier in it."""
        cluster = self._bench.healthy()
        if cluster != self._cluster:
            verifier.load(home(), cluster)
            cluster.kubectl("apply", "--server-side", "-k", str(OVERLAYS))
            self._cluster = cluster
        return cluster

    def remove(self) -> None:
        if self._cluster and self._cluster == self._bench.standing:
            for kind, name in _MADE:
                self._cluster.kubectl("delete", kind, name, "-n", "matrix", "--ignore-not-found")
            for kind in ("role", "rolebinding"):
                for account in ("postflight", "postflight-read-only"):
                    name = f"{account}-front-door"
                    self._cluster.kubectl("delete", kind, name, "-n", "ingress-nginx", "--ignore-not-found")


def once(cluster: Cluster, cronjob: str, name: str) -> Object:
    """The pod of a Job made of the CronJob's template, once it has ended; it stays until the next of this name."""
    cluster.kubectl("delete", "job", name, "-n", SPACE, "--ignore-not-found", "--cascade=foreground")
    cluster.kubectl("create", "job", name, f"--from=cronjob/{cronjob}", "-n", SPACE)
    return ended(cluster, lambda each: each["metadata"]["labels"].get("batch.kubernetes.io/job-name") == name)


def ended(cluster: Cluster, wanted: Callable[[Object], bool]) -> Object:
    last = time.monotonic() + _LONGEST
    while True:
        pods: list[Object] = cluster.get(f"/api/v1/namespaces/{SPACE}/pods")["items"]
        for pod in pods:
            if wanted(pod) and pod["status"]["phase"] in ("Succeeded", "Failed"):
                return pod
        told = [(pod["metadata"]["name"], pod["status"]["phase"]) for pod in pods]
        assert time.monotonic() < last, f"no verdict after {_LONGEST:.0f} s: {told}"
        time.sleep(0.5)


def terminated(pod: Object) -> Object:
    found: Object = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return found


def message(pod: Object) -> str:
    """The pod's termination message."""
    return _plain(terminated(pod).get("message", ""))


def said(record: RunRecord) -> str:
    """The termination message that a run with this record would leave."""
    return _plain(termination.render(record))


def _plain(text: str) -> str:
    """Without which token stands for which secret: that goes by first appearance."""
    return re.sub(r"<[a-z]+>", "<secret>", text)


def log(cluster: Cluster, pod: Object) -> str:
    return cluster.kubectl("logs", pod["metadata"]["name"], "-n", SPACE)
