"""Synapse's background updates: what is still to do in the database, and whether anyone does it.

Source: synapse/storage/background_updates.py, 1.163: main alone works on them, one after the other, and gives up
after five failures in a row, until it is restarted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.own_login import Unasked, asked
from postflight.probes.probe import EXEC, probe

if TYPE_CHECKING:
    import psycopg

ROWS = "SELECT update_name, progress_json, coalesce(depends_on, '') FROM background_updates"
#: Statements of the same role that run for long: a batch, or an index that is being made.
BUSY = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = current_user AND state = 'active' AND pid <> pg_backend_pid() AND query_start < now() - interval '1 s'
"""
#: Prints 1 for each name that stands as a word of its own in Synapse's code, else 0.
NAMES = """
import importlib.util, pathlib, sys
root = pathlib.Path(importlib.util.find_spec("synapse").origin).parent
text = "".join(file.read_text(errors="replace") for file in root.rglob("*.py"))
print(*(int(f'"{name}"' in text or f"'{name}'" in text) for name in sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class Update:
    """A row of background_updates that was there at two looks."""

    name: str
    depends_on: str


@dataclass(frozen=True, slots=True)
class BackgroundUpdates:
    """What the database of one main process still waits for. ``moving``: some row was gone at the second look, or
    further; ``busy``: a statement of its role runs for long. ``problem`` says why the database did not answer,
    ``unseen`` why nobody could ask it."""

    process: SynapseProcess
    updates: tuple[Update, ...] = ()
    moving: bool = False
    busy: bool = False
    problem: str = ""
    unseen: str = ""


@probe(limit=Limit.DATABASE, reaches=True)
def background_updates(deployment: Deployment, access: Access) -> tuple[BackgroundUpdates, ...]:
    """Read the background updates that are not done, as each main process would log in; twice where there are any."""
    mains = [each for each in deployment.synapse if each.is_main]

    def asker(process: SynapseProcess) -> Callable[[], BackgroundUpdates]:
        return lambda: _left(access, deployment, process)

    outcomes = in_threads([asker(each) for each in mains], Limit.DATABASE - 1)
    return tuple(
        BackgroundUpdates(process, problem="no answer in time") if outcome.exception() else outcome.result()
        for process, outcome in zip(mains, outcomes, strict=True)
    )


def _left(access: Access, deployment: Deployment, process: SynapseProcess) -> BackgroundUpdates:
    def look(connection: psycopg.Connection[Any]) -> BackgroundUpdates:
        before = connection.execute(ROWS).fetchall()
        if not before:
            return BackgroundUpdates(process)
        connection.commit()
        time.sleep(Limit.PROGRESS)
        now = {name: progress for name, progress, _ in connection.execute(ROWS).fetchall()}
        row = connection.execute(BUSY).fetchone()
        left = tuple(Update(name, on) for name, _, on in before if name in now)
        moving = any(now.get(name) != progress for name, progress, _ in before)
        return BackgroundUpdates(process, left, moving, busy=bool(row and row[0]))

    found = asked(access, deployment, process, look)
    if isinstance(found, Unasked):
        return BackgroundUpdates(process, problem=found.problem, unseen=found.unseen)
    return found


@probe(limit=Limit.EXEC, rights=(EXEC,))
def known_updates(api: Api, background_updates: tuple[BackgroundUpdates, ...]) -> Mapping[str, bool]:
    """Whether the code that runs knows the background updates that are left. By name; what it could not tell is missing."""
    found: dict[str, bool] = {}
    for each in background_updates:
        names, pod = [update.name for update in each.updates], each.process.pod
        if names and pod:
            command = ("python3", "-c", NAMES, *names)
            try:
                answer = run_in_pod(api, pod.namespace, pod.name, each.process.container, command)
            except ApiError:
                continue
            marks = answer.stdout.decode("ascii", "replace").split()
            if answer.code == 0 and len(marks) == len(names):
                found |= {name: mark == "1" for name, mark in zip(names, marks, strict=True)}
    return found
