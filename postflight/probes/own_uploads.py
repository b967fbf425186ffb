"""The names of files that the probe user uploaded and that may not be removed yet, kept in its account data.

A name is had before the file is sent (MSC2246, Synapse 1.97), and written down before that: so a run that is killed
leaves no file that the next does not know. A name whose upload was refused is used again: Synapse keeps a row for each.

Source: synapse/rest/media/create_resource.py and upload_resource.py, 1.163: a name is good for one file (409), of its
own user, for ``unused_expiration_time`` (404).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote

from postflight.cluster.access import Access
from postflight.limits import Limit
from postflight.probes.canary_user import CLIENT, ProbeUser
from postflight.probes.matrix import Matrix, MatrixError, matrix

REMEMBERED = "im.postflight.media"
CREATE = "/_matrix/media/v1/create"
UPLOAD = "/_matrix/media/v3/upload/{server}/{media}?filename={name}.txt"
MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{5,255}")
USED_UP = (404, 409)
MOST = 20


def remembered(access: Access, user: ProbeUser, memory: str = REMEMBERED) -> tuple[str, ...]:
    """The names of the runs before, the latest last; each probe has a ``memory`` of its own. Raises MatrixError."""
    try:
        with matrix(access, user.home) as homeserver:
            said = homeserver.request("GET", _place(user, memory), token=user.token)
    except MatrixError as error:
        if error.status == 404:
            return ()
        raise
    found = said.get("media_ids")
    names = [str(each) for each in found] if isinstance(found, list) else []
    return tuple(each for each in names if MEDIA_ID.fullmatch(each))[-MOST:]


def remember(access: Access, user: ProbeUser, names: Sequence[str], memory: str = REMEMBERED) -> None:
    """For the runs to come. Raises MatrixError."""
    with matrix(access, user.home) as homeserver:
        homeserver.request("PUT", _place(user, memory), {"media_ids": [*names]}, token=user.token)


def upload(
    access: Access,
    user: ProbeUser,
    door: Matrix,
    content: bytes,
    names: tuple[Sequence[str], Sequence[str]],
    before: Callable[[str], None],
    memory: str = REMEMBERED,
    name: str = "postflight",
) -> str:
    """Send a file through ``door`` under a name that was not used up, else under a new one; ``names`` are the one to
    try and those to go on remembering. ``before`` is told the name before anything is sent under it. Returns the
    name. Raises MatrixError."""
    again, kept = names

    def send(media: str) -> None:
        before(media)
        path = UPLOAD.format(server=quote(user.home.server_name), media=media, name=name)
        headers = {"Content-Type": "text/plain"}
        door.request("PUT", path, content=content, headers=headers, token=user.token, limit=Limit.STORING)

    for each in again:
        try:
            send(each)
            return each
        except MatrixError as error:
            if error.status not in USED_UP:
                raise
    said = door.request("POST", CREATE, {}, token=user.token)
    media = str(said.get("content_uri") or "").rpartition("/")[2]
    if not MEDIA_ID.fullmatch(media):
        raise MatrixError(f"{door.asked} answers POST {CREATE} without a content_uri", 200)
    remember(access, user, [*kept, media], memory)
    send(media)
    return media


def _place(user: ProbeUser, memory: str) -> str:
    return f"{CLIENT}/user/{quote(user.user_id)}/account_data/{memory}"
