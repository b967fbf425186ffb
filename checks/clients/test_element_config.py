from collections.abc import Mapping, Sequence

from postflight.check import check
from postflight.cluster.kinds import INGRESS, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import addresses, element_config, ingresses
from postflight.deployment.element_config import Named
from postflight.deployment.model import Deployment
from postflight.deployment.pages import PageKind, WebPage
from postflight.deployment.parts import Side
from postflight.deployment.routes import selects
from postflight.probes.doors import client_host, main_of
from postflight.probes.element_addresses import ROOM, CallSeen, ElementSeen, HomeserverSeen
from postflight.probes.leads import beneath
from postflight.probes.pages import PageSeen, Shown
from postflight.probes.public import VERSIONS
from postflight.probes.public_http import Answer
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

LATE = "no answer in time"
#: OpenSSL's word; ``li.front_door`` says what is wrong there.
DISTRUSTED = "certificate verify failed"
#: Whose hosts are known to be nobody's own.
MAKERS = ("vector.im", "element.io", "matrix.org", "riot.im")
WORDS = {Side.MAIN: "main", Side.LI: "LI"}


@check(
    "clients.element_config",
    severity=Severity.MAJOR,
    finding="6.3",
    kinds=(INGRESS,),
    remedy="let Element's config.json name hosts of the deployment alone, and turn off what it has none for: an empty"
    " integrations_ui_url, UIFeature.widgets: false, element_call.use_exclusively; hosts that are meant, in the settings:"
    " element.allowed_hosts",
    blind_spots="addresses within Element's program, which it may ask whatever the file says; what a browser really asks"
    " (its network log); a Jitsi server, whether it answers; allowed hosts outside the deployment, which are not asked;"
    " what a homeserver's well-known file tells clients beside",
)
def test_element_asks_nobody_but_this_deployment_and_finds_what_it_is_told(
    deployment: Deployment,
    snapshot: Snapshot,
    settings: Settings,
    web_pages: tuple[PageSeen, ...],
    element_addresses: tuple[ElementSeen, ...],
    judge: Judge,
) -> None:
    """A network that is closed has no vector.im, and users wait for it; one that is open tells strangers who talks to
    whom. A homeserver or call page that is another than the file says is a client that does not work."""
    elements = [each for each in web_pages if each.page.kind is PageKind.ELEMENT]
    if not elements:
        judge.absent("nothing here serves Element Web, and no route leads to one")
        return
    paths = addresses.led(deployment, snapshot)
    allowed = {*addresses.own_hosts(deployment, paths), *settings.element.allowed_hosts}
    sides = addresses.hosts(deployment.li, paths)
    by_page = {each.page.workload: each for each in element_addresses}
    for seen in elements:
        page = seen.page
        found = by_page.get(page.workload) or ElementSeen(page)
        shown = _shown(seen, found, judge)
        if shown is None:
            continue
        judge.saw(page.workload)
        if shown.fault:
            judge.wrong(
                page.workload,
                f"Element at {page.address} has no configuration: {shown.fault}",
                observed=f"asked {shown.way}",
                expected="an object with default_server_config",
                cause=page.origin,
                remedy=f"correct {page.origin or 'its config.json'}",
            )
            continue
        _hosts(page, shown, allowed, deployment, snapshot, judge)
        for other in _beside(seen, found, shown):
            _hosts(page, other, allowed, deployment, snapshot, judge)
            line = f"what Element finds at {other.host} was not all seen: it has a file of its own there, {other.file}"
            judge.unproven(page.workload, line)
        _homeserver(page, shown, found, sides, deployment, snapshot, judge)
        _calls(page, found, shown, allowed, deployment, snapshot, judge)
        outside = [line for line in found.unasked if not _is_foreign(line)]
        for line in outside:
            judge.unproven(page.workload, f"what Element at {page.address} finds was not all seen: {line}")


def _shown(seen: PageSeen, found: ElementSeen, judge: Judge) -> Shown | None:
    """What users of a page get: by its public name, else what its pods show. Says where that is not one thing."""
    page = seen.page
    needs = (page.workload, *(pod.id for pod in page.pods))
    for each in found.outside:
        if DISTRUSTED in each.problem:
            line = f"Element was not shown {each.way}: what opens LI's front door is shown to no certificate that is not trusted"
            judge.unproven(page.workload, line, observed=each.problem)
        elif each.problem:
            say = judge.unknown if each.problem == LATE else judge.unavailable
            say(page.workload, f"Element was not shown {each.way}: {each.problem}", needs=needs)
    if seen.problem:
        say = judge.unknown if seen.problem == LATE else judge.unavailable
        say(page.workload, f"Element in {page.name} does not show itself: {seen.problem}", needs=needs)
    told = [each for each in (*found.outside, *seen.shown) if not each.problem]
    if not told:
        return None
    first = next((each for each in told if each.fault), told[0])
    # Each of its hosts may have a file of its own (config.HOST.json).
    same = {each.host: each for each in reversed(told)}
    if other := next((each for each in told if each.config != same[each.host].config), None):
        one = same[other.host]
        judge.wrong(
            page.workload,
            f"Element at {other.host or page.address} has more than one configuration: {one.way} another than {other.way}",
            observed=f"{_differ(one.config, other.config)} differ",
            expected="one file for all who come",
            cause="a pod that took its file before that was changed, or something on the way that answers by itself",
            remedy=f"restart {page.name}; look at what its Ingress leads {one.file} to",
        )
    return first


