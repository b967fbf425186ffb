"""Two small files of our own, one of them EICAR, asked for in every way that a client has.

The first is what EICAR is when it is encrypted: asked for as it is, it is noise; with its key it is a virus; with any other
key it is noise again. So three of four answers need one upload, and tell that it is not the name that is refused. The
second is EICAR itself. It is uploaded only once everything of the first could be removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from postflight.cluster.access import Access
from postflight.cluster.api import Api
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment import addresses
from postflight.deployment.call_parts import Proxy
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, Side, SynapseProcess
from postflight.deployment.scan_parts import Scanner
from postflight.deployment.store_parts import path_of
from postflight.limits import Limit
from postflight.probes import own_uploads
from postflight.probes.attachments import FileKey
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.doors import client_host, federation_doors, public_host
from postflight.probes.eicar import NAME, eicar
from postflight.probes.http import Door
from postflight.probes.leads import NOWHERE, Lead, lead
from postflight.probes.matrix import MatrixError, matrix
from postflight.probes.object_stores import StoreAnswer
from postflight.probes.own_files import Bucket, media_listener, remove_copy, serves_media
from postflight.probes.probe import EXEC, Safety, probe
from postflight.probes.scanner_asks import PUBLIC_KEY, Heard, Question, Reply, line, tried
from postflight.settings import Settings
from postflight.traces import Traces

MEMORY = "im.postflight.scanned"
HARMLESS = b"postflight: nothing here for a scanner to find, though EICAR was not to be uploaded.\n"
#: Ways to a file that go past a scanner unless a proxy leads them to it (Client-Server API 1.11, 10.9). With the name of
#: the file behind it Synapse takes a download too.
DOWNLOAD = "/_matrix/client/v1/media/download"
WITH_TOKEN = (
    DOWNLOAD,
    f"{DOWNLOAD}/…/{NAME}.txt",
    "/_matrix/client/v1/media/thumbnail",
    "/_matrix/media/v3/download",
)
WITHOUT = (
    "/_matrix/media/v3/download",
    "/_matrix/media/r0/download",
    "/_matrix/media/v1/download",
    "/_matrix/media/v3/thumbnail",
)
#: Where neither a proxy nor an Ingress says so.
NO_WAY_KNOWN = "how clients come in is not known: neither a proxy nor an Ingress that is in scope leads them"
OF_SERVERS = ("/_matrix/media/v3/download", "/_matrix/media/r0/download")
#: Where a file is with one of several processes only, whom a request meets is chance.
TRIES = 24
#: Of many paths, most of which give nobody anything.
FEWER = 8
THUMBNAIL = "?width=32&height=32&method=scale"


@dataclass(frozen=True, slots=True)
class Ways:
    """A scanner as it was asked in one pod, or by the front door (``pod`` None, ``lead`` says how). ``shown`` is the
    answer with its public key."""

    scanner: Scanner
    pod: Pod | None
    shown: Heard
    replies: tuple[Reply, ...]
    lead: Lead | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What an ordinary download answered. ``virus``: for EICAR, else for the harmless file; ``brought``: with the file.
    ``proxy`` and ``backend`` are where its path is led by configuration, to ``pods``."""

    route: str
    virus: bool
    heard: Heard
    brought: bool
    token: bool
    proxy: Proxy | None = None
    backend: str = ""
    pods: tuple[Pod, ...] = ()

    def __str__(self) -> str:
        words = "" if self.token else " without a token"
        return f"GET {self.route}{words}: {self.heard.short}"


@dataclass(frozen=True, slots=True)
class ScannedMedia:
    """``refused`` is what an upload was answered with, "" where all were taken; ``spared`` says why EICAR itself was not
    uploaded; ``left`` why some of EICAR is still there."""

    uploader: SynapseProcess
    ways: tuple[Ways, ...] = ()
    past: tuple[Past, ...] = ()
    refused: str = ""
    status: int = 200
    spared: str = ""
    left: str = ""


