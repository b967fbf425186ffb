from collections.abc import Sequence

from postflight.check import check
from postflight.cluster.kinds import INGRESS, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import addresses, element_config
from postflight.deployment.element_config import Look
from postflight.deployment.federation import is_sender
from postflight.deployment.model import Deployment
from postflight.deployment.pages import PageKind
from postflight.deployment.parts import LawfulIntercept, Side, SynapseProcess
from postflight.deployment.routes import behind
from postflight.deployment.synapse import LI_LABELS
from postflight.probes.identity import Identity
from postflight.probes.pages import PageSeen
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@check(
    "li.identity",
    severity=Severity.CRITICAL,
    finding="4.4",
    kinds=(INGRESS,),
    remedy="give LI main's server_name and signing key, an address of its own, no way to main's pods, and a web page that"
    " nobody takes for main's (brand in its config.json)",
    blind_spots="what a page shows beyond its title, banner and theme (colours and pictures of a build of its own);"
    " HTTPRoutes and other routes than Ingresses, proxies other than HAProxy",
)
def test_li_is_mains_homeserver_at_an_address_of_its_own_and_silent(
    deployment: Deployment,
    snapshot: Snapshot,
    identities: tuple[Identity, ...],
    web_pages: tuple[PageSeen, ...],
    judge: Judge,
) -> None:
    """LI reads main's rows only under main's name. Reached under main's address, or sending to other
    servers, it would answer users and speak in their name from data that are a copy. And who has both open must see
    which is which."""
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
    _looks(web_pages, judge)


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
    own, mains = addresses.base(process), {addresses.base(main), addresses.default_base(main)}
    if own and own in mains:
        given = addresses.given_base(process)
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
    paths = addresses.led(deployment, snapshot)
    hosts = addresses.hosts(li, paths)
    for each in paths:
        host, found, side = each.host, each.way, hosts.get(each.host)
        through = f" through {', '.join(found.through)}" if found.through else ""
        if found.through and side is Side.LI and found.sides not in ({Side.LI}, {Side.MAIN}):
            judge.unproven(
                each.id,
                f"whether LI's address {host} leads to LI alone was not followed{through} (Ingress {each.name})",
            )
        # A proxy that leads to both tells them apart by what is not followed.
        elif side and found.sides - {side} and not (found.through and side in found.sides):
            mine, other = ("LI", "main") if side is Side.LI else ("main", "LI")
            judge.wrong(
                each.id,
                f"{mine}'s address {host} leads to {other}'s Synapse, by Ingress {each.name}",
                observed=f"host {host}, backend Service {each.service}{through}",
                expected=f"{host} leads to {mine}'s pods only",
                remedy=f"name {mine}'s own Service in Ingress {each.name}",
            )


def _looks(pages: Sequence[PageSeen], judge: Judge) -> None:
    """LI's Element does not look like main's."""
    elements = [each for each in pages if each.page.kind is PageKind.ELEMENT]
    mains = [each for each in elements if each.page.side is Side.MAIN]
    for own in (each for each in elements if each.page.side is Side.LI):
        page = own.page
        for each in (own, *mains):
            if not each.shown:
                judge.unknown(
                    each.page.workload,
                    f"whether LI's page looks like main's is not known: {each.page.name} does not show itself: {each.problem}",
                    needs=(each.page.workload, *(pod.id for pod in each.page.pods)),
                )
        for shown in own.shown:
            judge.saw(page.workload)
            look = shown.look
            if same := next((each for each in _shown_by(mains) if _alike(look, each)), None):
                judge.wrong(
                    page.workload,
                    f"LI's page at {page.address} looks like main's: both call themselves {look.shown}",
                    observed=f"{shown.way}: title {look.shown}, banner {look.banner or 'none'}, theme"
                    f" {look.theme or 'the default'}; main's: title {same.shown}",
                    expected="a title of its own, a banner, or a theme of its own",
                    cause=f"{page.origin or 'config.json'} has no brand but {look.brand}, which is main's too",
                    remedy=f"set brand in {page.origin or 'its config.json'} to a name that says what it is",
                )
                break


def _shown_by(pages: Sequence[PageSeen]) -> list[Look]:
    return [shown.look for each in pages for shown in each.shown]


def _alike(own: Look, mains: Look) -> bool:
    """A theme that is one of Element's own tells nothing: each user chooses."""
    themes = {each.theme for each in (own, mains)} - {*element_config.THEMES, ""}
    return own.shown.casefold() == mains.shown.casefold() and own.banner == mains.banner and not themes
