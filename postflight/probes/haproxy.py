"""What HAProxy says of its own servers and name servers.

Source: HAProxy 2.8, Management Guide, 9.1 (CSV format) and 9.3 (``show stat``, ``show resolvers``); tried on 2.6.12.
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import POD
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.deployment.call_parts import Proxy
from postflight.deployment.haproxy_servers import socket_path, stats_page
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.pods import read_pod
from postflight.deployment.proxy_backends import Backend, backends_of
from postflight.limits import Limit
from postflight.probes.http import Door, ask
from postflight.probes.probe import EXEC, probe

QUESTION = "show stat;show resolvers"
#: Whatever of these an image has speaks to a socket.
SCRIPT = """
if command -v socat >/dev/null; then echo "$1" | socat -t 5 - "UNIX-CONNECT:$0"
elif command -v python3 >/dev/null; then python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]); s.sendall((sys.argv[2] + "\\n").encode())
sys.stdout.write(s.makefile().read())' "$0" "$1"
elif command -v perl >/dev/null; then perl -MIO::Socket::UNIX -e '
my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$!\\n"; print $s "$ARGV[1]\\n"; print while <$s>;' "$0" "$1"
else echo "$1" | nc -U "$0"
fi
"""
NAMESERVER = re.compile(r"^\s+nameserver (\S+):\s*$")
COUNT = re.compile(r"^\s+(\w+):\s+(\d+)\s*$")
SECTION = re.compile(r"^Resolvers section (\S+)")
#: What counts as an answer of use.
VALID = ("valid", "update", "cname")


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server as HAProxy holds it: ``status`` as in its statistics ("UP", "DOWN", "MAINT (resolution)", "no
    check"), ``check`` what its last health check came to, ``address`` where it is known."""

    backend: str
    name: str
    status: str
    check: str = ""
    address: str = ""

    @property
    def up(self) -> bool:
        return self.status.startswith(("UP", "no check"))

    @property
    def host(self) -> str:
        """The address without its port; "" where it is not told: the page hides it without ``stats show-legends``."""
        return self.address.rpartition(":")[0].strip("[]")


@dataclass(frozen=True, slots=True)
class Nameserver:
    """One name server of a resolvers section since HAProxy started: questions ``asked``, those included that could not
    be sent, answers of use, and all ``other`` answers (no such name, refused, broken)."""

    section: str
    name: str
    asked: int
    valid: int
    other: int


@dataclass(frozen=True, slots=True)
class HaproxyView:
    """What one pod of HAProxy says. ``nameservers`` is None where they were not seen, ``blind`` says why; ``problem``
    says why it says nothing at all, ``mute`` that its configuration gives nobody a way to ask. ``moved`` are the
    addresses of the pods that became ready, or ceased to be, since the snapshot, looked at where the servers that are up
    are not as many as were ready then."""

    proxy: Proxy
    pod: Pod
    servers: tuple[ServerState, ...] = ()
    nameservers: tuple[Nameserver, ...] | None = None
    blind: str = ""
    problem: str = ""
    mute: bool = False
    moved: frozenset[str] = frozenset()

    def of(self, backend: str) -> tuple[ServerState, ...]:
        return tuple(each for each in self.servers if each.backend == backend)

    def up(self, backend: str) -> tuple[ServerState, ...]:
        return tuple(each for each in self.of(backend) if each.up)

    def unsettled(self, backend: Backend) -> bool:
        """Whether a pod behind a backend became ready, or ceased to be, while this was looked at; any pod, where the
        addresses of the servers are not told."""
        hosts = {each.host for each in self.up(backend.name)} | {each.ip for each in backend.ready}
        return bool(self.moved & hosts) or ("" in hosts and bool(self.moved))


@probe(limit=Limit.PROXY, reaches=True, helped_by=(EXEC,))
def haproxy_views(deployment: Deployment, snapshot: Snapshot, access: Access, api: Api) -> tuple[HaproxyView, ...]:
    """Ask every ready pod of HAProxy for its servers and name servers: by its socket, else by its statistics page."""
    asked = [(proxy, pod) for proxy in deployment.proxies for pod in proxy.pods if pod.ready]

    def asker(proxy: Proxy, pod: Pod) -> Callable[[], HaproxyView]:
        return lambda: _settled(access, api, proxy, pod, snapshot)

    outcomes = in_threads([asker(*each) for each in asked], Limit.PROXY - 1)
    return tuple(
        HaproxyView(proxy, pod, problem="no answer in time") if outcome.exception() else outcome.result()
        for (proxy, pod), outcome in zip(asked, outcomes, strict=True)
    )


