"""Questions to a content scanner, as clients put them, and what its answers mean.

Source: matrix-content-scanner 1.4.1, servlets/ (paths), utils/constants.py and errors.py (a find is 403
``MCS_MEDIA_NOT_CLEAN``, from ``scan`` it is 200 ``{"clean": false}``). Whatever end of its scan command is not 0 is a find.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.deployment.scanning import BASE
from postflight.limits import Limit
from postflight.probes.attachments import FileKey, sealed
from postflight.probes.http import Door, origin
from postflight.secrets import Secret

if TYPE_CHECKING:
    import httpx

PATH = f"{BASE}/unstable"
PUBLIC_KEY = f"{PATH}/public_key"
NOT_CLEAN, NOT_FOUND = "MCS_MEDIA_NOT_CLEAN", "M_NOT_FOUND"
#: A proxy's word that nothing answers behind it.
UNSERVED = (502, 503, 504)


class Meaning(StrEnum):
    """What an answer says of a file. ``other``: nothing of either kind; ``silent``: there was none."""

    PASSED = "passed"
    REFUSED = "refused"
    OTHER = "other"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer. ``status`` is 0 and ``problem`` set where none came."""

    status: int = 0
    body: bytes = field(default=b"", repr=False)
    problem: str = ""

    @property
    def json(self) -> Mapping[str, Any]:
        """The answer's object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def reason(self) -> str:
        """The scanner's word for an error, or Synapse's."""
        said = self.json
        return str(said.get("reason") or said.get("errcode") or "")

    @property
    def short(self) -> str:
        return f"{self.status} {self.reason}".rstrip() if self.status else self.problem


@dataclass(frozen=True, slots=True)
class Question:
    """``name`` says which file, in words; ``clean``: the scanner should pass it. With a ``key`` it is asked as of an
    encrypted file; ``verdict``: for its word alone, not for the file."""

    name: str
    media: str
    content: bytes = field(repr=False)
    clean: bool
    key: FileKey | None = None
    verdict: bool = False

    @property
    def path(self) -> str:
        what = "scan" if self.verdict else "download"
        return f"{PATH}/{what}_encrypted" if self.key else f"{PATH}/{what}/{self.media}"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a question. ``same``: it brought the file as it was uploaded, byte for byte."""

    question: Question
    heard: Heard
    same: bool = False

    @property
    def meaning(self) -> Meaning:
        heard, said = self.heard, self.heard.json
        if not heard.status or (heard.status in UNSERVED and not heard.reason):
            return Meaning.SILENT
        if self.question.verdict and heard.status == 200 and isinstance(said.get("clean"), bool):
            return Meaning.PASSED if said["clean"] else Meaning.REFUSED
        if heard.status == 200 and not self.question.verdict:
            return Meaning.PASSED
        return Meaning.REFUSED if (heard.status, heard.reason) == (403, NOT_CLEAN) else Meaning.OTHER

    @property
    def right(self) -> bool:
        if self.question.clean:
            return self.meaning is Meaning.PASSED and (self.same or self.question.verdict)
        return self.meaning is Meaning.REFUSED

    def __str__(self) -> str:
        clean = self.heard.json.get("clean") if self.question.verdict else None
        said = "" if clean is None else f" clean: {str(clean).lower()}"
        return f"{self.question.name}: {self.heard.short}{said}"


@dataclass(frozen=True, slots=True)
class Line:
    """A way that is kept open to a port of a pod."""

    client: httpx.Client
    url: str

    def ask(self, method: str, path: str, *, token: Secret | None = None, body: object = None, tries: int = 1) -> Heard:
        """One request, no redirect followed; put again, up to so many times, where a file is not found."""
        import httpx

        headers = {"Authorization": f"Bearer {token.reveal()}"} if token else {}
        given: dict[str, Any] = {} if body is None else {"json": body}
        heard = Heard()
        for _ in range(tries):
            try:
                answer = self.client.request(method, f"{self.url}{path}", headers=headers, **given)
            except httpx.HTTPError as error:
                return Heard(problem=_line(error))
            heard = Heard(answer.status_code, answer.content)
            if (heard.status, heard.reason) != (404, NOT_FOUND):
                break
        return heard


@contextmanager
def line(access: Access, door: Door) -> Iterator[Line]:
    """Raises ApiError or OSError where no way leads there. It looks at no certificate: what is behind the port is meant."""
    import httpx

    pod, limits = door.pod, httpx.Timeout(Limit.HTTP, connect=Limit.CONNECT)
    headers = {"User-Agent": "postflight"} | ({"Host": door.host} if door.host else {})
    with (
        access.to_pod(pod.namespace, pod.name, pod.ip, door.port) as (host, port),
        httpx.Client(timeout=limits, verify=False, trust_env=False, headers=headers) as client,
    ):
        yield Line(client, origin(host, port, tls=door.tls))


def tried(
    access: Access, door: Door, questions: Sequence[Question], token: Secret, tries: int
) -> tuple[Heard, tuple[Reply, ...]]:
    """What a scanner at a door answered: with its public key (or why it could not be asked), and to each question."""
    try:
        with line(access, door) as way:
            return _put(way, questions, token, tries)
    except (OSError, ApiError) as error:
        return Heard(problem=_line(error)), ()


def _put(way: Line, questions: Sequence[Question], token: Secret, tries: int) -> tuple[Heard, tuple[Reply, ...]]:
    """There is no answer to what is to be encrypted for a key that it does not have."""
    shown = way.ask("GET", PUBLIC_KEY)
    if not shown.status:
        return shown, ()
    key = str(shown.json.get("public_key") or "")
    replies: list[Reply] = []
    for each in questions:
        body = None
        if each.key:
            description = {"file": each.key.describe(f"mxc://{each.media}", each.content)}
            try:
                body = sealed(key, json.dumps(description).encode())
            except ValueError:
                continue
        heard = way.ask("POST" if each.key else "GET", each.path, token=token, body=body, tries=tries)
        replies.append(Reply(each, heard, heard.status == 200 and heard.body == each.content))
    return shown, tuple(replies)


def _line(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return " ".join(str(error).split())[:200] or type(error).__name__
