from collections.abc import Iterable
from difflib import get_close_matches

from postflight.check import check
from postflight.cluster.kinds import POD_MONITOR, PROMETHEUS_RULE, SERVICE_MONITOR
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.monitors import Monitor, Rule, Target
from postflight.deployment.parts import SynapseProcess, name_of, names_of
from postflight.probes.monitors import Scraped
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity, Status
from postflight.words import several

#: Prometheus makes these itself, of every target or of its rules.
OWN = frozenset(("up", "ALERTS", "ALERTS_FOR_STATE"))
#: Of Prometheus itself, and of what watches the whole cluster and stands in namespaces that are not looked at:
#: kube-state-metrics, node exporter, kubelet with cAdvisor, the control plane, blackbox exporter.
OUTSIDE = (
    *("scrape_", "kube_", "node_", "container_", "kubelet_", "machine_", "apiserver_", "etcd_", "coredns_"),
    *("prometheus_", "alertmanager_", "probe_", "cluster:", "namespace_", "instance:node_"),
)


@check(
    "platform.monitoring",
    severity=Severity.MAJOR,
    kinds=(SERVICE_MONITOR, POD_MONITOR, PROMETHEUS_RULE),
    remedy="make the monitor's selector and port name those of the Service, and name series in rules as they are served",
    blind_spots="whether a Prometheus runs, takes up these objects (its serviceMonitorSelector) and may reach the pods:"
    " they are scraped from where the verifier stands, by tunnel past every NetworkPolicy; labels in a rule (job=...);"
    " series of what watches the whole cluster (kube-state-metrics, node exporter, kubelet); monitors in other namespaces",
)
def test_every_metrics_endpoint_is_scraped_and_every_rule_asks_for_what_is_served(
    deployment: Deployment, scraped_metrics: Scraped, judge: Judge
) -> None:
    """A monitor that selects nothing, and a rule over a series that nobody serves, say nothing for ever, as if all were
    well."""
    if not scraped_metrics.known:
        judge.absent(
            "the API server knows no ServiceMonitor, PodMonitor or PrometheusRule (prometheus-operator's CRDs)"
        )
        return
    monitors, rules = scraped_metrics.monitors, scraped_metrics.rules
    if not monitors and not rules:
        where = ", ".join(deployment.namespaces)
        judge.absent(f"there is no ServiceMonitor, PodMonitor or PrometheusRule in namespace {where}")
        return
    for monitor in monitors:
        judge.saw(monitor.id)
        _monitor(monitor, scraped_metrics, judge)
    if monitors:
        _unscraped(deployment, monitors, judge)
    for rule in rules:
        judge.saw(rule.id)
    # What is scraped in vain may be what serves them: it is mended first.
    if not any(each.status is Status.FAILED for each in judge.failures):
        _rules(rules, scraped_metrics, deployment, not judge.failures, judge)


def _monitor(monitor: Monitor, scraped: Scraped, judge: Judge) -> None:
    name = f"{monitor.kind} {monitor.name}"
    if monitor.problem:
        judge.wrong(
            monitor.id,
            f"{name} selects nothing: {monitor.problem}" if not monitor.targets else f"{name}: {monitor.problem}",
            expected="every endpoint of a monitor leads to pods",
            cause=monitor.problem,
            remedy=f"write selector and ports of {name} as they are, or take it away",
        )
    for where in monitor.elsewhere:
        line = (
            f"namespace {where}, which is not looked at" if where else "all namespaces, of which not all are looked at"
        )
        judge.unproven(monitor.id, f"{name} looks for its targets in {line}")
    troubles: dict[tuple[str, bool, bool], list[Target]] = {}
    for target in monitor.targets:
        page = scraped.pages.get(target.where)
        if page is not None and page.problem:
            troubles.setdefault((page.problem, page.unseen, page.refused and target.secured), []).append(target)
    for (problem, unseen, secured), targets in troubles.items():
        pods = several(each.pod.name for each in targets)
        if unseen:
            judge.unknown(targets[0].pod.id, f"the metrics of {pods} could not be asked for: {problem}")
        elif secured:
            line = f"the metrics of {pods} were not seen: {problem} without the credentials that {name} has"
            judge.unproven(monitor.id, line)
        else:
            judge.wrong(
                targets[0].pod.id,
                f"{name} scrapes {pods} in vain: {problem}",
                observed=f"{len(targets)} of its {len(monitor.targets)} targets: {problem}",
                expected="an answer in the text format of Prometheus",
                remedy=f"have {name} name the port, path and scheme at which {targets[0].pod.name} serves its metrics",
            )


def _unscraped(deployment: Deployment, monitors: Iterable[Monitor], judge: Judge) -> None:
    """Synapse's processes that serve metrics for nobody."""
    scraped = {each.where[:2] for monitor in monitors for each in monitor.targets}
    left: list[SynapseProcess] = []
    for process in deployment.synapse:
        port = port_of(process, "metrics")
        if process.pod and process.is_up and port is not None and (process.pod.id, port) not in scraped:
            left.append(process)
    if left:
        judge.wrong(
            left[0].id,
            f"no monitor selects the metrics of {names_of(left)}",
            observed=f"{len(left)} of {len(deployment.synapse)} Synapse processes serve metrics that nobody scrapes",
            expected="a monitor for every process that serves metrics",
            remedy="name their port in their Service, and their Service's labels in a ServiceMonitor",
        )


def _rules(rules: Iterable[Rule], scraped: Scraped, deployment: Deployment, whole: bool, judge: Judge) -> None:
    """``whole``: everything that was to be scraped was seen, or is down."""
    served = {name for page in scraped.pages.values() for name in page.series}
    served |= {rule.name for rule in rules if rule.recorded}
    lacks = _down(scraped, deployment)
    missing: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        asked = [name for name in rule.names if name not in OWN and not name.startswith(OUTSIDE)]
        lacking = [name for name in asked if name not in served]
        if not lacking or (rule.either and len(lacking) < len(asked)):
            continue
        for name in lacking:
            missing.setdefault((rule.of, name), []).append(rule)
    for (of, name), those in missing.items():
        what = f"PrometheusRule {of}: {several(each.name for each in those)} asks for {name}"
        if lacks:
            names = several(name_of(each) for each in lacks)
            judge.unknown(those[0].id, f"{what}, and whether {names} would serve it is not known", needs=lacks)
        elif not whole:
            judge.unproven(those[0].id, f"{what}, which nothing serves that was seen")
        else:
            near = get_close_matches(name, served, n=1, cutoff=0.75)
            judge.wrong(
                those[0].id,
                f"{what}, which nobody serves" + (f": there is {near[0]}" if near else ""),
                observed=f"{len(served)} series are served by {len(scraped.pages)} targets, and none is called {name}",
                expected="every series that a rule asks for is served, or recorded by a rule",
                cause="the name is misspelt, or of another version of what serves it, or nothing is scraped that has it",
                remedy=f"name the series as it is served, or take the rule out of PrometheusRule {of}",
            )


def _down(scraped: Scraped, deployment: Deployment) -> tuple[str, ...]:
    """The parts that would be scraped and are not up."""
    found = [each.pod.id for monitor in scraped.monitors for each in monitor.targets if not each.ready]
    if any(each.waits for each in scraped.monitors):
        found += [each.id for each in deployment.workloads if each.desired and not each.pods]
        found += [each.id for each in deployment.postgres if not each.pods]
    return tuple(dict.fromkeys(found))