def _beside(seen: PageSeen, found: ElementSeen, first: Shown) -> list[Shown]:
    """Of each other host of a page what it shows, where that is another file."""
    told = [each for each in (*found.outside, *seen.shown) if not each.problem and not each.fault]
    by_host = {each.host: each for each in reversed(told)}
    return [each for host, each in by_host.items() if host != first.host and each.config != first.config]


def _differ(one: Mapping[str, object], other: Mapping[str, object]) -> str:
    keys = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
    return ", ".join(keys[:5])


def _hosts(
    page: WebPage, shown: Shown, allowed: set[str], deployment: Deployment, snapshot: Snapshot, judge: Judge
) -> None:
    others = [each for each in element_config.named(shown.config) if not element_config.allows(allowed, each.host)]
    unclear = [each for each in others if _may_be_own(each.host, deployment, snapshot)]
    foreign = [each for each in others if each not in unclear]
    if told := [each for each in unclear if not each.link]:
        line = f"whether hosts that Element at {page.address} is sent to are the deployment's own was not seen"
        remedy = "bring in scope what serves them (--namespace), or name them in the settings: element.allowed_hosts"
        judge.unproven(page.workload, f"{line}: {_listed(told)}", observed=f"{shown.file} {shown.way}", remedy=remedy)
    asked = [each for each in foreign if not each.link]
    if asked:
        hosts = dict.fromkeys(each.host for each in asked)
        silent = [each for each in asked if each.silent]
        judge.wrong(
            page.workload,
            f"Element at {page.address} is sent to hosts outside of the deployment: {', '.join(hosts)}",
            observed=f"{shown.file} {shown.way}: {_listed(asked)}",
            expected="hosts of the deployment, or of element.allowed_hosts in the settings",
            cause=f"{page.origin or shown.file} of {page.name}"
            + (f" does not set {_keys(silent)}, and Element has its own for that" if len(silent) == len(asked) else ""),
            remedy=f"in {page.origin or shown.file}: name hosts of your own, or turn it off (an empty integrations_ui_url and"
            " integrations_rest_url; element_call.use_exclusively in place of Jitsi)",
        )
    if links := [each for each in foreign if each.link]:
        line = f"Element at {page.address} offers links that lead outside of the deployment: {_listed(links)}"
        judge.warn(page.workload, line, cause=page.origin)


def _may_be_own(host: str, deployment: Deployment, snapshot: Snapshot) -> bool:
    """Whether a host that nothing in scope has may be the deployment's all the same: it is below the name of its
    homeserver, or nothing tells its hosts. Those of Element's makers never are."""
    if host in element_config.DEFAULTS.values() or any(host == each or host.endswith(f".{each}") for each in MAKERS):
        return False
    main = main_of(deployment)
    below = main is not None and host.endswith(f".{client_host(main)}")
    return below or not any(True for _ in snapshot.all(INGRESS))


def _listed(named: Sequence[Named]) -> str:
    return ", ".join(f"{each.key}{' (not set)' if each.silent else ''}: {each.host}" for each in named)


def _keys(named: Sequence[Named]) -> str:
    return " and ".join(dict.fromkeys(each.key for each in named))


def _homeserver(
    page: WebPage,
    shown: Shown,
    found: ElementSeen,
    sides: Mapping[str, Side],
    deployment: Deployment,
    snapshot: Snapshot,
    judge: Judge,
) -> None:
    told = element_config.homeserver(shown.config)
    if told.problem or not (found.named or addresses.host_of(told.base_url) or told.server_name):
        why = told.problem or f"{told.base_url} is no address"
        line = f"Element at {page.address} does not know its homeserver: {why}"
        judge.wrong(page.workload, line, observed=f"{shown.file} {shown.way}", cause=page.origin)
        return
    host = found.named or addresses.host_of(told.base_url) or told.server_name
    side = sides.get(host)
    if side and side is not page.side:
        mine, other = WORDS[page.side], WORDS[side]
        judge.wrong(
            page.workload,
            f"{mine}'s Element at {page.address} is sent to {other}'s homeserver, {host}",
            observed=f"{shown.file} {shown.way}: base_url {told.base_url or told.server_name}",
            expected=f"the address of {mine}'s homeserver",
            cause=f"default_server_config in {page.origin or shown.file} names {host}",
            remedy=f"name {mine}'s address in {page.origin or shown.file}",
        )
        return
    main = main_of(deployment)
    own = main.server_name if main else ""
    if told.server_name and own and told.server_name != own:
        line = f"Element at {page.address} calls its homeserver {told.server_name}, which is {own}"
        judge.warn(page.workload, line, cause=page.origin)
    for each in found.homeservers:
        judge.saw(f"{each.url} {each.way}")
        if DISTRUSTED in each.versions.problem:
            continue
        _answers(page, each, own, deployment, snapshot, judge)


