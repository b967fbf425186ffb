"""Every check: green on the healthy lab, with a reason where its part is not deployed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from postflight.probes.inside import InsideView
from postflight.probes.own import Left
from postflight.verdict.judge import Judge
from tests.unit import budgeting, li_world, paging, recorded, vaulting
from tests.unit.observations import CHECKS, MODEL, ask, observed, only
from tests.unit.stores import logins
from tests.unit.worlds import NO_SECRETS, deployment, snapshot


@pytest.mark.parametrize("id", CHECKS)
def test_the_healthy_lab_keeps_it_green(id: str) -> None:
    of = paging.world()
    found = li_world.model(of)
    small: dict[str, Any] = {
        "deployment": found,
        "snapshot": of,
        "identities": li_world.identities_of(found),
        "li_main_rights": li_world.rights_of(found),
        "web_pages": paging.seen(found, of),
        "element_addresses": paging.element_seen(found, of),
        "li_front_door": paging.li_front(of, found),
        "li_main_token": paging.tried(found),
        **vaulting.observations(found),
    }
    others = small if id.startswith("li.") or id == "clients.element_config" else {}
    if id == "platform.selectors":
        # The recorded lab has not all the workloads that the lab's policies of today are for.
        others = {"snapshot": budgeting.usual(recorded.healthy().snapshot)}
    pen = ask(id, None, **others)
    assert pen.failures == []
    assert pen.seen
    assert pen.absence == ""


@pytest.mark.parametrize("id", [id for id in CHECKS if id.startswith(("calls.", "database.", "redis.", "li."))])
def test_a_deployment_without_the_part_has_a_reason_to_be_absent(id: str) -> None:
    model = deployment(snapshot())
    others = observed() | {
        "deployment": model,
        "calls_discovery": (),
        "calls_chain": (),
        "turn_credentials": (),
        "database_logins": logins(model),
        "database_pools": (),
        "database_instances": {},
        "redis_nodes": {},
        "redis_backends": {},
        "redis_write": {},
        "inside_connections": InsideView((), {}),
        "secrets": NO_SECRETS,
    }
    pen = ask(id, None, **others)
    assert (pen.failures, pen.seen) == ([], [])
    assert pen.absence


def test_without_cloudnativepg_and_anyone_who_names_it_its_operator_is_absent() -> None:
    pen = ask("platform.operators", deployment=deployment(snapshot()), snapshot=snapshot(served=False))
    assert pen.absence.startswith("nothing here is named as CloudNativePG names it")


class TestLeftovers:
    JOB = "/apis/batch/v1/namespaces/matrix/jobs/postflight-abc"

    def left(self, **fields: Any) -> Judge:
        found: dict[str, Any] = {
            "path": self.JOB,
            "what": "job postflight-abc",
            "run": "abc",
            "earlier": False,
            "gone": False,
        }
        return ask("leftovers", leftovers=(Left(**(found | fields)),))

    def test_what_this_run_made_and_is_gone_is_nothing(self) -> None:
        assert self.left(gone=True).failures == []

    def test_what_this_run_left(self) -> None:
        found = only(self.left(problem="it has a finalizer"))
        assert (found.headline, found.observed) == ("this run left job postflight-abc", "it has a finalizer")
        assert found.remedy == f"kubectl delete --raw {self.JOB}"

    @pytest.mark.parametrize(("gone", "said"), [(True, "it is removed now"), (False, "it is still there")])
    def test_what_a_killed_run_left(self, gone: bool, said: str) -> None:
        found = only(self.left(earlier=True, gone=gone))
        assert found.headline.startswith("run abc, which was killed, left job postflight-abc")
        assert found.headline.endswith(said)


def test_every_check_there_is_was_asked() -> None:
    from postflight.session import all_ids
    from tests.unit.test_registry import CHECKS as FOLDER

    assert set(CHECKS) == all_ids(FOLDER)


def test_the_recording_is_of_a_healthy_lab() -> None:
    assert recorded.healthy().snapshot.taken < datetime.now(UTC)
    assert all(each.ready or each.phase == "Succeeded" for each in MODEL.pods.values())
