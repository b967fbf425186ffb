"""Files and environments as they are in running containers: one command per container."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from postflight.cluster import sensitive
from postflight.cluster.api import Api, ApiError
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.limits import Limit

ENVIRONMENT = "/proc/1/environ"
#: For each file one line: "=" and its bytes in base64, or "!" where it cannot be read.
SCRIPT = (
    'for f in "$@"; do if [ -r "$f" ] && d=$(base64 -w0 "$f" 2>/dev/null || base64 < "$f" | tr -d "\\n");'
    ' then echo "=$d"; else echo "!"; fi; done'
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files to read in one running container."""

    namespace: str
    pod: str
    container: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """What was read. A path that is missing in ``content`` is not there (or not readable) in the
    container; ``unseen`` says why a container could not be asked at all."""

    content: Mapping[tuple[str, str, str], Mapping[str, bytes]]
    unseen: Mapping[tuple[str, str, str], str]

    def of(self, namespace: str, pod: str, container: str) -> Mapping[str, bytes] | None:
        return self.content.get((namespace, pod, container))


def read_files(api: Api, wanted: Sequence[Wanted], register: Callable[[str, str], None]) -> Files:
    """Ask all containers side by side; every secret in them is told to ``register`` first."""

    def reader(each: Wanted) -> Callable[[], Mapping[str, bytes]]:
        return lambda: _read(api, each)

    content: dict[tuple[str, str, str], Mapping[str, bytes]] = {}
    unseen: dict[tuple[str, str, str], str] = {}
    for each, outcome in zip(wanted, in_threads([reader(w) for w in wanted], Limit.FILES), strict=True):
        key = (each.namespace, each.pod, each.container)
        try:
            found = outcome.result()
        except (ApiError, ValueError) as error:
            unseen[key] = str(error)
        except TimeoutError:
            unseen[key] = f"{each.pod} did not show its files within {Limit.FILES:g} s"
        else:
            for path, body in found.items():
                for value in sensitive.of_file(path, body):
                    if len(value) >= sensitive.SHORTEST:
                        register(value, "")
            content[key] = found
    return Files(content, unseen)


def _read(api: Api, wanted: Wanted) -> Mapping[str, bytes]:
    command = ("sh", "-c", SCRIPT, "sh", *wanted.paths)
    answer = run_in_pod(api, wanted.namespace, wanted.pod, wanted.container, command)
    lines = answer.stdout.decode("ascii", "replace").splitlines()
    if answer.code != 0 or len(lines) != len(wanted.paths):
        raise ValueError(f"{wanted.pod} cannot show its files: {answer.complaint}")
    return {
        path: base64.b64decode(line[1:]) for path, line in zip(wanted.paths, lines, strict=True) if line.startswith("=")
    }