def _settled(access: Access, api: Api, proxy: Proxy, pod: Pod, snapshot: Snapshot) -> HaproxyView:
    """Where not just as many servers are up as pods are ready it is asked once more, and then the pods: either may just
    have changed."""
    backends = backends_of(proxy, snapshot)

    def differs(view: HaproxyView) -> bool:
        return not view.problem and any(len(view.up(each.name)) != each.due for each in backends)

    view = _view(access, api, proxy, pod)
    if not differs(view):
        return view
    time.sleep(Limit.PROGRESS / 2)
    view = _view(access, api, proxy, pod)
    return replace(view, moved=_moved(api, snapshot)) if differs(view) else view


def _moved(api: Api, snapshot: Snapshot) -> frozenset[str]:
    """The addresses that are a ready pod's either in the snapshot or now; none where that cannot be seen."""
    try:
        now = [raw for each in snapshot.namespaces for raw in api.list_all(POD, each)]
    except ApiError:
        return frozenset()
    return frozenset(_ready(snapshot.all(POD)) ^ _ready(now))


def _ready(raws: Iterable[Object]) -> set[str]:
    return {pod.ip for pod in map(read_pod, raws) if pod.ready and not pod.deleting}


def _view(access: Access, api: Api, proxy: Proxy, pod: Pod) -> HaproxyView:
    path, page = socket_path(proxy.config), stats_page(proxy.config)
    why = "its configuration has no run-time socket"
    if path:
        try:
            command = ("sh", "-c", SCRIPT, path, QUESTION)
            answer = run_in_pod(api, pod.namespace, pod.name, _container(pod), command)
        except ApiError as error:
            why = str(error)
        else:
            text = answer.stdout.decode("utf-8", "replace")
            if answer.code == 0 and text.startswith("# pxname"):
                return HaproxyView(proxy, pod, tuple(servers_of(text)), tuple(nameservers_of(text)))
            why = f"its socket {path} could not be asked: {answer.complaint}"
    if page is None:
        mute = not path and bool(proxy.config)
        return HaproxyView(proxy, pod, problem=f"{why}, and it has no statistics page", blind=why, mute=mute)
    if page.guarded:
        return HaproxyView(proxy, pod, problem=f"{why}, and its statistics page asks for a password", blind=why)
    said = ask(access, Door(pod, page.port, page.tls), "GET", page.csv)
    if said.status != 200 or not said.text.startswith("# pxname"):
        return HaproxyView(proxy, pod, problem=f"its statistics page {page.uri} on port {page.port}: {said.short}")
    return HaproxyView(proxy, pod, tuple(servers_of(said.text)), blind=why)


def _container(pod: Pod) -> str:
    return next((each.name for each in pod.containers if "haproxy" in each.name or "haproxy" in each.image), "") or (
        pod.containers[0].name if pod.containers else ""
    )


def servers_of(text: str) -> Iterator[ServerState]:
    """The servers in HAProxy's CSV, whose first line names the columns."""
    table = text.removeprefix("# ").partition("\n\n")[0]
    for row in csv.DictReader(io.StringIO(table)):
        if row.get("svname") in ("FRONTEND", "BACKEND", None) or row.get("type") != "2":
            continue
        check = " ".join(filter(None, (row.get("check_status"), row.get("check_code"), row.get("last_chk"))))
        yield ServerState(
            str(row["pxname"]), str(row["svname"]), str(row["status"]), check.strip(), str(row.get("addr") or "")
        )


def nameservers_of(text: str) -> Iterator[Nameserver]:
    """The name servers in the answer to ``show resolvers``."""
    section, name, counts = "", "", dict[str, int]()
    for line in (*text.splitlines(), "Resolvers section -"):
        begins, names, count = SECTION.match(line), NAMESERVER.match(line), COUNT.match(line)
        if (begins or names) and name:
            yield _nameserver(section, name, counts)
            name = ""
        if begins:
            section = begins[1]
        elif names:
            name, counts = names[1], {}
        elif count:
            counts[count[1]] = int(count[2])


def _nameserver(section: str, name: str, counts: dict[str, int]) -> Nameserver:
    def total(words: Sequence[str]) -> int:
        return sum(counts.get(each, 0) for each in words)

    answered = ("nx", "refused", "other", "invalid", "too_big", "truncated", "any_err", "cname_error")
    return Nameserver(section, name, total(("sent", "snd_error")), total(VALID), total(answered))
