"""Policies by the throw of dice: small, and of every kind that the API has."""

from __future__ import annotations

import random
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where they stand: two namespaces, labelled team a and team b, and the addresses that ipBlocks are about."""

    namespaces: tuple[str, str]
    blocks: tuple[str, ...]
    excepted: str


UNIT = Place(("shop", "other"), ("10.1.0.0/16", "10.1.0.0/24", "0.0.0.0/0"), "10.1.0.2/32")


def _selector(dice: random.Random) -> Json:
    if dice.random() < 0.4:
        return {}
    key, values = dice.choice("ab"), [dice.choice("xy")]
    operator = dice.choice(("In", "NotIn", "Exists", "DoesNotExist"))
    if dice.random() < 0.4:
        return {"matchLabels": {key: values[0]}}
    return {
        "matchExpressions": [{"key": key, "operator": operator, **({"values": values} if "In" in operator else {})}]
    }


def _peer(dice: random.Random, place: Place) -> Json:
    kind = dice.randrange(4)
    team = {"namespaceSelector": {"matchLabels": {"team": dice.choice("ab")}}}
    block: Json = {"cidr": dice.choice(place.blocks)}
    if IPv4Network(place.excepted).subnet_of(IPv4Network(block["cidr"])):
        # The API server takes no other.
        block["except"] = [place.excepted]
    return ({"podSelector": _selector(dice)}, team, team | {"podSelector": _selector(dice)}, {"ipBlock": block})[kind]


def _rule(dice: random.Random, peers: str, place: Place) -> Json:
    ports = [
        {"port": 80},
        {"port": "web"},
        {"port": 53, "protocol": "UDP"},
        {"port": 400, "endPort": 500},
        {"protocol": "UDP"},
    ]
    return {
        **({peers: [_peer(dice, place) for _ in range(dice.randint(1, 2))]} if dice.random() < 0.8 else {}),
        **({"ports": dice.sample(ports, dice.randint(1, 2))} if dice.random() < 0.7 else {}),
    }


def some_policy(dice: random.Random, number: int, place: Place = UNIT) -> Json:
    """One policy, in one of the place's namespaces."""
    types = dice.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    spec: Json = {"podSelector": _selector(dice), "policyTypes": types}
    spec["ingress"] = [_rule(dice, "from", place) for _ in range(dice.randint(0, 2))]
    spec["egress"] = [_rule(dice, "to", place) for _ in range(dice.randint(0, 2))]
    meta = {"name": f"p{number}", "namespace": dice.choice(place.namespaces)}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}
