"""The check of the public names, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.cluster.kinds import INGRESS
from postflight.deployment.front import Controller
from postflight.deployment.model import Deployment
from postflight.deployment.parts import tasks_of
from postflight.deployment.proxy_backends import backend_id
from postflight.probes.canary_user import Hindered
from postflight.probes.public import CLIENT, FederationDoor, WellKnown
from postflight.probes.public_http import ORIGIN, Answer
from postflight.probes.public_tls import EXPIRED, NOT_YET, Certificate
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import fronting, recorded
from tests.unit.fronting import FEDERATION, GOOD, HOST, KEYS, PLACE, SEEN, said
from tests.unit.observations import MODEL, READ_ONLY, ask, only
from tests.unit.test_ingresses import ingress, to

CHECK = "routing.public"
MAIN = next(each for each in MODEL.synapse if each.is_main)
URL = f"https://{HOST}{CLIENT}"
SILENT = Answer(problem="connection refused")


def judged(model: Deployment = MODEL, **fields: Any) -> Judge:
    return ask(CHECK, deployment=model, public_front=fronting.door(model, replace(SEEN, **fields)))


def shown(**fields: Any) -> Judge:
    return judged(certificates={HOST: replace(GOOD, **fields)})


def told(*answers: Answer, beyond: str = "") -> Judge:
    hops = tuple((URL if number == 0 else f"{URL}/{number}", each) for number, each in enumerate(answers))
    return judged(client=WellKnown(hops, beyond))


def led(**fields: Any) -> Judge:
    return judged(federation=replace(FEDERATION, **fields))


def with_ingress(*raws: Any) -> Any:
    """The recorded lab's snapshot with Ingresses in it."""
    lab = recorded.healthy()
    return replace(lab.snapshot, objects={**lab.snapshot.objects, (INGRESS, "matrix"): raws})


def test_a_front_door_as_it_should_be_says_where_it_was_asked() -> None:
    pen = ask(CHECK)
    assert pen.failures == []
    assert f"https://{HOST} by tunnel to ingress-nginx-controller-1" in pen.seen


def test_a_name_that_is_not_known_is_no_green() -> None:
    found = only(ask(CHECK, public_front=(), client_addresses=()), Status.UNKNOWN)
    assert found.needs == (MAIN.id,)


class TestTheCertificate:
    def test_for_another_name(self) -> None:
        found = only(shown(names=("matrix.lab.example", "*.lab.example")))
        assert found.headline == (
            f"{HOST} shows a certificate for matrix.lab.example, *.lab.example: every client refuses it"
        )
        assert found.observed.endswith("asked by tunnel to ingress-nginx-controller-1")

    def test_that_the_controller_makes_itself(self) -> None:
        pen = shown(names=("ingress.local",), refusal="self-signed certificate", code=18)
        assert {"has none for that name" in each.cause for each in pen.failures} == {True, False}

    @pytest.mark.parametrize("name", ["MATRIX.lab.test", "*.lab.test"])
    def test_for_its_name(self, name: str) -> None:
        assert shown(names=(name,)).failures == []

    @pytest.mark.parametrize("name", ["*.test", "*.matrix.lab.test", "lab.test"])
    def test_for_names_that_only_look_like_it(self, name: str) -> None:
        assert only(shown(names=(name,)))

    def test_that_has_expired(self) -> None:
        ends = fronting.NOW - timedelta(days=2)
        found = only(shown(ends=ends, refusal="certificate has expired", code=EXPIRED))
        assert found.headline == f"the certificate of {HOST} has expired, on 2026-12-30 00:00:00Z"

    def test_that_is_below_one_that_has_expired(self) -> None:
        found = only(shown(refusal="certificate has expired", code=EXPIRED))
        assert found.headline == f"a certificate above that of {HOST} has expired"

    def test_that_begins_later(self) -> None:
        found = only(shown(refusal="certificate is not yet valid", code=NOT_YET))
        assert found.headline == f"the certificate of {HOST} is not valid yet"

    def test_that_nobody_knows_the_issuer_of(self) -> None:
        found = only(shown(refusal="unable to get local issuer certificate", code=20))
        assert found.headline == (
            f"clients do not trust the certificate of {HOST}: unable to get local issuer certificate"
        )
        assert "CN=authority" in found.cause

    def test_that_an_authority_may_have_signed_that_could_not_be_read(self) -> None:
        bad = replace(
            SEEN, certificates={HOST: replace(GOOD, refusal="unable to get local issuer certificate", code=20)}
        )
        (door,) = fronting.door(MODEL, bad)
        found = only(ask(CHECK, public_front=(replace(door, unread=("/ca/ca.crt",)),)), Status.UNKNOWN)
        assert "(/ca/ca.crt) could not be read" in found.headline

    def test_that_expires_soon(self) -> None:
        found = only(
            shown(begins=fronting.NOW - timedelta(days=81), ends=fronting.NOW + timedelta(days=9)), Status.WARNED
        )
        assert found.headline == f"the certificate of {HOST} expires in 9 days"

    def test_of_a_short_life_is_measured_by_that(self) -> None:
        life = {"begins": fronting.NOW - timedelta(hours=10), "ends": fronting.NOW + timedelta(hours=14)}
        assert shown(**life).failures == []

    def test_of_a_closed_networks_authority_is_right(self) -> None:
        assert shown(authority="federation_custom_ca_list of synapse-main").failures == []

    @pytest.mark.parametrize(
        ("problem", "status"),
        [
            ("nothing listens on port 8443 of ingress-1", Status.FAILED),
            ("no right: cannot create pods/portforward", Status.UNKNOWN),
            ("no answer in time", Status.UNKNOWN),
        ],
    )
    def test_that_is_not_shown(self, problem: str, status: Status) -> None:
        nothing = {"client": None, "server": None, "versions": None, "upload": None, "federation": None}
        pen = judged(certificates={HOST: Certificate(HOST, problem=problem)}, **nothing)
        assert only(pen, status).headline == f"{HOST} does not answer over TLS: {problem}"

    def test_of_the_name_that_other_servers_are_led_to(self) -> None:
        other = replace(GOOD, host="federation.lab.test", names=("else.lab.test",))
        found = only(led(host="federation.lab.test", certificate=other))
        assert found.subject == "public/federation.lab.test"


