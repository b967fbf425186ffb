"""The check of LI's identity, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from signedjson.key import decode_signing_key_base64, encode_verify_key_base64, get_verify_key

from checks.li import test_identity
from postflight.cluster.kinds import INGRESS
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Side, SynapseProcess
from postflight.probes.identity import Identity, keys_by_configuration
from postflight.probes.pages import PageSeen
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import paging
from tests.unit.li_world import NAME, model, synapse, world
from tests.unit.observations import only
from tests.unit.worlds import Json, config_map, container, pod, secrets, service, snapshot, thing

MODEL = model()


def identity(
    of: Snapshot | None = None,
    keys: str = "a",
    problem: str = "",
    unasked: bool = False,
    mains: list[SynapseProcess] | None = None,
    pages: tuple[PageSeen, ...] = (),
    **li: Any,
) -> Judge:
    """``mains`` are other processes than those that are read."""
    pen, found = Judge(), model(of, **li)
    if mains is not None:
        assert found.li
        sides = {side: tuple(each for each in mains if each.side is side) for side in Side}
        of_main = tuple(each for each in sides[Side.MAIN] if each.is_main)
        held = replace(found.li, mains=of_main, processes=sides[Side.LI])
        found = replace(found, synapse=tuple(mains), li=held)
    said = {each.workload_name: Identity(each, NAME, {"ed25519:a": "a"}) for each in found.synapse if each.is_main}
    said["second"] = replace(said["second"], keys={"ed25519:a": keys}, problem=problem, unasked=unasked)
    seen = tuple(said.values())
    test_identity.test_li_is_mains_homeserver_at_an_address_of_its_own_and_silent(
        found, of or world(), seen, pages, pen
    )
    return pen


def selecting(name: str, selector: Json, port: int = 8008, **labels: str) -> Json:
    found = service(name, 80, target=port)
    found["spec"]["selector"], found["metadata"]["labels"] = selector, labels
    return found


def ingress(host: str, name: str, /, front: str = "front", **labels: str) -> Json:
    backend = {"service": {"name": name, "port": {"number": 80}}}
    found = thing(INGRESS, front, spec={"rules": [{"host": host, "http": {"paths": [{"backend": backend}]}}]})
    found["metadata"]["labels"] = labels
    return found


def proxy(*lines: str) -> tuple[Json, ...]:
    """HAProxy with this configuration, main's and LI's own Services, and one for each of its ports."""
    image = container(
        "haproxy", image="haproxy:2.8", volumeMounts=[{"name": "c", "mountPath": "/usr/local/etc/haproxy"}]
    )
    volume = {"name": "c", "configMap": {"name": "proxy"}}
    return (
        pod("proxy", image, labels={"app": "proxy"}, volumes=[volume]),
        config_map("proxy", haproxy__cfg="\n".join(("defaults", "  mode http", *lines, ""))),
        selecting("of-main", {"app": "hs", "side": "main"}),
        selecting("of-li", {"matrix.instance": "li"}),
        selecting("door", {"app": "proxy"}),
        selecting("door-li", {"app": "proxy"}, 8009),
        synapse("hs-front", {"app": "hs", "side": "main"}),
    )


BOTH = ("backend main", "  server a of-main:80", "backend li", "  server b of-li:80")
ONE_EACH = (
    "frontend m",
    "  bind :8008",
    "  default_backend main",
    "frontend l",
    "  bind :8009",
    "  default_backend li",
)
SHARED = (
    "frontend m",
    "  bind :8008",
    "  use_backend li if { hdr(host) -i matrix-li.lab.test }",
    "  default_backend main",
)


def down() -> Snapshot:
    """LI's pod is not Ready."""
    found = world()
    second = next(each for items in found.objects.values() for each in items if each["metadata"]["name"] == "second")
    second["status"]["conditions"] = []
    return found


