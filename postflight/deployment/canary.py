"""What a deployment was given so that a canary homeserver can stand in it (``postflight prepare`` prints it)."""

from __future__ import annotations

from dataclasses import dataclass

from postflight.cluster.kinds import SERVICE
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.secrets import Secret
from postflight.settings import CanarySettings

#: The label by which the Service finds the canary's pod.
LABELS = {"app.kubernetes.io/name": "postflight-canary"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """``host`` and ``ports`` make the canaries' server names (``host:port``); ``authority`` and ``key`` are
    the certificate authority that Synapse was told to trust (PEM)."""

    namespace: str
    host: str
    ports: tuple[int, ...]
    authority: str
    key: Secret

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.host}:{port}" for port in self.ports)


def preparation(
    snapshot: Snapshot, secrets: SecretStore, settings: CanarySettings, namespace: str
) -> tuple[Prepared | None, str]:
    """What was prepared in a namespace, or what is missing for it."""
    service = snapshot.get(SERVICE, namespace, settings.service)
    held = secrets.get(namespace, settings.ca_secret)
    if service is None:
        return None, f"the deployment is not prepared for it: there is no Service {settings.service}"
    if why := secrets.unseen.get((namespace, settings.ca_secret)):
        return None, why
    if held is None or not {"tls.crt", "tls.key"} <= held.data.keys():
        return None, f"the deployment is not prepared for it: no Secret {settings.ca_secret} with tls.crt and tls.key"
    selector = service["spec"].get("selector") or {}
    if not selector.items() <= LABELS.items():
        return None, f"Service {settings.service} selects {selector}, not {LABELS}"
    ports = tuple(int(each["port"]) for each in service["spec"].get("ports") or ())
    # The search list of a pod's resolver completes it, whatever the cluster's domain is.
    host = f"{settings.service}.{namespace}.svc"
    return Prepared(namespace, host, ports, held.data["tls.crt"].reveal(), held.data["tls.key"]), ""