class TestTheWellKnownFile:
    def test_that_web_clients_may_not_read(self) -> None:
        snapshot = with_ingress(
            ingress(HOST, to("haproxy-client", "/.well-known", port={"number": 8008}), name="files")
        )
        seen = replace(SEEN, client=WellKnown(((URL, replace(fronting.WELL_KNOWN, cors="")),)))
        found = only(ask(CHECK, snapshot=snapshot, public_front=fronting.door(MODEL, seen)))
        assert found.headline == f"web clients may not read {URL}: Access-Control-Allow-Origin is missing on the answer"
        assert found.cause == "Ingress files leads to Service haproxy-client"

    def test_whose_redirect_they_may_not_read(self) -> None:
        found = only(told(said(301, cors="", location="/other"), fronting.WELL_KNOWN))
        assert found.headline.endswith("is missing on the redirect")

    def test_that_is_for_others_only(self) -> None:
        found = only(told(replace(fronting.WELL_KNOWN, cors="https://app.lab.test")))
        assert "Access-Control-Allow-Origin is https://app.lab.test" in found.headline

    def test_that_is_for_whoever_asks(self) -> None:
        assert told(replace(fronting.WELL_KNOWN, cors=ORIGIN)).failures == []

    def test_that_is_elsewhere(self) -> None:
        found = only(told(said(302, location="https://www.lab.test/x"), beyond="https://www.lab.test/x"), Status.WARNED)
        assert found.nature is Nature.UNPROVEN

    def test_that_is_missing_at_the_homeservers_own_name(self) -> None:
        assert only(told(said(404)), Status.WARNED)

    def test_that_is_missing_where_only_it_tells(self) -> None:
        (front,) = fronting.door(MODEL, replace(SEEN, client=WellKnown(((URL, said(404)),))))
        names = replace(front.names, client="chat.lab.test")
        pen = ask(CHECK, public_front=(replace(front, names=names),))
        assert "do not find the homeserver" in pen.failures[0].headline

    @pytest.mark.parametrize("answer", [said(), said(500), Answer(200, "*", text="<html>")])
    def test_that_is_none(self, answer: Answer) -> None:
        assert "is no well-known file" in only(told(answer)).headline

    def test_that_names_another(self) -> None:
        other = said(**{"m.homeserver": {"base_url": "https://old.lab.test"}})
        assert only(told(other), Status.WARNED)

    def test_that_nobody_answers_for(self) -> None:
        found = only(told(said(503)))
        assert found.nature is Nature.UNAVAILABLE
        assert {MAIN.id, MODEL.proxies[0].id} <= set(found.needs)


