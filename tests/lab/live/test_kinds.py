"""Deployments of another kind than the reference are green in their own way, and what the settings say of it counts."""

from collections.abc import Callable
from pathlib import Path

from lab import defects
from lab.cluster import Cluster
from postflight.verdict.status import Status
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

OFF = "federation-off"
DOORS, ONCE = "clients.closed_doors", "federation.exactly_once"


def saying(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    return file


def test_the_settings_say_off_and_it_answers_everywhere(cluster: Cluster, verify: Verify, tmp_path: Path) -> None:
    settings = saying(tmp_path, "federation: off")
    seen = verify(cluster.kubeconfig, "--settings", settings)
    others = {id: status for id, status in seen.statuses.items() if status not in (Status.PASSED, Status.ABSENT)}
    assert others == {DOORS: Status.FAILED}, seen.output
    assert seen.statuses[ONCE] is Status.ABSENT
    heads = [each.failure.headline for each in seen.results[DOORS].judged if each.status is Status.FAILED]
    assert [head.partition(", though federation is off, as the settings say")[0] for head in heads] == [
        "other servers are let in by synapse-main and synapse-generic-worker",
        "haproxy leads other servers to a process that lets them in",
        "haproxy leads other servers to a process that lets them in",
        "Ingress matrix-federation leads other servers to a process that lets them in",
        "synapse-federation-sender sends to other servers",
    ]


def test_federation_off_is_found_and_shown_to_be_shut(
    bench: Bench, healthy: Verified, verify: Verify, tmp_path: Path
) -> None:
    with bench.broken([OFF]) as cluster:
        seen = verify(cluster.kubeconfig)
        wrong = differences([defects.load(OFF)], healthy.statuses, seen)
        assert not wrong, "\n".join([*wrong, "", seen.output])
        assert seen.record
        assert seen.results[ONCE].reason == (
            "federation is off by choice: federation_domain_whitelist of synapse-main is empty"
        )
        assert any(each.startswith("federation is taken to be off, as ") for each in seen.record.notes)
        said = verify(cluster.kubeconfig, "--settings", saying(tmp_path, "federation: off"))
        assert said.statuses == seen.statuses, said.output
        assert said.record
        assert not said.record.notes
        promised = verify(
            cluster.kubeconfig, "--settings", saying(tmp_path, "federation: on"), checks="checks/federation"
        )
    assert promised.statuses == {ONCE: Status.FAILED}, promised.output
    assert "federation is off, though the settings say that it is on" in promised.output
