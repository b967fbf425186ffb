"""One login with a placeholder at each PostgreSQL and each Redis: nobody may come in by the word of a template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Login, RedisNode
from postflight.limits import Limit
from postflight.probes.databases import LoginOutcome, log_in, meaning, way_to
from postflight.probes.probe import probe
from postflight.probes.redis_client import client, trouble
from postflight.secrets import Secret

#: The one that templates have most. A single try each, so that nobody is locked out by it.
WORD = "CHANGEME"
#: Its word on slots and rights comes after the password was taken.
TAKEN = (LoginOutcome.NO_SLOT, LoginOutcome.NO_CONNECT)


class Answer(StrEnum):
    """What a service made of the placeholder; SILENT is one that did not get so far as to judge it."""

    REFUSED = "refused"
    LET_IN = "let in"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class PlaceholderLogin:
    """One try at the service ``subject``, which people call ``name``; ``where`` is the role, or the pod."""

    subject: str
    name: str
    where: str
    answer: Answer
    said: str = ""


@probe(limit=Limit.DATABASE, reaches=True)
def placeholder_logins(deployment: Deployment, access: Access) -> tuple[PlaceholderLogin, ...]:
    """Try to log in once to each PostgreSQL and each Redis with CHANGEME as the password."""
    tries = [*_databases(deployment, access), *_redis(deployment, access)]
    found: list[PlaceholderLogin] = []
    outcomes = in_threads([attempt for _, attempt in tries], Limit.DATABASE - 1)
    for (at, _), outcome in zip(tries, outcomes, strict=True):
        error = outcome.exception()
        if error is not None and not isinstance(error, TimeoutError):
            raise error
        answer, said = outcome.result() if error is None else (Answer.SILENT, "no answer within the time limit")
        found.append(replace(at, answer=answer, said=said))
    return tuple(found)


Try = tuple[PlaceholderLogin, Callable[[], tuple[Answer, str]]]


def _databases(deployment: Deployment, access: Access) -> list[Try]:
    found: list[Try] = []
    for cluster in deployment.postgres:
        endpoints = {(each.host, each.port): each for each in cluster.endpoints}
        # What is elsewhere, and what nobody is behind, has no way to it from everywhere.
        led = {where for where, each in endpoints.items() if each.pods}
        uses = [each for each in deployment.database_uses if (each.login.host, each.login.port) in led]
        if not uses:
            continue
        login = replace(uses[0].login, password=Secret(WORD))
        at = PlaceholderLogin(cluster.id, f"PostgreSQL {cluster.name}", f"role {login.user}", Answer.SILENT)
        found.append((at, _database(access, login, endpoints[(login.host, login.port)])))
    return found


def _database(access: Access, login: Login, endpoint: Endpoint) -> Callable[[], tuple[Answer, str]]:
    def attempt() -> tuple[Answer, str]:
        import psycopg

        try:
            with way_to(access, endpoint) as (address, port, _), log_in(login, address, port):
                return Answer.LET_IN, ""
        except (psycopg.Error, OSError) as error:
            outcome, said = meaning(error)
        except ApiError as error:
            return Answer.SILENT, str(error)
        if outcome is LoginOutcome.PASSWORD:
            return Answer.REFUSED, said
        return (Answer.LET_IN if outcome in TAKEN else Answer.SILENT), said

    return attempt


def _redis(deployment: Deployment, access: Access) -> list[Try]:
    found: list[Try] = []
    for group in deployment.redis:
        for node in group.nodes[:1]:
            at = PlaceholderLogin(group.id, f"Redis {group.name}", node.pod.name, Answer.SILENT)
            found.append((at, _node(access, node)))
    return found


def _node(access: Access, node: RedisNode) -> Callable[[], tuple[Answer, str]]:
    def attempt() -> tuple[Answer, str]:
        import redis

        try:
            with client(access, node, Secret(WORD)) as connection:
                connection.ping()
        except Exception as error:
            refused = isinstance(error, redis.AuthenticationError | redis.ResponseError)
            return (Answer.REFUSED, "") if refused else (Answer.SILENT, trouble(error, node).line)
        return Answer.LET_IN, ""

    return attempt