class TestVersions:
    def test_that_come_from_something_else(self) -> None:
        found = only(judged(versions=Answer(200, "*", text="<html>")))
        assert found.headline == f"no homeserver answers at https://{HOST}: /_matrix/client/versions says no versions"

    def test_that_web_clients_may_not_read(self) -> None:
        assert "web clients may not read" in only(judged(versions=said(cors="", versions=["v1.1"]))).headline

    def test_that_do_not_come(self) -> None:
        """What is silent is not asked for more; what came of the upload says nothing."""
        assert only(judged(versions=SILENT, upload=SILENT)).nature is Nature.UNAVAILABLE

    def test_that_come_late(self) -> None:
        assert only(judged(versions=Answer(problem="no answer in time")), Status.UNKNOWN)


class TestTheUpload:
    @pytest.mark.parametrize(
        ("notes", "why"),
        [
            ({}, "is not set, and nginx takes 1 MiB"),
            ({"nginx.ingress.kubernetes.io/proxy-body-size": "1m"}, "1m"),
        ],
    )
    def test_that_a_proxy_refuses(self, notes: dict[str, str], why: str) -> None:
        front = ingress(HOST, to("haproxy-client", port={"number": 8008}), name="clients", annotations=notes)
        door = fronting.door(MODEL, replace(SEEN, upload=said(413, server="nginx")))
        found = only(ask(CHECK, snapshot=with_ingress(front), public_front=door))
        assert found.headline == (
            f"uploads of 2 MiB to {HOST} are refused on the way by nginx: Ingress clients: proxy-body-size {why}"
        )

    @pytest.mark.parametrize("answer", [said(404, errcode="M_UNRECOGNIZED"), said(200), Answer(401, text="<html>")])
    def test_that_is_answered_otherwise(self, answer: Answer) -> None:
        assert only(judged(upload=answer), Status.UNKNOWN)

    def test_that_ends_at_another_process_is_owed_to_who_leads_it_there(self) -> None:
        front = ingress(HOST, to("haproxy-client", port={"number": 8008}), name="clients")
        door = fronting.door(MODEL, replace(SEEN, upload=said(404, errcode="M_UNRECOGNIZED")))
        found = only(ask(CHECK, snapshot=with_ingress(front), public_front=door), Status.UNKNOWN)
        assert backend_id(MODEL.proxies[0], "media_workers") in found.needs

    def test_that_is_cut_off(self) -> None:
        assert only(judged(upload=SILENT)).nature is Nature.UNAVAILABLE