class TestIdentity:
    def test_all_is_well(self) -> None:
        pen = identity()
        assert pen.failures == []
        assert "pod/matrix/second" in pen.seen

    def test_another_name(self) -> None:
        found = only(identity(server_name="li.lab.test"))
        assert found.headline == "second calls itself li.lab.test, main is matrix.lab.test"
        assert "pod/matrix/second" in found.stops

    def test_mains_own_database(self) -> None:
        args = {"host": "pg-rw", "dbname": "matrix", "user": "synapse", "password": "of-main-itself"}
        found = only(identity(database={"name": "psycopg2", "args": args}))
        assert found.headline == "LI works on main's own database matrix"

    def test_mains_address(self) -> None:
        found = only(identity(public_baseurl="https://matrix.lab.test"))
        assert found.headline == "second gives out main's own address, https://matrix.lab.test"

    def test_no_address_is_mains_own(self) -> None:
        """Synapse makes it from server_name, which is main's."""
        found = only(identity(public_baseurl=None))
        assert found.headline == "second gives out main's own address, https://matrix.lab.test"
        assert "public_baseurl is not set" in found.observed

    def test_no_address_on_either_side(self) -> None:
        found = model(public_baseurl=None)
        bare = [replace(each, config={**(each.config or {}), "public_baseurl": None}) for each in found.synapse]
        assert "main's own address" in only(identity(mains=bare)).headline

    @pytest.mark.parametrize(
        ("mains", "why"),
        [(0, "no main process is in view"), (1, "what hs is, is not known: not YAML")],
    )
    def test_nobody_to_compare_it_with(self, mains: int, why: str) -> None:
        seen = [
            replace(each, config=None, config_problem="not YAML") if each.workload_name == "hs" else each
            for each in MODEL.synapse
            if mains or each.workload_name != "hs"
        ]
        found = only(identity(mains=seen), Status.UNKNOWN)
        assert found.headline == f"whether LI has main's name and keys, and an address of its own, is not known: {why}"

    def test_it_sends(self) -> None:
        found = only(identity(send_federation=True, federation_domain_whitelist=None))
        assert found.headline == "second sends to other servers in main's name"

    def test_it_may_still_ask(self) -> None:
        assert only(identity(federation_domain_whitelist=None), Status.WARNED)

    def test_another_key(self) -> None:
        found = only(identity(keys="b"))
        assert found.headline == "second has another signing key than main (ed25519:a)"

    def test_it_is_ready_and_does_not_answer(self) -> None:
        assert only(identity(problem="timed out"), Status.UNKNOWN)

    def test_nobody_can_ask_it_and_its_key_is_not_to_be_had(self) -> None:
        found = only(identity(problem="it has no federation listener", unasked=True), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline == (
            "that LI has main's signing key was not seen: second cannot be asked for it"
            " (it has no federation listener), and it stands in no Secret or setting that was read"
        )

    def test_it_does_not_run(self) -> None:
        assert only(identity(down(), problem="it does not run")).nature is Nature.UNAVAILABLE

    def test_a_service_that_leads_to_both(self) -> None:
        found = only(identity(world(selecting("li-client", {"app": "hs"}))))
        assert found.headline == "Service li-client leads to LI and to main: second, hs, hs-worker"

    def test_a_service_of_lis_that_leads_to_main(self) -> None:
        strays = selecting("li-client", {"app": "hs", "tier": "front"}, **{"matrix.instance": "li"})
        pen = identity(world(strays, synapse("hs-front", {"app": "hs", "tier": "front"})))
        assert "Service li-client is LI's and leads to main: hs-front" in [each.headline for each in pen.failures]

    def test_an_address_that_leads_to_the_other_side(self) -> None:
        pen = identity(world(selecting("clients", {"app": "hs"}), ingress("matrix-li.lab.test", "clients")))
        assert "LI's address matrix-li.lab.test leads to main's Synapse, by Ingress front" in [
            each.headline for each in pen.failures
        ]

    def test_an_address_that_leads_where_it_should(self) -> None:
        own = selecting("li-clients", {"matrix.instance": "li"})
        assert identity(world(own, ingress("matrix-li.lab.test", "li-clients"))).failures == []

    def test_a_service_for_metrics_may_lead_to_both(self) -> None:
        assert identity(world(selecting("metrics", {"app": "hs"}, 9090))).failures == []

    def test_a_port_is_known_by_its_name_too(self) -> None:
        named = selecting("li-client", {"app": "hs"})
        named["spec"]["ports"][0]["targetPort"] = "http"
        found = world(named)
        for each in (raw for items in found.objects.values() for raw in items if raw["kind"] == "Pod"):
            each["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8008}]
        assert "leads to LI and to main" in only(identity(found)).headline

    def test_an_address_that_only_an_ingress_names(self) -> None:
        """The configuration knows LI by another."""
        mains = selecting("mains", {"app": "hs", "side": "main"})
        own = selecting("li-clients", {"matrix.instance": "li"})
        front = synapse("hs-front", {"app": "hs", "side": "main"})
        routes = (ingress("li.intern", "li-clients", "right"), ingress("li.intern", "mains", "wrong"))
        found = only(identity(world(mains, own, front, *routes)))
        assert found.headline == "LI's address li.intern leads to main's Synapse, by Ingress wrong"

    def test_an_ingress_that_is_labelled_as_lis(self) -> None:
        mains = selecting("mains", {"app": "hs", "side": "main"})
        front = synapse("hs-front", {"app": "hs", "side": "main"})
        route = ingress("li.intern", "mains", **{"matrix.instance": "li"})
        assert "LI's address li.intern leads to main's" in only(identity(world(mains, front, route))).headline

    def test_an_address_that_leads_to_main_through_the_proxy(self) -> None:
        found = only(identity(world(*proxy(*ONE_EACH, *BOTH), ingress("matrix-li.lab.test", "door"))))
        assert found.headline == "LI's address matrix-li.lab.test leads to main's Synapse, by Ingress front"
        assert found.observed == "host matrix-li.lab.test, backend Service door through proxy"

    def test_mains_address_that_leads_to_li_through_the_proxy(self) -> None:
        found = only(identity(world(*proxy(*ONE_EACH, *BOTH), ingress("matrix.lab.test", "door-li"))))
        assert found.headline == "main's address matrix.lab.test leads to LI's Synapse, by Ingress front"

    def test_addresses_that_the_proxy_leads_where_they_should(self) -> None:
        routes = (ingress("matrix-li.lab.test", "door-li", "one"), ingress("matrix.lab.test", "door", "two"))
        assert identity(world(*proxy(*ONE_EACH, *BOTH), *routes)).failures == []

    def test_a_proxy_that_leads_to_both_is_not_followed(self) -> None:
        routes = (ingress("matrix-li.lab.test", "door", "one"), ingress("matrix.lab.test", "door", "two"))
        found = only(identity(world(*proxy(*SHARED, *BOTH), *routes)), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline == (
            "whether LI's address matrix-li.lab.test leads to LI alone was not followed through proxy (Ingress one)"
        )


class TestKeysByConfiguration:
    """Of a process that has no listener on which anyone could ask for them."""

    KEY = "ed25519 a_lab /QxXv/1xOfL72nWOOC+eeFn61PzGbyudEbc5bjkhVOs"

    def keys(self, text: str, **config: Any) -> Any:
        mounts = container(volumeMounts=[{"name": "keys", "mountPath": "/secrets"}])
        raw = pod("second", mounts, volumes=[{"name": "keys", "secret": {"secretName": "keys"}}])
        second = next(each for each in MODEL.synapse if each.workload_name == "second")
        given = replace(second, config={**(second.config or {}), **config})
        return keys_by_configuration(given, snapshot(raw), secrets(keys={"signing.key": text}))

    def test_from_the_secret_that_is_mounted(self) -> None:
        signing = decode_signing_key_base64("ed25519", "a_lab", self.KEY.split()[2])
        verify = encode_verify_key_base64(get_verify_key(signing))
        assert self.keys(f"{self.KEY}\n", signing_key_path="/secrets/signing.key") == {"ed25519:a_lab": verify}

    def test_from_the_configuration_itself(self) -> None:
        assert set(self.keys("", signing_key=self.KEY)) == {"ed25519:a_lab"}

    @pytest.mark.parametrize("text", ["", "no key", "ed25519 a_lab not/base64!"])
    def test_of_what_is_no_key_nothing_is_known(self, text: str) -> None:
        assert self.keys(text, signing_key_path="/secrets/signing.key") is None

    def test_of_a_file_that_no_secret_holds_nothing_is_known(self) -> None:
        assert self.keys(self.KEY, signing_key_path="/data/signing.key") is None


class TestWhatLisPageLooksLike:
    OF = paging.world()
    MODEL = model(OF)

    def looks(self, *pages: PageSeen, **li_said: Any) -> Judge:
        told = paging.li_config(**li_said)
        return identity(self.OF, pages=pages or paging.seen(self.MODEL, self.OF, li_said=told))

    def pages(self, **own: Any) -> tuple[PageSeen, ...]:
        """With LI's page replaced."""
        seen = paging.seen(self.MODEL, self.OF)
        return tuple(replace(each, **own) if each.page.name == "element-li" else each for each in seen)

    def test_by_a_name_of_its_own(self) -> None:
        pen = self.looks()
        assert pen.failures == []
        assert "pod/matrix/element-li" in pen.seen

    @pytest.mark.parametrize("brand", ["Element", "ELEMENT", None])
    def test_by_mains_name(self, brand: str | None) -> None:
        found = only(self.looks(brand=brand))
        assert found.headline.startswith("LI's page at matrix-li.lab.test looks like main's: both call themselves ")
        assert found.cause.startswith("ConfigMap element-li-config/config.json has no brand but ")

    def test_by_mains_name_in_one_of_elements_own_colours(self) -> None:
        assert only(self.looks(brand="Element", default_theme="dark"))

    @pytest.mark.parametrize(
        "more",
        [
            {"default_theme": "custom-Red"},
            {"io.element.element-web-modules.banner": {"logo_url": "https://matrix-li.lab.test/li.svg"}},
        ],
        ids=["colours of its own", "a banner"],
    )
    def test_by_mains_name_and_something_that_is_seen_all_the_time(self, more: Json) -> None:
        assert self.looks(brand="Element", **more).failures == []

    def test_that_does_not_show_itself(self) -> None:
        found = only(self.looks(*self.pages(shown=(), problem="element-li is not ready")), Status.UNKNOWN)
        assert found.headline == (
            "whether LI's page looks like main's is not known: element-li does not show itself: element-li is not ready"
        )
        assert found.needs == ("pod/matrix/element-li", "pod/matrix/element-li")

    def test_where_mains_does_not_show_itself(self) -> None:
        seen = paging.seen(self.MODEL, self.OF)
        pages = [replace(each, shown=(), problem="late") if each.page.name == "element" else each for each in seen]
        assert only(self.looks(*pages), Status.UNKNOWN).subject == "pod/matrix/element"

    def test_where_there_is_none(self) -> None:
        assert identity(self.OF, pages=()).failures == []
