"""Commands in pods and port-forwards, over one WebSocket each.

The library's own stream calls know no time limit on the connection and cannot close standard input,
so the two protocols are spoken here: ``v5.channel.k8s.io`` (channel byte first; 255 closes one) and,
for port-forward, ``v4.channel.k8s.io`` (a two-byte port number opens each channel).
Source: Kubernetes 1.34, staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import websocket

from postflight.cluster import silences
from postflight.cluster.api import Api, ApiError, Unreachable
from postflight.cluster.kinds import POD
from postflight.cluster.silences import PATIENCE
from postflight.limits import Limit

STDIN, STDOUT, STDERR, ERROR, CLOSE = 0, 1, 2, 3, 255
CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command in a pod wrote and how it ended (``code`` None: it did not end in time)."""

    stdout: bytes
    stderr: bytes
    code: int | None

    @property
    def cut(self) -> bool:
        """Whether its end is missing though the command did well: every command asked here ends with a line.

        API server and kubelet may lose what was written last, up to all of it, and report success
        (kubernetes/kubernetes#34256, #124571; seen on 1.34 once in some thousand commands).
        """
        return self.code == 0 and not self.stdout.endswith(b"\n")

    @property
    def complaint(self) -> str:
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
    """Run a command in a container; once more, unless it may not be run ``again``, where its answer was cut.

    Raises :class:`ApiError` when it could not be started.
    """
    deadline = time.monotonic() + limit
    answer = _run(api, namespace, pod, container, command, stdin, deadline)
    if answer.cut and again:
        answer = _run(api, namespace, pod, container, command, stdin, deadline)
    if answer.code is None:
        silences.note(f"a command in {pod}")
    return answer


def _run(
    api: Api, namespace: str, pod: str, container: str, command: Sequence[str], stdin: bytes, deadline: float
) -> Answer:
    query = [("command", word) for word in command]
    query += [("container", container), ("stdout", "true"), ("stderr", "true")]
    if stdin:
        query.append(("stdin", "true"))
    stream = _open(api, POD.path(namespace, pod, "exec"), query, ("v5.channel.k8s.io", "v4.channel.k8s.io"))
    out = {STDOUT: bytearray(), STDERR: bytearray(), ERROR: bytearray()}
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
    except (websocket.WebSocketConnectionClosedException, websocket.WebSocketTimeoutException, OSError):
        pass
    finally:
        stream.close(timeout=1)
    return Answer(bytes(out[STDOUT]), bytes(out[STDERR]), _exit_code(bytes(out[ERROR])))


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


@contextmanager
def tunnel(api: Api, namespace: str, pod: str, port: int) -> Iterator[int]:
    """A listener on loopback whose connections end at a port of a pod; yields its port number.

    Each connection is a port-forward of its own. The tunnel enters at the pod's loopback, so it
    passes NetworkPolicies, Services and rules by address: it is no proof of them.

    What a client makes of a connection that was closed says nothing of why it was: the stream's own
    words come in its place, :class:`ApiError` where the way failed, ConnectionRefusedError where
    nothing listens in the pod.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = [listener]
    failed: list[Exception] = []
    talks: list[_Talk] = []

    def accept() -> None:
        with listener:
            while True:
                try:
                    local, _ = listener.accept()
                except OSError:
                    return
                accepted.append(local)
                talks.append(talk := _Talk())
                threading.Thread(
                    target=_carry, args=(api, namespace, pod, port, local, failed, talk), daemon=True
                ).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    except Exception as error:
        if failed:
            raise failed[0] from error
        raise
    finally:
        if any(talk.met_silence for talk in list(talks)):
            silences.note(f"port {port} of {pod}")
        for each in list(accepted):
            _shut(each)


def _shut(sock: socket.socket) -> None:
    """End a connection without closing its descriptor: the number would be another thread's at once,
    while the one that reads here still holds it. Past ``SSLSocket.shutdown``, which forgets its TLS."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


@dataclass(slots=True)
class _Talk:
    """One connection as its client sees it: since when it waits for an answer (0: nothing is owed; at first for the way
    itself), and when it hung up."""

    asked: float = field(default_factory=time.monotonic)
    hung_up: float = 0.0

    @property
    def met_silence(self) -> bool:
        return self.asked > 0 and (self.hung_up or time.monotonic()) - self.asked > PATIENCE


def _carry(
    api: Api, namespace: str, pod: str, port: int, local: socket.socket, failed: list[Exception], talk: _Talk
) -> None:
    """Pump one connection both ways until either side ends it; this thread alone closes both."""
    with local:
        try:
            path = POD.path(namespace, pod, "portforward")
            stream = _open(api, path, [("ports", str(port))], ("v4.channel.k8s.io",))
        except ApiError as error:
            failed.append(error)
            return
        stream.settimeout(None)
        upwards = threading.Thread(target=_upwards, args=(local, stream, talk), daemon=True)
        upwards.start()
        opened: set[int] = set()
        try:
            while frame := stream.recv():
                data = frame.encode() if isinstance(frame, str) else bytes(frame)
                if data[0] not in opened:
                    opened.add(data[0])
                elif data[0] == 0:
                    talk.asked = 0.0
                    local.sendall(data[1:])
                else:
                    failed.append(_complaint(pod, port, data[1:].decode("utf-8", "replace")))
                    break
        except (OSError, websocket.WebSocketException):
            pass
        if not talk.hung_up:
            talk.asked = 0.0
        _shut(local)
        upwards.join()
        stream.shutdown()


def _complaint(pod: str, port: int, text: str) -> Exception:
    """What the kubelet says of a connection that it could not make, or that broke."""
    if "connection refused" in text:
        return ConnectionRefusedError(f"nothing listens on port {port} of {pod}")
    return ApiError(0, f"port-forward to {pod}: {' '.join(text.split())[:200]}")


def _upwards(local: socket.socket, stream: websocket.WebSocket, talk: _Talk) -> None:
    try:
        while data := local.recv(CHUNK):
            # Before it is sent: the answer may be quicker than the next line.
            talk.asked = talk.asked or time.monotonic()
            stream.send_binary(b"\x00" + data)
        talk.hung_up = time.monotonic()
    except (OSError, websocket.WebSocketException):
        pass
    if stream.sock:
        _shut(stream.sock)


def _open(api: Api, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]) -> websocket.WebSocket:
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
        raise ApiError(error.status_code, f"{what} was refused ({error.status_code}): {line}") from error
    except (websocket.WebSocketException, OSError) as error:
        if isinstance(error, websocket.WebSocketTimeoutException | TimeoutError):
            silences.note(f"API server {api.server}")
        raise Unreachable(f"API server {api.server}: {' '.join(str(error).split())[:200]}") from error