class TestFederation:
    def test_that_is_led_to_another_server(self) -> None:
        found = only(led(keys=said(server_name="old.lab.test", verify_keys={})))
        assert found.headline == f"other servers are led to {HOST}:443, which is old.lab.test and not {HOST}"

    @pytest.mark.parametrize("answer", [said(404), said(), Answer(200, text="<html>")])
    def test_that_ends_at_no_homeserver(self, answer: Answer) -> None:
        assert "there is no homeserver" in only(led(keys=answer)).headline

    def test_whose_keys_are_not_signed(self) -> None:
        assert "are not signed" in only(led(signed=())).headline

    def test_that_has_keys_only(self) -> None:
        assert "does not speak federation" in only(led(version=said(404, errcode="M_UNRECOGNIZED"))).headline

    def test_that_does_not_answer(self) -> None:
        pen = led(keys=said(503), version=said(503))
        assert {each.nature for each in pen.failures} == {Nature.UNAVAILABLE}

    def test_at_a_port_that_was_not_asked(self) -> None:
        door = FederationDoor(HOST, 8448, unasked="what leads port 8448 into the cluster is not known")
        found = only(judged(server=said(404), federation=door), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert f"{HOST}:8448" in found.headline

    def test_whose_file_is_not_answered(self) -> None:
        found = only(judged(server=said(503), federation=None))
        assert found.nature is Nature.UNAVAILABLE
        assert f"https://{HOST}/.well-known/matrix/server" in found.headline

    def test_that_is_off(self) -> None:
        assert judged(server=None, federation=None).failures == []

    def test_whose_file_is_none(self) -> None:
        assert "has no m.server" in judged(server=said()).failures[0].headline

    def test_keys_that_are_right(self) -> None:
        assert led(keys=KEYS).failures == []


class TestTheClientsAddress:
    def seen(self, *ips: str, model: Deployment = MODEL, **fields: Any) -> Judge:
        return ask(CHECK, deployment=model, client_addresses=fronting.addresses(model, *ips, **fields))

    def test_that_a_worker_does_not_take_from_the_proxy(self) -> None:
        proxy = MODEL.proxies[0].pods[0]
        worker = next(each for each in MODEL.synapse if each.workload_name == "synapse-generic-worker")
        listeners = [{**each, "x_forwarded": False} for each in (worker.config or {})["worker_listeners"]]
        deaf = replace(worker, config={**(worker.config or {}), "worker_listeners": listeners})
        model = replace(MODEL, synapse=tuple(deaf if each.id == worker.id else each for each in MODEL.synapse))
        found = only(self.seen("127.0.0.1", proxy.ip, model=model))
        assert found.headline == (
            f"Synapse takes {proxy.name} for the client: the address of all who come by {HOST} is hidden"
        )
        assert found.cause == "x_forwarded is not set for synapse-generic-worker"
        assert "Synapse saw 127.0.0.1" in found.observed

    def test_that_the_controller_does_not_hand_on(self) -> None:
        found = only(self.seen(fronting.CONTROLLER.ip))
        assert found.cause.startswith("what ingress-nginx-controller-1 hands on")

    def test_that_is_a_nodes(self) -> None:
        (node, *_) = (each["status"]["hostIP"] for each in recorded.healthy().snapshot.all(recorded.KINDS["Pod"]))
        assert "externalTrafficPolicy" in only(self.seen(node)).cause
        # Within the cluster the way to a balancer's address may be masked by the node.
        assert self.seen(node, outside=False).failures == []

    def test_that_was_not_to_be_asked_for(self) -> None:
        assert only(ask(CHECK, client_addresses=READ_ONLY), Status.WARNED).nature is Nature.UNPROVEN

    def test_where_the_probe_user_cannot_be_had(self) -> None:
        found = only(self.seen(user=Hindered("no login", MAIN.id)), Status.UNKNOWN)
        assert found.needs == (MAIN.id,)

    @pytest.mark.parametrize("fields", [{"addresses": ()}, {"problem": "whois: 404"}, {"asked": ()}])
    def test_that_synapse_does_not_tell(self, fields: dict[str, Any]) -> None:
        found = only(self.seen(**fields), Status.UNKNOWN)
        assert ("asked" in fields) or tasks_of(MAIN) in found.needs, "a background task writes them down"

    def test_of_a_given_token_that_are_not_written_down_again(self) -> None:
        assert self.seen(addresses=(), older=("192.0.2.7", "192.0.2.8")).failures == []
        (proxy, *_) = MODEL.proxies[0].pods
        found = only(self.seen(addresses=(), older=("192.0.2.7", proxy.ip)), Status.UNKNOWN)
        assert found.headline.endswith("it does not tell")

    def test_that_was_not_asked_over_a_certificate_that_is_wrong(self) -> None:
        door = fronting.door(MODEL, replace(SEEN, certificates={HOST: replace(GOOD, names=())}))
        told = fronting.addresses(MODEL, asked=())
        assert only(ask(CHECK, public_front=door, client_addresses=told))


class TestWhereItWasAsked:
    def test_at_two_controllers_is_said_once(self) -> None:
        bad = replace(SEEN, certificates={HOST: replace(GOOD, names=("else",))})
        other = replace(bad, place=replace(PLACE, way="by tunnel to ingress-2"))
        found = only(ask(CHECK, public_front=fronting.door(MODEL, bad, other)))
        assert found.observed.endswith("asked by tunnel to ingress-nginx-controller-1 and by tunnel to ingress-2")

    def test_no_controller_is_up(self) -> None:
        shut = (Controller("ingress-nginx", "ingress-nginx-controller", None),)
        (door,) = fronting.door(MODEL, shut=shut, unasked=(f"{HOST}: it has no pod that is ready",))
        pen = ask(CHECK, public_front=(replace(door, seen=()),), client_addresses=fronting.addresses(MODEL, asked=()))
        first, second = pen.failures
        assert (first.status, first.nature) == (Status.FAILED, Nature.UNAVAILABLE)
        assert second.status is Status.UNKNOWN
        assert second.needs == first.stops

    def test_an_address_that_nothing_knows_is_said(self) -> None:
        pen = ask(CHECK, public_front=fronting.door(MODEL, unasked=("203.0.113.5, to which it leads: not known",)))
        assert only(pen, Status.WARNED).nature is Nature.UNPROVEN

    def test_nowhere(self) -> None:
        (door,) = fronting.door(MODEL, unasked=(f"{HOST}: no ingress controller is known",))
        pen = ask(CHECK, public_front=(replace(door, seen=()),), client_addresses=READ_ONLY)
        assert Status.UNKNOWN in {each.status for each in pen.failures}
