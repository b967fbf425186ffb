"""NetworkPolicy as nftables rules."""

from typing import Any

import pytest

from lab.node.policy import Pod, World, matches, ruleset

WEB = Pod("shop", {"app": "web"}, "node1", ("10.244.0.2",), (("http", "TCP", 8080),))
DATABASE = Pod("shop", {"app": "db"}, "node1", ("10.244.0.3",), (("sql", "TCP", 5432),))
OTHER = Pod("other", {"app": "web"}, "node2", ("10.244.1.2",), ())


def policy(spec: dict[str, Any], namespace: str = "shop") -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": spec}


def rules(*policies: dict[str, Any], node: str = "node1") -> str:
    return ruleset(World((WEB, DATABASE, OTHER), {"shop": {"team": "a"}, "other": {"team": "b"}}, policies), node)


def chain(text: str, name: str) -> str:
    return next((line for line in text.splitlines() if line.startswith(f"chain {name} ")), "")


def test_no_policy_means_no_chain() -> None:
    assert "chain in_" not in rules()
    assert "vmap" not in rules()


def test_default_deny_drops_all_but_the_pod_itself() -> None:
    text = rules(policy({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))
    assert chain(text, "in_10_244_0_2") == "chain in_10_244_0_2 { ip saddr { 10.244.0.2 } return; counter drop; }"
    assert chain(text, "out_10_244_0_3") == "chain out_10_244_0_3 { ip daddr { 10.244.0.3 } return; counter drop; }"


def test_a_node_filters_for_its_own_pods_only() -> None:
    deny = policy({"podSelector": {}, "policyTypes": ["Ingress"]}, "other")
    assert "in_10_244_1_2" not in rules(deny)
    assert "in_10_244_1_2" in rules(deny, node="node2")


@pytest.mark.parametrize(
    ("peer", "addresses"),
    [
        ({"podSelector": {"matchLabels": {"app": "web"}}}, "10.244.0.2"),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, "10.244.1.2"),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}, "10.244.0.2, 10.244.1.2"),
    ],
)
def test_peers_are_pods_by_namespace_and_label(peer: dict[str, Any], addresses: str) -> None:
    to_database = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [peer]}]}
    assert f"ip saddr {{ {addresses} }} return" in chain(rules(policy(to_database)), "in_10_244_0_3")


def test_a_peer_that_takes_no_pod_lets_nobody_in() -> None:
    spec = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "none"}}}]}]}
    assert chain(rules(policy(spec)), "in_10_244_0_3").count("return") == 1


def test_an_empty_rule_lets_everybody_in() -> None:
    assert "; return;" in chain(rules(policy({"podSelector": {}, "ingress": [{}]})), "in_10_244_0_2")


def test_a_named_port_is_the_receivers_number() -> None:
    into = policy({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"ports": [{"port": "sql"}]}]})
    assert "tcp dport 5432 return" in chain(rules(into), "in_10_244_0_3")
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "sql"}]}]}
    assert "ip daddr { 10.244.0.3 } tcp dport 5432 return" in chain(rules(policy(spec)), "out_10_244_0_2")


def test_a_named_port_in_a_block_is_that_of_the_pods_in_it() -> None:
    to = {"to": [{"ipBlock": {"cidr": "10.244.0.0/24"}}], "ports": [{"port": "sql"}]}
    made = rules(policy({"podSelector": {}, "policyTypes": ["Egress"], "egress": [to]}))
    assert "ip daddr { 10.244.0.3 } tcp dport 5432 return" in chain(made, "out_10_244_0_2")


def test_blocks_ranges_and_exceptions() -> None:
    block = {"ipBlock": {"cidr": "198.51.100.0/24", "except": ["198.51.100.11/32"]}}
    ports = [{"port": 8000, "endPort": 8100}, {"protocol": "UDP", "port": 53}]
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [block], "ports": ports}]}
    made = chain(rules(policy(spec)), "out_10_244_0_2")
    assert "ip daddr { 198.51.100.0/24 } ip daddr != 198.51.100.11/32 tcp dport 8000-8100 return" in made
    assert "udp dport 53 return" in made


def test_ipv6_blocks_are_nobody_in_a_cluster_without_ipv6() -> None:
    spec = {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "2001:db8::/32"}}]}]}
    assert chain(rules(policy(spec)), "in_10_244_0_2").count("return") == 1


def test_policy_types_default_to_what_the_policy_says() -> None:
    assert "out_" not in rules(policy({"podSelector": {}}))
    assert "out_" in rules(policy({"podSelector": {}, "egress": []}))


@pytest.mark.parametrize(
    ("expression", "taken"),
    [
        ({"key": "app", "operator": "In", "values": ["web"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["web"]}, False),
        ({"key": "tier", "operator": "NotIn", "values": ["web"]}, True),
        ({"key": "tier", "operator": "Exists"}, False),
        ({"key": "tier", "operator": "DoesNotExist"}, True),
    ],
)
def test_expressions(expression: dict[str, Any], taken: bool) -> None:
    assert matches({"matchExpressions": [expression]}, {"app": "web"}) is taken


def test_pods_without_filter() -> None:
    pod = {"metadata": {"namespace": "a"}, "spec": {"containers": []}, "status": {"phase": "Running"}}
    assert Pod.of(pod, ["10.0.0.1"]) is not None
    assert Pod.of(pod, []) is None
    assert Pod.of({**pod, "status": {"phase": "Succeeded"}}, ["10.0.0.1"]) is None
    assert Pod.of({**pod, "spec": {"containers": [], "hostNetwork": True}}, ["10.0.0.1"]) is None


def test_the_loopback_address_that_each_pod_has_is_none_of_its_own() -> None:
    spec = {"containers": [], "nodeName": "node1"}
    raw = {"metadata": {"namespace": "shop", "labels": {}}, "spec": spec, "status": {"phase": "Running"}}
    pods = [Pod.of(raw, ["127.0.0.1", address]) for address in ("10.244.0.8", "10.244.0.9")]
    assert [each.addresses for each in pods if each] == [("10.244.0.8",), ("10.244.0.9",)]
    deny = policy({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    assert "127." not in ruleset(World([each for each in pods if each], {}, [deny]), "node1")
    assert Pod.of(raw, ["127.0.0.1"]) is None


def test_a_port_without_a_number_is_all_of_its_protocol() -> None:
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"protocol": "UDP"}]}]}
    assert "meta l4proto udp return" in chain(rules(policy(spec)), "out_10_244_0_2")
