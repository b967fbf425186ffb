"""A content scanner and ClamAV for the recorded lab, and what the probes would observe of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from postflight.deployment.call_parts import Proxy
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint
from postflight.deployment.scan_parts import Antivirus, Clamd, Scanner
from postflight.probes.attachments import FileKey
from postflight.probes.clamds import ClamdSaid
from postflight.probes.http import Door
from postflight.probes.leads import Lead
from postflight.probes.own_files import serves_media
from postflight.probes.scanned_media import DOWNLOAD, Past, ScannedMedia, Ways
from postflight.probes.scanner_asks import NOT_CLEAN, Heard, Question, Reply
from tests.unit.calling import ready

SERVICE = "content-scanner"
CONTENT, VIRUS = b"noise", b"a virus by agreement"
KEY = Heard(200, json.dumps({"public_key": "a-key"}).encode())
DIRTY = Heard(403, json.dumps({"reason": NOT_CLEAN, "info": "***VIRUS DETECTED***"}).encode())
FOUND = "stream: Eicar-Test-Signature FOUND"
OK = "stream: OK"


PODS = (ready("content-scanner-a"), ready("content-scanner-b"))
SCANNER = Scanner(
    "scanner/matrix/content-scanner",
    "matrix",
    SERVICE,
    "deployment/matrix/content-scanner",
    PODS,
    8080,
    "/data/scan.sh",
    "http://synapse-media-repository:8008",
)
CLAMD = Clamd("clamd/matrix/clamav", "matrix", "clamav", "daemonset/matrix/clamav", (ready("clamav-x"),), 3310)


def with_antivirus(model: Deployment, **rest: Any) -> Deployment:
    common: dict[str, Any] = {
        "scanners": (SCANNER,),
        "clamds": (CLAMD,),
        "announced": ("the configuration of haproxy",),
    }
    return replace(model, antivirus=Antivirus(**(common | rest)))


def clamds(harmless: str = OK, eicar: str = FOUND, problem: str = "", clamd: Clamd = CLAMD) -> tuple[ClamdSaid, ...]:
    return tuple(ClamdSaid(clamd, each, "ClamAV 1.4", harmless, eicar, problem) for each in clamd.pods)


def questions() -> tuple[Question, ...]:
    """Of the file that is clean, with whatever key but one, and of EICAR."""
    return (
        Question("a clean file", "hs.test/a", CONTENT, clean=True),
        Question("a clean encrypted file", "hs.test/a", CONTENT, clean=True, key=FileKey()),
        Question("encrypted EICAR", "hs.test/a", CONTENT, clean=False, key=FileKey()),
        Question("scan of encrypted EICAR", "hs.test/a", CONTENT, clean=False, key=FileKey(), verdict=True),
        Question("EICAR", "hs.test/b", VIRUS, clean=False),
        Question("scan of EICAR", "hs.test/b", VIRUS, clean=False, verdict=True),
    )


def right(question: Question) -> Reply:
    return passed(question) if question.clean else refused(question)


def passed(question: Question) -> Reply:
    body = b'{"clean": true}' if question.verdict else question.content
    return Reply(question, Heard(200, body), same=not question.verdict)


def refused(question: Question) -> Reply:
    return Reply(question, Heard(200, b'{"clean": false}') if question.verdict else DIRTY)


def said(question: Question, status: int, reason: str = "") -> Reply:
    return Reply(question, Heard(status, json.dumps({"reason": reason}).encode()))


def proxy_of(model: Deployment) -> Proxy:
    """The lab's, with a backend of the scanner's."""
    behind = Endpoint(SERVICE, 8080, "matrix", SERVICE, tuple((each, 8080) for each in PODS))
    first = model.proxies[0]
    return replace(first, backends={**first.backends, "content_scanner": (behind,)})


def ways(model: Deployment, answer: Any = right, **front: Any) -> tuple[Ways, ...]:
    """Both pods, and the front door; ``answer`` is given each question."""
    replies = tuple(map(answer, questions()))
    door = proxy_of(model).pods[0]
    led = Lead(Door(door, 8008), f"through {door.name}", pods=PODS, backend="content_scanner")
    own = tuple(Ways(SCANNER, each, KEY, replies) for each in PODS)
    common: dict[str, Any] = {"shown": KEY, "replies": replies, "lead": led}
    return (*own, Ways(SCANNER, None, **(common | front)))


def past(model: Deployment, **rest: Any) -> Past:
    """A harmless file, by the path that clients know."""
    common: dict[str, Any] = {
        "route": DOWNLOAD,
        "virus": False,
        "heard": Heard(200, CONTENT),
        "brought": True,
        "token": True,
        "proxy": proxy_of(model),
        "backend": "content_scanner",
        "pods": PODS,
    }
    return Past(**(common | rest))


def trip(model: Deployment, **rest: Any) -> ScannedMedia:
    """Two files: the clean one came, EICAR did not."""
    uploader = next(each for each in model.synapse if serves_media(each))
    common: dict[str, Any] = {
        "ways": ways(model),
        "past": (past(model), past(model, virus=True, heard=DIRTY, brought=False)),
    }
    return ScannedMedia(uploader, **(common | rest))
