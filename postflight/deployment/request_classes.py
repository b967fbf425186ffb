"""The classes of request that clients, other servers and administrators send, and which processes can serve them.

Source: Synapse, docs/workers.md, "Available worker applications" (read at 1.157.1), each class by the section that it
stands in. What it leaves open is from the code of 1.119.0 and 1.163.2: which servlets a worker registers
(rest/__init__.py, rest/admin/__init__.py, app/generic_worker.py), which of them fail away from their stream's writer
(rest/client/room.py, rest/client/push_rule.py, storage/databases/main/deviceinbox.py and receipts.py: of receipts the
document of 1.136 and later says that any worker takes them, which the code of 1.163 does not), and the name of each.
Every class was asked of a main, a generic and a media process of 1.119.0.
No request changes anything. None has a token, so those that need one are refused at the servlet's first line, before any
rate limit; the others only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from postflight.deployment.federating import choice_of
from postflight.deployment.listeners import resources_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.writers import lists_of

MEDIA_APP = "synapse.app.media_repository"
#: The first two numbers of a version.
Release = tuple[int, int]


class Asker(StrEnum):
    """Who sends requests of a class, and so by which door they come in."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class RequestClass:
    """One class by one request of it.

    ``servlet`` is the name that the process which answers counts it by. A process serves it that has one of
    ``resources`` in a listener; ``main_only``: and is main; ``stream``: and writes that stream; ``media``: and has the
    media repository. Before the release ``workers_since`` only main does. ``relieves``: workers are made to take it
    off main. ``closable``: a proxy may well refuse it.
    """

    name: str
    section: str
    method: str
    path: str
    servlet: str
    resources: tuple[str, ...] = ("client",)
    statuses: tuple[int, ...] = (401,)
    asker: Asker = Asker.CLIENT
    main_only: bool = False
    stream: str = ""
    media: bool = False
    relieves: bool = False
    closable: bool = False
    workers_since: Release = (0, 0)

    @property
    def has_body(self) -> bool:
        return self.method in ("PUT", "POST")


_CLIENT = "/_matrix/client/v3"
_ROOM = f"{_CLIENT}/rooms/!postflight"
_FEDERATION = "/_matrix/federation/v1"
_LOGIN = "login"
_USERINFO = "OpenID userinfo"
_FROM_SERVERS = ("federation",)
_STREAMS = "Stream writers: "
_NOT_LISTED = "not listed: main only"

