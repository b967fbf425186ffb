"""Three ways to an address in the deployment: by name in the cluster, by tunnel, by address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from postflight.cluster.api import Api
from postflight.cluster.streams import tunnel


class Way(StrEnum):
    """How a connection gets to its pod.

    ``dns``: from within the cluster, by Service names and pod addresses. ``tunnel``: port-forward
    through the API server; it enters at the pod's loopback and so proves no NetworkPolicy, Service
    or rule by address. ``direct``: the pods' addresses are reachable from here.
    """

    AUTO = "auto"
    DNS = "dns"
    TUNNEL = "tunnel"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Access:
    api: Api
    way: Way

    @classmethod
    def choose(cls, api: Api, wanted: Way) -> Access:
        """``auto`` is ``dns`` in a pod of the cluster and ``tunnel`` everywhere else."""
        if wanted is Way.AUTO:
            wanted = Way.DNS if api.connection.in_cluster else Way.TUNNEL
        return cls(api, wanted)

    @contextmanager
    def to_pod(self, namespace: str, pod: str, ip: str, port: int) -> Iterator[tuple[str, int]]:
        """A host and port from here that lead to a port of a pod, for as long as the context."""
        if self.way is Way.TUNNEL:
            with tunnel(self.api, namespace, pod, port) as local:
                yield "127.0.0.1", local
        else:
            yield ip, port
