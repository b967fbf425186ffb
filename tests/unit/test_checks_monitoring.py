"""platform.monitoring: each verdict, with monitors over the recorded lab."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from postflight.cluster.kinds import POD_MONITOR, SERVICE_MONITOR
from postflight.probes.monitors import Page, Scraped
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.monitoring import ALL, monitor, rules, scraped
from tests.unit.observations import MODEL, ask, only
from tests.unit.worlds import Json

WORLD = recorded.healthy().snapshot
REDIS = {"app.kubernetes.io/name": "redis"}


def of(*objects: Json) -> Scraped:
    return scraped(MODEL, WORLD, *objects)


def said(found: Scraped, **others: Any) -> Judge:
    return ask("platform.monitoring", deployment=MODEL, scraped_metrics=found, **others)


def answering(found: Scraped, page: Page, name: str = "synapse-main-0") -> Scraped:
    pages = {where: page if where[0].endswith(name) else each for where, each in found.pages.items()}
    return replace(found, pages=pages)


def test_all_that_is_selected_answers() -> None:
    pen = said(of(ALL, rules("rate(synapse_a_total[5m]) > 0 and up == 1", "synapse:a > 1", record="synapse:a")))
    assert pen.failures == []
    assert pen.seen


def test_without_the_kinds_it_is_absent() -> None:
    assert "prometheus-operator" in said(Scraped(known=False)).absence
    assert "no ServiceMonitor" in said(Scraped()).absence


def test_a_monitor_that_selects_nothing() -> None:
    found = only(said(of(ALL, monitor(SERVICE_MONITOR, "redis", {"app.kubernetes.io/name": "reddis"}))))
    assert found.subject == "servicemonitor/matrix/redis"
    assert found.headline.startswith(
        "ServiceMonitor redis selects nothing: no Service has the labels app.kubernetes.io/name=reddis: none has"
    )


def test_a_monitor_of_a_port_that_no_service_has() -> None:
    found = only(said(of(ALL, monitor(SERVICE_MONITOR, "redis", REDIS))))
    assert "is called metrics" in found.headline


def test_a_process_that_no_monitor_selects() -> None:
    labels = {"app.kubernetes.io/name": "synapse", "app.kubernetes.io/component": "homeserver"}
    found = only(said(of(monitor(SERVICE_MONITOR, "synapse", labels))))
    assert found.headline.startswith("no monitor selects the metrics of synapse-")


def test_a_target_that_serves_no_metrics() -> None:
    found = only(said(answering(of(), Page(problem="/metrics at port 9090 answers 404"))))
    assert found.headline == "ServiceMonitor synapse scrapes synapse-main-0 in vain: /metrics at port 9090 answers 404"


def test_a_target_that_could_not_be_asked_is_unknown() -> None:
    pen = said(answering(of(), Page(problem="no way", unseen=True)))
    assert only(pen, Status.UNKNOWN).headline == "the metrics of synapse-main-0 could not be asked for: no way"


def test_credentials_that_the_verifier_has_not() -> None:
    secured = monitor(
        SERVICE_MONITOR, "synapse", {"app.kubernetes.io/name": "synapse"}, {"basicAuth": {"username": {"name": "a"}}}
    )
    found = only(said(answering(of(secured), Page(problem="answers 401", refused=True))), Status.WARNED)
    assert found.nature is Nature.UNPROVEN


def test_a_rule_over_what_nobody_serves() -> None:
    found = only(said(of(ALL, rules("synapse_a_tota == 0"))))
    assert found.headline == (
        "PrometheusRule alerts: Alert0 asks for synapse_a_tota, which nobody serves: there is synapse_a_total"
    )


def test_what_watches_the_cluster_is_not_the_deployments_to_serve() -> None:
    assert said(of(ALL, rules("kube_pod_status_ready == 0", "node_load1 > 3", "ALERTS"))).failures == []


def test_one_of_several_names_is_enough() -> None:
    assert said(of(ALL, rules("synapse_a_total or synapse_old_a"))).failures == []
    assert len(said(of(ALL, rules("synapse_new_a or synapse_old_a"))).failures) == 2


def test_what_is_scraped_in_vain_is_told_alone() -> None:
    found = only(said(of(ALL, monitor(SERVICE_MONITOR, "redis", {"a": "b"}), rules("redis_up == 0"))))
    assert found.subject == "servicemonitor/matrix/redis"


def test_a_series_of_what_is_down_is_not_known_to_be_missing() -> None:
    pods = {id: replace(pod, ready=not pod.name.startswith("redis")) for id, pod in MODEL.pods.items()}
    model = replace(MODEL, pods=pods)
    down = scraped(model, WORLD, ALL, monitor(POD_MONITOR, "redis", REDIS, {"port": "redis"}), rules("redis_up"))
    found = only(said(down), Status.UNKNOWN)
    assert found.needs == tuple(f"pod/matrix/redis-{n}" for n in range(3))


def test_where_not_all_was_seen_a_missing_series_is_not_red() -> None:
    wide = monitor(SERVICE_MONITOR, "wide", {"app.kubernetes.io/name": "synapse"}, namespaceSelector={"any": True})
    pen = said(of(ALL, wide, rules("other_a")))
    assert {each.nature for each in pen.failures} == {Nature.UNPROVEN}
    assert len(pen.failures) == 2
