"""A stand-in for lk-jwt-service: a Matrix OpenID token in, a LiveKit token for one room out.

Requests, refusals, rooms and identities are upstream's (0.4). Names of the internet lead into the cluster by a map.
"""

import base64
import hashlib
import hmac
import http.client
import json
import logging
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, urlsplit

log = logging.getLogger("jwt_service")

# Fields of a request, as upstream decodes them: any other is refused.
OPENID = {"access_token": str, "token_type": str, "matrix_server_name": str, "expires_in": int}
MEMBER = {"id": str, "claimed_user_id": str, "claimed_device_id": str}
DELAY = {"delay_id": str, "delay_timeout": int, "delay_cs_api_url": str}
LEGACY = {"room": str, "openid_token": OPENID, "device_id": str, **DELAY}
CURRENT = {"room_id": str, "slot_id": str, "openid_token": OPENID, "member": MEMBER, **DELAY}
SLOT = "m.call#ROOM"
HOUR = 3600
EMPTY_SECONDS, DEPARTURE_SECONDS = 300, 20


class Refused(Exception):
    """Status, errcode and words for the client."""


def ask(scheme, name, port, method, path, headers=None, body=None):
    """Status and body of one request to a name of the internet, which the map leads into the cluster."""
    known = dict(pair.split("=") for pair in os.environ["MATRIX_ADDRESSES"].split())
    address = known.get(f"{name}:{port}")
    if address is None:
        raise OSError(f"nothing is known of {scheme}://{name}:{port}")
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, body, {"Host": name, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def user_of(token):
    """The user that an OpenID token speaks for, by its own server's word."""
    path = f"/_matrix/federation/v1/openid/userinfo?access_token={quote(token['access_token'])}"
    try:
        status, body = ask("https", token["matrix_server_name"], 8448, "GET", path)
        if status != 200:
            raise OSError(f"userinfo says {status}")
        return json.loads(body)["sub"]
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        log.error("failed to look up user info: %s", error)
        raise Refused(401, "M_UNAUTHORIZED", "The request could not be authorised.") from error


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token_for(**grants):
    """A LiveKit token, signed with the API key's secret."""
    now = int(time.time())
    claims = {"iss": os.environ["LIVEKIT_KEY"], "nbf": now, "exp": now + HOUR, **grants}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = ".".join(map(encoded, parts))
    secret = os.environ["LIVEKIT_SECRET"].encode()
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def digest(*words):
    compact = json.dumps(words, separators=(",", ":"), ensure_ascii=False).encode()
    return base64.b64encode(hashlib.sha256(compact).digest()).rstrip(b"=").decode()


def create_room(name):
    url = urlsplit(os.environ["LIVEKIT_URL"])
    port = url.port or (443 if url.scheme in ("wss", "https") else 80)
    path = f"{url.path.rstrip('/')}/twirp/livekit.RoomService/CreateRoom"
    bearer = token_for(video={"roomCreate": True})
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    wanted = {"name": name, "empty_timeout": EMPTY_SECONDS, "departure_timeout": DEPARTURE_SECONDS}
    try:
        status, body = ask(url.scheme, url.hostname, port, "POST", path, headers, json.dumps(wanted))
        if status != 200:
            raise OSError(f"{status} {body.decode(errors='replace')[:200]}")
    except (OSError, http.client.HTTPException) as error:
        log.error("error creating room %s: %s", name, error)
        raise Refused(500, "M_UNKNOWN", "Unable to create room on SFU") from error


def checked(given, fields):
    """The request with every field there; raises ValueError for a field that is not known or of another type."""
    if not isinstance(given, dict) or set(given) - set(fields):
        raise ValueError("unknown field")
    found = {}
    for name, kind in fields.items():
        value = given.get(name)
        if isinstance(kind, dict):
            found[name] = checked(value or {}, kind)
        elif value is not None and not isinstance(value, kind):
            raise ValueError(f"{name} has another type")
        else:
            found[name] = kind() if value is None else value
    return found


def must_have(given, words, *names):
    if not all(given[name] for name in names):
        raise Refused(400, "M_BAD_JSON", words)


def legacy(given):
    """POST /sfu/get: room and identity of one user and device."""
    must_have(given, "Missing room parameter", "room")
    must_have(given["openid_token"], "Missing OpenID token parameters", "access_token", "matrix_server_name")
    user = user_of(given["openid_token"])
    return given["openid_token"], digest(given["room"], SLOT), f"{user}:{given['device_id']}"


def current(given):
    """POST /get_token: the same for one membership in a slot of the room."""
    must_have(given, "The request body is missing `room_id` or `slot_id`", "room_id", "slot_id")
    words = "The request body `member` is missing a `id`, `claimed_user_id` or `claimed_device_id`"
    must_have(given["member"], words, *MEMBER)
    words = "The request body `openid_token` is missing a `access_token` or `matrix_server_name`"
    must_have(given["openid_token"], words, "access_token", "matrix_server_name")
    user, member = user_of(given["openid_token"]), given["member"]
    if user != member["claimed_user_id"]:
        raise Refused(401, "M_UNAUTHORIZED", "The request could not be authorised.")
    identity = digest(user, member["claimed_device_id"], member["id"])
    return given["openid_token"], digest(given["room_id"], given["slot_id"]), identity


REQUESTS = {"/sfu/get": (LEGACY, legacy), "/get_token": (CURRENT, current)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        return self.answer(200 if self.path == "/healthz" else 405 if self.path in REQUESTS else 404)

    do_HEAD = do_GET

    def do_OPTIONS(self):
        return self.answer(200 if self.path in REQUESTS else 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path not in REQUESTS:
            return self.answer(404)
        fields, read = REQUESTS[self.path]
        try:
            given = checked(json.loads(body), fields)
        except ValueError as error:
            log.error("error reading body: %s", error)
            return self.answer(400, {"errcode": "M_NOT_JSON", "error": "Error reading request"})
        try:
            openid, room, identity = read(given)
            full = os.environ["LIVEKIT_FULL_ACCESS_HOMESERVERS"].split(",")
            if full == ["*"] or openid["matrix_server_name"] in full:
                create_room(room)
        except Refused as refusal:
            status, errcode, words = refusal.args
            return self.answer(status, {"errcode": errcode, "error": words})
        grant = {"room": room, "roomJoin": True, "canPublish": True, "canSubscribe": True}
        return self.answer(200, {"url": os.environ["LIVEKIT_URL"], "jwt": token_for(sub=identity, video=grant)})

    def answer(self, status, body=None):
        data = json.dumps(body).encode() if body else b""
        self.send_response(status)
        if self.path in REQUESTS:
            self.send_header("Content-Type", "application/json")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Methods", "POST")
            allowed = "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token"
            self.send_header("Access-Control-Allow-Headers", allowed)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, form, *values):
        log.debug(form, *values)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
