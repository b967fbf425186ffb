"""What a stranger gets who comes in by the front door: to register, and the admin API.

Every request would change nothing if it were granted. Source: synapse/rest/client/register.py and synapse/rest/admin,
1.163.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from postflight.cluster.access import Access
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.ingresses import ASKING, Route, annotation
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import front_door, main_of, public_host
from postflight.probes.http import Said, ask
from postflight.probes.leads import Lead, lead
from postflight.probes.probe import Safety, probe

#: 403 where registration is off, whatever the name.
AVAILABLE = "/_matrix/client/v3/register/available"
NOBODY = {"username": "postflight-nobody"}
TAKEN = ("M_USER_IN_USE", "M_INVALID_USERNAME", "M_EXCLUSIVE")
#: Without a password it registers nobody: it tells what a newcomer must show, and opens a session that ends by itself.
REGISTER = "/_matrix/client/v3/register"
#: For an admin's token only.
USERS = "/_synapse/admin/v2/users"
#: A nonce for whoever knows the shared secret, worth a minute.
NONCE = "/_synapse/admin/v1/register"
#: Annotations with rules of the controller's own, which may refuse anything (ingress-nginx, Traefik).
PROGRAMS = ("configuration-snippet", "server-snippet", "router.middlewares")
Flows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Knock:
    """One request and its answer. ``pods`` are those that the request passes or ends at, as far as it is known;
    ``ingress`` names the Ingress that leads there from outside, ``guard`` the annotation by which it may first ask
    for something."""

    way: str
    said: Said
    pods: tuple[Pod, ...] = ()
    ingress: str = ""
    guard: str = ""


@dataclass(frozen=True, slots=True)
class ClosedDoors:
    """``flows`` are the ways to register, each the steps that it asks for; None where nobody was asked, or
    ``register`` says what came instead."""

    main: SynapseProcess
    available: Knock
    users: Knock
    nonce: Knock
    register: Knock | None = None
    flows: Flows | None = None


@probe(limit=Limit.DOORS, reaches=True)
def closed_doors(deployment: Deployment, snapshot: Snapshot, access: Access, safety: Safety) -> tuple[ClosedDoors, ...]:
    """As a stranger at the front door, ask to register, and for what only admins get."""
    main = main_of(deployment)
    if main is None:
        return ()

    def knock(method: str, path: str, **given: Any) -> Callable[[], Knock]:
        return lambda: _knock(deployment, snapshot, access, main, method, path, **given)

    knocks = [knock("GET", AVAILABLE, query=NOBODY), knock("GET", USERS), knock("GET", NONCE)]
    late = Knock("", Said(main.workload_name, problem="no answer in time"))
    outcomes = in_threads(knocks, Limit.DOORS / 3 - 1)
    available, users, nonce = (
        late if isinstance(each.exception(), TimeoutError) else each.result() for each in outcomes
    )
    register, flows = None, None
    if is_on(available.said) and safety.allows(Safety.CANARY):
        (asked,) = in_threads([knock("POST", REGISTER, body={})], Limit.DOORS / 3 - 1)
        register = late if isinstance(asked.exception(), TimeoutError) else asked.result()
        flows = _flows(register.said)
    return (ClosedDoors(main, available, users, nonce, register, flows),)


def is_on(available: Said) -> bool:
    """Whether an answer to ``AVAILABLE`` says that registration is on: a name is free, or taken."""
    told = available.json
    return (available.status == 200 and told.get("available") is True) or told.get("errcode") in TAKEN


def _knock(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    main: SynapseProcess,
    method: str,
    path: str,
    **given: Any,
) -> Knock:
    found = lead(deployment, snapshot, main, public_host(main), path)
    if isinstance(found, Lead):
        name, guard = (found.route.name, _guard(snapshot, found.route)) if found.route else ("", "")
        if found.door is None:
            return Knock(found.says, Said("", problem=found.problem), found.pods, name, guard)
        said = ask(access, found.door, method, path, **given)
        return Knock(found.says, said, (found.door.pod, *found.pods), name, guard)
    door = front_door(deployment, main)
    if door is None:
        return Knock("", Said(main.workload_name, problem="no client listener of it is known"))
    return Knock(f"through {door.pod.name}", ask(access, door, method, path, **given), (door.pod,))


def _guard(snapshot: Snapshot, route: Route) -> str:
    return next((each for each in (*ASKING, *PROGRAMS) if annotation(snapshot, route, each) is not None), "")


def _flows(said: Said) -> Flows | None:
    listed = said.json.get("flows") if said.status == 401 else None
    if not isinstance(listed, list):
        return None
    stages = [each.get("stages") for each in listed if isinstance(each, Mapping)]
    return tuple(tuple(map(str, each)) for each in stages if isinstance(each, list))
