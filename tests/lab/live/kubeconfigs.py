"""Kubeconfigs as their users would have them: other rights, other addresses, and ones that are wrong."""

import base64
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.cluster import Cluster
from postflight.cluster.access import Way
from postflight.probes.probe import Right, Safety
from postflight.probes.registry import all_probes
from postflight.rights_manifest import rights

SPACE = "verifiers"

#: Everything that a run asks for, as `postflight roles` would print it; Secrets here by any name.
RIGHTS = rights(all_probes().values(), Safety.CANARY, Way.TUNNEL) | {Right("get", "secrets")}


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount with every right that a run asks for, but what it `lacks`: resources, or one verb on one."""

    cluster: Cluster
    name: str
    lacks: tuple[str, ...] = ()

    def create(self) -> None:
        """Makes it, and waits until its rights hold. Raises LabError."""
        subject = {"kind": "ServiceAccount", "name": self.name, "namespace": SPACE}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.name}
        rules = [
            {"apiGroups": [each.group], "resources": [each.resource], "verbs": kept}
            for each in sorted(RIGHTS, key=str)
            if (kept := [verb for verb in each.verbs if not {each.resource, f"{verb} {each.resource}"} & {*self.lacks}])
        ]
        self._apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self.name, "namespace": SPACE}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": self.name},
                "rules": rules,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": self.name},
                "subjects": [subject],
                "roleRef": role,
            },
        )
        asked = ["auth", "can-i", "list", "serviceaccounts", "-A", "--as", f"system:serviceaccount:{SPACE}:{self.name}"]
        deadline = time.monotonic() + 20
        while self.cluster.kubectl(*asked).strip() != "yes":
            assert time.monotonic() < deadline, f"{self.name} has no rights after 20 s"

    def remove(self) -> None:
        for kind in ("clusterrolebinding", "clusterrole"):
            self.cluster.kubectl("delete", kind, self.name, "--ignore-not-found")
        self.cluster.kubectl("delete", "serviceaccount", self.name, "-n", SPACE, "--ignore-not-found")

    def token(self) -> str:
        return self.cluster.kubectl("create", "token", self.name, "-n", SPACE, "--duration=1h").strip()

    def expired_token(self) -> str:
        """Signed by the lab's own key, and over since an hour."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        head, claims = (json.loads(_unpacked(part)) for part in self.token().split(".")[:2])
        hour = 3600
        claims |= {"iat": claims["iat"] - 2 * hour, "nbf": claims["nbf"] - 2 * hour, "exp": claims["iat"] - hour}
        signed = ".".join(_packed(json.dumps(part).encode()) for part in (head, claims))
        key = load_pem_private_key((self.cluster.home / "pki/sa.key").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return f"{signed}.{_packed(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def _apply(self, *objects: dict[str, Any]) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.cluster.kubectl("apply", "-f", "-", input=text)


def with_token(cluster: Cluster, token: str, file: Path) -> Path:
    """The lab's kubeconfig with a token in place of the administrator's certificate."""
    return _changed(cluster, file, user={"token": token})


def with_server(cluster: Cluster, server: str, file: Path) -> Path:
    """The lab's kubeconfig with the API server elsewhere; by http there is no CA and no certificate."""
    if server.startswith("http:"):
        return _changed(cluster, file, cluster_part={"server": server}, user={})
    return _changed(cluster, file, cluster_part=_cluster_part(cluster) | {"server": server})


def with_other_ca(cluster: Cluster, pem: bytes, file: Path) -> Path:
    """The lab's kubeconfig with a CA that did not sign its API server's certificate."""
    return _changed(
        cluster,
        file,
        cluster_part=_cluster_part(cluster) | {"certificate-authority-data": base64.b64encode(pem).decode()},
    )


def _changed(
    cluster: Cluster, file: Path, cluster_part: dict[str, Any] | None = None, user: dict[str, Any] | None = None
) -> Path:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    if cluster_part is not None:
        config["clusters"][0]["cluster"] = cluster_part
    if user is not None:
        config["users"][0]["user"] = user
    file.write_text(yaml.safe_dump(config))
    return file


def _cluster_part(cluster: Cluster) -> dict[str, Any]:
    return dict(yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"])


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
