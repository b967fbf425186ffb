"""The key vault: whether it answers, to whom, and whether it gives back what it was given."""

from __future__ import annotations

import json
import secrets as randomness
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.vault_parts import ApiKey, KeyVault, Requests
from postflight.limits import Limit
from postflight.probes.http import origin
from postflight.probes.own import Turn
from postflight.probes.probe import Safety, probe
from postflight.secrets import Secret
from postflight.traces import Traces

HEALTH = "/health"
#: The one record that is ever ours: what a killed run left under it, the next one writes over.
RECORD = "postflight"
#: It does not know the key, or not for this.
REFUSED = (401, 403)
GONE = (200, 202, 204, 404, 410)


@dataclass(frozen=True, slots=True)
class VaultSaid:
    """One answer. ``status`` is 0 and ``problem`` set where none came; ``text`` may hold a record: it never prints."""

    status: int = 0
    problem: str = ""
    text: str = field(default="", repr=False)

    @property
    def refuses(self) -> bool:
        return self.status in REFUSED

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def __str__(self) -> str:
        return self.problem or str(self.status)


@dataclass(frozen=True, slots=True)
class VaultAnswers:
    """What a key vault says: to anybody (``health``), to a key that nobody has (``stranger``), and to each key that
    Synapse has in effect, asked for our record. ``unasked`` says why nobody could ask; ``stranger`` and ``known`` are
    empty where nobody says how it is asked for a record."""

    vault: KeyVault
    health: VaultSaid = field(default_factory=VaultSaid)
    stranger: VaultSaid | None = None
    known: tuple[tuple[ApiKey, VaultSaid], ...] = ()
    unasked: str = ""


@dataclass(frozen=True, slots=True)
class VaultRecord:
    """A record's way: what storing, fetching and removing it were answered with, None where that was not asked;
    ``same``: it came back as it was. ``stranger`` is the answer to a key that nobody has, asked for it while it was
    there; ``given``: the record was in that answer."""

    vault: KeyVault
    stored: VaultSaid | None = None
    fetched: VaultSaid | None = None
    same: bool = False
    removed: VaultSaid | None = None
    stranger: VaultSaid | None = None
    given: bool = False


@probe(limit=Limit.INSIDE, reaches=True)
def key_vaults(deployment: Deployment, access: Access) -> tuple[VaultAnswers, ...]:
    """Ask each key vault how it is, and for one record with the key that Synapse has and with one that nobody has."""

    def asker(vault: KeyVault) -> Callable[[], VaultAnswers]:
        return lambda: _answers(access, vault)

    outcomes = in_threads([asker(each) for each in deployment.vaults], Limit.INSIDE - 1)
    return tuple(
        VaultAnswers(vault, VaultSaid(problem="no answer in time")) if outcome.exception() else outcome.result()
        for vault, outcome in zip(deployment.vaults, outcomes, strict=True)
    )


@probe(limit=Limit.VAULT, safety=Safety.CANARY, reaches=True)
def key_vault_records(
    access: Access, key_vaults: tuple[VaultAnswers, ...], traces: Traces, turn: Turn
) -> tuple[VaultRecord, ...]:
    """Store one record in each key vault that takes its key, fetch it, by a key that nobody has too, compare and remove it.

    Only of one that is well, and removed where it is known how.
    """
    works: list[tuple[KeyVault, Callable[[], VaultRecord]]] = []
    for each in key_vaults:
        taken = next((key.secret for key, said in each.known if key.secret and _is_taken(said)), None)
        asked = each.vault.requests
        # What is not well may keep what it is given, and not remove it.
        if each.health.good and taken and asked and asked.store and asked.fetch:
            works.append((each.vault, partial(_round, access, each.vault, asked, taken, traces)))
    outcomes = in_threads([work for _, work in works], Limit.VAULT - 1)
    return tuple(
        VaultRecord(vault, VaultSaid(problem="no answer in time")) if outcome.exception() else outcome.result()
        for (vault, _), outcome in zip(works, outcomes, strict=True)
    )


