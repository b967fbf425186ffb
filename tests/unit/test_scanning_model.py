"""Content scanners and ClamAV, found in small generated clusters."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.deployment.model import Deployment
from postflight.deployment.scan_parts import Antivirus
from postflight.settings import AntivirusNames, Names, Settings
from tests.unit.worlds import KINDS, Json, config_map, container, deployment, files, pod, snapshot, thing

CONFIG = """\
web: {host: 0.0.0.0, port: 8181}
scan: {script: /data/scan.sh, temp_directory: /tmp}
download: {base_homeserver_url: "http://media:8008"}
"""
SCANNER = ["python", "-m", "matrix_content_scanner.mcs", "-c", "/data/config.yaml"]
CLAMD = ["clamd", "--foreground", "--config-file=/etc/clamav/clamd.conf"]


def owned(kind: str, name: str, made: Json | None, template: Json) -> tuple[Json, ...]:
    """A workload and, where it has one, its pod."""
    if made:
        made["metadata"]["ownerReferences"] = [{"kind": kind, "name": name, "controller": True}]
    workload = thing(KINDS[kind], name, spec={"replicas": 1, "template": template}, status={})
    return (workload, *((made,) if made else ()))


def world(*others: Json, scanner: Json | None = None, clamd: Json | None = None, pods: bool = True) -> Deployment:
    runs = scanner or container("one", command=SCANNER)
    mounts = {"volumeMounts": [{"name": "config", "mountPath": "/data"}]}
    volumes = [{"name": "config", "configMap": {"name": "content-scanner-config"}}]
    daemon = clamd or container("clamav", command=CLAMD)
    template: Json = {"metadata": {}, "spec": {"containers": [daemon]}}
    made = pod("content-scanner-0", {**runs, **mounts}, volumes=volumes)
    objects = (
        config_map("content-scanner-config", config__yaml=CONFIG),
        *owned("StatefulSet", "content-scanner", made, {"metadata": {}, "spec": {"containers": [runs]}}),
        *owned("DaemonSet", "clamav", pod("clamav-x", daemon) if pods else None, template),
        *others,
    )
    conf = files("clamav-x", "clamav", **{"/etc/clamav/clamd.conf": "# TCPSocket 1\nTCPSocket 3311\n"})
    return deployment(snapshot(*objects), read=conf)


def test_a_scanner_and_its_clamd() -> None:
    antivirus = world().antivirus
    (scanner,), (clamd,) = antivirus.scanners, antivirus.clamds
    assert (scanner.id, scanner.port, scanner.script) == ("scanner/matrix/content-scanner", 8181, "/data/scan.sh")
    assert scanner.homeserver == "http://media:8008"
    assert [each.name for each in scanner.pods] == ["content-scanner-0"]
    assert (clamd.id, clamd.port, clamd.workload) == ("clamd/matrix/clamav", 3311, "daemonset/matrix/clamav")
    assert [each.name for each in clamd.pods] == ["clamav-x"]


def test_what_they_lean_on() -> None:
    depends = world().depends
    assert depends["scanner/matrix/content-scanner"] == ("statefulset/matrix/content-scanner", "clamd/matrix/clamav")
    assert depends["clamd/matrix/clamav"] == ("daemonset/matrix/clamav",)


def test_a_daemon_without_any_pod_is_known_all_the_same() -> None:
    (clamd,) = world(pods=False).antivirus.clamds
    assert (clamd.pods, clamd.port) == ((), 3310)


@pytest.mark.parametrize(
    "scanner",
    [
        container("one", image="registry.test/vectorim/matrix-content-scanner:v1.4.1"),
        container("one", command=["/venv/bin/matrix-content-scanner", "-c", "/data/config.yaml"]),
        container("one", command=["sh", "-c", "exec python -m matrix_content_scanner.mcs -c /data/config.yaml"]),
    ],
)
def test_by_image_or_command(scanner: Json) -> None:
    assert world(scanner=scanner).antivirus.scanners[0].port == 8181


def test_what_is_none() -> None:
    other = container("one", image="clamav/clamav:1.4", command=["freshclam", "--daemon"])
    assert world(scanner=container("one"), clamd=other).antivirus == Antivirus()


def test_as_the_settings_say() -> None:
    names = AntivirusNames(scanner_workloads=("customs",), clamd_workloads=("sieve/two",))
    template: Json = {"metadata": {}, "spec": {"containers": [container("one"), container("two")]}}
    objects = [each for name in ("customs", "sieve") for each in owned("Deployment", name, None, template)]
    found = deployment(snapshot(*objects), settings=Settings(names=Names(antivirus=names))).antivirus
    assert ([each.name for each in found.scanners], [each.name for each in found.clamds]) == (["customs"], ["sieve"])
    assert (found.scanners[0].port, found.scanners[0].script) == (8080, "")


def test_an_ingress_may_speak_of_one() -> None:
    path: dict[str, Any] = {"path": "/_matrix/media_proxy", "pathType": "Prefix", "backend": {}}
    ingress = thing(KINDS["Ingress"], "scanner", spec={"rules": [{"host": "a.test", "http": {"paths": [path]}}]})
    found = deployment(snapshot(ingress)).antivirus
    assert (found.announced, found.referred, found.scanners) == (("Ingress scanner",), True, ())


@pytest.mark.parametrize(
    ("path", "service", "notes"),
    [
        ("/_matrix/media", "any", {"nginx.ingress.kubernetes.io/rewrite-target": "/_matrix/media_proxy/unstable/$1"}),
        ("/_matrix/media", "matrix-content-scanner", {}),
        ("^/_matrix/media_proxy/(.*)", "any", {}),
    ],
)
def test_so_may_its_annotations_and_a_service_that_is_not_there(path: str, service: str, notes: dict[str, str]) -> None:
    one: dict[str, Any] = {"path": path, "pathType": "Prefix", "backend": {"service": {"name": service}}}
    ingress = thing(KINDS["Ingress"], "scanner", spec={"rules": [{"host": "a.test", "http": {"paths": [one]}}]})
    ingress["metadata"]["annotations"] = notes
    found = deployment(snapshot(ingress)).antivirus
    assert (found.announced, found.elsewhere) == (("Ingress scanner",), ())


def test_an_ingress_may_lead_to_one_in_another_namespace() -> None:
    one: dict[str, Any] = {"path": "/_matrix/media_proxy", "backend": {"service": {"name": "scan"}}}
    ingress = thing(KINDS["Ingress"], "scanner", spec={"rules": [{"host": "a.test", "http": {"paths": [one]}}]})
    spec = {"type": "ExternalName", "externalName": "scan.security.svc.cluster.local"}
    found = deployment(snapshot(ingress, thing(KINDS["Service"], "scan", spec=spec))).antivirus
    assert found.elsewhere == (("Ingress scanner", "security"),)


def test_nothing_may_speak_of_one() -> None:
    assert not deployment(snapshot()).antivirus.referred


def test_the_well_known_file_may_speak_of_one() -> None:
    text = "server_name: hs.test\nextra_well_known_client_content:\n  io.example.content_scanner: {base_url: 'https://a.test'}\n"
    command = ["python", "-m", "synapse.app.homeserver", "--config-path", "/config/homeserver.yaml"]
    main = container("synapse", command=command, volumeMounts=[{"name": "config", "mountPath": "/config"}])
    volumes = [{"name": "config", "configMap": {"name": "synapse"}}]
    objects = (config_map("synapse", homeserver__yaml=text), pod("main-0", main, volumes=volumes))
    found = deployment(snapshot(*objects)).antivirus
    assert found.announced == ("io.example.content_scanner in the well-known file of main-0",)
