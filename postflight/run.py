"""One run, stage by stage: connect, snapshot, model, probes, clean-up. Knows nothing of pytest."""

from __future__ import annotations

import itertools
import secrets as randomness
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from postflight.account import NOBODY, Account
from postflight.cluster.access import Access, Way
from postflight.cluster.api import Api
from postflight.cluster.connection import ClusterError, connect
from postflight.cluster.cuts import PodName
from postflight.cluster.files import read_files
from postflight.cluster.kinds import LISTED, MODEL, SERVICE, Kind
from postflight.cluster.references import secret_names
from postflight.cluster.replaced import replaced
from postflight.cluster.rights import missing_rights
from postflight.cluster.secrets import read_secrets
from postflight.cluster.snapshot import Snapshot, take
from postflight.cluster.threads import share_memory
from postflight.credential import NONE, Credential
from postflight.deployment.build import build, survey
from postflight.deployment.federating import choice_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, pod_id
from postflight.deployment.synapse import holds_homeserver
from postflight.disrupted import told
from postflight.disrupting import in_the_way
from postflight.probes.probe import FORWARD, BarredBy, NotTried, Probe, Right, Safety
from postflight.probes.runner import Looked, Outcome, closure, once_more
from postflight.probes.runner import run as run_probes
from postflight.secrets import Redactor
from postflight.settings import Settings
from postflight.traces import Traces
from postflight.verdict.doubts import Doubts
from postflight.verdict.record import ProbeTime, Scene, Statement

