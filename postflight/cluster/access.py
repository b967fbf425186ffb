"""Three ways to an address in the deployment: by name in the cluster, by tunnel, by address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from postflight.cluster import silences
from postflight.cluster.api import Api
from postflight.cluster.tunnels import tunnel
from postflight.limits import Limit


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
    """``falls_back``: where an address does not answer from here (a NetworkPolicy may shut the
    verifier's own pod out), its pod is reached by tunnel instead."""

    api: Api
    way: Way
    falls_back: bool = False

    @classmethod
    def choose(cls, api: Api, wanted: Way) -> Access:
        """``auto`` is ``dns``, then ``tunnel``, in a pod of the cluster, and ``tunnel`` everywhere else."""
        if wanted is not Way.AUTO:
            return cls(api, wanted)
        return cls(api, Way.DNS, falls_back=True) if api.connection.in_cluster else cls(api, Way.TUNNEL)

    def answers(self, host: str, port: int) -> bool:
        """Whether an address takes connections from here; taken for granted where there is no other way.
        One that refuses them answers."""
        if not self.falls_back:
            return True
        try:
            socket.create_connection((host, port), timeout=Limit.CONNECT / 2).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True

    @contextmanager
    def to_pod(self, namespace: str, pod: str, ip: str, port: int) -> Iterator[tuple[str, int]]:
        """A host and port from here that lead to a port of a pod, for as long as the context."""
        if self.way is Way.TUNNEL or not self.answers(ip, port):
            with tunnel(self.api, namespace, pod, port) as local:
                yield "127.0.0.1", local
        else:
            try:
                yield ip, port
            except Exception as error:
                if _is_late(error):
                    silences.note(f"port {port} of {pod}")
                raise


def _is_late(error: BaseException | None) -> bool:
    """Whether the error, or what it came of, is an answer that did not come in time."""
    while error is not None and not isinstance(error, TimeoutError):
        error = error.__cause__ or error.__context__
    return error is not None
