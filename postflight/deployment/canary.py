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
    """Where a canary can stand. ``names`` are its server names, ``ports`` those that it listens on.

    ``certificate`` and ``key`` (PEM) are those of an authority that Synapse was told to trust, or, where the
    names are public ones (``public``), those that the canary itself shows.
    """

    namespace: str
    names: tuple[str, ...]
    ports: tuple[int, ...]
    certificate: str
    key: Secret
    public: bool


def preparation(
    snapshot: Snapshot, secrets: SecretStore, settings: CanarySettings, namespace: str
) -> tuple[Prepared | None, str]:
    """What was prepared in a namespace, or what is missing for it."""
    service = snapshot.get(SERVICE, namespace, settings.service)
    name = settings.tls_secret if settings.hosts else settings.ca_secret
    held = secrets.get(namespace, name)
    if service is None:
        return None, f"the deployment is not prepared for it: there is no Service {settings.service}"
    if why := secrets.unseen.get((namespace, name)):
        return None, why
    if held is None or not {"tls.crt", "tls.key"} <= held.data.keys():
        return (
            None,
            f"the deployment is not prepared for it: no Secret {name or 'canary.tls_secret'} with tls.crt and tls.key",
        )
    selector = service["spec"].get("selector") or {}
    if not selector.items() <= LABELS.items():
        return None, f"Service {settings.service} selects {selector}, not {LABELS}"
    ports = [(int(each["port"]), each.get("targetPort")) for each in service["spec"].get("ports") or ()]
    # The search list of a pod's resolver completes it, whatever the cluster's domain is.
    inside = tuple(f"{settings.service}.{namespace}.svc:{port}" for port, _ in ports)
    listening = tuple(dict.fromkeys(target if isinstance(target, int) else port for port, target in ports))
    certificate, key = held.data["tls.crt"].reveal(), held.data["tls.key"]
    return Prepared(namespace, settings.hosts or inside, listening, certificate, key, bool(settings.hosts)), ""
