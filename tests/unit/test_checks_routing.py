"""The check of the front door, given each kind of fault alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.deployment.haproxy_servers import Server
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.request_classes import RequestClass
from postflight.probes.haproxy import HaproxyView, Nameserver
from postflight.probes.http import Said
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded, storing
from tests.unit.observations import ask, only
from tests.unit.routing import answer, front_door, led, main_of, unseen, views, worker

CHECK = "routing.backends"
MODEL = storing.with_storage(recorded.model())
PROXY = MODEL.proxies[0]
WORLD = recorded.healthy().snapshot
MAIN = main_of(MODEL)
UNRECOGNISED = '{"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}'
PAGE = "<html><body><h1>503 Service Unavailable</h1></body></html>"


def said_of(**answers: tuple[int, str]) -> Callable[[RequestClass], Said]:
    """``sync=(503, PAGE)``; every other class is answered as it should be."""
    return lambda kind: answer(kind, *answers.get(kind.name.replace(" ", "_").replace("-", "_"), (0, "")))


def ends_at(model: Deployment = MODEL, /, **processes: str) -> Callable[[RequestClass], SynapseProcess | None]:
    def by(kind: RequestClass) -> SynapseProcess | None:
        name = processes.get(kind.name.replace(" ", "_").replace("-", "_"))
        return led(model, kind) if name is None else worker(model, name) if name else None

    return by


def requests(answers: Any = answer, by: Any = None, noise: Any = (), model: Deployment = MODEL) -> Judge:
    return ask(CHECK, deployment=model, front_door_requests=front_door(model, answers, by, noise))


class TestAnswers:
    def test_all_is_well(self) -> None:
        pen = requests()
        assert pen.failures == []
        assert "requests/matrix/sync" in pen.seen

    def test_nobody_answers(self) -> None:
        found = only(requests(said_of(presence=(503, PAGE)), ends_at(presence="")))
        assert found.headline == "nobody answers presence requests at haproxy"
        assert found.nature is Nature.UNAVAILABLE
        assert {PROXY.id, "pod/matrix/synapse-presence-writer-0"} <= set(found.needs)
        assert "backend presence_writer" in found.cause

    def test_no_answer_at_all(self) -> None:
        silent = Said("haproxy-1", problem="no answer in time")
        found = requests(lambda kind: silent if kind.name == "sync" else answer(kind))
        assert only(found).observed == "no answer in time from haproxy-1"

    def test_many_classes_with_one_cause_are_one_failure(self) -> None:
        down = said_of(OpenID_token=(503, PAGE), user_admin=(503, PAGE))
        found = only(requests(down, ends_at(OpenID_token="", user_admin="")))
        assert found.headline == "nobody answers user admin and OpenID token requests at haproxy"

    def test_a_redirect(self) -> None:
        found = only(requests(said_of(media=(302, "")), ends_at(media="")))
        assert found.headline == "media requests are sent on elsewhere at haproxy"
        assert found.nature is Nature.WRONG

    def test_a_process_that_does_not_know_them(self) -> None:
        wrong = requests(said_of(media=(404, UNRECOGNISED)), ends_at(media="synapse-synchrotron"))
        found = only(wrong)
        assert found.headline == "media requests end at synapse-synchrotron, which does not know them"
        assert "M_UNRECOGNIZED" in found.observed
        assert "synapse-media-repository" in found.expected

    def test_a_process_that_nobody_saw_does_not_know_them(self) -> None:
        found = only(requests(said_of(media=(404, UNRECOGNISED)), ends_at(media="")))
        assert found.headline == "media requests end where nobody knows them"

    def test_a_release_that_has_no_such_request(self) -> None:
        assert requests(said_of(media=(404, UNRECOGNISED))).failures == []

    @pytest.mark.parametrize("release", ["Synapse/1.119.0", "Synapse/1.163.2"])
    def test_what_workers_know_from_a_later_release_on(self, release: str) -> None:
        def said(kind: RequestClass) -> Said:
            astray = kind.name == "room admin"
            return replace(answer(kind, *((404, UNRECOGNISED) if astray else (0, ""))), server=release)

        pen = requests(said, ends_at(room_admin="synapse-generic-worker"))
        if release == "Synapse/1.163.2":
            assert pen.failures == []
            return
        found = only(pen)
        assert found.headline == "room admin requests end at synapse-generic-worker, which does not know them"
        assert "an answer of synapse-main" in found.expected

    def test_a_process_that_fails(self) -> None:
        broken = '{"errcode": "M_UNKNOWN", "error": "Internal server error"}'
        found = only(
            requests(said_of(push_rule_setting=(500, broken)), ends_at(push_rule_setting="synapse-generic-worker"))
        )
        assert found.headline == "push rule setting requests fail at synapse-generic-worker"

    def test_a_proxy_that_refuses_by_itself(self) -> None:
        found = only(requests(said_of(sync=(403, PAGE)), ends_at(sync="")))
        assert found.headline == "sync requests do not get to Synapse at haproxy"

    def test_a_proxy_that_asks_for_a_password(self) -> None:
        assert only(requests(said_of(sync=(401, PAGE)), ends_at(sync=""))).nature is Nature.WRONG

    def test_a_proxy_that_keeps_other_servers_out(self) -> None:
        found = requests(said_of(server_key=(404, PAGE)), ends_at(server_key=""))
        assert only(found, Status.WARNED).headline.startswith("server key requests do not get to Synapse")

    @pytest.mark.parametrize("name", ["user_admin", "room_admin", "media_admin"])
    def test_administration_may_be_shut(self, name: str) -> None:
        assert requests(said_of(**{name: (404, PAGE)}), ends_at(**{name: ""})).failures == []


class TestCounters:
    def test_the_wrong_worker(self) -> None:
        """It answers just the same: only the counters tell."""
        found = only(requests(by=ends_at(to_device="synapse-generic-worker")))
        assert found.headline == ("to-device requests are answered by synapse-generic-worker, which cannot serve them")
        assert found.expected.startswith("synapse-todevice-writer, which writes to_device")
        assert "synapse-generic-worker-" in found.observed
        assert found.subject == PROXY.id

    def test_the_other_homeserver(self) -> None:
        second = replace(worker(MODEL, "synapse-synchrotron"), id="pod/matrix/li", side=Side.LI, workload_name="li")
        model = replace(MODEL, synapse=(*MODEL.synapse, second))
        found = only(requests(by=ends_at(model, sync="li"), model=model))
        assert found.headline == "sync requests are answered by li, which cannot serve them"

    def test_some_of_them_at_a_wrong_one(self) -> None:
        """One pod of the proxy leads elsewhere."""
        turns = iter(range(100))

        def by(kind: RequestClass) -> SynapseProcess | None:
            wrong = kind.name == "typing" and next(turns) == 0
            return worker(MODEL, "synapse-generic-worker") if wrong else led(MODEL, kind)

        assert "synapse-generic-worker, which cannot serve" in only(requests(by=by)).headline

    def test_other_peoples_requests_are_not_blamed_on_the_proxy(self) -> None:
        key = ("PUT", "SendToDeviceRestServlet", 401)
        assert requests(noise=[(worker(MODEL, "synapse-generic-worker"), key, 4)]).failures == []

    def test_nor_hide_what_came_to_a_wrong_one(self) -> None:
        key = ("PUT", "SendToDeviceRestServlet", 401)
        noise = [(worker(MODEL, "synapse-todevice-writer"), key, 2)]
        assert only(requests(by=ends_at(to_device="synapse-generic-worker"), noise=noise))

    def test_main_in_a_workers_stead(self) -> None:
        found = only(requests(by=ends_at(sync="synapse-main")))
        assert found.headline == "sync requests fall back to synapse-main"
        assert "synchrotron_workers" in found.cause

    def test_main_by_the_proxys_own_rules(self) -> None:
        proxy = replace(PROXY, backends={**PROXY.backends, "synchrotron_workers": PROXY.backends["synapse_main"]})
        model = replace(MODEL, proxies=(proxy,))
        found = only(requests(model=model), Status.WARNED)
        assert found.headline == "sync and sliding sync requests end at synapse-main, though workers could take them"

    def test_main_where_there_are_no_workers(self) -> None:
        model = replace(MODEL, synapse=(MAIN,))
        pen = requests(by=lambda kind: MAIN, model=model)
        assert pen.failures == []

    def test_a_process_that_could_not_be_asked(self) -> None:
        (front,) = front_door(MODEL)
        pen = ask(CHECK, front_door_requests=(unseen(front, "synapse-typing-writer", problem="no answer in time"),))
        found = only(pen, Status.UNKNOWN)
        assert found.headline == (
            "which process answers typing requests was not seen: synapse-typing-writer could not be asked,"
            " no answer in time"
        )

    def test_what_came_to_a_stranger_while_another_could_not_be_asked_blames_nobody(self) -> None:
        noise = [(worker(MODEL, "synapse-generic-worker"), ("PUT", "RoomTypingRestServlet", 401), 1)]
        (front,) = front_door(MODEL, noise=noise)
        pen = ask(CHECK, front_door_requests=(unseen(front, "synapse-typing-writer", problem="no answer in time"),))
        assert only(pen, Status.UNKNOWN).subject == "pod/matrix/synapse-typing-writer-0"

    def test_other_peoples_at_a_stranger_while_one_began_anew_are_not_blamed_on_the_proxy(self) -> None:
        noise = [(worker(MODEL, "synapse-generic-worker"), ("PUT", "RoomTypingRestServlet", 401), 8)]
        (front,) = front_door(MODEL, noise=noise)
        anew = unseen(front, "synapse-typing-writer", problem="it began anew meanwhile", restarted=True)
        found = ask(CHECK, front_door_requests=(anew,))
        assert {each.status for each in found.failures} == {Status.UNKNOWN}
        assert any("typing" in each.headline for each in found.failures)

    def test_a_process_without_metrics(self) -> None:
        (front,) = front_door(MODEL)
        dumb = unseen(front, "synapse-typing-writer", problem="it serves no metrics", silent=True)
        assert only(ask(CHECK, front_door_requests=(dumb,)), Status.WARNED).nature is Nature.UNPROVEN

    def test_a_process_whose_configuration_is_not_known(self) -> None:
        typing = worker(MODEL, "synapse-typing-writer")
        blind = tuple(replace(each, config=None) if each is typing else each for each in MODEL.synapse)
        model = replace(MODEL, synapse=blind)
        pen = ask(CHECK, deployment=model, front_door_requests=front_door(model, by=ends_at(model, presence="")))
        assert "is not known" in only(pen, Status.UNKNOWN).headline

    def test_a_process_that_is_not_here(self) -> None:
        found = only(requests(by=ends_at(account="")))
        assert found.headline == "account requests are answered by no process of this deployment"

    def test_no_way_in(self) -> None:
        (front,) = front_door(MODEL)
        shut = replace(
            front, rounds=(), shut={"sync": "no pod of a proxy is ready", "login": "no pod of a proxy is ready"}
        )
        found = only(ask(CHECK, front_door_requests=(shut,)), Status.UNKNOWN)
        assert found.headline == "who answers sync and login requests could not be asked: no pod of a proxy is ready"
        assert PROXY.id in found.needs

    def test_no_main_process(self) -> None:
        assert only(ask(CHECK, front_door_requests=()), Status.UNKNOWN)


def seen(change: Callable[[HaproxyView], HaproxyView], model: Deployment = MODEL) -> Judge:
    found = tuple(map(change, views(model, WORLD)))
    return ask(CHECK, deployment=model, front_door_requests=front_door(model), haproxy_views=found)


def states(backend: str, status: str) -> Callable[[HaproxyView], HaproxyView]:
    def change(view: HaproxyView) -> HaproxyView:
        servers = tuple(
            replace(each, status=status, check="L4CON") if each.backend == backend and each.up else each
            for each in view.servers
        )
        return replace(view, servers=servers)

    return change


def configured(old: str, new: str) -> Deployment:
    """The lab with another haproxy.cfg."""
    assert old in PROXY.config
    return recorded.renamed((old, new)).deployment()


class TestServers:
    def test_down_while_its_pods_are_ready(self) -> None:
        found = only(seen(states("media_workers", "DOWN")))
        assert found.headline == "haproxy holds 0 servers of backend media_workers to be up, 2 are ready"
        assert "L4CON" in found.observed
        assert found.stops == (found.subject,)

    def test_without_an_address_while_its_name_servers_answer(self) -> None:
        found = only(seen(states("typing_writer", "MAINT (resolution)")))
        assert found.headline == "haproxy holds 0 servers of backend typing_writer to be up, 1 is ready"
        assert "resolvers k8s (parse-resolv-conf) give no address for synapse-typing-writer-0" in found.cause

    def test_a_service_that_does_not_exist(self) -> None:
        model = configured(
            "server presence synapse-presence-writer-0.synapse-presence-writer.",
            "server presence synapse-presence-writer-0.synapse-presence.",
        )
        silent = said_of(presence=(503, PAGE), presence_setting=(503, PAGE))
        front = front_door(model, silent, lambda kind: None if "presence" in kind.name else led(model, kind))
        down = states("presence_writer", "MAINT (resolution)")
        found = tuple(map(down, views(model, WORLD)))
        pen = ask(CHECK, deployment=model, front_door_requests=front, haproxy_views=found)
        first, second = pen.failures
        assert first.headline == (
            "backend presence_writer of haproxy leads nowhere: no Service synapse-presence in namespace matrix"
        )
        assert second.nature is Nature.UNAVAILABLE
        assert set(first.stops) & set(second.needs)

    def test_more_of_them_up_than_pods_are_ready(self) -> None:
        def change(view: HaproxyView) -> HaproxyView:
            return replace(view, servers=tuple(replace(each, status="UP") for each in view.servers))

        pen = seen(change)
        assert {each.status for each in pen.failures} == {Status.WARNED}

    @pytest.mark.parametrize("ready", [True, False])
    def test_pods_that_change_while_they_are_looked_at(self, ready: bool) -> None:
        """A pod that is ready since the snapshot is one more, one that was ready then one less: neither is a fault."""
        generic = next(each for each in views(MODEL, WORLD)[0].servers if each.backend == "generic_workers")

        def change(view: HaproxyView) -> HaproxyView:
            new = replace(generic, name="new", status="UP", address="10.244.0.99:8008")
            old = tuple(replace(each, status="DOWN") if each == generic else each for each in view.servers)
            if ready:
                return replace(view, servers=(*view.servers, new), moved=frozenset({"10.244.0.99"}))
            return replace(view, servers=old, moved=frozenset({generic.host}))

        found = seen(change).failures
        assert {each.status for each in found} == {Status.UNKNOWN}
        assert "finds every pod of backend " in found[0].headline
        assert {each.subject for each in found} <= {
            "backend/matrix/haproxy/generic_workers",
            "backend/matrix/haproxy/inbound_federation",
        }

    def test_more_pods_than_slots(self) -> None:
        model = configured("server-template media 8 ", "server-template media 1 ")
        assert only(seen(lambda view: view, model), Status.WARNED).headline == (
            "backend media_workers of haproxy has no slot for 1 of its pods"
        )

    def test_nobody_can_ask(self) -> None:
        pen = seen(lambda view: replace(view, servers=(), nameservers=None, problem="no page", mute=True))
        assert {each.nature for each in pen.failures} == {Nature.UNPROVEN}

    def test_it_does_not_answer(self) -> None:
        pen = seen(lambda view: replace(view, servers=(), nameservers=None, problem="no answer in time"))
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}

    def test_its_configuration_is_not_known(self) -> None:
        model = replace(MODEL, proxies=(replace(PROXY, config=""),))
        pen = ask(CHECK, deployment=model, haproxy_views=())
        assert "could not be read" in only(pen, Status.UNKNOWN).headline


class TestNameservers:
    def dead(self, **counts: int) -> Callable[[HaproxyView], HaproxyView]:
        given = {"asked": 12, "valid": 0, "other": 0, **counts}
        return lambda view: replace(view, nameservers=(Nameserver("k8s", "dns", **given),))

    def test_that_never_answer(self) -> None:
        found = only(seen(self.dead()))
        assert found.headline == "resolvers k8s of haproxy get no valid answer from dns (parse-resolv-conf)"
        assert found.observed.startswith("dns: 12 questions, 0 valid, 0 other answers")
        assert PROXY.id in found.stops

    def test_that_do_not_know_the_clusters_names(self) -> None:
        assert "12 other answers" in only(seen(self.dead(other=12))).observed

    def test_whose_silence_an_address_from_the_start_hides(self) -> None:
        model = configured("resolvers k8s init-addr none", "resolvers k8s init-addr libc,none")
        assert "init-addr libc,none hides it" in only(seen(self.dead(), model)).cause

    def test_what_they_stop_is_not_told_again(self) -> None:
        change, down = self.dead(), states("presence_writer", "MAINT (resolution)")
        assert "get no valid answer" in only(seen(lambda view: down(change(view)))).headline

    def test_that_were_asked_only_just_now(self) -> None:
        assert seen(self.dead(asked=1)).failures == []

    def test_one_of_two(self) -> None:
        pair = (Nameserver("k8s", "a", 12, 9, 0), Nameserver("k8s", "b", 12, 0, 0))
        found = only(seen(lambda view: replace(view, nameservers=pair)), Status.WARNED)
        assert found.headline.startswith("name server b (parse-resolv-conf) of resolvers k8s of haproxy gives no valid")

    @pytest.mark.parametrize(("age", "told"), [(10, 1), (600, 0)])
    def test_that_were_not_seen(self, age: int, told: int) -> None:
        """A server by name that is up has an address: past its first minute only from a name server."""

        def change(view: HaproxyView) -> HaproxyView:
            pod = replace(view.pod, started=WORLD.taken - timedelta(seconds=age))
            return replace(view, pod=pod, nameservers=None, blind="no right")

        assert {each.nature for each in seen(change).failures} == ({Nature.UNPROVEN} if told else set())


def test_a_disabled_server_is_not_due() -> None:
    from postflight.deployment.haproxy_servers import backends

    text = "defaults\n default-server resolvers k\nbackend a\n server s h.test:80 disabled\n server-template t 1-3 _x._tcp.h:80 init-addr none resolvers z\n"
    assert backends(text)["a"] == (
        Server("h.test", 1, False, "k", "", True),
        Server("h", 3, True, "z", "none"),
    )
