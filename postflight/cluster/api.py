"""Raw JSON requests to the API server: paged lists, one-line errors, a limit on each."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import tenacity

from postflight.cluster import cuts
from postflight.cluster.connection import ClusterError, Connection
from postflight.cluster.kinds import Kind
from postflight.limits import Limit

T = TypeVar("T")

Object = Mapping[str, Any]
PAGE = 500
#: Seconds until the same is asked for again.
AGAIN = 0.5
#: As an API server answers that is still coming up.
NOT_READY = frozenset({500, 503})
#: What asks for the same however often it is sent.
TWICE = frozenset({"GET", "DELETE"})
CHUNK = 2**20
#: What the kubelet writes in the place of a log, with status 200: for a second or so after a container has crashed again
#: it still looks for the log of the life before, which is gone (pkg/kubelet/kuberuntime, GetContainerLogs; seen on 1.34).
NO_LOG = "unable to retrieve container logs for "


class ApiError(ClusterError):
    """The API server refused a request, or could not be reached (status 0)."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Unreachable(ApiError):
    """No answer at all: worth one more try."""

    def __init__(self, line: str) -> None:
        super().__init__(0, line)


class Late(Unreachable):
    """No answer in time: what was asked for may be slow, a node's kubelet, and the way there whole."""

    def __init__(self, server: str) -> None:
        super().__init__(f"API server {server} does not answer within its time limit")


def _tls(configuration: Any) -> ssl.SSLContext:
    """The context for streams, made once: loading the certificates costs more than a handshake."""
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except OSError as error:
        why = " ".join(str(error).split())
        raise ClusterError(f"the CA or the client certificate of the kubeconfig cannot be used: {why}") from error
    return context


def _again(method: str, path: str, send: Callable[[], T]) -> T:
    """What may be asked for twice is asked for once more where the way was cut. Raises ApiError."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Unreachable),
        stop=tenacity.stop_after_attempt(2 if method in TWICE else 1),
        wait=tenacity.wait_fixed(AGAIN),
        reraise=True,
    )
    try:
        return retrying(send)
    except Unreachable as error:
        if not isinstance(error, Late):
            cuts.note(f"{method} {path}")
        raise


class Api:
    """One API server, safe to use from many threads."""

    def __init__(self, connection: Connection) -> None:
        from kubernetes.client import ApiClient

        self.connection = connection
        self._client = ApiClient(connection.configuration)
        self.host: str = connection.configuration.host.rstrip("/")
        self.tls = _tls(connection.configuration)
        self._ahead = timedelta(0)

    @property
    def server(self) -> str:
        return urlsplit(self.host).netloc

    def now(self) -> datetime:
        """The time by the API server's clock, to the second: two verifiers' own clocks may differ."""
        return datetime.now(UTC) + self._ahead

    def authorization(self) -> str:
        """The Authorization header of the moment; tokens that expire are renewed by the library."""
        setting = self.connection.configuration.auth_settings().get("BearerToken")
        return str(setting["value"]) if setting else ""

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        limit: float = Limit.REQUEST,
        content_type: str = "application/json",
    ) -> Any:
        """Send one request, return its JSON. Raises :class:`ApiError`."""
        url = path + (f"?{urlencode(query)}" if query else "")
        return _again(method, path, lambda: self._request(method, url, body, limit, content_type))

    def get(self, path: str, **query: str) -> Any:
        return self.request("GET", path, query=query)

    def wait_until_back(self, limit: float = Limit.BACK) -> None:
        """Return once the API server answers again, or after ``limit`` seconds."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            try:
                self._send("GET", "/readyz", None, Limit.CONNECT, "")
                return
            except ApiError as error:
                # One that refuses to say answers.
                if not isinstance(error, Unreachable) and error.status not in NOT_READY:
                    return
            time.sleep(AGAIN)

    def list_all(self, kind: Kind, namespace: str = "", **query: str) -> Iterator[Object]:
        """Yield all objects of a kind, page by page. Raises :class:`ApiError`."""
        more: dict[str, str] = {"limit": str(PAGE), **query}
        while True:
            page = self.get(kind.path(namespace), **more)
            items = page.get("items") or ()
            if str(page.get("kind", "")).removesuffix("List") != kind.name or not isinstance(items, list | tuple):
                line = f"{self.server} answers a LIST of {kind.plural} with something else"
                raise ApiError(200, f"{line}: is it an API server?")
            yield from items
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            more["continue"] = token

    def log(self, path: str, **query: str) -> list[str]:
        """The lines of a container's log; none where the kubelet has just removed it. Raises :class:`ApiError`."""
        url = f"{path}?{urlencode(query)}"
        data = _again("GET", path, lambda: self._send("GET", url, None, Limit.REQUEST, ""))
        return [each for each in data.decode("utf-8", "replace").splitlines() if not each.startswith(NO_LOG)]

    def may(self, verb: str, resource: str, group: str, namespace: str, name: str = "") -> bool:
        """Ask whether this is allowed (SelfSubjectAccessReview)."""
        plain, _, sub = resource.partition("/")
        attributes = {"verb": verb, "resource": plain, "subresource": sub, "group": group}
        attributes |= {"namespace": namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool(answer["status"].get("allowed"))

    def _request(self, method: str, url: str, body: Any, limit: float, content_type: str) -> Any:
        data = self._send(method, url, body, limit, content_type)
        try:
            found = json.loads(data) if data else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            what = "not JSON" if found is None else "no object"
            line = f"{self.server} answers {method} {urlsplit(url).path} with something that is {what}"
            raise ApiError(200, f"{line}: is it an API server?")
        return found

    def _send(self, method: str, url: str, body: Any, limit: float, content_type: str) -> bytes:
        import urllib3

        deadline = time.monotonic() + limit
        headers = {"Accept": "application/json, */*", "User-Agent": "postflight"}
        if token := self.authorization():
            headers["Authorization"] = token
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            answer = self._client.rest_client.pool_manager.request(
                method,
                self.host + url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=min(limit, Limit.CONNECT), read=limit),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            with suppress(ValueError):
                self._ahead = parsedate_to_datetime(answer.headers.get("Date", "")) - datetime.now(UTC)
            data = bytearray()
            # The library's own limit holds for each read, not for an answer that comes in drops.
            while piece := answer.read1(CHUNK):
                data += piece
                if time.monotonic() > deadline:
                    answer.close()
                    raise Late(self.server)
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.status >= 300:
            raise ApiError(answer.status, self._refusal(method, url, answer.status, bytes(data)))
        return bytes(data)

    def _unreachable(self, error: Exception) -> ApiError:
        text = str(error)
        cause = getattr(error, "reason", None) or error.__cause__ or error
        if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in text:
            return ApiError(
                0,
                f"API server {self.server} shows a certificate that the kubeconfig's CA did not sign"
                " (certificate-authority-data)",
            )
        if "refused" in text:
            return Unreachable(f"API server {self.server} refuses connections: is the cluster up?")
        if "timed out" in text:
            return Late(self.server)
        return Unreachable(f"API server {self.server} cannot be reached: {' '.join(text.split())[:200]}")

    def _refusal(self, method: str, url: str, status: int, data: bytes) -> str:
        try:
            message = str(json.loads(data).get("message", ""))
        except (ValueError, AttributeError):
            message = data[:200].decode("utf-8", "replace")
        message = " ".join(message.split())[:300]
        if status == 401:
            return f"API server {self.server} refuses the credentials (401): token expired or not its own"
        if status == 403:
            return f"no right: {message}"
        return f"API server {self.server} answers {method} {urlsplit(url).path} with {status}: {message}"
