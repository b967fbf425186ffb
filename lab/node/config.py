"""Configuration files of a node's components, as they see them inside."""

import json

from lab.node.spec import DNS_SERVICE, INSIDE, INTERNET_GATEWAY, INTERNET_NET, NODE_NET, POD_NET, Node, Spec, write

SANDBOX_IMAGE = "lab/all:1"
_SNAPSHOTTERS = ("btrfs", "zfs", "aufs", "devmapper")


def write_all(spec: Spec, node: Node) -> None:
    """Writes every file into the node's folder. Raises OSError."""
    for name, text in {
        "containerd.toml": _containerd(),
        "cni/10-lab.conflist": _cni(node),
        "resolv.conf": f"nameserver {INTERNET_GATEWAY}\n",
        "kubelet.yaml": _kubelet(spec, node),
        "proxy.yaml": _proxy(node),
    }.items():
        write(node.folder / name, text)


def _containerd() -> str:
    unused = [f"io.containerd.snapshotter.v1.{name}" for name in _SNAPSHOTTERS]
    unused += ["io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
    # restrict_oom_score_adj: lowering a score needs CAP_SYS_RESOURCE, which root may lack.
    return f"""version = 2
root = "{INSIDE}/containerd"
state = "/run/containerd"
disabled_plugins = {json.dumps(unused)}
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX_IMAGE}"
  restrict_oom_score_adj = true
  max_concurrent_downloads = 1
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{INSIDE}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def _cni(node: Node) -> str:
    # ptp, not a bridge: every packet passes FORWARD, where NetworkPolicy is enforced.
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-ipam",
        "ranges": [[{"subnet": node.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": "lab", "plugins": plugins}, indent=1)


def _kubelet(spec: Spec, node: Node) -> str:
    cgroup = f"/{spec.cgroup}/{node.name}"
    # localStorageCapacityIsolation must stay on: without it the disk metrics go, and with them eviction.
    return f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true, cacheTTL: 2m}}
  x509: {{clientCAFile: {INSIDE}/pki/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: {INSIDE}/pki/kubelet-server.crt
tlsPrivateKeyFile: {INSIDE}/pki/kubelet-server.key
cgroupDriver: cgroupfs
cgroupRoot: {cgroup}
failCgroupV1: false
enforceNodeAllocatable: []
volumePluginDir: {INSIDE}/kubelet-plugins
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [{DNS_SERVICE}]
clusterDomain: cluster.local
resolvConf: {INSIDE}/resolv.conf
failSwapOn: false
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
maxPods: 250
syncFrequency: 10s
nodeStatusUpdateFrequency: 2s
nodeStatusReportFrequency: 60s
fileCheckFrequency: 60s
cpuManagerReconcilePeriod: 60s
volumeStatsAggPeriod: 60s
imageMinimumGCAge: 999h
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard:
  memory.available: 100Mi
  nodefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.available: 1%
shutdownGracePeriod: 0s
featureGates: {{KubeletCrashLoopBackOffMax: true}}
crashLoopBackOff: {{maxContainerRestartPeriod: 2s}}
configMapAndSecretChangeDetectionStrategy: Watch
"""


def _proxy(node: Node) -> str:
    # conntrack: zeroes leave the machine-wide table limits alone.
    return f"""apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {{kubeconfig: {INSIDE}/pki/proxy.conf, qps: 100, burst: 200}}
clusterCIDR: {POD_NET}
hostnameOverride: {node.name}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
nftables: {{minSyncPeriod: 50ms, syncPeriod: 30s}}
nodePortAddresses: [{NODE_NET}, {INTERNET_NET}]
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
"""