CLASSES: tuple[RequestClass, ...] = (
    RequestClass("sync", "Sync requests", "GET", f"{_CLIENT}/sync", "SyncRestServlet", relieves=True),
    RequestClass(
        "sliding sync",
        "Sync requests",
        "POST",
        "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
        "SlidingSyncRestServlet",
        relieves=True,
    ),
    RequestClass(
        "event sending",
        "Event sending requests",
        "PUT",
        f"{_ROOM}/send/m.room.message/postflight",
        "RoomSendEventRestServlet",
        relieves=True,
    ),
    RequestClass(
        "room creation",
        "Client API requests",
        "POST",
        f"{_CLIENT}/createRoom",
        "RoomCreateRestServlet",
    ),
    RequestClass(
        "room reading",
        "Client API requests",
        "GET",
        f"{_ROOM}/joined_members",
        "JoinedRoomMemberListRestServlet",
        relieves=True,
    ),
    RequestClass("account", "Client API requests", "GET", f"{_CLIENT}/account/whoami", "WhoamiRestServlet"),
    RequestClass(_LOGIN, "Registration/login requests", "GET", f"{_CLIENT}/login", "LoginRestServlet", statuses=(200,)),
    RequestClass("encryption key", "Encryption requests", "POST", f"{_CLIENT}/keys/query", "KeyQueryServlet"),
    RequestClass("key upload", "Encryption requests", "POST", f"{_CLIENT}/keys/upload", "KeyUploadServlet"),
    RequestClass(
        "key backup", "Encryption requests", "GET", f"{_CLIENT}/room_keys/version", "RoomKeysNewVersionServlet"
    ),
    RequestClass(
        "user directory",
        "User directory search requests",
        "POST",
        f"{_CLIENT}/user_directory/search",
        "UserDirectorySearchRestServlet",
    ),
    RequestClass("push rule", "GET: Push rules requests", "GET", f"{_CLIENT}/pushrules/", "PushRuleRestServlet"),
    RequestClass(
        "account data",
        "GET: Account data requests",
        "GET",
        f"{_CLIENT}/user/@postflight/account_data/postflight",
        "AccountDataServlet",
    ),
    RequestClass(
        "presence",
        "GET: Presence requests",
        "GET",
        f"{_CLIENT}/presence/@postflight/status",
        "PresenceStatusRestServlet",
    ),
    # The writers of account data and presence are asked by the process that answers, whichever that is.
    RequestClass(
        "account data setting",
        f"{_STREAMS}account_data",
        "PUT",
        f"{_CLIENT}/user/@postflight/account_data/postflight",
        "AccountDataServlet",
    ),
    RequestClass(
        "presence setting",
        f"{_STREAMS}presence",
        "PUT",
        f"{_CLIENT}/presence/@postflight/status",
        "PresenceStatusRestServlet",
    ),
    RequestClass(
        "receipt",
        f"{_STREAMS}receipts",
        "POST",
        f"{_ROOM}/receipt/m.read/$postflight",
        "ReceiptRestServlet",
        stream="receipts",
    ),
    RequestClass(
        "typing",
        f"{_STREAMS}typing",
        "PUT",
        f"{_ROOM}/typing/@postflight",
        "RoomTypingRestServlet",
        stream="typing",
    ),
    RequestClass(
        "to-device",
        f"{_STREAMS}to_device",
        "PUT",
        f"{_CLIENT}/sendToDevice/m.dummy/postflight",
        "SendToDeviceRestServlet",
        stream="to_device",
    ),
    RequestClass(
        "push rule setting",
        f"{_STREAMS}push_rules",
        "PUT",
        f"{_CLIENT}/pushrules/global/room/!postflight/enabled",
        "PushRuleRestServlet",
        stream="push_rules",
    ),
    RequestClass(
        "media",
        "synapse.app.media_repository",
        "GET",
        "/_matrix/client/v1/media/config",
        "MediaConfigResource",
        ("media", "client"),
        media=True,
    ),
    RequestClass(
        "media upload",
        "synapse.app.media_repository",
        "POST",
        "/_matrix/media/v3/upload",
        "UploadServlet",
        ("media",),
        media=True,
    ),
    RequestClass(
        "media admin",
        "synapse.app.media_repository",
        "POST",
        "/_synapse/admin/v1/purge_media_cache",
        "PurgeMediaCacheRestServlet",
        ("media",),
        media=True,
        closable=True,
    ),
    RequestClass(
        "room admin",
        "Admin API requests",
        "GET",
        "/_synapse/admin/v1/rooms/!postflight",
        "RoomRestServlet",
        closable=True,
        workers_since=(1, 130),
    ),
    RequestClass(
        "user admin",
        _NOT_LISTED,
        "GET",
        "/_synapse/admin/v2/users",
        "UsersRestServletV2",
        main_only=True,
        closable=True,
    ),
    RequestClass(
        "OpenID token",
        _NOT_LISTED,
        "POST",
        f"{_CLIENT}/user/@postflight/openid/request_token",
        "IdTokenServlet",
        main_only=True,
    ),
    RequestClass(
        "federation reading",
        "Federation requests",
        "GET",
        f"{_FEDERATION}/event/$postflight",
        "FederationEventServlet",
        _FROM_SERVERS,
        asker=Asker.SERVER,
        relieves=True,
    ),
    RequestClass(
        "federation transaction",
        "Inbound federation transaction request",
        "PUT",
        f"{_FEDERATION}/send/postflight",
        "FederationSendServlet",
        _FROM_SERVERS,
        asker=Asker.SERVER,
        relieves=True,
    ),
    RequestClass(
        "federation joining",
        "Federation requests",
        "GET",
        f"{_FEDERATION}/make_join/!postflight/@postflight",
        "FederationMakeJoinServlet",
        _FROM_SERVERS,
        asker=Asker.SERVER,
    ),
    # All keys that are stored of a server are answered from the database, and none are fetched
    # (rest/key/v2/remote_key_resource.py): of this one there are none.
    RequestClass(
        "key query",
        "Federation requests",
        "GET",
        "/_matrix/key/v2/query/postflight.invalid",
        "RemoteKey",
        ("federation", "keys"),
        statuses=(200,),
        asker=Asker.SERVER,
    ),
    RequestClass(
        "federation media",
        "synapse.app.media_repository",
        "GET",
        f"{_FEDERATION}/media/download/postflight",
        "FederationMediaDownloadServlet",
        ("media", "federation"),
        asker=Asker.SERVER,
        media=True,
    ),
    RequestClass(
        _USERINFO,
        _NOT_LISTED,
        "GET",
        f"{_FEDERATION}/openid/userinfo",
        "OpenIdUserInfo",
        ("federation", "openid"),
        asker=Asker.SERVER,
        main_only=True,
    ),
    RequestClass(
        "server key",
        "not listed: any process with the keys or federation resource",
        "GET",
        "/_matrix/key/v2/server",
        "LocalKey",
        ("federation", "keys"),
        statuses=(200,),
        asker=Asker.SERVER,
    ),
)


