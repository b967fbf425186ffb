from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from postflight.check import check
from postflight.cluster.kinds import INGRESS, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.federation import is_sender
from postflight.deployment.model import Deployment
from postflight.deployment.parts import LawfulIntercept, Side, SynapseProcess
from postflight.deployment.routes import Way, behind, way
from postflight.deployment.synapse import LI_LABELS
from postflight.probes.identity import Identity
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: Ingress, host and Service of a path.
Rule = tuple[Mapping[str, Any], str, str]


@check(
    "li.identity",
    severity=Severity.CRITICAL,
    finding="4.4",
    kinds=(INGRESS,),
    remedy="give LI main's server_name and signing key, an address of its own, and no way to main's pods",
    blind_spots="LI's web pages (title, banner), HTTPRoutes and other routes than Ingresses, proxies other than HAProxy",
)
def test_li_is_mains_homeserver_at_an_address_of_its_own_and_silent(
    deployment: Deployment, snapshot: Snapshot, identities: tuple[Identity, ...], judge: Judge
) -> None:
    """LI reads main's rows only under main's name. Reached under main's address, or sending to other
    servers, it would answer users and speak in their name from data that are a copy."""
    li = deployment.li
    if li is None:
        judge.absent("nothing refers to a lawful-intercept homeserver")
        return
    if not li.processes:
        judge.unavailable(li.id, "LI's database is fed, and there is no Synapse process that reads it", needs=(li.id,))
    _data(li, judge)
    seen = {each.process.id: each for each in identities}
    main = next((each for each in li.mains if each.config), None)
    if li.processes and main is None:
        unread = next(iter(li.mains), None)
        why = f"what {unread.workload_name} is, is not known: {unread.config_problem}" if unread else ""
        judge.unknown(
            li.id,
            "whether LI has main's name and keys, and an address of its own, is not known:"
            f" {why or 'no main process is in view'}",
            needs=tuple(each.id for each in li.mains),
        )
    for process in li.processes:
        judge.saw(process.id)
        if process.config is None:
            judge.unknown(process.id, f"what {process.workload_name} is, is not known: {process.config_problem}")
            continue
        if main and main.config:
            _name(process, main, judge)
            _address(process, main, judge)
        _silent(process, judge)
        if process.is_main and main and process.server_name == main.server_name:
            _keys(seen.get(process.id), seen.get(main.id), judge)
    _services(deployment, snapshot, judge)
    _routes(deployment, snapshot, li, judge)


def _data(li: LawfulIntercept, judge: Judge) -> None:
    own, mains = ({door.login.database for door in doors} for doors in (li.doors, li.main_doors))
    if li.cluster and li.cluster == li.main_cluster and own & mains:
        judge.wrong(
            li.id,
            f"LI works on main's own database {', '.join(sorted(own & mains))}",
            observed=f"both sides log in to {li.cluster.name}, database {', '.join(sorted(own & mains))}",
            expected="a database of LI's own, that main's is copied to",
            cause="the database in LI's configuration is main's",
        )


def _name(process: SynapseProcess, main: SynapseProcess, judge: Judge) -> None:
    if process.server_name != main.server_name:
        judge.wrong(
            process.id,
            f"{process.workload_name} calls itself {process.server_name}, main is {main.server_name}",
            observed=f"server_name: {process.server_name}",
            expected=f"server_name: {main.server_name}, whose users and rooms its database holds",
            cause=f"server_name in the configuration of {process.workload_name} is another than main's:"
            " Synapse refuses a database with users of another name, and finds nobody in it",
            remedy=f"set server_name: {main.server_name} for {process.workload_name}",
            stops=(process.id, process.workload),
        )


def _address(process: SynapseProcess, main: SynapseProcess, judge: Judge) -> None:
    own, mains = _base(process), {_base(main), _default_base(main)}
    if own and own in mains:
        given = _given_base(process)
        judge.wrong(
            process.id,
            f"{process.workload_name} gives out main's own address, {own}",
            observed=f"public_baseurl: {given}, which is main's"
            if given
            else f"public_baseurl is not set in {process.workload_name}: Synapse makes it from server_name",
            expected="an address of its own",
            remedy=f"set public_baseurl for {process.workload_name} to the address that LI is reached at",
        )


def _silent(process: SynapseProcess, judge: Judge) -> None:
    config = process.config or {}
    if is_sender(process) and config.get("federation_domain_whitelist") != []:
        judge.wrong(
            process.id,
            f"{process.workload_name} sends to other servers in main's name",
            observed=f"send_federation: {config.get('send_federation')}, federation_sender_instances:"
            f" {config.get('federation_sender_instances')}, no federation_domain_whitelist: []",
            expected="no process of LI's sends",
            cause="nothing in its configuration turns outbound federation off",
            remedy="set send_federation: false, federation_sender_instances: [] and federation_domain_whitelist: []",
        )
    elif config.get("federation_domain_whitelist") != []:
        judge.warn(
            process.id,
            f"{process.workload_name} sends nothing, but may still ask other servers: it has no federation_domain_whitelist: []",
        )


