"""Federation that is off by choice: each hole alone, and the probe at doors that answer as told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.kinds import INGRESS
from postflight.deployment.federating import EVENT
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.probes import server_doors as probes
from postflight.probes.federation_counters import Sent
from postflight.probes.http import Door, Said
from postflight.probes.server_doors import ServerDoors
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.calling import errcode, said
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL, ask, only
from tests.unit.processes import refusing, without_federation
from tests.unit.test_ingresses import ingress, to

CHECK = "clients.closed_doors"
OFF = without_federation(MODEL)
MAIN = next(each for each in OFF.synapse if each.is_main)
PROXY = OFF.proxies[0]
WORKER = next(each for each in OFF.synapse if each.workload_name == "synapse-generic-worker")
DENIED, WHO = errcode(403, "M_FORBIDDEN"), errcode(401, "M_UNAUTHORIZED")
NONE_SENT = {each.id: Sent(0) for each in MODEL.synapse}


def judged(model: Deployment = OFF, seen: ServerDoors | None = None, **fields: Any) -> Judge:
    (doors,) = refusing(model)
    given = replace(seen or doors, **fields)
    return ask(CHECK, deployment=model, server_doors=(given,), federation_counters=NONE_SENT)


def answering(process: SynapseProcess, answer: Said, model: Deployment = OFF) -> Judge:
    """One process, among those that refuse, answers so."""
    (doors,) = refusing(model)
    others = [replace(each, said=answer) if each.process.id == process.id else each for each in doors.processes]
    return judged(model, processes=tuple(others))


def at_the_front(answer: Said, **fields: Any) -> Judge:
    (doors,) = refusing(OFF)
    return judged(fronts=tuple(replace(each, said=answer, **fields) for each in doors.fronts))


def changed(process: SynapseProcess, model: Deployment = OFF, **values: Any) -> Deployment:
    other = replace(process, config={**(process.config or {}), **values})
    return replace(model, synapse=tuple(other if each.id == process.id else each for each in model.synapse))


def counted(**sent: Any) -> dict[str, Sent]:
    return {**NONE_SENT, MAIN.id: Sent(**sent)}


def test_shut_everywhere_is_green() -> None:
    pen = judged()
    assert pen.failures == []
    assert {MAIN.id, WORKER.id, PROXY.id} <= set(pen.seen)


def test_of_a_federation_that_is_on_nothing_is_asked() -> None:
    assert ask(CHECK).failures == []


class TestAProcess:
    def test_that_asks_who_it_is_would_let_it_in(self) -> None:
        model = changed(WORKER, federation_domain_whitelist=None)
        found = answering(WORKER, WHO, model).failures[0]
        assert found.headline == (
            "other servers are let in by synapse-generic-worker, though federation is off at synapse-main"
        )
        assert found.cause == "federation_domain_whitelist: not set for synapse-generic-worker"

    def test_though_the_settings_say_off(self) -> None:
        found = only(answering(MAIN, WHO, replace(OFF, federates=False)))
        assert found.headline.endswith("by synapse-main, though federation is off, as the settings say")

    def test_that_refuses_a_stranger_and_names_a_friend(self) -> None:
        """403 is what it answers to who is not named, and says nothing of who is."""
        model = changed(WORKER, federation_domain_whitelist=["friend.test", "other.test"])
        first = answering(WORKER, DENIED, model).failures[0]
        assert first.headline.startswith("friend.test and other.test of federation_domain_whitelist may come in at")
        assert first.status is Status.FAILED

    def test_without_such_a_listener_is_shut_whatever_its_list(self) -> None:
        pen = answering(WORKER, errcode(404, "M_UNRECOGNIZED"), changed(WORKER, federation_domain_whitelist=["a.test"]))
        assert only(pen, Status.WARNED).headline.startswith("synapse-generic-worker may still ask other servers")

    @pytest.mark.parametrize("answer", [said(0, problem="timed out"), said(502), errcode(429, "M_LIMIT_EXCEEDED")])
    def test_that_does_not_tell(self, answer: Said) -> None:
        found = only(answering(WORKER, answer), Status.UNKNOWN)
        assert found.subject == WORKER.id

    def test_that_is_not_ready(self) -> None:
        found = only(judged(mute=((WORKER, "its pod is not ready"),)))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, WORKER.id)

    def test_whose_configuration_is_not_known(self) -> None:
        blind = replace(WORKER, config=None, config_problem="no right")
        model = replace(OFF, synapse=tuple(blind if each.id == WORKER.id else each for each in OFF.synapse))
        heads = {each.headline for each in judged(replace(model, federates=False)).failures}
        assert "whether synapse-generic-worker deals with other servers is not known: no right" in heads


class TestTheFront:
    def test_that_leads_to_one_that_asks_who_it_is(self) -> None:
        found = only(at_the_front(WHO))
        assert found.subject == PROXY.id
        assert found.headline == (
            "haproxy leads other servers to a process that lets them in, though federation is off at synapse-main"
        )
        assert found.cause == "haproxy leads them to backend generic_workers (matrix_federation)"

    @pytest.mark.parametrize(
        "answer", [said(403, "<html>"), said(404, "<html>"), said(401), said(200, "<html>app</html>")]
    )
    def test_a_refusal_of_the_proxys_own(self, answer: Said) -> None:
        assert at_the_front(answer).failures == []

    def test_no_server_behind_it_is_shut(self) -> None:
        assert at_the_front(said(503, "<html>"), backend="").failures == []
        assert at_the_front(said(503, "<html>"), backend="none_such").failures == []

    def test_a_server_that_is_down_is_not(self) -> None:
        found = only(at_the_front(said(503, "<html>")))
        assert found.nature is Nature.UNAVAILABLE
        assert MAIN.id in found.needs

    def test_whose_configuration_is_not_known(self) -> None:
        blind = replace(OFF, proxies=(replace(PROXY, config="", frontends=()),))
        found = only(judged(blind, fronts=()), Status.UNKNOWN)
        assert found.headline.startswith("where haproxy leads other servers is not known")

    def test_that_sends_on_elsewhere_was_not_seen(self) -> None:
        assert only(at_the_front(said(302)), Status.UNKNOWN)

    def test_that_leads_out_of_what_is_looked_at(self) -> None:
        found = only(
            at_the_front(said(0), unseen="Ingress front leads to Service x, which is not looked at"), Status.WARNED
        )
        assert found.nature is Nature.UNPROVEN


class TestWhoSends:
    def test_by_configuration(self) -> None:
        model = replace(changed(MAIN, send_federation=True, federation_domain_whitelist=None), federates=False)
        found = only(judged(model))
        assert found.headline == "synapse-main sends to other servers, though federation is off, as the settings say"
        assert found.observed == "by configuration; nothing sent as yet"

    def test_is_red_in_the_lab_where_the_settings_say_off(self) -> None:
        """Nothing was changed there: it is wholly open."""
        on = replace(MODEL, federates=False)
        (doors,) = refusing(on)
        seen = replace(
            doors,
            processes=tuple(
                replace(each, said=WHO) for each in doors.processes if "federation" in str(each.process.config)
            ),
            fronts=tuple(replace(each, said=WHO) for each in doors.fronts),
        )
        sent = {**NONE_SENT, **{each.id: Sent(3) for each in MODEL.synapse if "sender" in each.workload_name}}
        pen = ask(CHECK, deployment=on, server_doors=(seen,), federation_counters=sent)
        failed = [each.headline for each in pen.failures if each.status is Status.FAILED]
        assert len(failed) == 3
        assert (
            "synapse-federation-sender sends to other servers, though federation is off, as the settings say" in failed
        )
        warned = [each.headline for each in pen.failures if each.status is Status.WARNED]
        assert len(warned) == 1
        assert "may still ask other servers" in warned[0]

    def test_by_its_counters(self) -> None:
        (doors,) = refusing(OFF)
        pen = ask(CHECK, deployment=OFF, server_doors=(doors,), federation_counters=counted(transactions=4))
        assert only(pen).observed == "4 transactions since they started"

    def test_counters_that_could_not_be_read(self) -> None:
        (doors,) = refusing(OFF)
        for sent, status in (
            (counted(transactions=None, problem="no answer"), Status.UNKNOWN),
            (counted(transactions=None, problem="it serves no metrics", silent=True), Status.WARNED),
        ):
            assert only(ask(CHECK, deployment=OFF, server_doors=(doors,), federation_counters=sent), status)

    def test_a_sender_that_may_send_nothing_runs_for_nothing(self) -> None:
        sender = next(each for each in MODEL.synapse if "sender" in each.workload_name)
        idle = replace(sender, config={"federation_domain_whitelist": []})
        found = only(judged(replace(OFF, synapse=(*OFF.synapse, idle))), Status.WARNED)
        assert found.headline.startswith("synapse-federation-sender is there to send to other servers")

    def test_who_may_still_ask(self) -> None:
        model = replace(changed(WORKER, federation_domain_whitelist=None), federates=False)
        found = only(judged(model), Status.WARNED)
        assert found.headline.startswith("synapse-generic-worker may still ask other servers")


class TestTheProbe:
    def look(
        self,
        monkeypatch: pytest.MonkeyPatch,
        model: Deployment = OFF,
        answer: Callable[[Door], Said] = lambda door: DENIED,
        world: Any = None,
    ) -> tuple[tuple[ServerDoors, ...], list[str]]:
        asked: list[str] = []

        def ask_there(access: Access, door: Door, method: str, path: str, **given: Any) -> Said:
            assert (method, path) == ("GET", EVENT)
            assert given["token"], "without one Synapse asks who it is before it looks at its list"
            asked.append(f"{door.pod.name}:{door.port}")
            return answer(door)

        monkeypatch.setattr(probes, "ask", ask_there)
        access = Access(api_to(closed_port()), Way.DIRECT)
        return probes.server_doors(model, world or recorded.healthy().snapshot, access), asked

    def test_asks_nothing_where_federation_is_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.look(monkeypatch, MODEL) == ((), [])

    def test_asks_every_process_that_users_reach_and_every_port_of_every_proxy_pod(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ((seen,), asked) = self.look(monkeypatch)
        names = {each.process.workload_name for each in seen.processes}
        assert {"synapse-main", "synapse-generic-worker", "synapse-synchrotron", "synapse-media-repository"} <= names
        pods = {each.name for each in PROXY.pods}
        assert {f"{pod}:{port}" for pod in pods for port in (8008, 8448)} <= set(asked)
        assert not [each for each in asked if each.endswith((":8404", ":9093", ":9090"))]
        assert {each.backend for each in seen.fronts} == {"generic_workers", "synapse_main"}
        assert {each.said for each in (*seen.processes, *seen.fronts)} == {DENIED}

    def test_asks_where_an_ingress_leads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = recorded.healthy().snapshot
        rule = ingress("matrix.lab.test", to("haproxy-federation", port={"number": 8448}))
        world = replace(lab, objects={**lab.objects, (INGRESS, "matrix"): (rule,)})
        ((seen,), _) = self.look(monkeypatch, world=world)
        assert [each.route.name for each in seen.fronts if each.route] == ["front"]

    def test_whoever_is_not_ready_is_named_and_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert WORKER.pod
        down = replace(WORKER, pod=replace(WORKER.pod, ready=False))
        model = replace(OFF, synapse=tuple(down if each.id == WORKER.id else each for each in OFF.synapse))
        ((seen,), asked) = self.look(monkeypatch, model)
        assert seen.mute == ((down, "its pod is not ready"),)
        assert f"{WORKER.name}:8008" not in asked

    def test_a_pod_of_the_proxy_that_is_not_ready_was_not_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pods = (replace(PROXY.pods[0], ready=False), *PROXY.pods[1:])
        ((seen,), _) = self.look(monkeypatch, replace(OFF, proxies=(replace(PROXY, pods=pods),)))
        found = judged(fronts=seen.fronts).failures
        assert {each.nature for each in found} == {Nature.UNAVAILABLE}
        assert found[0].subject == PROXY.id

    def test_without_a_proxy_the_processes_are_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ((seen,), _) = self.look(monkeypatch, replace(OFF, proxies=()))
        assert seen.fronts == ()
        assert seen.processes
