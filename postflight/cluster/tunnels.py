"""Port-forwards: a listener on loopback for each, whose connections end at a port of a pod.

The protocol is ``v4.channel.k8s.io`` over one WebSocket for each connection: a channel for data and one for errors, each
opened by a two-byte port number. Source: Kubernetes 1.34, kubelet/pkg/cri/streaming/portforward/websocket.go.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import websocket

from postflight.cluster import silences
from postflight.cluster.api import Api, ApiError, Unreachable
from postflight.cluster.cuts import CUT
from postflight.cluster.kinds import POD
from postflight.cluster.silences import PATIENCE
from postflight.cluster.streams import CHUNK, PAUSE, note_fault, open_stream


class Cut(Exception):
    """A stream ended without its end being said."""


@contextmanager
def tunnel(api: Api, namespace: str, pod: str, port: int) -> Iterator[int]:
    """A listener on loopback whose connections end at a port of a pod; yields its port number.

    Each connection is a port-forward of its own. The tunnel enters at the pod's loopback, so it
    passes NetworkPolicies, Services and rules by address: it is no proof of them.

    What a client makes of a connection that was closed says nothing of why it was: the stream's own
    words come in its place, :class:`ApiError` where the way failed, ConnectionRefusedError where
    nothing listens in the pod.
    """

    def carry(local: socket.socket, failed: list[Exception], talk: Talk) -> None:
        _carry(api, namespace, pod, port, local, failed, talk)

    with listening(carry, namespace, pod, f"port {port} of {pod}") as here:
        yield here


@contextmanager
def listening(
    carry: Callable[[socket.socket, list[Exception], Talk], None], namespace: str, pod: str, what: str
) -> Iterator[int]:
    """A listener on loopback that gives each connection to ``carry`` in a thread of its own; yields its port number.
    ``carry`` closes the connection, and appends why it could not be carried: that is raised in place of what a client
    makes of it. ``what`` in the ``pod`` is asked so, in a word."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = [listener]
    failed: list[Exception] = []
    talks: list[Talk] = []

    def accept() -> None:
        with listener:
            while True:
                try:
                    local, _ = listener.accept()
                except OSError:
                    return
                accepted.append(local)
                talks.append(talk := Talk())
                threading.Thread(target=carry, args=(local, failed, talk), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    except Exception as error:
        if failed:
            raise failed[0] from error
        raise
    finally:
        if any(talk.met_silence for talk in list(talks)):
            silences.note(what)
        for fault in list(failed):
            note_fault(fault, namespace, pod, what)
        for each in list(accepted):
            shut(each)


def shut(sock: socket.socket) -> None:
    """End a connection without closing its descriptor: the number would be another thread's at once,
    while the one that reads here still holds it. Past ``SSLSocket.shutdown``, which forgets its TLS."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


@dataclass(slots=True)
class Talk:
    """One connection as its client sees it: when it asked what has no answer yet (0: nothing is owed), when it hung up,
    and whether it has ``left``, in whatever way."""

    asked: float = field(default_factory=time.monotonic)
    hung_up: float = 0.0
    left: bool = False

    @property
    def met_silence(self) -> bool:
        return self.asked > 0 and (self.hung_up or time.monotonic()) - self.asked > PATIENCE


def _carry(
    api: Api, namespace: str, pod: str, port: int, local: socket.socket, failed: list[Exception], talk: Talk
) -> None:
    """Pump one connection both ways until either side ends it; this thread alone closes both."""
    with local:
        try:
            stream = _open_again(api, namespace, pod, port)
        except ApiError as error:
            failed.append(error)
            return
        stream.settimeout(None)
        upwards = threading.Thread(target=_upwards, args=(local, stream, talk), daemon=True)
        upwards.start()
        opened: set[int] = set()
        cut = False
        try:
            while frame := _next(stream):
                data = frame.encode() if isinstance(frame, str) else bytes(frame)
                if data[0] not in opened:
                    opened.add(data[0])
                elif data[0] == 0:
                    talk.asked = 0.0
                    local.sendall(data[1:])
                else:
                    failed.append(_complaint(pod, port, data[1:].decode("utf-8", "replace")))
                    break
        except Cut:
            cut = True
        except (OSError, websocket.WebSocketException):
            pass
        if cut and not talk.left:
            # Before its client sees the end: it is told why in its place.
            failed.append(Unreachable(f"{CUT}, in the middle of what {pod} was asked on port {port}"))
        if not talk.hung_up:
            talk.asked = 0.0
        shut(local)
        upwards.join()
        stream.shutdown()


def _open_again(api: Api, namespace: str, pod: str, port: int) -> websocket.WebSocket:
    """The stream of one connection: nothing has gone through it yet, so it may be opened twice. Raises ApiError."""
    path, asked = POD.path(namespace, pod, "portforward"), [("ports", str(port))]
    try:
        return open_stream(api, path, asked, ("v4.channel.k8s.io",))
    except Unreachable:
        time.sleep(PAUSE)
        return open_stream(api, path, asked, ("v4.channel.k8s.io",))


def _next(stream: websocket.WebSocket) -> str | bytes:
    """The next frame, empty at the end that the other side says. Raises Cut where it ends without that."""
    try:
        frame: str | bytes = stream.recv()
    except (OSError, websocket.WebSocketConnectionClosedException) as error:
        if stream.sock is not None and not stream.connected:
            # The end was said; it is the answer to it that nobody took any more.
            return b""
        raise Cut from error
    return frame


def _complaint(pod: str, port: int, text: str) -> Exception:
    """What the kubelet says of a connection that it could not make, or that broke."""
    if "connection refused" in text:
        return ConnectionRefusedError(f"nothing listens on port {port} of {pod}")
    return ApiError(0, f"port-forward to {pod}: {' '.join(text.split())[:200]}")


def _upwards(local: socket.socket, stream: websocket.WebSocket, talk: Talk) -> None:
    try:
        while data := _from_client(local, talk):
            # Before it is sent: the answer may be quicker than the next line.
            talk.asked = talk.asked or time.monotonic()
            stream.send_binary(b"\x00" + data)
        talk.hung_up = time.monotonic()
    except (OSError, websocket.WebSocketException):
        pass
    if stream.sock:
        shut(stream.sock)


def _from_client(local: socket.socket, talk: Talk) -> bytes:
    """What a client sends next, empty once it has hung up. Raises OSError where it broke off."""
    try:
        data = local.recv(CHUNK)
    except OSError:
        talk.left = True
        raise
    talk.left = not data
    return data
