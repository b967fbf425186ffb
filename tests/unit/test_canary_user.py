"""The probe user, against a homeserver of a few lines."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from postflight.cluster.access import Access
from postflight.probes import canary_user
from postflight.probes.canary_user import Refused, canary_room, send, sign_in
from postflight.traces import Traces
from tests.unit.li_world import model

SECRET = "registration-secret"
MAIN = next(each for each in model().synapse if each.workload_name == "hs")
MAIN = replace(MAIN, config={**(MAIN.config or {}), "registration_shared_secret": SECRET})


class Homeserver(BaseHTTPRequestHandler):
    """Registers, logs in, makes rooms and takes messages; ``limits`` are the 429s that it still gives out."""

    def answer(self) -> tuple[int, Any]:
        state: dict[str, Any] = self.server.state  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        path = self.path.removeprefix(canary_user.CLIENT)
        state["asked"].append(f"{self.command} {path}")
        if state["limits"] and path == "/createRoom":
            state["limits"] -= 1
            return 429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 20}
        match self.command, path:
            case "GET", "/_synapse/admin/v1/register":
                return 200, {"nonce": "n"}
            case "POST", "/_synapse/admin/v1/register":
                said = f"n\0postflight\0{body['password']}\0notadmin".encode()
                assert body["mac"] == hmac.new(SECRET.encode(), said, hashlib.sha1).hexdigest()
                if state["password"]:
                    return 400, {"errcode": "M_USER_IN_USE"}
                state["password"] = body["password"]
                return 200, {"user_id": "@postflight:a", "access_token": "t1"}
            case "POST", "/login":
                return (
                    (200, {"user_id": "@postflight:a", "access_token": "t2"})
                    if body["password"] == state["password"]
                    else (403, {"errcode": "M_FORBIDDEN", "error": "no"})
                )
            case "GET", "/joined_rooms":
                return 200, {"joined_rooms": state["rooms"]}
            case "POST", "/createRoom":
                state["rooms"].append(f"!{len(state['rooms'])}:a")
                return 200, {"room_id": state["rooms"][-1]}
            case _, path if path.endswith("/account_data/postflight.canary"):
                if self.command == "PUT":
                    state["remembered"] = body
                return (200, state["remembered"]) if state["remembered"] else (404, {"errcode": "M_NOT_FOUND"})
        return 200, {"event_id": "$e"}

    def do(self) -> None:
        status, body = self.answer()
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def state() -> dict[str, Any]:
    return {"asked": [], "password": "", "rooms": [], "remembered": None, "limits": 0}


@pytest.fixture
def access(state: dict[str, Any]) -> Iterator[Access]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Homeserver)
    server.state = state  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    class Straight:
        @contextmanager
        def to_pod(self, *where: Any) -> Iterator[tuple[str, int]]:
            yield "127.0.0.1", server.server_port

    yield cast(Access, Straight())
    server.shutdown()
    server.server_close()


def test_the_first_run_registers_it_and_the_next_logs_it_in(access: Access, state: dict[str, Any]) -> None:
    first = sign_in(access, MAIN, Traces("a"))
    again = sign_in(access, MAIN, Traces("b"))
    assert (first.user_id, first.token.reveal(), again.token.reveal()) == ("@postflight:a", "t1", "t2")


def test_it_is_logged_out_when_the_run_ends(access: Access, state: dict[str, Any]) -> None:
    traces = Traces("a")
    sign_in(access, MAIN, traces)
    assert traces.close() == []
    assert state["asked"][-1] == "POST /logout"


def test_its_one_room_is_found_again(access: Access, state: dict[str, Any]) -> None:
    user = sign_in(access, MAIN, Traces("a"))
    assert canary_room(user) == canary_room(user) == "!0:a"
    state["rooms"] = []
    assert canary_room(user) == "!0:a"
    assert state["asked"].count("POST /createRoom") == 2


def test_a_rate_limit_is_waited_for(access: Access, state: dict[str, Any]) -> None:
    state["limits"] = 2
    user = sign_in(access, MAIN, Traces("a"))
    assert send(user, canary_room(user), "nonce") == "$e"
    assert state["asked"].count("POST /createRoom") == 3


def test_a_password_of_somebody_else_is_said(access: Access, state: dict[str, Any]) -> None:
    state["password"] = "another"
    with pytest.raises(Refused, match="/login was answered with 403 M_FORBIDDEN no"):
        sign_in(access, MAIN, Traces("a"))


def test_without_the_registration_secret_there_is_no_probe_user(access: Access) -> None:
    with pytest.raises(Refused, match="no registration_shared_secret"):
        sign_in(access, replace(MAIN, config={**(MAIN.config or {}), "registration_shared_secret": ""}), Traces("a"))
