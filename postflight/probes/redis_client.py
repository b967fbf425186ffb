"""A connection to one Redis server or Sentinel, and what its failures mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.deployment.parts import RedisNode
from postflight.limits import Limit
from postflight.secrets import Secret

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a server could not be asked, in one line. ``refused``: it answered, with a refusal; ``unseen``: the
    verifier's own way, or what it knows and may, falls short, so that nothing is said of the server."""

    line: str
    refused: bool = False
    unseen: bool = False

    @property
    def wants_password(self) -> bool:
        return self.refused and self.line.startswith("Authentication required")


@contextmanager
def client(access: Access, node: RedisNode, password: Secret | None) -> Iterator[Redis]:
    """A connection to a node's port, closed with the context. Raises what :func:`trouble` reads.

    Over TLS its certificate is not judged: Redis by the address of a pod has none for it.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with access.to_pod(node.pod.namespace, node.pod.name, node.pod.ip, node.port) as (host, local):
        connection = redis.Redis(
            host=host,
            port=local,
            password=password.reveal() if password else None,
            socket_connect_timeout=Limit.CONNECT,
            socket_timeout=Limit.REDIS_COMMAND,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            client_name="postflight",
            protocol=2,
            ssl=node.tls,
            ssl_cert_reqs="none",
            ssl_check_hostname=False,
        )
        try:
            yield connection
        finally:
            connection.close()


def trouble(error: Exception, node: RedisNode) -> Trouble:
    """Silence of a pod that the kubelet finds Ready, a password that is not known and a command that this user
    may not give are no finding; nor is a TLS handshake, which may want a certificate of the client."""
    import redis

    line = _line(error)
    if isinstance(error, ApiError):
        return Trouble(line, unseen=True)
    if isinstance(error, redis.ResponseError | redis.AuthenticationError):
        hidden = isinstance(error, redis.exceptions.NoPermissionError) or line.startswith("Authentication required")
        return Trouble(line, refused=True, unseen=hidden)
    silent = isinstance(error, redis.TimeoutError | TimeoutError) and node.pod.ready
    return Trouble(line, unseen=silent or (node.tls and re.search(r"ssl|certificate", line, re.IGNORECASE) is not None))


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return re.sub(r"(to|at|from) 127\.0\.0\.1:\d+", "through the tunnel", text)[:200] or type(error).__name__
