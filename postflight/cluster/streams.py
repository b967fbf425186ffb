"""Streams into pods, over one WebSocket each, and commands in pods.

The library's own stream calls know no time limit on the connection and cannot close standard input,
so the protocol is spoken here: ``v5.channel.k8s.io`` (channel byte first; 255 closes one).
Source: Kubernetes 1.34, staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go.

A stream that ends as it should says so in a frame (close), whichever side it comes from
(apimachinery/pkg/util/httpstream/wsstream/conn.go): one that ends without was cut.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import websocket

from postflight.cluster import cuts, silences
from postflight.cluster.api import Api, ApiError, Unreachable
from postflight.cluster.cuts import CUT
from postflight.cluster.kinds import POD
from postflight.limits import Limit

STDIN, STDOUT, STDERR, ERROR, CLOSE = 0, 1, 2, 3, 255
CHUNK = 65536


#: Seconds until a stream that was cut is opened once more.
PAUSE = 0.5
#: The API server's own words where it does not get to the node's kubelet (staging/src/k8s.io/apimachinery/pkg/util/proxy,
#: 1.34), and for a pod that is gone.
NO_NODE = re.compile(r"error dialing backend|dial tcp .*(i/o timeout|no route to host)|context deadline exceeded")


class NoWay(ApiError):
    """No way leads to a pod: its node does not answer the API server, or it is gone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command in a pod wrote and how it ended (``code`` None: it did not end in time, or its end was ``lost``
    with the connection)."""

    stdout: bytes
    stderr: bytes
    code: int | None
    lost: bool = False

    @property
    def cut(self) -> bool:
        """Whether its end is missing though the command did well: every command asked here ends with a line.

        API server and kubelet may lose what was written last, up to all of it, and report success
        (kubernetes/kubernetes#34256, #124571; seen on 1.34 once in some thousand commands).
        """
        return self.code == 0 and not self.stdout.endswith(b"\n")

    @property
    def complaint(self) -> str:
        if self.lost:
            return CUT
        if self.code is None:
            return "no answer within the time limit"
        if self.cut:
            return "its answer was cut on the way"
        text = self.stderr.decode("utf-8", "replace").strip()
        return " ".join(text.split())[-300:] or f"exit code {self.code}"


def run_in_pod(
    api: Api,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    limit: float = Limit.EXEC,
    again: bool = True,
) -> Answer:
    """Run a command in a container; once more, unless it may not be run ``again``, where its answer or the way was cut.

    Raises :class:`ApiError` when it could not be started.
    """
    deadline = time.monotonic() + limit
    try:
        try:
            answer = _run(api, namespace, pod, container, command, stdin, deadline)
        except Unreachable:
            if not again:
                raise
            answer = Answer(b"", b"", None, lost=True)
            time.sleep(PAUSE)
        if again and (answer.cut or answer.lost):
            answer = _run(api, namespace, pod, container, command, stdin, deadline)
    except ApiError as error:
        note_fault(error, namespace, pod, f"a command in {pod}")
        raise
    if answer.cut or answer.lost:
        cuts.note(f"a command in {pod}")
    elif answer.code is None:
        silences.note(f"a command in {pod}")
    return answer


def note_fault(error: Exception, namespace: str, pod: str, what: str) -> None:
    """Tell whoever runs the probe of a fault that is the way's own."""
    if isinstance(error, NoWay):
        cuts.note_pod(namespace, pod, str(error))
    elif isinstance(error, Unreachable):
        cuts.note(what)


def _run(
    api: Api, namespace: str, pod: str, container: str, command: Sequence[str], stdin: bytes, deadline: float
) -> Answer:
    query = [("command", word) for word in command]
    query += [("container", container), ("stdout", "true"), ("stderr", "true")]
    if stdin:
        query.append(("stdin", "true"))
    stream = open_stream(api, POD.path(namespace, pod, "exec"), query, ("v5.channel.k8s.io", "v4.channel.k8s.io"))
    out = {STDOUT: bytearray(), STDERR: bytearray(), ERROR: bytearray()}
    lost = False
    try:
        for start in range(0, len(stdin), CHUNK):
            stream.send_binary(bytes([STDIN]) + stdin[start : start + CHUNK])
        if stdin and stream.getsubprotocol() == "v5.channel.k8s.io":
            stream.send_binary(bytes([CLOSE, STDIN]))
        while (left := deadline - time.monotonic()) > 0:
            stream.settimeout(left)
            frame = stream.recv()
            if not frame:
                break
            data = frame.encode() if isinstance(frame, str) else bytes(frame)
            out.setdefault(data[0], bytearray()).extend(data[1:])
    except (websocket.WebSocketTimeoutException, TimeoutError):
        pass
    except (websocket.WebSocketConnectionClosedException, OSError):
        # A stream that ends as it should says so, in a frame of its own.
        lost = True
    finally:
        stream.close(timeout=1)
    code = _exit_code(bytes(out[ERROR]))
    return Answer(bytes(out[STDOUT]), bytes(out[STDERR]), code, lost=lost and code is None)


def _exit_code(status: bytes) -> int | None:
    try:
        verdict = json.loads(status)
    except ValueError:
        return None
    if not isinstance(verdict, dict):
        return None
    if verdict.get("status") == "Success":
        return 0
    for cause in (verdict.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    return 1


def open_stream(api: Api, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]) -> websocket.WebSocket:
    """Raises :class:`NoWay`, Unreachable where the connection itself failed, else ApiError."""
    configuration = api.connection.configuration
    parts = urlsplit(api.host)
    scheme = "wss" if parts.scheme == "https" else "ws"
    url = f"{scheme}://{parts.netloc}{parts.path}{path}?{urlencode(query)}"
    secure: dict[str, object] = {"context": api.tls}
    if configuration.tls_server_name:
        secure["server_hostname"] = configuration.tls_server_name
    proxy = urlsplit(configuration.proxy or "")
    token = api.authorization()
    try:
        return websocket.create_connection(
            url,
            timeout=Limit.CONNECT,
            sslopt=secure,
            subprotocols=list(protocols),
            header=[f"Authorization: {token}"] if token else [],
            http_proxy_host=proxy.hostname,
            http_proxy_port=proxy.port,
            proxy_type="http" if proxy.hostname else None,
            skip_utf8_validation=True,
        )
    except websocket.WebSocketBadStatusException as error:
        what = f"{path.rsplit('/', 1)[1]} into {path.rsplit('/', 2)[1]}"
        body = (error.resp_body or b"").decode("utf-8", "replace")
        with suppress(ValueError, KeyError, TypeError):
            body = str(json.loads(body)["message"])
        line = " ".join(body.split())[:300]
        if error.status_code == 403:
            raise ApiError(403, f"no right: {line}") from error
        refused = NoWay if _is_of_the_way(error.status_code, line) else ApiError
        raise refused(error.status_code, f"{what} was refused ({error.status_code}): {line}") from error
    except (websocket.WebSocketTimeoutException, TimeoutError) as error:
        silences.note(f"API server {api.server}")
        what = f"{path.rsplit('/', 1)[1]} into {path.rsplit('/', 2)[1]}"
        raise NoWay(0, f"API server {api.server} opens no {what} within {Limit.CONNECT:g} s") from error
    except (websocket.WebSocketException, OSError) as error:
        raise Unreachable(f"API server {api.server}: {' '.join(str(error).split())[:200]}") from error


def _is_of_the_way(status: int, line: str) -> bool:
    return status == 404 or (status >= 500 and NO_NODE.search(line) is not None)
