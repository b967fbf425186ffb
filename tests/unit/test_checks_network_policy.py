"""`security.network_policy` on the recorded lab with its own policies, given each kind of fault alone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from postflight.deployment import flows
from postflight.deployment.parts import LawfulIntercept, Side
from postflight.network_settings import NetworkSettings
from postflight.probes.inside import InsideView
from postflight.probes.network import ForeignWays, PodWays
from postflight.probes.tries import API_PORT, API_SERVER, NAME_PORT, NAME_SERVICE, Met, Tried
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import networking, recorded
from tests.unit.observations import MODEL, NOT_ALLOWED, READ_ONLY, ask, only
from tests.unit.recorded import Json

CHECK = "security.network_policy"
LAB = recorded.healthy().snapshot


def changed(**specs: Json | None) -> list[Json]:
    """The lab's policies, some with other words in their specs, or (None) not there."""
    found = deepcopy(list(networking.policies()))
    for name, spec in specs.items():
        (each,) = (each for each in found if each["metadata"]["name"] == name.replace("_", "-"))
        if spec is None:
            found.remove(each)
        else:
            each["spec"] |= spec
    return found


def said(policies: list[Json] | None = None, model: Any = MODEL, **others: Any) -> Judge:
    """What the check says where these policies stand, and what was tried is as ``others`` say, else as in a healthy lab."""
    these = networking.policies() if policies is None else tuple(policies)
    snapshot = networking.with_policies(LAB, *these)
    return ask(
        CHECK, **{"snapshot": snapshot, "network_rules": networking.rules(*these), "deployment": model, **others}
    )


def without(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


def met(workload: str, host: str, port: int, found: Met) -> PodWays:
    """The healthy lab's tries, with one of them met otherwise."""
    ways = networking.ways(MODEL, LAB).tried
    key = (workload, host, port)
    assert any((each.workload, each.host, each.port) == key for each in ways)
    return PodWays(
        tuple(replace(each, met=found) if (each.workload, each.host, each.port) == key else each for each in ways)
    )


def foreign(found: Met, *pods: str) -> ForeignWays:
    """A foreign pod that met this at these pods."""
    seen = networking.foreign(MODEL, LAB)
    return replace(
        seen,
        tried=tuple((p, replace(t, met=found) if not pods or p.end.name in pods else t) for p, t in seen.tried),
    )


class TestWhatIsOpen:
    def test_a_policy_too_wide_and_a_foreign_pod_that_came_in(self) -> None:
        operator = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "cnpg-system"}}}]
        wide = [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 5432}]}, {"from": operator}]
        pods = ("matrix-postgresql-1", "matrix-postgresql-2")
        pen = said(changed(postgresql_main_access={"ingress": wide}), foreign_ways=foreign(Met.OPEN, *pods))
        found = only(pen)
        assert found.headline == (
            "a foreign pod reaches PostgreSQL matrix-postgresql (matrix-postgresql-1:5432 and matrix-postgresql-2:5432)"
        )
        assert found.cause == "NetworkPolicy postgresql-main-access lets it in"
        assert found.observed.startswith("connected to matrix-postgresql-1:5432")

    def test_no_policy_before_a_pod(self) -> None:
        rest = {
            "podSelector": {
                "matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["key-vault"]}]
            }
        }
        these = changed(default_deny_all=None, key_vault_isolation=None, allow_from_watchers=rest)
        vault = MODEL.vaults[0].endpoint.pods[0][0].name
        found = only(said(these, foreign_ways=foreign(Met.OPEN, vault)))
        assert found.headline.startswith("a foreign pod reaches key vault key-vault (")
        assert found.cause == "no policy selects these pods for Ingress"

    def test_other_namespaces_alone_are_judged_by_evaluation(self) -> None:
        strangers = {
            "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["matrix"]}]
        }
        wide = [{"from": [{"namespaceSelector": strangers}]}]
        found = only(said(changed(key_vault_isolation={"ingress": wide})))
        assert found.headline.startswith("a pod of any other namespace reaches key vault key-vault")
        assert "by the policies" in found.observed

    def test_no_policy_at_all(self) -> None:
        snapshot = replace(LAB, objects=dict(LAB.objects))
        others = {
            "snapshot": snapshot,
            "network_rules": replace(networking.rules(), rules=replace(networking.rules().rules, policies=())),
        }
        others |= {"foreign_ways": foreign(Met.OPEN), "pod_ways": PodWays()}
        found = only(ask(CHECK, **others))
        assert found.headline.startswith("no NetworkPolicy stands in namespace matrix")

    def test_the_api_server(self) -> None:
        out = [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]
        workload = next(each.workload for each in MODEL.synapse if each.is_main)
        ways = met(workload, API_SERVER, API_PORT, Met.OPEN)
        pen = said(changed(federation_egress={"egress": out}), pod_ways=ways)
        (found,) = pen.failures
        assert "synapse-main reaches the API server" in found.headline
        assert found.cause == "NetworkPolicy federation-egress lets them"

    def test_the_settings_leave_isolation_to_others(self) -> None:
        pen = said(settings=Settings(network=NetworkSettings(isolated=False)))
        assert pen.absence.startswith("the settings leave")


