"""Command lines of a node's components."""

import sys

from lab.node.spec import API_ADDRESS, API_PORT, INSIDE, SERVICE_NET, Node, Spec
from lab.node.supervisor import Component

_PKI = INSIDE / "pki"
_ETCD = "http://127.0.0.1:2379"
_ETCD_PEER = "http://127.0.0.1:2380"


def of(spec: Spec, node: Node) -> dict[str, Component]:
    """All that PID 1 of `node` keeps running, by name."""
    programs = {
        "containerd": ["containerd", "--config", f"{INSIDE}/containerd.toml", "--log-level", "warn"],
        "kubelet": _kubelet(spec, node),
        "kube-proxy": [f"{spec.bin}/kube-proxy", f"--config={INSIDE}/proxy.yaml"],
        "agent": [sys.executable, "-m", "lab.node.agent", node.name, "alone" if spec.nodes == 1 else "among-others"],
    }
    if node.number > 1:
        return {name: Component(argv) for name, argv in programs.items()}
    control = {
        "etcd": _etcd(spec),
        "kube-apiserver": _apiserver(spec),
        "kube-controller-manager": _controller_manager(spec),
        "kube-scheduler": _scheduler(spec),
        "metrics-server": _metrics_server(spec),
    }
    others = {
        other.name: [sys.executable, "-m", "lab.node.further", str(spec.home), str(other.number)]
        for other in spec.all_nodes[1:]
    }
    components = {name: Component(argv) for name, argv in (control | programs | others).items()}
    components["forward"] = Component([sys.executable, "-m", "lab.node.forward"], listens=True)
    return components


def _etcd(spec: Spec) -> list[str]:
    return [
        f"{spec.bin}/etcd",
        f"--data-dir={INSIDE}/etcd",
        "--unsafe-no-fsync",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        f"--listen-peer-urls={_ETCD_PEER}",
        f"--initial-advertise-peer-urls={_ETCD_PEER}",
        f"--initial-cluster=default={_ETCD_PEER}",
        "--log-level=warn",
    ]


def _apiserver(spec: Spec) -> list[str]:
    return [
        f"{spec.bin}/kube-apiserver",
        f"--etcd-servers={_ETCD}",
        f"--advertise-address={API_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={_PKI}/apiserver.crt",
        f"--tls-private-key-file={_PKI}/apiserver.key",
        f"--client-ca-file={_PKI}/ca.crt",
        f"--service-account-key-file={_PKI}/sa.pub",
        f"--service-account-signing-key-file={_PKI}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={SERVICE_NET}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-client-certificate={_PKI}/kubelet-client.crt",
        f"--kubelet-client-key={_PKI}/kubelet-client.key",
        f"--kubelet-certificate-authority={_PKI}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={_PKI}/ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={_PKI}/front.crt",
        f"--proxy-client-key-file={_PKI}/front.key",
        "--enable-aggregator-routing=true",
        "--lease-reuse-duration-seconds=600",
        "--event-ttl=2h",
        "--shutdown-delay-duration=0s",
        "--profiling=false",
    ]


def _controller_manager(spec: Spec) -> list[str]:
    return [
        f"{spec.bin}/kube-controller-manager",
        *_kubeconfigs("kcm"),
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={_PKI}/sa.key",
        f"--root-ca-file={_PKI}/ca.crt",
        f"--cluster-signing-cert-file={_PKI}/ca.crt",
        f"--cluster-signing-key-file={_PKI}/ca.key",
        "--controllers=*,-nodeipam,-cloud-node-lifecycle,-route,-service-lb-controller",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--node-monitor-period=2s",
        "--pvclaimbinder-sync-period=2s",
        "--horizontal-pod-autoscaler-sync-period=5s",
        "--profiling=false",
        "--bind-address=127.0.0.1",
    ]


def _scheduler(spec: Spec) -> list[str]:
    return [
        f"{spec.bin}/kube-scheduler",
        *_kubeconfigs("scheduler"),
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
        "--bind-address=127.0.0.1",
    ]


def _metrics_server(spec: Spec) -> list[str]:
    """As the agent, who may do everything: RBAC is not what the lab has it for. A request must end before the next round."""
    path = f"{_PKI}/agent.conf"
    return [
        f"{spec.bin}/metrics-server",
        f"--kubeconfig={path}",
        f"--authentication-kubeconfig={path}",
        f"--authorization-kubeconfig={path}",
        "--secure-port=4443",
        "--cert-dir=/run/metrics-server",
        f"--kubelet-certificate-authority={_PKI}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=10s",
        "--kubelet-request-timeout=9s",
    ]


def _kubelet(spec: Spec, node: Node) -> list[str]:
    return [
        f"{spec.bin}/kubelet",
        f"--config={INSIDE}/kubelet.yaml",
        f"--kubeconfig={_PKI}/node.conf",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        f"--root-dir={INSIDE}/kubelet",
        f"--cert-dir={INSIDE}/kubelet-pki",
        "--v=1",
    ]


def _kubeconfigs(user: str) -> list[str]:
    path = f"{_PKI}/{user}.conf"
    return [f"--kubeconfig={path}", f"--authentication-kubeconfig={path}", f"--authorization-kubeconfig={path}"]
