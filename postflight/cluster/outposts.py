"""Runs the outpost, as one zipapp sent over exec, in any container with Python."""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache
from importlib import resources
from typing import Any

from postflight.cluster.api import Api, ApiError
from postflight.cluster.streams import Answer, run_in_pod

#: Takes the zipapp from standard input into memory: the container's files may be read-only.
START = (
    "import os,runpy,sys;n=int(sys.stdin.buffer.readline());d=b''\n"
    "while len(d)<n: d+=sys.stdin.buffer.read(n-len(d))\n"
    "f=os.memfd_create('outpost');os.write(f,d);runpy.run_path('/proc/self/fd/%d'%f,run_name='__main__')"
)
#: The same for one module, which sees the container's packages. Standard input is not closed: it is read by length.
RUN = "import sys;i=sys.stdin.buffer;exec(compile(i.read(int(i.readline())),'outpost','exec'))"

#: What can be done once only: a second canary would find its ports taken, an SFU takes an offer once.
ONCE = frozenset({"listen", "meet"})
#: What needs packages of the container's own (pyOpenSSL).
WITH_PACKAGES = frozenset({"meet"})


@cache
def zipapp() -> bytes:
    """The outpost's code in one archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for each in resources.files("postflight.outpost").iterdir():
            if each.name.endswith(".py"):
                packed.writestr(zipfile.ZipInfo(each.name), each.read_bytes())
    return archive.getvalue()


def run_script(api: Api, namespace: str, pod: str, container: str, name: str, *, limit: float) -> Any:
    """Run one of the outpost's modules by itself, where it has to see the container's own packages, and return the
    JSON that it prints.

    Raises :class:`ApiError` when it cannot run.
    """
    text = resources.files("postflight.outpost").joinpath(f"{name}.py").read_bytes()
    stdin = b"%d\n" % len(text) + text
    answer = run_in_pod(api, namespace, pod, container, ("python3", "-c", RUN), stdin=stdin, limit=limit)
    return _understood(answer, pod)


def ask_outpost(api: Api, namespace: str, pod: str, container: str, deed: str, given: Any, *, limit: float) -> Any:
    """Have the outpost do something (``connect``, ``listen``, ``heard``, ``relays``, ``meet``) and return its answer.

    Raises :class:`ApiError` when it cannot run.
    """
    app = zipapp()
    stdin = b"%d\n" % len(app) + app + json.dumps([deed, given]).encode() + b"\n"
    alone = () if deed in WITH_PACKAGES else ("-I", "-S")
    command = ("python3", *alone, "-c", START)
    again = deed not in ONCE
    answer = run_in_pod(api, namespace, pod, container, command, stdin=stdin, limit=limit, again=again)
    return _understood(answer, pod)


def _understood(answer: Answer, pod: str) -> Any:
    try:
        return json.loads(answer.stdout)
    except ValueError as error:
        raise ApiError(0, f"python3 in {pod} did not answer: {answer.complaint}") from error
