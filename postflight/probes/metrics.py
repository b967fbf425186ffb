"""What Synapse processes say of themselves in numbers."""

from __future__ import annotations

from postflight.cluster.access import Access
from postflight.deployment.listeners import port_of
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit

PATH = "/_synapse/metrics"


def read_metrics(access: Access, process: SynapseProcess) -> str | None:
    """The text that a process's metrics listener serves, None where it has none.

    Raises OSError when it does not answer.
    """
    import http.client

    port = port_of(process, "metrics")
    pod = process.pod
    status = pod.container(process.container) if pod else None
    if pod is None or status is None or not status.running:
        raise OSError("it does not run")
    if port is None:
        return None
    with access.to_pod(pod.namespace, pod.name, pod.ip, port) as (host, local):
        connection = http.client.HTTPConnection(host, local, timeout=Limit.HTTP)
        try:
            connection.request("GET", PATH, headers={"Host": "localhost"})
            return connection.getresponse().read().decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise OSError(f"its metrics port {port} does not speak HTTP: {type(error).__name__}") from error
        finally:
            connection.close()