class TestLi:
    """A generated LI: the recorded lab's main in its part."""

    def li(self, policies: list[Json], **others: Any) -> Judge:
        main = next(each for each in MODEL.synapse if each.is_main)
        second = replace(main, side=Side.LI)
        intercept = LawfulIntercept("li/matrix", "matrix", (second,), (main,), None, None, (), (), (), ())
        return said(policies, replace(MODEL, li=intercept), **others)

    SHUT: ClassVar[Json] = {
        "federation_egress": {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "federation-sender"}}}
    }

    def test_shut_by_its_policies_which_are_seen_to_be_in_force(self) -> None:
        assert self.li(changed(**self.SHUT)).failures == []

    def test_a_way_to_the_internet(self) -> None:
        found = only(self.li(changed()))
        assert found.headline == "LI's synapse-main may reach the internet"
        assert found.cause == "NetworkPolicy federation-egress lets it out"

    def test_without_any_proof_that_policies_are_in_force_it_is_unproven(self) -> None:
        main = next(each for each in MODEL.synapse if each.is_main)
        ways = met(main.workload, API_SERVER, API_PORT, Met.UNCLEAR)
        found = only(self.li(changed(**self.SHUT), pod_ways=ways), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert "synapse-main may not reach the internet" in found.headline

    @pytest.mark.parametrize(("really", "said"), [(Met.SHUT, ""), (Met.OPEN, "not enforced everywhere")])
    def test_what_the_settings_name_is_tried(self, really: Met, said: str) -> None:
        main = next(each for each in MODEL.synapse if each.is_main)
        outside = Tried(main.workload, "synapse-main-0", "192.0.2.1", 443, really)
        pen = self.li(
            changed(**self.SHUT),
            pod_ways=PodWays((*networking.ways(MODEL, LAB).tried, outside)),
            settings=Settings(network=NetworkSettings(outside="192.0.2.1:443")),
        )
        assert [said in each.headline for each in pen.failures] == ([True] if said else [])


class TestWhatIsShut:
    def test_a_worker_that_is_kept_from_main(self) -> None:
        (replication,) = (each for each in changed() if each["metadata"]["name"] == "synapse-replication")
        rule = deepcopy(replication["spec"]["ingress"])
        rule[0]["from"][0]["podSelector"]["matchExpressions"] = [
            {"key": "app.kubernetes.io/component", "operator": "NotIn", "values": ["presence-writer"]}
        ]
        found = only(said(changed(synapse_replication={"ingress": rule}), pod_ways=PodWays()))
        assert found.headline.startswith(
            "policies keep synapse-presence-writer from the replication listener of master (synapse-main-0."
        )
        assert found.headline.endswith("and 5 more")
        assert "synapse-replication isolate the other end for Ingress" in found.cause
        assert "pod/matrix/synapse-presence-writer-0" in found.stops

    def test_that_was_tried_and_shut(self) -> None:
        main = next(each for each in MODEL.synapse if each.is_main)
        ways = met(main.workload, NAME_SERVICE, NAME_PORT, Met.SHUT)
        shut = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "redis"}}}
        pen = said(changed(allow_dns=shut), pod_ways=ways)
        found = next(each for each in pen.failures if each.subject == main.workload)
        assert found.headline == "policies keep synapse-main from the name service"
        assert found.observed.startswith("tried, and nothing answered")

    def test_the_name_service_whose_pods_are_not_known(self) -> None:
        main = next(each for each in MODEL.synapse if each.is_main)
        ways = met(main.workload, NAME_SERVICE, NAME_PORT, Met.SHUT)
        blind = replace(networking.rules(), name_servers=())
        found = only(said(pod_ways=ways, network_rules=blind))
        assert found.headline == "policies keep synapse-main from the name service"

    def test_one_pod_of_a_class(self) -> None:
        only_these = [{"key": "statefulset.kubernetes.io/pod-name", "operator": "NotIn", "values": ["redis-2"]}]
        selector = {"matchLabels": {"app.kubernetes.io/name": "redis"}, "matchExpressions": only_these}
        found = only(said(changed(redis_replication={"podSelector": selector})))
        assert found.headline.startswith("policies keep redis-2 from redis-0 (")
        assert found.subject == "pod/matrix/redis-2"
        assert found.stops == ()

    def test_instances_that_are_kept_from_each_other(self) -> None:
        found = only(said(changed(postgresql_main_replication=None), pod_ways=PodWays()))
        assert found.headline.startswith("policies keep matrix-postgresql from matrix-postgresql-1 (")
        assert found.stops == ()

    def test_an_operator_and_its_instances(self) -> None:
        (access,) = (each for each in changed() if each["metadata"]["name"] == "postgresql-main-access")
        found = only(said(changed(postgresql_main_access={"ingress": access["spec"]["ingress"][:1]})))
        assert found.headline.startswith("policies keep cnpg-controller-manager from instance manager of")

    def test_silence_that_policies_do_not_explain_is_not_theirs(self) -> None:
        main = next(each for each in MODEL.synapse if each.is_main)
        use = next(each for each in MODEL.database_uses if each.client == main.id)
        assert (
            said(
                pod_ways=met(main.workload, use.login.host, use.login.port, Met.SHUT),
                inside_connections=InsideView((), {}),
            ).failures
            == []
        )

    def test_other_homeservers(self) -> None:
        found = only(said(changed(federation_egress=None)))
        assert found.headline == "policies keep synapse-federation-sender from other homeservers"