def _answers(access: Access, vault: KeyVault) -> VaultAnswers:
    if why := _unasked(vault):
        return VaultAnswers(vault, unasked=why)
    if vault.endpoint.problem and not vault.endpoint.pods:
        return VaultAnswers(vault, VaultSaid(problem=vault.endpoint.problem))
    seen = VaultAnswers(vault, _ask(access, vault, "GET", HEALTH, {}))
    asked = vault.requests
    if not seen.health.status or asked is None or not asked.fetch:
        return seen
    method, path = asked.of(asked.fetch, RECORD)
    path = f"{vault.base}{path}"

    def said(key: Secret) -> VaultSaid:
        return _ask(access, vault, method, path, dict([asked.named(key)]))

    stranger = said(_strange())
    keys = vault.keys or ((vault.own,) if vault.own else ())
    return replace(seen, stranger=stranger, known=tuple((each, said(each.secret)) for each in keys if each.secret))


def _is_taken(said: VaultSaid) -> bool:
    return 0 < said.status < 500 and not said.refuses


def _strange() -> Secret:
    """What would be another's key by chance has as many bits as a key has."""
    return Secret(randomness.token_hex(16))


def _unasked(vault: KeyVault) -> str:
    endpoint = vault.endpoint
    if not endpoint.external:
        return ""
    return endpoint.problem or f"{endpoint.host} is outside the cluster"


def _round(access: Access, vault: KeyVault, asked: Requests, key: Secret, traces: Traces) -> VaultRecord:
    """The record is another each time, so that none of a run before can stand for it."""
    record = f"postflight-{randomness.token_hex(16)}"
    body = asked.body.replace("{record}", record).replace("{id}", RECORD)
    kind = "application/json" if _is_json(body) else "application/octet-stream"

    def request(which: str, content: str | None = None, key: Secret = key) -> VaultSaid:
        method, path = asked.of(which, RECORD)
        headers = dict([asked.named(key)]) | ({"Content-Type": kind} if content is not None else {})
        return _ask(access, vault, method, f"{vault.base}{path}", headers, content)

    removed: list[VaultSaid] = []

    def remove() -> None:
        removed.append(request(asked.remove))
        if removed[-1].status not in GONE:
            raise OSError(f"removing it was answered with {removed[-1]}")

    what = f"record {RECORD} in {vault.name}"
    if asked.remove:
        traces.will_make(what, remove)
    stored = request(asked.store, body)
    fetched = request(asked.fetch) if stored.good else None
    same = fetched is not None and fetched.good and _holds(fetched.text, record, whole=asked.body == "{record}")
    stranger = request(asked.fetch, key=_strange()) if same else None
    given = stranger is not None and stranger.good and record in stranger.text
    if asked.remove:
        traces.settle(what)
    return VaultRecord(vault, stored, fetched, same, removed[-1] if removed else None, stranger, given)


def _holds(text: str, record: str, *, whole: bool) -> bool:
    """Whether an answer is the record, or, where it was stored within something else, has it within."""
    return text == record if whole else record in text


def _is_json(body: str) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _ask(
    access: Access, vault: KeyVault, method: str, path: str, headers: Mapping[str, str], content: str | None = None
) -> VaultSaid:
    """One request, by the name that Synapse asks by, no redirect followed. A certificate is not looked at: what is behind
    the address is meant."""
    import httpx

    given = {"Host": vault.endpoint.host if vault.endpoint.port in (80, 443) else vault.where, **headers}
    limits = httpx.Timeout(Limit.HTTP, connect=Limit.CONNECT)
    try:
        with _way(access, vault) as (host, port), httpx.Client(timeout=limits, verify=False, trust_env=False) as client:
            url = f"{origin(host, port, tls=vault.tls)}{path}"
            answer = client.request(method, url, headers=given, content=content)
    except httpx.TimeoutException:
        return VaultSaid(problem="no answer in time")
    except (httpx.HTTPError, OSError, ApiError) as error:
        return VaultSaid(problem=" ".join(str(error).split())[:200] or type(error).__name__)
    return VaultSaid(answer.status_code, text=answer.text)


@contextmanager
def _way(access: Access, vault: KeyVault) -> Iterator[tuple[str, int]]:
    pod, port = vault.endpoint.pods[0]
    with access.to_pod(pod.namespace, pod.name, pod.ip, port) as there:
        yield there
