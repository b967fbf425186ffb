"""What NetworkPolicies let through, against the semantics that their API documents."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from postflight.deployment.policies import Rules, Stand, admits, made_by, matches, outward, rule_on, stand_of, types_of
from tests.unit.policing import some_policy

Json = dict[str, Any]
WEB = Stand("web-1", "shop", {"app": "web", "tier": "front"}, ("10.1.0.1",), (("http", "TCP", 8080),))
OTHER_WEB = Stand("web-2", "shop", {"app": "web"}, ("10.1.0.2",), (("http", "TCP", 9090),))
DB = Stand("db-1", "shop", {"app": "db"}, ("10.1.0.3",), (("sql", "TCP", 5432), ("log", "UDP", 514)))
FAR = Stand("web-9", "other", {"app": "web"}, ("10.1.1.1",))
NODE = Stand("proxy-1", "shop", {"app": "proxy"}, ("10.0.0.5",), host_network=True)
OUTSIDE = Stand("example.org", addresses=("203.0.113.7",))
NAMESPACES = {"shop": {"team": "a"}, "other": {"team": "b"}}


def policy(name: str = "p", namespace: str = "shop", **spec: Any) -> Json:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": {}, **spec}}


def rules(*policies: Json, namespaces: Mapping[str, Mapping[str, str]] = NAMESPACES) -> Rules:
    return Rules(policies, namespaces)


def app(name: str) -> Json:
    return {"matchLabels": {"app": name}}


DENY = policy("deny", policyTypes=["Ingress", "Egress"])


class TestIsolation:
    def test_without_a_policy_everything_is_open(self) -> None:
        assert rule_on(rules(), WEB, DB, 5432).allowed
        assert rule_on(rules(), DB, OUTSIDE, 443).allowed

    def test_a_policy_isolates_the_pods_that_it_selects_in_its_directions_only(self) -> None:
        into_db = policy(podSelector=app("db"), policyTypes=["Ingress"])
        found = rule_on(rules(into_db), WEB, DB, 5432)
        assert (found.allowed, found.direction, found.shut_by) == (False, "Ingress", ("p",))
        assert rule_on(rules(into_db), DB, WEB, 8080).allowed
        assert rule_on(rules(into_db), WEB, OTHER_WEB, 1).allowed

    def test_both_ends_must_allow(self) -> None:
        out = policy(
            "out", podSelector=app("web"), policyTypes=["Egress"], egress=[{"to": [{"podSelector": app("db")}]}]
        )
        into = policy("in", podSelector=app("db"), ingress=[{"from": [{"podSelector": app("web")}]}])
        assert rule_on(rules(DENY, out, into), WEB, DB, 5432).allowed
        assert rule_on(rules(DENY, into), WEB, DB, 5432).direction == "Egress"
        assert rule_on(rules(DENY, out), WEB, DB, 5432).direction == "Ingress"

    def test_policies_only_add_up(self) -> None:
        one = policy("one", ingress=[{"from": [{"podSelector": app("db")}]}])
        two = policy("two", ingress=[{"from": [{"podSelector": app("web")}]}])
        assert rule_on(rules(one, two), WEB, DB, 5432).open_by == ("two",)
        assert rule_on(rules(DENY, two), WEB, DB, 1).direction == "Egress"

    def test_those_of_another_namespace_count_for_nothing_here(self) -> None:
        assert rule_on(rules(policy(namespace="other", policyTypes=["Ingress"])), WEB, DB, 5432).allowed

    def test_a_pod_reaches_itself(self) -> None:
        assert rule_on(rules(DENY), DB, DB, 5432).allowed

    def test_pods_on_the_hosts_network_are_outside_of_policies(self) -> None:
        assert rule_on(rules(DENY), NODE, DB, 5432).allowed
        to_node = policy(policyTypes=["Egress"], egress=[{"to": [{"podSelector": app("proxy")}]}])
        assert rule_on(rules(to_node), WEB, NODE, 80).allowed is False
        block = policy(policyTypes=["Egress"], egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}])
        assert rule_on(rules(block), WEB, NODE, 80).allowed

    @pytest.mark.parametrize(
        ("spec", "types"),
        [
            ({}, ("Ingress",)),
            ({"ingress": []}, ("Ingress",)),
            ({"egress": [{}]}, ("Ingress", "Egress")),
            ({"egress": []}, ("Ingress",)),
            ({"policyTypes": ["Egress"]}, ("Egress",)),
        ],
    )
    def test_directions_by_default(self, spec: Json, types: tuple[str, ...]) -> None:
        assert types_of(policy(**spec)) == types


class TestPeers:
    @pytest.mark.parametrize(
        ("peer", "let_in"),
        [
            ({"podSelector": app("web")}, {"web-1", "web-2"}),
            ({"podSelector": {}}, {"web-1", "web-2"}),
            ({"namespaceSelector": {}}, {"web-1", "web-2", "web-9"}),
            ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"web-9"}),
            ({"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": app("web")}, {"web-1", "web-2"}),
            ({"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": app("db")}, set()),
            ({"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.0.0/24"]}}, {"web-9"}),
            ({"ipBlock": {"cidr": "203.0.113.0/24"}}, {"example.org"}),
            ({"ipBlock": {"cidr": "2001:db8::/32"}}, set()),
        ],
    )
    def test_who_is_let_in(self, peer: Json, let_in: set[str]) -> None:
        given = rules(policy(podSelector=app("db"), ingress=[{"from": [peer]}]))
        assert {each.name for each in (WEB, OTHER_WEB, FAR, OUTSIDE) if admits(given, each, DB, 5432).allowed} == let_in

    @pytest.mark.parametrize("rule", [{}, {"from": []}])
    def test_a_rule_without_peers_is_for_everybody(self, rule: Json) -> None:
        assert admits(rules(policy(ingress=[rule])), OUTSIDE, DB, 1).allowed

    def test_no_rules_are_for_nobody(self) -> None:
        assert admits(rules(policy(ingress=[])), WEB, DB, 1).allowed is False

    def test_what_hangs_on_labels_that_are_not_known_is_not_known(self) -> None:
        by_team = policy(
            podSelector=app("db"), ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]
        )
        assert admits(rules(by_team, namespaces={}), FAR, DB, 5432).allowed is None
        assert rule_on(rules(by_team, namespaces={}), FAR, DB, 5432).allowed is None
        name = {"matchLabels": {"kubernetes.io/metadata.name": "other"}}
        by_name = policy(podSelector=app("db"), ingress=[{"from": [{"namespaceSelector": name}]}])
        assert admits(rules(by_name, namespaces={}), FAR, DB, 5432).allowed
        assert admits(rules(by_name, namespaces={}), WEB, DB, 5432).allowed is False


class TestPorts:
    @pytest.mark.parametrize(
        ("port", "number", "protocol", "open_"),
        [
            ({"port": 5432}, 5432, "TCP", True),
            ({"port": 5432}, 5433, "TCP", False),
            ({"port": 5432}, 5432, "UDP", False),
            ({"port": 5000, "endPort": 6000}, 5432, "TCP", True),
            ({"port": 5000, "endPort": 5431}, 5432, "TCP", False),
            ({"port": "sql"}, 5432, "TCP", True),
            ({"port": "sql"}, 5433, "TCP", False),
            ({"port": "log"}, 514, "UDP", False),
            ({"port": "log", "protocol": "UDP"}, 514, "UDP", True),
            ({"port": "none"}, 5432, "TCP", False),
            ({"protocol": "UDP"}, 9, "UDP", True),
            ({"protocol": "UDP"}, 9, "TCP", False),
        ],
    )
    def test_ports(self, port: Json, number: int, protocol: str, open_: bool) -> None:
        given = rules(policy(podSelector=app("db"), ingress=[{"ports": [port]}]))
        assert admits(given, WEB, DB, number, protocol).allowed is open_

    def test_a_named_port_on_the_way_out_is_the_receivers(self) -> None:
        given = rules(policy(podSelector=app("db"), policyTypes=["Egress"], egress=[{"ports": [{"port": "http"}]}]))
        assert rule_on(given, DB, WEB, 8080).allowed
        assert rule_on(given, DB, OTHER_WEB, 8080).allowed is False

    def test_peers_and_ports_of_one_rule_go_together(self) -> None:
        one = {"from": [{"podSelector": app("web")}], "ports": [{"port": 1}]}
        two = {"from": [{"podSelector": app("db")}], "ports": [{"port": 2}]}
        given = rules(policy(ingress=[one, two]))
        assert admits(given, WEB, DB, 2).allowed is False


class TestOutward:
    @pytest.mark.parametrize(
        ("egress", "out"),
        [
            ([{}], ("p",)),
            ([{"ports": [{"port": 443}]}], ("p",)),
            ([{"to": [{"podSelector": {}}]}], ()),
            ([{"to": [{"namespaceSelector": {}}]}], ()),
            ([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}], ("p",)),
            ([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}], ("p",)),
            ([{"to": [{"ipBlock": {"cidr": "8.8.8.0/24", "except": ["8.8.0.0/16"]}}]}], ()),
            ([{"to": [{"ipBlock": {"cidr": "192.168.0.0/16"}}]}], ()),
            ([{"to": [{"ipBlock": {"cidr": "::/0"}}]}], ("p",)),
            ([], ()),
        ],
    )
    def test_what_leads_to_the_internet(self, egress: list[Json], out: tuple[str, ...]) -> None:
        assert outward(rules(policy(policyTypes=["Egress"], egress=egress)), WEB) == out

    def test_a_pod_that_no_policy_isolates_is_out(self) -> None:
        assert outward(rules(policy(policyTypes=["Ingress"])), WEB) is None


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "tier": "back"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "x"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "none", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_selectors(selector: Json, taken: bool) -> None:
    assert matches(selector, WEB.labels) is taken


def test_where_pods_stand() -> None:
    spec = {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 81}]}]}
    raw = {
        "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "web"}},
        "spec": spec,
        "status": {"podIP": "10.1.0.9", "podIPs": [{"ip": "10.1.0.9"}, {"ip": "fd00::9"}]},
    }
    assert stand_of(raw) == Stand("a", "shop", {"app": "web"}, ("10.1.0.9", "fd00::9"), (("http", "TCP", 80),))
    workload = {
        "metadata": {"name": "w", "namespace": "shop"},
        "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": spec | {"hostNetwork": True}}},
    }
    assert made_by(workload) == Stand("w", "shop", {"app": "web"}, (), (("http", "TCP", 80),), True)


class TestProperties:
    """Over many generated worlds."""

    @pytest.mark.parametrize("seed", range(60))
    def test_as_the_documents_say(self, seed: int) -> None:
        dice = random.Random(seed)
        stands = [_stand(dice, number) for number in range(6)]
        given = rules(*(some_policy(dice, number) for number in range(dice.randint(0, 5))))
        more = replace(given, policies=(*given.policies, some_policy(dice, 9)))
        for source in stands:
            for target in stands:
                for port, protocol in ((80, "TCP"), (443, "TCP"), (53, "UDP")):
                    found = rule_on(given, source, target, port, protocol)
                    assert found.allowed is _plain(given, source, target, port, protocol)
                    assert bool(found.shut_by) is (found.allowed is False)
                    if source is target:
                        assert found.allowed
                    isolated = {
                        each["metadata"]["name"]
                        for end in (("Egress", source), ("Ingress", target))
                        for each in given.selecting(end[1], end[0])
                    }
                    if not isolated:
                        assert found.allowed
                    # One more policy shuts only what it isolates anew: where an end was isolated already, it may only open.
                    ends = (("Egress", source), ("Ingress", target))
                    if found.allowed and all(
                        given.selecting(end, way) or not more.selecting(end, way) for way, end in ends
                    ):
                        assert rule_on(more, source, target, port, protocol).allowed


def _stand(dice: random.Random, number: int) -> Stand:
    labels = {key: dice.choice("xy") for key in "ab" if dice.random() < 0.7}
    ports = (("web", "TCP", dice.choice((80, 443))), ("dns", "UDP", 53))
    return Stand(
        f"s{number}", dice.choice(("shop", "other")), labels, (f"10.1.{number % 2}.{number}",), ports, number == 5
    )


def _plain(given: Rules, source: Stand, target: Stand, port: int, protocol: str) -> bool:
    """The documents' sentences once more, in the plainest words: a second opinion."""
    if source is target or source.host_network:
        return True
    verdicts = []
    for direction, own, other in (("Egress", source, target), ("Ingress", target, source)):
        mine = [
            each["spec"]
            for each in given.policies
            if not own.host_network
            and each["metadata"]["namespace"] == own.namespace
            and direction in each["spec"]["policyTypes"]
            and matches(each["spec"]["podSelector"], own.labels)
        ]
        space = {each["metadata"]["name"]: each["metadata"]["namespace"] for each in given.policies}
        opened = not mine
        for each in given.policies:
            if each["spec"] in mine:
                for rule in each["spec"][direction.lower()]:
                    peers = rule.get("from") or rule.get("to")
                    who = peers is None or any(_takes(peer, space[each["metadata"]["name"]], other) for peer in peers)
                    ports = rule.get("ports")
                    what = ports is None or any(_fits(one, target, port, protocol) for one in ports)
                    opened = opened or (who and what)
        verdicts.append(opened)
    return all(verdicts)


def _takes(peer: Json, namespace: str, other: Stand) -> bool:
    if block := peer.get("ipBlock"):
        own = ipaddress.ip_address(other.addresses[0])
        return own in ipaddress.ip_network(block["cidr"]) and own not in ipaddress.ip_network(block["except"][0])
    if other.host_network:
        return False
    teams = peer.get("namespaceSelector")
    ours = (
        NAMESPACES[other.namespace]["team"] == teams["matchLabels"]["team"] if teams else other.namespace == namespace
    )
    return ours and matches(peer.get("podSelector", {}), other.labels)


def _fits(one: Json, target: Stand, port: int, protocol: str) -> bool:
    if one.get("protocol", "TCP") != protocol:
        return False
    number = one.get("port")
    if isinstance(number, str):
        return any(name == number and its == protocol and real == port for name, its, real in target.ports)
    return number is None or number <= port <= one.get("endPort", number)