def can_serve(process: SynapseProcess, kind: RequestClass, release: Release | None = None) -> bool:
    """Whether a process can serve a class, by its listeners and its own configuration; False where that is not known.
    Where its ``release`` is not known it is taken for a new one."""
    held = resources_of(process)
    if process.is_main and "client" in held:
        # Main's client resource brings the media repository along (app/homeserver.py).
        held |= {"media"}
    main_only = kind.main_only or (release is not None and release < kind.workers_since)
    if main_only and not process.is_main:
        return False
    if kind.stream and process.instance not in lists_of(process.config or {}).get(kind.stream, ()):
        return False
    return bool(held & set(kind.resources)) and (not kind.media or _has_media(process))


def servers_of(
    deployment: Deployment, main: SynapseProcess, kind: RequestClass, release: Release | None = None
) -> tuple[SynapseProcess, ...]:
    """The processes of main's homeserver that can serve a class, as of a release."""
    mine = [each for each in deployment.synapse if each.side is Side.MAIN and each.serves_with(main)]
    return tuple(each for each in mine if can_serve(each, kind, release))


def classes_of(deployment: Deployment, main: SynapseProcess) -> tuple[RequestClass, ...]:
    """The classes that some process of main's homeserver can serve; no login where another service has it, and of other
    servers' requests, where federation is off, none but the one that calls need."""
    found = [kind for kind in CLASSES if servers_of(deployment, main, kind)]
    if not choice_of(deployment).on:
        found = [
            kind for kind in found if kind.asker is Asker.CLIENT or (kind.name == _USERINFO and _calls(deployment))
        ]
    return tuple(kind for kind in found if kind.name != _LOGIN or not delegates(main))


def _calls(deployment: Deployment) -> bool:
    """Whether a service for calls asks whose a token is."""
    return bool(deployment.calls.jwt_services)


def _has_media(process: SynapseProcess) -> bool:
    """As in synapse/config/repository.py (``can_load_media_repo``)."""
    return process.app == MEDIA_APP or (process.config or {}).get("enable_media_repo", True) is not False


def delegates(main: SynapseProcess) -> bool:
    """Whether Matrix Authentication Service has the logins (synapse/config/mas.py, experimental.py)."""
    return bool(_delegations(main))


def issuer_of(main: SynapseProcess) -> str:
    """Who has them, as the configuration calls it, without a slash at its end; "" where it has no name there."""
    named = (str(each.get("issuer") or each.get("endpoint") or "") for each in _delegations(main))
    return next((each.rstrip("/") for each in named if each), "")


def _delegations(main: SynapseProcess) -> list[dict[str, Any]]:
    config = main.config or {}
    places = (config.get("matrix_authentication_service"), (config.get("experimental_features") or {}).get("msc3861"))
    return [each for each in places if isinstance(each, dict) and each.get("enabled")]
