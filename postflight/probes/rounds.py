"""What was asked by the front door, and who counted it: plain numbers, no judgement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from postflight.deployment.call_parts import Proxy
from postflight.deployment.parts import Endpoint, SynapseProcess
from postflight.deployment.request_classes import CLASSES, Release, RequestClass
from postflight.probes.http import Door, Said
from postflight.probes.request_counters import Counted

SERVLETS = frozenset(each.servlet for each in CLASSES)
#: How Synapse signs its answers (header Server: synapse/http/site.py, 1.119 and 1.163).
SIGNED = re.compile(r"Synapse/(\d+)\.(\d+)")
#: What is asked for all the time by who looks after a process, and is no class's by another name.
LOOKED_AFTER = re.compile(r"(Health|Metrics)Resource|VersionsRestServlet|Replication\w+")


@dataclass(frozen=True, slots=True)
class Way:
    """A door that requests of a class come in by. ``proxy`` stands there, and leads them to ``backend`` by its own
    rules (None where they do not tell); ``ingress`` says which Ingress leads them there."""

    door: Door
    proxy: Proxy | None = None
    backend: str | None = None
    ingress: str = ""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What the proxy's backend leads to."""
        return tuple(self.proxy.backends.get(self.backend, ())) if self.proxy and self.backend else ()

    @property
    def at(self) -> str:
        """Where that is, at the end of a headline."""
        return f" at {self.proxy.name}" if self.proxy else f": {self.ingress}" if self.ingress else ""

    @property
    def rule(self) -> str:
        """Who leads them where, by configuration."""
        hosts = ", ".join(dict.fromkeys(each.host for each in self.endpoints))
        led = f"{self.proxy.name} leads them to backend {self.backend} ({hosts})" if self.proxy and self.backend else ""
        return "; ".join(filter(None, (self.ingress, led)))


def by_synapse(said: Said) -> bool:
    """Whether the words are Synapse's: an error with a code, or what was asked for as JSON."""
    return "errcode" in said.json or (said.status == 200 and bool(said.json))


def unrecognised(said: Said) -> bool:
    """Whether a process of Synapse's answers that it knows no such request."""
    return said.status in (404, 405) and said.json.get("errcode") == "M_UNRECOGNIZED"


def whole(said: Said) -> bool:
    """Whether some process of Synapse's has dealt with a request as it should, and so must have counted it."""
    usual = 200 <= said.status < 300 or 400 <= said.status < 500
    return usual and by_synapse(said) and not unrecognised(said) and not said.stored


@dataclass(frozen=True, slots=True)
class Asked:
    """The same request several times by one way."""

    kind: RequestClass
    way: Way
    said: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who counted the requests of a class that were dealt with: ``moved`` by process, other people's among them, of
    ``whole`` answers."""

    whole: tuple[Said, ...]
    moved: tuple[tuple[SynapseProcess, int], ...] = ()

    @property
    def total(self) -> int:
        return sum(count for _, count in self.moved)

    @property
    def short(self) -> int:
        """The requests that nobody has counted."""
        return max(0, len(self.whole) - self.total)

    @property
    def exact(self) -> bool:
        """Whether as many were counted as were asked: no other people's among them."""
        return self.total == len(self.whole)

    @property
    def others(self) -> int:
        """What was counted beyond what was asked is other people's: as much may have come to any process."""
        return max(0, self.total - len(self.whole))

    def beyond_chance(self, processes: Sequence[SynapseProcess]) -> bool:
        """Whether these counted more than other people's requests can be."""
        ids = {each.id for each in processes}
        return sum(count for each, count in self.moved if each.id in ids) > self.others

    @property
    def observed(self) -> str:
        told = ", ".join(f"{each.name} {count}" for each, count in self.moved)
        return f"{len(self.whole)} requests, counted by {told or 'nobody'}"