def _keys(own: Identity | None, mains: Identity | None, judge: Judge) -> None:
    for each in (own, mains):
        if each and each.problem:
            name, pod = each.process.workload_name, each.process.pod
            if each.unasked:
                judge.unproven(
                    each.process.id,
                    f"that LI has main's signing key was not seen: {name} cannot be asked for it ({each.problem}),"
                    " and it stands in no Secret or setting that was read",
                )
                continue
            say = judge.unknown if pod and pod.ready else judge.unavailable
            say(each.process.id, f"{name} could not be asked for its name and keys: {each.problem}")
    if own and mains and not own.problem and not mains.problem and own.keys != mains.keys:
        differ = sorted(
            name for name in {*(own.keys or {}), *(mains.keys or {})} if _key(own, name) != _key(mains, name)
        )
        judge.wrong(
            own.process.id,
            f"{own.process.workload_name} has another signing key than main ({', '.join(differ)})",
            observed="; ".join(f"{each.process.workload_name}: {each.keys}" for each in (own, mains)),
            expected="the same verify_keys on both sides",
            cause="the signing.key of the two differs",
            remedy="give LI main's signing key",
        )


def _key(identity: Identity, name: str) -> str | None:
    return (identity.keys or {}).get(name)


def _services(deployment: Deployment, snapshot: Snapshot, judge: Judge) -> None:
    """No Service leads to pods of both, and none of LI's to main's."""
    for service in snapshot.all(SERVICE):
        name, found = service["metadata"]["name"], behind(deployment, snapshot, service)
        sides = {side for _, side in found}
        judge.saw(f"service/{service['metadata']['namespace']}/{name}")
        of_li = LI_LABELS & (service["metadata"].get("labels") or {}).items()
        if Side.MAIN in sides and (Side.LI in sides or of_li):
            strays = sorted(pod.name for pod, side in found if side is Side.MAIN)
            own = sorted(pod.name for pod, side in found if side is Side.LI)
            judge.wrong(
                f"service/{service['metadata']['namespace']}/{name}",
                f"Service {name} leads to LI and to main: {', '.join([*own, *strays])}"
                if own
                else f"Service {name} is LI's and leads to main: {', '.join(strays)}",
                observed=f"selector {service['spec'].get('selector')} selects {', '.join([*own, *strays])}",
                expected="a Service selects pods of one side only",
                cause=f"the selector of Service {name} does not tell LI's pods from main's",
                remedy=f"add to the selector of Service {name} the label that tells them apart (matrix.instance)",
            )


def _routes(deployment: Deployment, snapshot: Snapshot, li: LawfulIntercept, judge: Judge) -> None:
    """No Ingress leads from LI's address to main's pods, or from main's to LI's."""
    routes = [(*each, _way(deployment, snapshot, *each)) for each in _rules(snapshot)]
    hosts = _hosts(li, routes)
    for ingress, host, name, found in routes:
        side = hosts.get(host)
        meta = ingress["metadata"]
        through = f" through {', '.join(found.through)}" if found.through else ""
        if found.through and side is Side.LI and found.sides not in ({Side.LI}, {Side.MAIN}):
            judge.unproven(
                f"ingress/{meta['namespace']}/{meta['name']}",
                f"whether LI's address {host} leads to LI alone was not followed{through} (Ingress {meta['name']})",
            )
        # A proxy that leads to both tells them apart by what is not followed.
        elif side and found.sides - {side} and not (found.through and side in found.sides):
            mine, other = ("LI", "main") if side is Side.LI else ("main", "LI")
            judge.wrong(
                f"ingress/{meta['namespace']}/{meta['name']}",
                f"{mine}'s address {host} leads to {other}'s Synapse, by Ingress {meta['name']}",
                observed=f"host {host}, backend Service {name}{through}",
                expected=f"{host} leads to {mine}'s pods only",
                remedy=f"name {mine}'s own Service in Ingress {meta['name']}",
            )


def _hosts(li: LawfulIntercept, routes: Sequence[tuple[Mapping[str, Any], str, str, Way]]) -> Mapping[str, Side]:
    """Whose address a host is: as the configurations say, main's first; else LI's where an Ingress says so, or leads
    there."""
    found: dict[str, Side] = {}
    for process in li.mains:
        found |= dict.fromkeys((_host(_base(process)), _host(_default_base(process))), Side.MAIN)
    for process in li.processes:
        # The default is made from main's own name.
        found.setdefault(_host(_given_base(process)), Side.LI)
    for ingress, host, _, led in routes:
        if led.sides == {Side.LI} or LI_LABELS & (ingress["metadata"].get("labels") or {}).items():
            found.setdefault(host, Side.LI)
    return {host: side for host, side in found.items() if host}


def _way(deployment: Deployment, snapshot: Snapshot, ingress: Mapping[str, Any], _: str, name: str) -> Way:
    service = snapshot.get(SERVICE, ingress["metadata"]["namespace"], name)
    return way(deployment, snapshot, service) if service else Way(frozenset())


def _rules(snapshot: Snapshot) -> Iterator[Rule]:
    for ingress in snapshot.all(INGRESS):
        for rule in ingress["spec"].get("rules") or ():
            for path in (rule.get("http") or {}).get("paths") or ():
                if service := (path.get("backend") or {}).get("service"):
                    yield ingress, (rule.get("host") or "").lower(), service["name"]


def _base(process: SynapseProcess) -> str:
    return _given_base(process) or _default_base(process)


def _given_base(process: SynapseProcess) -> str:
    return str((process.config or {}).get("public_baseurl") or "").rstrip("/")


def _default_base(process: SynapseProcess) -> str:
    """What Synapse takes where public_baseurl is not set (synapse/config/server.py, 1.163)."""
    return f"https://{process.server_name}" if process.server_name else ""


def _host(address: str) -> str:
    return urlsplit(address).hostname or ""