class TestPlugIn:
    def test_one_that_enforces_nothing(self) -> None:
        main = next(each for each in MODEL.synapse if each.is_main)
        ways = replace(networking.ways(MODEL, LAB))
        ways = PodWays(tuple(replace(each, met=Met.OPEN) for each in ways.tried))
        found = only(said(foreign_ways=foreign(Met.OPEN), pod_ways=ways))
        assert found.headline == "NetworkPolicies do nothing here: the network plug-in does not enforce them"
        assert main.workload

    def test_one_that_enforces_some(self) -> None:
        found = only(said(foreign_ways=foreign(Met.OPEN, "redis-0")))
        assert found.headline.startswith(
            "NetworkPolicies are not enforced everywhere: a foreign pod connects to redis-0:"
        )

    def test_where_nothing_was_tried_it_is_unproven(self) -> None:
        pen = said(inside_connections=NOT_ALLOWED, pod_ways=NOT_ALLOWED, foreign_ways=READ_ONLY)
        assert {each.nature for each in pen.failures} == {Nature.UNPROVEN}
        assert "whether the network plug-in enforces NetworkPolicies was not seen" in pen.failures[-1].headline

    def test_without_the_right_to_make_pods_it_is_judged_by_evaluation(self) -> None:
        assert only(said(foreign_ways=READ_ONLY), Status.WARNED).nature is Nature.UNPROVEN
        wide = [{"from": [{"namespaceSelector": {}}]}]
        pen = said(changed(key_vault_isolation={"ingress": wide}), foreign_ways=READ_ONLY)
        assert [each.status for each in pen.failures] == [Status.FAILED, Status.WARNED]

    def test_labels_that_are_not_known(self) -> None:
        by_team = [{"from": [{"namespaceSelector": {"matchLabels": {"team": "operators"}}}]}]
        these = changed(postgresql_main_access={"ingress": by_team}, **without())
        blind = networking.rules(*these)
        blind = replace(blind, rules=replace(blind.rules, namespaces={}), unlabelled="no right: list namespaces")
        pen = said(these, network_rules=blind)
        assert any("hangs on labels that are not known: no right" in each.headline for each in pen.failures)


def test_the_model_knows_who_talks_to_whom() -> None:
    found = flows.needed(MODEL, LAB)
    sources = {each.source.name for each in found}
    assert {"synapse-main", "key-vault", "haproxy", "redis", "matrix-postgresql", "cnpg-controller-manager"} <= sources
    srv = [each for each in found if each.what == "backend synchrotron_workers"]
    assert [(each.port, [port for _, port in each.ends]) for each in srv] == [(8008, [8008, 8008])]
    assert all(each.ends for each in found)