@dataclass(slots=True)
class _Work:
    """What a probe of one homeserver works with. ``keepers`` are the processes that may have a copy of a file; ``stays``
    are the names of files of which something is still there, and why; ``tries``: how often a file that is not found is
    asked for."""

    deployment: Deployment
    snapshot: Snapshot
    access: Access
    api: Api
    user: ProbeUser
    uploader: SynapseProcess
    keepers: Sequence[SynapseProcess]
    bucket: Bucket | None
    traces: Traces
    stays: dict[str, str] = field(default_factory=dict)
    called: str = ""
    tries: int = 1

    def remove(self, media: str) -> None:
        """Everywhere. Raises OSError where the object store does not do it; what may not be removed is told in
        ``stays``."""
        path = path_of(media)
        outcomes = in_threads([partial(remove_copy, self.api, each, path) for each in self.keepers], Limit.EXEC)
        why = ["no answer in time" if each.exception() else each.result() for each in outcomes]
        if self.bucket:
            self.bucket.remove(self.bucket.store.key_of(media))
            why += self.bucket.left
            self.bucket.left.clear()
        if any(why):
            self.stays[media] = next(filter(None, why))
        else:
            self.stays.pop(media, None)

    def sweep(self, media: str) -> None:
        """Remove what a killed run left."""
        try:
            self.remove(media)
        except OSError as error:
            self.stays[media] = str(error)

    def upload(self, content: bytes, name: str, again: Sequence[str] = ()) -> str:
        """Returns what it is called. Raises MatrixError; ``called`` is then the name that it was to have."""

        def before(media: str) -> None:
            self.called = media
            self.traces.will_make(_what(media), lambda: self.remove(media))

        self.called = ""
        names = (again, tuple(self.stays))
        with matrix(self.access, self.uploader, media_listener(self.uploader)) as door:
            media = own_uploads.upload(self.access, self.user, door, content, names, before, MEMORY, name)
        # What is still on its way to the bucket would come after its removal.
        shared = self.bucket and self.bucket.arrival(self.bucket.store.key_of(media)).status == 200
        self.tries = 1 if shared or len(self.keepers) == 1 else TRIES
        return media

    def settle(self, media: str) -> str:
        """Remove it now; why some of it is still there, "" where nothing is."""
        self.traces.settle(_what(media))
        if _what(media) in [what for what, _ in self.traces.removals]:
            self.stays.setdefault(media, "the object store does not remove it")
        return self.stays.get(media, "")


@probe(limit=Limit.SCANNING, safety=Safety.CANARY, reaches=True, helped_by=(EXEC,))
def scanned_media(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    api: Api,
    object_stores: tuple[StoreAnswer, ...],
    canary_user: ProbeUser | Hindered,
    settings: Settings,
    traces: Traces,
) -> ScannedMedia | Hindered:
    """Upload two small files, one of them EICAR, ask the scanners and the front door for them, and remove them."""
    if not deployment.antivirus.scanners:
        return Hindered("no content scanner is there to be asked", "")
    if isinstance(canary_user, Hindered):
        return canary_user
    user = canary_user
    serving = [each for each in deployment.synapse if each.serves_with(user.home) and serves_media(each)]
    mine = [each for each in serving if each.is_up]
    if not mine:
        return Hindered("no process that takes files is up", serving[0].id if serving else user.home.id)
    answer = next((each for each in object_stores if mine[0].id in each.store.users), None)
    if answer and (not answer.said.status or answer.said.refuses):
        why = answer.said.problem or f"it answers {answer.said}"
        return Hindered(f"nothing can be stored at {answer.store.where}: {why}", answer.store.id)
    bucket = Bucket(access, settings, answer.store) if answer else None
    work = _Work(deployment, snapshot, access, api, user, mine[0], mine, bucket, traces)
    try:
        return _run(work, eicar() if settings.eicar else HARMLESS, settings.eicar)
    except MatrixError as error:
        return Hindered(str(error), user.home.id)