@dataclass(frozen=True, slots=True)
class Round:
    """Classes that were asked at once, each by every way there is, between two looks at the counters of all
    processes."""

    asked: tuple[Asked, ...]
    counted: tuple[Counted, ...]

    def ways(self, kind: RequestClass) -> tuple[Asked, ...]:
        return tuple(each for each in self.asked if each.kind == kind)

    @property
    def kinds(self) -> tuple[RequestClass, ...]:
        return tuple(dict.fromkeys(each.kind for each in self.asked))

    @property
    def lost(self) -> tuple[RequestClass, ...]:
        """The classes with answers of Synapse's that nobody has counted, or may not have: who began anew has lost what it
        counted, and beside other people's requests its own are not missed."""
        anew = any(each.restarted for each in self.counted)

        def is_lost(kind: RequestClass) -> bool:
            found = self.attributed(kind)
            return found.short > 0 or (anew and not found.exact) or self._nobodys(kind)

        return tuple(each for each in self.kinds if is_lost(each))

    @property
    def waiting(self) -> tuple[RequestClass, ...]:
        """The classes for which a proxy has no server though pods are ready behind it: it may not have found them yet."""
        return tuple(each for each in self.kinds if any(_unserved(asked) for asked in self.ways(each)))

    @property
    def silent(self) -> tuple[RequestClass, ...]:
        """The classes of which a request got no answer."""
        return tuple(each for each in self.kinds if any(not said.status for of in self.ways(each) for said in of.said))

    def _nobodys(self, kind: RequestClass) -> bool:
        """Whether somebody did not know such a request and no process has counted one that it did not know."""
        refused = any(unrecognised(said) for each in self.ways(kind) for said in each.said)
        return refused and not any(each.unknown(kind.method) for each in self.counted)

    @property
    def certain(self) -> bool:
        """Whether every process said what it counted."""
        return not any(each.problem for each in self.counted)

    def attributed(self, kind: RequestClass) -> Attribution:
        """By the answers that were counted; where those are too few, and no fewer came in than were asked, by what
        came in."""
        dealt = tuple(said for each in self.ways(kind) for said in each.said if whole(said))
        statuses = tuple({said.status for said in dealt})
        answered = Attribution(
            dealt, _moved((each.process, each.of(kind.method, kind.servlet, statuses)) for each in self.counted)
        )
        if not answered.short:
            return answered
        received = Attribution(
            dealt, _moved((each.process, each.received.get((kind.method, kind.servlet), 0)) for each in self.counted)
        )
        return answered if received.short else received

    def renamed(self, kind: RequestClass) -> str:
        """A name that no class has, under which as many were counted as are missing, where no process has ever counted
        any by the name that is known; "" for none."""
        wanted = (kind.method, kind.servlet)
        if any(wanted in each.known for each in self.counted):
            return ""
        missing = self.attributed(kind)
        statuses = {said.status for said in missing.whole}
        sums: dict[str, int] = {}
        for each in self.counted:
            for (method, servlet, status), count in each.answered.items():
                if method == kind.method and status in statuses and not _ordinary(servlet):
                    sums[servlet] = sums.get(servlet, 0) + count
        return next((servlet for servlet, count in sums.items() if count >= missing.short > 0), "")


def _unserved(asked: Asked) -> bool:
    refused = any(said.unserved for said in asked.said)
    return refused and any(pod.ready for each in asked.way.endpoints for pod, _ in each.pods)


def _ordinary(servlet: str) -> bool:
    return servlet in SERVLETS or LOOKED_AFTER.fullmatch(servlet) is not None


def _moved(counts: Iterable[tuple[SynapseProcess, int]]) -> tuple[tuple[SynapseProcess, int], ...]:
    return tuple((process, count) for process, count in counts if count)


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """All classes that some process of main's homeserver can serve. What was not counted whole in one round was asked
    again in the next. ``shut`` says why a class has no way in, by its name; ``changed`` what became of Synapse's pods
    since the snapshot, looked at where something was not counted to the last."""

    main: SynapseProcess
    rounds: tuple[Round, ...]
    shut: Mapping[str, str]
    changed: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[RequestClass, ...]:
        return tuple(dict.fromkeys(kind for each in self.rounds for kind in each.kinds))

    @property
    def release(self) -> Release | None:
        """The newest release by which an answer is signed, None where none is: what one process of several releases
        does not know is told of by another check."""
        servers = {said.server for each in self.rounds for asked in each.asked for said in asked.said}
        found = [(int(signed[1]), int(signed[2])) for server in servers if (signed := SIGNED.match(server))]
        return max(found, default=None)

    def last(self, kind: RequestClass) -> Round:
        """The last round in which a class was asked."""
        return next(each for each in reversed(self.rounds) if kind in each.kinds)
