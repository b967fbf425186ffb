"""coverage: what the recorded lab has is claimed, and what nobody knows is told."""

from __future__ import annotations

import pytest

from postflight.cluster.kinds import CRON_JOB, DEPLOYMENT, JOB, Kind
from postflight.verdict.judge import Judge
from postflight.verdict.status import Status
from tests.unit.observations import ask, only
from tests.unit.worlds import container, deployment, pod, secrets, snapshot, thing


def workload(kind: Kind, name: str, image: str, **meta: object) -> dict[str, object]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container(image=image)]}}
    spec: dict[str, object] = {"template": template, "replicas": 1}
    if kind is CRON_JOB:
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}
    made = thing(kind, name, spec=spec)
    made["metadata"] |= meta
    return made


def said(*objects: dict[str, object]) -> Judge:
    world = snapshot(*objects)
    return ask("coverage", deployment=deployment(world), snapshot=world, secrets=secrets())


def test_the_recorded_lab_is_claimed() -> None:
    assert ask("coverage").failures == []


@pytest.mark.parametrize("kind", [DEPLOYMENT, CRON_JOB])
def test_what_nobody_knows_is_unverified(kind: Kind) -> None:
    found = only(said(workload(kind, "sygnal", "registry.test/sygnal:1")), Status.WARNED)
    assert found.headline == f"{kind.name} sygnal is unverified: no check knows what it is"
    assert "registry.test/sygnal:1" in found.observed


def test_a_job_is_judged_by_its_end() -> None:
    assert said(workload(JOB, "once", "registry.test/once:1")).failures == []


def test_what_the_verifier_makes_is_not_counted() -> None:
    own = workload(DEPLOYMENT, "postflight-x", "a:1", labels={"app.kubernetes.io/managed-by": "postflight"})
    assert said(own).failures == []


def test_a_call_page_is_asked_for_by_its_image() -> None:
    pen = said(workload(DEPLOYMENT, "element-call", "ghcr.io/element-hq/element-call:v0.16"))
    assert (pen.failures, pen.seen) == ([], ["deployment/matrix/element-call"])


def test_a_pod_without_an_owner_is_a_workload_too() -> None:
    found = only(said(pod("left-by-hand", container())), Status.WARNED)
    assert "left-by-hand" in found.headline
