"""A lab's certificates and kubeconfigs, by the openssl program (0.6 s, once per lab)."""

import base64
import secrets
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.node.spec import API_ADDRESS, API_PORT, API_SERVICE, Node, Spec, write

_DAYS = "3650"
_CLIENT = "extendedKeyUsage=clientAuth\n"
_API_NAMES = "localhost node1 kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local"
_USERS = {
    "admin": "/O=system:masters/CN=admin",
    "agent": "/O=system:masters/CN=lab-agent",
    "kubelet-client": "/O=system:masters/CN=apiserver-kubelet-client",
    "kcm": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "front": "/CN=front-proxy-client",
}


def write_all(spec: Spec, port: int) -> None:
    """Certificates where there are none yet, kubeconfigs always: `port` changes with each start.

    Raises CalledProcessError when openssl fails.
    """
    folder = spec.home / "pki"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with ThreadPoolExecutor() as pool:
        if not (folder / "complete").exists():
            _authority(folder)
            addresses = f"IP:127.0.0.1,IP:{API_ADDRESS},IP:{API_SERVICE}"
            names = ",".join(f"DNS:{name}" for name in _API_NAMES.split())
            server = f"subjectAltName={addresses},{names}\nextendedKeyUsage=serverAuth\n"
            jobs = [pool.submit(_certificate, folder, folder, "apiserver", "/CN=kube-apiserver", server)]
            jobs += [pool.submit(_certificate, folder, folder, name, who, _CLIENT) for name, who in _USERS.items()]
            for job in jobs:
                job.result()
            (folder / "complete").touch()
        list(pool.map(lambda node: _node(folder, node), spec.all_nodes))
    inside = f"https://{API_ADDRESS}:{API_PORT}"
    for user in ("kcm", "scheduler", "proxy", "agent"):
        _kubeconfig(folder, folder / user, folder / f"{user}.conf", inside)
    _kubeconfig(folder, folder / "admin", folder / "admin-inside.conf", inside)
    _kubeconfig(folder, folder / "admin", spec.home / "kubeconfig", f"https://127.0.0.1:{port}")
    for node in spec.all_nodes:
        own = node.folder / "pki"
        if own != folder:
            for name in ("ca.crt", "proxy.conf", "agent.crt", "agent.key", "admin-inside.conf"):
                shutil.copy(folder / name, own)
        _kubeconfig(folder, own / "node", own / "node.conf", inside)


def _authority(folder: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{folder}/ca.key")
    request = ("req", "-x509", "-new", "-key", f"{folder}/ca.key", "-subj", "/CN=lab-ca", "-days", _DAYS)
    _openssl(*request, "-out", f"{folder}/ca.crt")
    _openssl("genrsa", "-out", f"{folder}/sa.key", "2048")
    _openssl("rsa", "-in", f"{folder}/sa.key", "-pubout", "-out", f"{folder}/sa.pub")


def _node(authority: Path, node: Node) -> None:
    """A further node gets what a node needs, and no more."""
    own = node.folder / "pki"
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "node.crt").exists():
        names = f"subjectAltName=IP:{node.address},DNS:{node.name}\nextendedKeyUsage=serverAuth\n"
        _certificate(authority, own, "kubelet-server", f"/CN={node.name}", names)
        _certificate(authority, own, "node", f"/O=system:nodes/CN=system:node:{node.name}", _CLIENT)


def _certificate(authority: Path, folder: Path, name: str, subject: str, extensions: str) -> None:
    path = folder / name
    (folder / f"{name}.ext").write_text(extensions)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{path}.key")
    _openssl("req", "-new", "-key", f"{path}.key", "-subj", subject, "-out", f"{path}.csr")
    signer = ("-CA", f"{authority}/ca.crt", "-CAkey", f"{authority}/ca.key", "-set_serial", f"0x{secrets.token_hex(8)}")
    signed = folder / f".{name}.crt"
    more = ("-days", _DAYS, "-extfile", f"{path}.ext", "-out", str(signed))
    _openssl("x509", "-req", "-in", f"{path}.csr", *signer, *more)
    signed.replace(f"{path}.crt")


def _kubeconfig(authority: Path, user: Path, out: Path, server: str) -> None:
    ca, certificate, key = (_base64(Path(p)) for p in (authority / "ca.crt", f"{user}.crt", f"{user}.key"))
    text = f"""apiVersion: v1
kind: Config
clusters: [{{name: lab, cluster: {{server: "{server}", certificate-authority-data: {ca}}}}}]
users: [{{name: {user.name}, user: {{client-certificate-data: {certificate}, client-key-data: {key}}}}}]
contexts: [{{name: lab, context: {{cluster: lab, user: {user.name}}}}}]
current-context: lab
"""
    write(out, text, mode=0o600)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