KINDS = {kind.name: kind for kind in LISTED}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for. ``kinds`` are those that the snapshot is to hold, ``account`` and ``credential``
    are those that the settings give."""

    kubeconfig: Path | None
    context: str | None
    namespaces: tuple[str, ...]
    way: Way
    safety: Safety
    settings: Settings
    kinds: tuple[Kind, ...] = LISTED
    account: Account = NOBODY
    credential: Credential = NONE


@dataclass(slots=True)
class Stages:
    """The times of what comes before the probes, one after the other, kept as theirs are."""

    times: list[ProbeTime]
    began: float = field(default_factory=time.monotonic)

    def ended(self, name: str) -> None:
        before = self.times[-1] if self.times else None
        offset = before.chain if before else 0.0
        end = time.monotonic() - self.began
        self.times.append(
            ProbeTime(name, offset, round(end - offset, 3), round(end, 3), "seen", (before.name,) if before else ())
        )


@dataclass(slots=True)
class Run:
    """The state of one run. ``given`` are the inputs of probes that are no probes themselves, ``wanted`` the names of
    the probes that some check asks for."""

    options: Options
    probes: Mapping[str, Probe]
    redactor: Redactor
    run_id: str = field(default_factory=lambda: randomness.token_hex(4))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.monotonic)
    given: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    times: list[ProbeTime] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: The pods that were replaced before the run itself replaced some; None while it has not.
    gone: Mapping[PodName, str] | None = None
    dead: str = ""
    where: str = "?"
    wanted: frozenset[str] = frozenset()
    traces: Traces = field(init=False)

    def __post_init__(self) -> None:
        self.traces = Traces(self.run_id)
        self.options.account.register(self.redactor)
        self.options.credential.register(self.redactor)

    def look(self, needed: Iterable[str], report: Callable[[str, int, int], None]) -> None:
        """Read the cluster, build the model, run the probes of the look phase that are needed.

        Whatever stops that for all checks is kept in ``dead``, one line.
        """
        share_memory()
        try:
            self._read()
        except ClusterError as error:
            self.dead = str(error)
            return
        except Exception as error:
            self.dead = f"the verifier's own fault, in {_place(error)}: {type(error).__name__}: {_line(error)}"
            return
        wanted = closure(needed, self.probes)
        self.wanted = frozenset(each.name for each in wanted)
        refused = self._refused(wanted)
        looks = [each for each in wanted if each.looks]
        self._run(looks, refused, report, next((each for each in self.times if each.name == "files"), None))
        # Many look at once, which keeps a small cluster from answering some; who met silence looks again in quiet.
        if again := once_more(looks, self.outcomes):
            if any(each.cut for each in self.outcomes.values()):
                self.given["api"].wait_until_back()
            first = dict(self.outcomes)
            self._run(again, refused, report, max(self.times, key=lambda each: each.chain))
            self.outcomes |= {name: seen for name, seen in first.items() if self.outcomes[name].unseen}

    def disrupt(
        self, needed: Iterable[str], said: Sequence[Statement], report: Callable[[str, int, int], None]
    ) -> None:
        """Run the disruptive probes that are needed, one after the other, on what was ``said`` so far and a picture of
        the moment: the one before may have left other pods."""
        for each in [each for each in closure(needed, self.probes) if each.disrupts and not self.dead]:
            unseen = next((found for n in each.inputs if (found := self.outcomes.get(n)) and found.unseen), None)
            model = self.deployment
            barred = self._refused([each]).get(each.name)
            if not barred and not unseen and model and each.disrupts:
                barred = in_the_way(each.disrupts, model, said)
            if barred:
                self.outcomes[each.name] = Outcome(unseen=barred.reason, barred_by=barred.barred_by, parts=barred.parts)
            elif unseen:
                self.outcomes[each.name] = unseen
            else:
                last = max(self.times, key=lambda each: each.chain, default=None)
                try:
                    anew = self._picture(self.given["api"])
                except ClusterError as error:
                    self.outcomes[each.name] = Outcome(unseen=str(error))
                    continue
                if self.gone is None:
                    self.gone = self._gone()
                self._run([each], {}, report, last, anew)
                self.notes += told(self.outcomes[each.name].value)

    def leave(self, needed: Iterable[str], report: Callable[[str, int, int], None]) -> None:
        """Clean up, then run the probes that judge what is left."""
        last, began = max(self.times, key=lambda each: each.chain, default=None), time.monotonic()
        if any(each.cut for each in self.outcomes.values()):
            self.given["api"].wait_until_back()
        self.trouble += self.traces.clean_up()
        if last and not self.dead:
            seconds = time.monotonic() - began
            cleaned = ProbeTime(
                "clean_up", last.chain, round(seconds, 3), round(last.chain + seconds, 3), "seen", (last.name,)
            )
            self.times.append(cleaned)
            wanted = [each for each in closure(needed, self.probes) if each.leaves]
            self._run(wanted, self._refused(wanted), report, cleaned)

    def value(self, name: str) -> Outcome:
        if self.dead:
            return Outcome(unseen=self.dead)
        if name in self.given:
            return Outcome(self.given[name])
        lost = name in self.wanted
        return self.outcomes.get(name) or Outcome(
            unseen=f"{name} was not run", barred_by=None if lost else BarredBy.RUN
        )

    def why_unseen(self, kinds: Iterable[str]) -> str:
        """Why the model, or one of these kinds of object, is not wholly in the picture; "" when it is."""
        snapshot: Snapshot | None = self.given.get("snapshot")
        return snapshot.why_unseen(*MODEL, *(KINDS[name] for name in kinds)) if snapshot else ""

    def doubts(self) -> Doubts:
        """What no way led to, and what was replaced by now, or until the run itself took a part away: asked once
        everything was judged."""
        no_way = {pod_id(*pod): why for each in self.outcomes.values() for pod, why in each.no_way.items()}
        gone = self._gone() if self.gone is None else self.gone
        return Doubts(no_way, {pod_id(*pod): why for pod, why in gone.items()})

    def _gone(self) -> Mapping[PodName, str]:
        try:
            return replaced(self.given["api"], self.given["snapshot"])
        except ClusterError:
            # The API server itself is away: what it cut is known where it was cut.
            return {}

    @property
    def deployment(self) -> Deployment | None:
        found = self.given.get("deployment")
        return found if isinstance(found, Deployment) else None

    def scene(self) -> Scene:
        model = self.deployment
        return Scene(
            cluster=self.where,
            namespaces=model.namespaces if model else self.options.namespaces,
            summary=_summary(model) if model else "nothing seen",
            safety=self.options.safety.value,
            access=self.given["access"].way.value if "access" in self.given else "none",
        )

    def _read(self) -> None:
        stage = Stages(self.times)
        connection = connect(self.options.kubeconfig, self.options.context)
        self.where = connection.name
        self.redactor.register(
            str(connection.configuration.auth_settings().get("BearerToken", {}).get("value", "")).removeprefix(
                "Bearer "
            )
        )
        api = Api(connection)
        picture = self._picture(api, stage.ended)
        snapshot: Snapshot = picture["snapshot"]
        deployment: Deployment = picture["deployment"]
        if not deployment.synapse and (why := snapshot.why_unseen(*MODEL)):
            raise ClusterError(f"no homeserver to be seen: {why}")
        if not deployment.synapse:
            scope = ", ".join(snapshot.namespaces)
            raise ClusterError(
                f"no homeserver found in namespace {scope} of {connection.name}:"
                " is this the right cluster and --namespace?"
            )
        found = deployment.homeservers
        if not self.options.namespaces and len(set(found.values())) > 1:
            each = ", ".join(f"{name} in namespace {namespace}" for namespace, name in sorted(found.items()))
            raise ClusterError(f"more than one deployment is found: {each}; say which one with --namespace")
        for password, name in deployment.passwords():
            self.redactor.register(password, name)
        self.redactor.make_public(*_public_names(deployment))
        self.notes += deployment.notes
        if proposed := choice_of(deployment).note:
            self.notes.append(proposed)
        if alone := deployment.without_main:
            self.trouble.append(
                f"no main process is found for {alone[0].workload_name} ({alone[0].server_name or 'name not known'}):"
                " nothing of main is proven; name it in the settings, names.synapse.workloads, or its --namespace"
            )
        self.given = {
            "api": api,
            **picture,
            "access": Access.choose(api, self.options.way, picture["deployment"].standing),
            "settings": self.options.settings,
            "traces": self.traces,
            "safety": self.options.safety,
            "redactor": self.redactor,
            "account": self.options.account,
            "credential": self.options.credential,
        }

    def _picture(self, api: Api, ended: Callable[[str], None] = lambda stage: None) -> dict[str, Any]:
        """Snapshot, Secrets and model, as they are now, by the names that probes have for them. Raises ClusterError."""
        snapshot = take(api, self.options.namespaces, holds_homeserver, self.options.kinds)
        ended("snapshot")
        named = named_secrets(self.options.settings, snapshot.namespaces, snapshot)
        names = tuple(dict.fromkeys((*secret_names(snapshot), *named)))
        secrets = read_secrets(api, names, self.redactor.register)
        ended("secrets")
        surveyed = survey(snapshot, secrets, self.options.settings)
        files = read_files(api, surveyed.wanted_files(), self.redactor.register)
        deployment = build(surveyed, files, self.options.settings)
        ended("files")
        return {"snapshot": snapshot, "secrets": secrets, "deployment": deployment}

    def _run(
        self,
        wanted: Iterable[Probe],
        refused: Mapping[str, NotTried],
        report: Callable[[str, int, int], None],
        before: ProbeTime | None,
        anew: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """``anew`` are inputs of the moment, in the place of those of the look phase."""
        given = {**self.given, **{name: outcome.value for name, outcome in self.outcomes.items()}, **anew}
        looked: Looked = run_probes(wanted, given, refused, report, before)
        self.outcomes |= looked.outcomes
        self.times += looked.times
        for name, outcome in looked.outcomes.items():
            if outcome.crash:
                self.trouble.append(f"probe {name} crashed, the verifier's own fault: {outcome.crash.splitlines()[-1]}")

    def _refused(self, wanted: Iterable[Probe]) -> dict[str, NotTried]:
        """Why some of the probes must not run: the safety level, or rights that are missing."""
        api, namespaces = self.given["api"], self.deployment.namespaces if self.deployment else ()
        tunnels = self.given["access"].way is Way.TUNNEL
        needs: dict[str, tuple[Right, ...]] = {}
        refused: dict[str, NotTried] = {}
        for each in wanted:
            if not self.options.safety.allows(each.safety):
                refused[each.name] = NotTried(f"needs --safety {each.safety.value}", BarredBy.SAFETY)
            else:
                needs[each.name] = (*each.rights, *((FORWARD,) if each.reaches and tunnels else ()))
        asked = {
            (verb, right.resource, right.group, namespace)
            for rights in needs.values()
            for right in rights
            for verb in right.verbs
            for namespace in (("",) if right.wide else namespaces)
        }
        missing = missing_rights(api, tuple(asked))
        for name, rights in needs.items():
            for right in rights:
                for verb, namespace in itertools.product(right.verbs, ("",) if right.wide else namespaces):
                    if (verb, right.resource, right.group, namespace) in missing:
                        line = f"no right: {verb} {right.resource}" + (
                            f" in namespace {namespace}" if namespace else ""
                        )
                        refused.setdefault(name, NotTried(line, BarredBy.RIGHT))
        return refused


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def named_secrets(
    settings: Settings, namespaces: Iterable[str], snapshot: Snapshot | None = None
) -> list[tuple[str, str]]:
    """The Secrets that no workload names and a run reads: those of the settings, and the canary's, with a snapshot
    only where its Service stands. Without one, what opens LI's front door too, which is read when LI is found."""
    named, canary = settings.names, settings.canary
    names = (named.redis.password_secret.partition("/")[0], named.postgres.app_secret)
    found = [(namespace, name) for namespace in namespaces for name in names if name]
    own = canary.tls_secret if canary.hosts else canary.ca_secret
    stands = [each for each in namespaces if snapshot is None or snapshot.get(SERVICE, each, canary.service)]
    found += [(namespace, own) for namespace in stands if own]
    later = "" if snapshot else settings.li.credential.secret
    return [*found, *((namespace, later) for namespace in namespaces if later)]


def _public_names(model: Deployment) -> Iterable[str]:
    """Names that a report must be able to say although someone keeps them in a Secret."""
    for workload in model.workloads:
        yield from (workload.name, workload.namespace, *(pod.name for pod in workload.pods))
    for use in model.database_uses:
        yield from (use.login.host, use.login.database, use.login.user)
    for door in model.li.sync if model.li else ():
        yield from (door.login.host, door.login.database, door.login.user)
    for address in model.redis_endpoints:
        yield from (address.endpoint.host, address.endpoint.service, address.server_name)
    for store in model.stores:
        yield from (store.bucket, store.endpoint.host, store.endpoint.service)


def _summary(model: Deployment) -> str:
    own = [each for each in model.synapse if each.side is Side.MAIN]
    mains = sum(each.is_main for each in own)
    text = f"Synapse, {'main' if mains == 1 else f'{mains} mains'} + {len(own) - mains} workers"
    return f"{text}, LI" if len(own) < len(model.synapse) else text