def _answers(
    page: WebPage, each: HomeserverSeen, own: str, deployment: Deployment, snapshot: Snapshot, judge: Judge
) -> None:
    said = each.versions
    observed = f"GET https://{each.host}{VERSIONS} {each.way}: {said.short}"
    if said.silent:
        say = judge.unknown if said.problem == LATE else judge.unavailable
        line = f"the homeserver of Element at {page.address} was not answered for: {each.url}: {said.short}"
        say(page.workload, line, observed=observed, needs=_beneath(page, each.host, deployment, snapshot))
    elif said.status != 200 or not said.json.get("versions"):
        judge.wrong(
            page.workload,
            f"Element at {page.address} is sent to {each.url}, where no homeserver answers",
            observed=observed,
            expected="200 and the versions of a homeserver",
            cause=f"default_server_config in {page.origin or 'its config.json'}",
        )
    elif own and (name := each.keys.json.get("server_name")) and name != own:
        judge.wrong(
            page.workload,
            f"Element at {page.address} is sent to {each.url}, which is {name} and not {own}",
            observed=f"its keys, {each.way}: {each.keys.short}",
            expected=f"the homeserver {own}",
        )


def _beneath(page: WebPage, host: str, deployment: Deployment, snapshot: Snapshot) -> tuple[str, ...]:
    main = main_of(deployment)
    if page.side is Side.LI and deployment.li:
        return tuple(id for each in deployment.li.processes for id in (each.id, each.workload))
    return beneath(deployment, snapshot, main, host, VERSIONS) if main else ()


def _calls(
    page: WebPage,
    found: ElementSeen,
    shown: Shown,
    allowed: set[str],
    deployment: Deployment,
    snapshot: Snapshot,
    judge: Judge,
) -> None:
    url = element_config.call_url(shown.config)
    if url and not addresses.host_of(url):
        judge.wrong(
            page.workload, f"Element at {page.address}: element_call.url is no address: {url}", cause=page.origin
        )
    for each in found.calls:
        judge.saw(f"{each.url} {each.way}")
        said = each.page
        observed = f"GET https://{each.host}{ROOM} {each.way}: {said.short}"
        if _is_sfu(each):
            judge.wrong(
                page.workload,
                f"Element at {page.address} has the SFU for its call page: element_call.url is {each.url}",
                observed=f"{observed}; its /rtc/validate is answered as LiveKit's: {each.sfu.short}",
                expected="a page of Element Call's, which finds the SFU by itself",
                cause=f"element_call.url in {page.origin or shown.file} names LiveKit{_led(each, deployment, snapshot)}",
                remedy="name an Element Call of your own, or leave url out: newer releases bring one along",
            )
        elif said.silent:
            say = judge.unknown if said.problem == LATE else judge.unavailable
            line = f"the call page of Element at {page.address} was not answered for: {each.url}: {said.short}"
            say(page.workload, line, observed=observed, needs=_behind(each, deployment, snapshot))
        elif not _is_page(said):
            judge.wrong(
                page.workload,
                f"Element at {page.address} has no call page: nothing is at {each.url} but {said.short}",
                observed=observed,
                expected="200 and a page (HTML)",
                cause=f"element_call.url in {page.origin or shown.file}",
            )
    host = addresses.host_of(url)
    if host and not found.calls and element_config.allows(allowed, host) and _is_foreign_to(found, host):
        line = f"that {url} is a call page was not seen: it is outside of the deployment, and was not asked"
        judge.unproven(page.workload, line)


def _is_sfu(each: CallSeen) -> bool:
    """LiveKit says to a stranger that he may not, or what is wrong with him; a page is a page there too."""
    said = each.sfu
    return said.status in (200, 400, 401, 403) and not _is_html(said) and not str(said.json.get("errcode", ""))


def _led(each: CallSeen, deployment: Deployment, snapshot: Snapshot) -> str:
    route = ingresses.route(snapshot, deployment.pods, each.host, each.url.partition(each.host)[2] or "/")
    return f" ({route.words})" if route else ""


def _behind(each: CallSeen, deployment: Deployment, snapshot: Snapshot) -> tuple[str, ...]:
    route = ingresses.route(snapshot, deployment.pods, each.host, ROOM)
    service = snapshot.get(SERVICE, route.endpoint.namespace, route.endpoint.service) if route else None
    if route is None or service is None:
        return ()
    pods = [pod for pod in deployment.pods.values() if selects(service, pod)]
    own = [work.id for work in deployment.workloads if any(pod in pods for pod in work.pods)]
    return (*own, *(pod.id for pod in pods), route.id)


def _is_page(said: Answer) -> bool:
    return said.status == 200 and _is_html(said)


def _is_html(said: Answer) -> bool:
    start = said.text.lstrip()[:200].lower()
    return start.startswith(("<!doctype html", "<html"))


def _is_foreign(line: str) -> bool:
    return line.endswith(" is outside of the deployment")


def _is_foreign_to(found: ElementSeen, host: str) -> bool:
    return f"{host} is outside of the deployment" in found.unasked