def _run(work: _Work, hidden: bytes, virus: bool) -> ScannedMedia:
    """Raises MatrixError where the probe user's data cannot be had."""
    names = own_uploads.remembered(work.access, work.user, MEMORY)
    for name in names:
        work.sweep(name)
    key = FileKey()
    seen = ScannedMedia(work.uploader)
    try:
        content = key.encrypt(hidden)
        media = work.upload(content, "postflight", names[-1:])
    except MatrixError as error:
        return replace(seen, refused=str(error), status=error.status)
    whole = f"{work.user.home.server_name}/{media}"
    questions = [
        Question("a clean file", whole, content, clean=True),
        Question("a clean encrypted file", whole, content, clean=True, key=FileKey()),
        Question("encrypted EICAR" if virus else "another encrypted file", whole, content, not virus, key=key),
        Question(
            "scan of encrypted EICAR" if virus else "scan of it", whole, content, not virus, key=key, verdict=True
        ),
    ]
    seen = replace(seen, ways=_ask(work, questions), past=_past(work, whole, content, virus=False))
    stays = work.settle(media)
    if virus and stays:
        seen = replace(seen, spared=f"a file that is uploaded cannot be removed ({stays})")
    elif virus:
        seen = _bring(work, seen)
    own_uploads.remember(work.access, work.user, tuple(work.stays), MEMORY)
    return seen


def _bring(work: _Work, seen: ScannedMedia) -> ScannedMedia:
    """The same for EICAR as it is."""
    content = eicar()
    try:
        media = work.upload(content, NAME)
    except MatrixError as error:
        if work.called:
            # The name is used again by the next run: Synapse keeps a row for each.
            work.settle(work.called)
            work.stays.setdefault(work.called, "its upload was refused")
        return replace(seen, spared=str(error))
    whole = f"{work.user.home.server_name}/{media}"
    questions = [
        Question("EICAR", whole, content, clean=False),
        Question("scan of EICAR", whole, content, clean=False, verdict=True),
    ]
    ways = tuple(
        replace(before, replies=(*before.replies, *after.replies))
        for before, after in zip(seen.ways, _ask(work, questions), strict=True)
    )
    past = (*seen.past, *_past(work, whole, content, virus=True))
    return replace(seen, ways=ways, past=past, left=work.settle(media))


def _what(media: str) -> str:
    return f"upload {media}"


def _ask(work: _Work, questions: Sequence[Question]) -> tuple[Ways, ...]:
    """Every pod of every scanner that is ready, and the one that clients are led to."""
    scanners = work.deployment.antivirus.scanners
    pods = [(each, pod) for each in scanners for pod in each.pods if pod.ready]
    led = _lead(work, PUBLIC_KEY, public_host(work.user.home))
    doors = [*(Door(pod, each.port) for each, pod in pods), *((led.door,) if led.door else ())]
    works = [partial(tried, work.access, door, questions, work.user.token, work.tries) for door in doors]
    late = (Heard(problem="no answer in time"), ())
    said = [late if each.exception() else each.result() for each in in_threads(works, Limit.SCANNING / 3)]
    by_front = said[len(pods)] if led.door else (Heard(problem=led.problem), ())
    found = [Ways(scanner, pod, *each) for (scanner, pod), each in zip(pods, said, strict=False)]
    return (*found, Ways(scanners[0], None, *by_front, led))


