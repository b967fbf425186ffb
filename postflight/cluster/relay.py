"""A way to an address outside of the cluster that goes by a pod: for what only the deployment itself reaches.

A command in the pod connects there and hands on what comes, over the stream of that command: what is asked so comes from
where the process stands, by name, through Services and policies.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import websocket

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.standing import Standing
from postflight.cluster.streams import CHUNK, STDERR, STDIN, STDOUT, open_stream
from postflight.cluster.tunnels import Talk, listening, shut

#: With the standard library alone, and nothing of the container's own.
COMMAND = ("python3", "-I", "-S", "-c")
CARRY = """
import os, socket, sys, threading
try:
    there = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
except OSError as error:
    sys.exit(str(error))
there.settimeout(None)
def up():
    while data := os.read(0, 65536):
        there.sendall(data)
    there.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := there.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""


@contextmanager
def relay(api: Api, standing: Standing, host: str, port: int) -> Iterator[int]:
    """A listener on loopback whose connections end at an address as it is reached from a container; yields its port
    number. Raises ApiError where no command may be run there, OSError with the pod's own words where it does not get
    there either."""

    def carry(local: socket.socket, failed: list[Exception], talk: Talk) -> None:
        _carry(api, standing, host, port, local, failed, talk)

    with listening(carry, standing.namespace, standing.pod, f"{host}:{port} from {standing.pod}") as here:
        yield here


def _carry(
    api: Api, standing: Standing, host: str, port: int, local: socket.socket, failed: list[Exception], talk: Talk
) -> None:
    with local:
        query = [("command", word) for word in (*COMMAND, CARRY, host, str(port))]
        query += [("container", standing.container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        path = POD.path(standing.namespace, standing.pod, "exec")
        try:
            stream = open_stream(api, path, query, ("v5.channel.k8s.io", "v4.channel.k8s.io"))
        except ApiError as error:
            failed.append(error)
            return
        stream.settimeout(None)
        upwards = threading.Thread(target=_upwards, args=(local, stream, talk), daemon=True)
        upwards.start()
        said = bytearray()
        try:
            while frame := stream.recv():
                data = frame.encode() if isinstance(frame, str) else bytes(frame)
                if data[0] == STDOUT:
                    talk.asked = 0.0
                    local.sendall(data[1:])
                elif data[0] == STDERR:
                    said += data[1:]
        except (OSError, websocket.WebSocketException):
            pass
        if words := " ".join(said.decode("utf-8", "replace").split()):
            failed.append(OSError(f"from {standing.pod}: {words[-200:]}"))
        if not talk.hung_up:
            talk.asked = 0.0
        shut(local)
        upwards.join()
        stream.shutdown()


def _upwards(local: socket.socket, stream: websocket.WebSocket, talk: Talk) -> None:
    try:
        while data := local.recv(CHUNK):
            # Before it is sent: the answer may be quicker than the next line.
            talk.asked = talk.asked or time.monotonic()
            stream.send_binary(bytes([STDIN]) + data)
        talk.hung_up = time.monotonic()
    except (OSError, websocket.WebSocketException):
        pass
    if stream.sock:
        shut(stream.sock)
