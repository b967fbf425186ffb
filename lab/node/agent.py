"""Stands in for a CNI plugin's policy engine and a storage provisioner, one on each node.

`python -m lab.node.agent NODE alone|among-others`
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn

from lab.node import kernel, policy, volumes
from lab.node.api import Api, Object, Watch

_CNI_RESULTS = Path("/var/lib/cni/results")


class Addresses:
    """Addresses of this node's pods by pod UID, as CNI gave them out.

    CNI knows them some 100 ms before a container starts, the API up to a second after it; and after a restart of the
    node the API still names the old ones.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._by_file: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._changed = changed
        threading.Thread(target=self._run, name="cni", daemon=True).start()

    def of(self, uid: str) -> tuple[str, ...]:
        return tuple(a for pod, addresses in list(self._by_file.values()) if pod == uid for a in addresses)

    def _run(self) -> NoReturn:
        _CNI_RESULTS.mkdir(parents=True, exist_ok=True)
        changes = kernel.watch_folder(str(_CNI_RESULTS))
        while True:
            self._look()
            os.read(changes, 65536)

    def _look(self) -> None:
        now = set(os.listdir(_CNI_RESULTS))
        fresh = {}
        for name in now - self._by_file.keys():
            try:
                result = json.loads((_CNI_RESULTS / name).read_text())
                uid = dict(result.get("cniArgs") or []).get("K8S_POD_UID", "")
                fresh[name] = uid, tuple(ip["address"].split("/")[0] for ip in result["result"]["ips"])
            except (OSError, ValueError, KeyError):
                continue  # half written: it is looked at again when it is whole
        if fresh or self._by_file.keys() - now:
            # One assignment: readers see the old or the new, never a change under way.
            self._by_file = {name: known for name, known in self._by_file.items() if name in now} | fresh
            self._changed()


class Agent:
    """Keeps the node's policies and volumes as the API server says."""

    def __init__(self, node: str, alone: bool) -> None:
        self._node = node
        self._alone = alone
        self._filter = threading.Event()
        self._provide = threading.Event()
        self._api = Api()
        self._addresses = Addresses(self._filter.set)
        self._pods = Watch(self._api, "/api/v1/pods", self._filter.set)
        self._namespaces = Watch(self._api, "/api/v1/namespaces", self._filter.set)
        self._policies = Watch(self._api, "/apis/networking.k8s.io/v1/networkpolicies", self._filter.set)
        self._claims = Watch(self._api, "/api/v1/persistentvolumeclaims", self._provide.set)
        self._volumes = Watch(self._api, "/api/v1/persistentvolumes", self._provide.set)

    def run(self) -> NoReturn:
        """Policies in this thread, volumes in another."""
        threading.Thread(target=self._provide_volumes, name="volumes", daemon=True).start()
        loaded = ""
        known: policy.World | None = None
        while True:
            self._filter.wait()
            time.sleep(0.01)  # changes come in flocks
            self._filter.clear()
            world = self._world()
            if loaded and world == known:
                continue  # most changes of pods are none that a policy knows of
            known, wanted = world, policy.ruleset(world, self._node)
            if wanted == loaded:
                continue
            began = time.monotonic()
            done = subprocess.run(["nft", "-f", "-"], input=wanted, text=True, capture_output=True, check=False)
            took = time.monotonic() - began
            rules = wanted.count(" return")
            print(f"{time.time():.3f} {rules} rules in {took:.3f} s {done.stderr[:600]}", flush=True)
            loaded = wanted if done.returncode == 0 else ""
            if done.returncode:
                time.sleep(0.2)
                self._filter.set()

    def _world(self) -> policy.World:
        seen = [policy.Pod.of(pod, self._addresses_of(pod)) for pod in self._pods.objects()]
        labels = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in self._namespaces.objects()}
        return policy.World([pod for pod in seen if pod], labels, self._policies.objects())

    def _addresses_of(self, pod: Object) -> tuple[str, ...]:
        if pod["spec"].get("nodeName") == self._node:
            return self._addresses.of(pod["metadata"]["uid"])
        return tuple(ip["ip"] for ip in pod.get("status", {}).get("podIPs") or [])

    def _provide_volumes(self) -> NoReturn:
        while True:
            self._provide.wait()
            self._provide.clear()
            try:
                volumes.provide(self._api, self._node, self._alone, self._claims.objects(), self._volumes.objects())
            except (OSError, ValueError, HTTPException) as error:
                print(f"volumes: {error}", flush=True)
                time.sleep(0.2)
                self._provide.set()


if __name__ == "__main__":
    Agent(sys.argv[1], sys.argv[2] == "alone").run()