def _past(work: _Work, whole: str, content: bytes, *, virus: bool) -> tuple[Past, ...]:
    """Ordinary downloads, by the doors of clients and of other servers."""
    routes = list(_routes(work, whole)) if virus else [_client_route(work, DOWNLOAD, whole, token=True)]
    by_door: dict[tuple[str, int, str], list[_Route]] = {}
    for each in routes:
        if door := each.lead.door:
            by_door.setdefault((door.pod.id, door.port, door.host), []).append(each)
    groups = list(by_door.values())
    found: list[Past] = []
    outcomes = in_threads([partial(_fetch, work, each) for each in groups], Limit.SCANNING / 3)
    for group, outcome in zip(groups, outcomes, strict=True):
        failed = outcome.exception()
        why = "no answer in time" if isinstance(failed, TimeoutError) else " ".join(str(failed).split())[:200]
        heard = [Heard(problem=why)] * len(group) if failed else outcome.result()
        for each, said in zip(group, heard, strict=True):
            brought = said.status == 200 and (content in said.body if virus else content == said.body)
            led = each.lead
            past = Past(each.route, virus, said, brought, each.token, each.proxy, led.backend or "", led.pods)
            found.append(past)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Route:
    """One download to ask for: ``route`` is how it is told of, ``path`` what is asked."""

    route: str
    path: str
    token: bool
    lead: Lead
    proxy: Proxy | None


def _routes(work: _Work, whole: str) -> Iterator[_Route]:
    for host in _hosts(work):
        for route in WITH_TOKEN:
            yield _client_route(work, route, whole, host, token=True)
        for route in WITHOUT:
            yield _client_route(work, route, whole, host, token=False)
    for proxy, door in federation_doors(work.deployment, work.user.home):
        for route in OF_SERVERS:
            path = _path(route, whole)
            backend = proxy.federation.backend(path) if proxy.federation else None
            pods = _behind(proxy, backend)
            led = Lead(door, f"through {door.pod.name}", pods=pods, backend=backend)
            yield _Route(f"{route} at {door.port}", path, False, led, proxy)
        return


def _hosts(work: _Work) -> tuple[str, ...]:
    """The public names by which clients may come to main's homeserver, that which it tells them first."""
    paths = addresses.led(work.deployment, work.snapshot)
    led = (each.host for each in paths if each.way.sides == {Side.MAIN} and each.host and "*" not in each.host)
    return tuple(dict.fromkeys((public_host(work.user.home), client_host(work.user.home), *led)))


def _client_route(work: _Work, route: str, whole: str, host: str = "", *, token: bool) -> _Route:
    path, first = _path(route, whole), public_host(work.user.home)
    led = _lead(work, path, host or first)
    route = route if host in ("", first) else f"{route} of {host}"
    proxies = work.deployment.proxies
    proxy = next((each for each in proxies if led.door and led.door.pod in each.pods), None)
    return _Route(route, path, token, led, proxy)


def _path(route: str, whole: str) -> str:
    path = route.replace("…", whole) if "…" in route else f"{route}/{whole}"
    return f"{path}{THUMBNAIL}" if "/thumbnail" in route else path


def _behind(proxy: Proxy, backend: str | None) -> tuple[Pod, ...]:
    return tuple(pod for each in proxy.backends.get(backend or "", ()) for pod, _ in each.pods)


def _lead(work: _Work, path: str, host: str) -> Lead:
    """Where clients end up who ask a host for a path. Without a door where it is not public, or, with ``limit``, where
    nothing says how they come in."""
    found = lead(work.deployment, work.snapshot, work.user.home, host, path.partition("?")[0])
    if isinstance(found, Lead):
        return found
    return Lead(None, "", problem=f"{host}: {found.why}", limit=NO_WAY_KNOWN if found.why == NOWHERE else "")


def _fetch(work: _Work, routes: Sequence[_Route]) -> list[Heard]:
    """All of one door. Raises ApiError or OSError where no way leads there."""
    door = routes[0].lead.door
    assert door is not None
    token, tries = work.user.token, min(work.tries, FEWER) if len(routes) > 1 else work.tries
    with line(work.access, door) as way:
        return [way.ask("GET", each.path, token=token if each.token else None, tries=tries) for each in routes]
