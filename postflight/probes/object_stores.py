"""Object stores, asked for single objects with the key pair that Synapse has; and whether each process that needs it has
the package that speaks to them.

Source: the error codes of the S3 API, as MinIO gives them too (seen, 2026-02): ``NoSuchBucket``, ``InvalidAccessKeyId``,
``SignatureDoesNotMatch``; ``NoSuchKey`` says that all of these are right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.deployment.media import holds_media
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.storage import MODULE, provider_of
from postflight.deployment.store_parts import ObjectStore, path_of
from postflight.limits import Limit
from postflight.probes.http import origin
from postflight.probes.probe import EXEC, probe
from postflight.settings import Settings

#: No upload is called that: Synapse's own names have 24 letters.
NOBODY = "postflight-no-such-file"
#: Without a bucket, or with keys that are not taken, nothing is stored, whoever asks.
NO_BUCKET, NO_KEY = "NoSuchBucket", "NoSuchKey"
REFUSED = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"})
CODE = re.compile(r"<Code>([^<]+)</Code>")
#: What the provider imports (s3_storage_provider.py, 1.7.0), beside what Synapse has anyway.
MODULES = (MODULE, "boto3", "botocore", "six")
#: With the interpreter that the container's first process is, where it is one: a virtual environment's own.
LOOK = (
    'p=$(tr "\\0" "\\n" < /proc/1/cmdline | head -n 1); case "$p" in *python*) ;; *) p=python3;; esac;'
    ' exec "$p" -c "$@"'
)
FIND = "import importlib.util, sys; print(*(int(importlib.util.find_spec(n) is not None) for n in sys.argv[1:]))"


@dataclass(frozen=True, slots=True)
class Stored:
    """One answer of an object store. ``status`` is 0 and ``problem`` set where none came; ``unasked``: nobody could
    ask. ``code`` is the S3 API's word for an error; ``version`` is set in a bucket that keeps versions."""

    status: int = 0
    code: str = ""
    body: bytes = field(default=b"", repr=False)
    version: str = ""
    problem: str = ""
    unasked: bool = False

    @property
    def refuses(self) -> bool:
        """Whether nothing can be stored with these keys in this bucket."""
        return self.code == NO_BUCKET or self.code in REFUSED

    def __str__(self) -> str:
        return self.problem or f"{self.status} {self.code}".rstrip()


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """What an object store says to the key pair of some processes, asked for what is not there."""

    store: ObjectStore
    said: Stored


@dataclass(frozen=True, slots=True)
class ProviderModules:
    """Which modules of the provider a running process has not; ``problem`` says why nobody knows."""

    process: SynapseProcess
    missing: tuple[str, ...] = ()
    problem: str = ""


@probe(limit=Limit.INSIDE, reaches=True)
def object_stores(deployment: Deployment, access: Access, settings: Settings) -> tuple[StoreAnswer, ...]:
    """Ask each bucket that media go to for a file that does not exist, as Synapse would."""

    def asker(store: ObjectStore) -> Callable[[], Stored]:
        return lambda: ask(access, settings, store, "GET", store.prefix + path_of(NOBODY))

    outcomes = in_threads([asker(each) for each in deployment.stores], Limit.INSIDE - 1)
    return tuple(
        StoreAnswer(store, Stored(problem="no answer in time") if outcome.exception() else outcome.result())
        for store, outcome in zip(deployment.stores, outcomes, strict=True)
    )


@probe(limit=Limit.EXEC, rights=(EXEC,))
def provider_modules(deployment: Deployment, api: Api) -> Mapping[str, ProviderModules]:
    """Look in each running process that sends media to an object store for the modules of its provider. By process."""
    users = [each for each in sending(deployment) if each.is_up]

    def asker(process: SynapseProcess) -> Callable[[], ProviderModules]:
        return lambda: _modules(api, process)

    outcomes = in_threads([asker(each) for each in users], Limit.EXEC - 1)
    return {
        process.id: ProviderModules(process, problem="no answer in time") if outcome.exception() else outcome.result()
        for process, outcome in zip(users, outcomes, strict=True)
    }


def sending(deployment: Deployment) -> tuple[SynapseProcess, ...]:
    """The processes that send media to an object store, by their configuration."""
    return tuple(each for each in deployment.synapse if provider_of(each.config) and holds_media(each))


def ask(
    access: Access,
    settings: Settings,
    store: ObjectStore,
    method: str,
    key: str,
    *,
    version: str = "",
    query: Mapping[str, str] | None = None,
) -> Stored:
    """One request for one object, or with a ``query`` for the bucket itself (``key`` ""), signed as the S3 API wants it. A
    certificate is not looked at: what is behind the address is meant, and a signature is worth nothing to another."""
    import httpx
    from requests_aws4auth.aws4auth import AWS4Auth

    keys, endpoint = store.keys, store.endpoint
    if keys.secret is None:
        return Stored(problem=keys.hidden, unasked=True)
    if not endpoint.host:
        return Stored(problem="endpoint_url names no host")
    if endpoint.external and endpoint.host not in settings.storage.hosts:
        why = endpoint.problem or f"{endpoint.host} is outside the cluster, and the settings do not name it"
        return Stored(problem=why, unasked=True)
    if not endpoint.external and not endpoint.pods:
        return Stored(problem=endpoint.problem)
    token = {"session_token": keys.token.reveal()} if keys.token else {}
    auth = AWS4Auth(keys.access, keys.secret.reveal(), store.region, "s3", **token)
    path = f"/{quote(store.bucket)}/{quote(key, safe='/-_.~')}"
    limits = httpx.Timeout(Limit.HTTP, connect=Limit.CONNECT)
    named = endpoint.host if endpoint.port in (80, 443) else store.where
    try:
        with (
            _way(access, store) as (host, port),
            httpx.Client(timeout=limits, verify=False, trust_env=False, headers={"Host": named}) as client,
        ):
            url = f"{origin(host, port, tls=store.tls)}{path}"
            asked = {**({"versionId": version} if version else {}), **(query or {})}
            answer = client.request(method, url, params=asked or None, auth=auth)
    except httpx.TimeoutException:
        return Stored(problem="no answer in time")
    except (httpx.HTTPError, OSError, ApiError) as error:
        return Stored(problem=" ".join(str(error).split())[:200] or type(error).__name__)
    good = answer.status_code < 300
    code = "" if good else next(iter(CODE.findall(answer.text)), "")
    return Stored(answer.status_code, code, answer.content if good else b"", answer.headers.get("x-amz-version-id", ""))


@contextmanager
def _way(access: Access, store: ObjectStore) -> Iterator[tuple[str, int]]:
    endpoint = store.endpoint
    if endpoint.external:
        yield endpoint.host, endpoint.port
        return
    pod, port = endpoint.pods[0]
    with access.to_pod(pod.namespace, pod.name, pod.ip, port) as there:
        yield there


def _modules(api: Api, process: SynapseProcess) -> ProviderModules:
    command = ("sh", "-c", LOOK, "sh", FIND, *MODULES)
    try:
        answer = run_in_pod(api, process.namespace, process.name, process.container, command, limit=Limit.EXEC - 2)
    except ApiError as error:
        return ProviderModules(process, problem=str(error))
    marks = answer.stdout.decode("ascii", "replace").split()
    if answer.code != 0 or len(marks) != len(MODULES):
        return ProviderModules(process, problem=answer.complaint)
    return ProviderModules(process, tuple(name for name, mark in zip(MODULES, marks, strict=True) if mark != "1"))
