"""A process's database, asked with the login that the process itself has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from postflight.cluster.access import Access, Way
from postflight.cluster.api import ApiError
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Login, SynapseProcess, is_loopback
from postflight.probes.databases import log_in, way_to

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unasked:
    """``problem`` says why the database did not answer, ``unseen`` why nobody could ask it."""

    problem: str = ""
    unseen: str = ""


def asked(
    access: Access, deployment: Deployment, process: SynapseProcess, ask: Callable[[psycopg.Connection[Any]], T]
) -> T | Unasked:
    """What ``ask`` finds in the database of a process, logged in as the process itself would, with the password that
    it has in effect; of several databases in the first. The transaction only reads, and its statements have limits
    (:func:`postflight.probes.databases.log_in`). What ``ask`` raises of psycopg.Error and OSError is the database's
    problem, anything else is raised here too."""
    import psycopg

    login, endpoint = _door(deployment, process)
    if login is None or endpoint is None:
        return Unasked(unseen=f"the database of {process.workload_name} is not known")
    if is_loopback(login.host):
        return Unasked(unseen=f"{login.host} is the process's own pod, and only from there can one log in")
    if endpoint.external and access.way is Way.TUNNEL and (endpoint.problem or access.standing is None):
        return Unasked(unseen=f"no tunnel leads to {login.host}, outside the cluster")
    if not endpoint.pods and not endpoint.external:
        return Unasked(problem=endpoint.problem)
    try:
        with way_to(access, endpoint) as (address, port, _), log_in(login, address, port) as connection:
            return ask(connection)
    except (psycopg.Error, OSError) as error:
        return Unasked(problem=" ".join(str(error).split())[:200])
    except ApiError as error:
        return Unasked(unseen=str(error))


def _door(deployment: Deployment, process: SynapseProcess) -> tuple[Login | None, Endpoint | None]:
    """The login of a process, and where it leads; None for what is not known."""
    login = next((use.login for use in deployment.database_uses if use.client == process.id), None)
    endpoints = {(each.host, each.port): each for cluster in deployment.postgres for each in cluster.endpoints}
    return login, endpoints.get((login.host, login.port)) if login else None
