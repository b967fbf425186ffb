"""The agent's way to the API server: single calls, and each kind's objects kept up to date by a watch."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPSConnection
from typing import Any

from lab.node.spec import API_ADDRESS, API_PORT, INSIDE

Object = dict[str, Any]

# A cut between the nodes must end a watch, or it would hang for ever.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class Api:
    """The API server, as the agent's user."""

    def __init__(self) -> None:
        self._tls = ssl.create_default_context(cafile=str(INSIDE / "pki/ca.crt"))
        self._tls.load_cert_chain(INSIDE / "pki/agent.crt", INSIDE / "pki/agent.key")

    def connect(self, timeout: float) -> HTTPSConnection:
        return HTTPSConnection(API_ADDRESS, API_PORT, context=self._tls, timeout=timeout)

    def call(self, method: str, path: str, body: Object | None = None) -> tuple[int, Object]:
        """Status and answer. Raises OSError, HTTPException or ValueError."""
        connection = self.connect(10)
        try:
            given = json.dumps(body) if body is not None else None
            connection.request(method, path, given, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        finally:
            connection.close()


class Watch:
    """All objects of one kind; `changed` is called from a thread of its own after each change."""

    def __init__(self, api: Api, path: str, changed: Callable[[], None]) -> None:
        self.path = path
        self._api = api
        self._changed = changed
        self._lock = threading.Lock()
        self._objects: dict[tuple[str, str], Object] = {}
        threading.Thread(target=self._run, name=path, daemon=True).start()

    def objects(self) -> list[Object]:
        """As last heard of."""
        with self._lock:
            return list(self._objects.values())

    def _run(self) -> None:
        while True:
            try:
                self._follow(self._list())
            except (OSError, ValueError, HTTPException):
                time.sleep(0.2)

    def _list(self) -> str:
        status, answer = self._api.call("GET", self.path)
        if status != 200:
            raise OSError(f"{self.path}: {status}")
        with self._lock:
            self._objects = {_key(one): one for one in answer["items"]}
        self._changed()
        return str(answer["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> None:
        connection = self._api.connect(600)
        try:
            connection.connect()
            for option in _KEEPALIVE:
                connection.sock.setsockopt(*option)
            connection.request("GET", f"{self.path}?watch=1&allowWatchBookmarks=true&resourceVersion={version}")
            answer = connection.getresponse()
            while line := answer.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] != "BOOKMARK":
                    self._take(event["type"], event["object"])
        finally:
            connection.close()

    def _take(self, kind: str, one: Object) -> None:
        with self._lock:
            if kind == "DELETED":
                self._objects.pop(_key(one), None)
            else:
                self._objects[_key(one)] = one
        self._changed()


def _key(one: Object) -> tuple[str, str]:
    return one["metadata"].get("namespace", ""), one["metadata"]["name"]
