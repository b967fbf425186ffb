"""What the init containers of Synapse's pods complained of although they ended with exit code 0.

A shell script without ``set -e`` goes on after a command that it did not find, and what that should have written is
left empty: ``sh: 1: envsubst: not found`` is then the only word of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.limits import Limit
from postflight.probes.probe import Right, probe

LINES = 200
#: How a shell begins its complaints: ``sh: 1: ``, ``bash: line 3: ``, ``/scripts/init: line 3: ``, ``sh: ``.
SHELL = r"(?:[\w./-]*sh: (?:(?:line )?\d+: )?|[\w./-]+: (?:line )?\d+: )(?:exec: |eval: )?"
#: dash and busybox say "not found", bash "command not found", zsh puts the name last, env speaks of a file.
MISSING = re.compile(
    rf"^(?:{SHELL}(?P<name>[\w./+-]+): (?:command )?not found"
    r"|zsh:\d+: command not found: (?P<last>[\w./+-]+)"
    r"|env: .?(?P<file>[\w./+-]+?).?: No such file or directory)$"
)
UNDONE = re.compile(
    rf"^(?:{SHELL}.*(?:cannot open|can't open|cannot create|can't create|No such file|[Pp]ermission denied"
    r"|Read-only file system|No space left on device)|envsubst: )"
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A line in which an init container that ended with exit code 0 says that it did not do something. ``missing`` is
    the command that was not found, "" where it says something else."""

    container: str
    line: str
    missing: str = ""


@dataclass(frozen=True, slots=True)
class InitTroubles:
    """What was found, by pod id; a pod whose init containers said nothing of the kind is there without any.
    ``unread`` says why the logs of a pod could not be read, by pod id."""

    found: Mapping[str, tuple[Trouble, ...]]
    unread: Mapping[str, str]


@probe(limit=Limit.KUBERNETES, helped_by=(Right("get", "pods/log"),))
def init_troubles(api: Api, deployment: Deployment) -> InitTroubles:
    """Read the logs of the init containers of every Synapse pod for commands not found and files not written."""
    pods = list({each.pod.id: each.pod for each in deployment.synapse if each.pod}.values())

    def reader(pod: Pod) -> Callable[[], tuple[Trouble, ...]]:
        return lambda: tuple(trouble for name in ended_well(pod) for trouble in _read(api, pod, name))

    found: dict[str, tuple[Trouble, ...]] = {}
    unread: dict[str, str] = {}
    for pod, outcome in zip(pods, in_threads([reader(each) for each in pods], Limit.KUBERNETES - 1), strict=True):
        try:
            found[pod.id] = outcome.result()
        except (ApiError, TimeoutError) as error:
            unread[pod.id] = str(error) or "no answer within the time limit"
    return InitTroubles(found, unread)


def ended_well(pod: Pod) -> tuple[str, ...]:
    """The init containers that are over, with exit code 0 by the kubelet's word (it calls them ready then)."""
    return tuple(each.name for each in pod.init if each.ready and not each.running and not each.sidecar)


def _read(api: Api, pod: Pod, container: str) -> tuple[Trouble, ...]:
    lines = api.log(POD.path(pod.namespace, pod.name, "log"), container=container, tailLines=str(LINES))
    return troubles_in(container, lines)


def troubles_in(container: str, lines: list[str]) -> tuple[Trouble, ...]:
    """The complaints in a log, each line once."""
    found: dict[str, Trouble] = {}
    for line in map(str.strip, lines):
        if match := MISSING.match(line):
            found.setdefault(line, Trouble(container, line, match["name"] or match["last"] or match["file"]))
        elif UNDONE.match(line):
            found.setdefault(line, Trouble(container, line))
    return tuple(found.values())
