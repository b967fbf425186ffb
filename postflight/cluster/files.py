"""Files and environments as they are in running containers: one command per container."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from postflight.cluster import sensitive
from postflight.cluster.api import Api, ApiError
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.limits import Limit

ENVIRONMENT = "/proc/1/environ"
#: Settings of Synapse, and of libpq, whose value is a file with a secret in it, as sed finds them in YAML.
SECRET_FILES = (
    r"""s/^([^#]*[^A-Za-z_#])?(passfile|password_path|(registration|turn)_shared_secret_path)["']?[ ]*:"""
    r"""[ ]*["']?([^]"' ,}]+).*$/\4/p"""
)
#: For each path one line: "=" and the bytes of a file in base64, "/" and the ``*.yaml`` of a folder as
#: NAME:BYTES each in base64, or "!" where it cannot be read. After these a line "+PATH:BYTES" for each file that holds
#: a secret for one of them.
SCRIPT = f"""
encoded() {{ base64 -w0 "$1" 2>/dev/null || {{ d=$(base64 < "$1") && printf %s "$d" | tr -d "\\n"; }}; }}
named=
look() {{ case "$1" in *.y*ml) named="$named
$(sed -nE {shlex.quote(SECRET_FILES)} "$1")";; esac; }}
for path in "$@"; do
  if [ -d "$path" ]; then
    line=/
    for f in "$path"/*.yaml "$path"/.*.yaml; do
      [ -f "$f" ] || continue
      name=$(printf %s "${{f##*/}}" | base64 | tr -d "\\n")
      body=$(encoded "$f") && line="$line $name:$body" || {{ line=!; break; }}
      look "$f"
    done
    [ -r "$path" ] && [ -x "$path" ] || line=!
    echo "$line"
  elif [ -r "$path" ] && body=$(encoded "$path"); then echo "=$body"; look "$path"; else echo "!"; fi
done
echo "$named" | while read -r path; do
  if [ -f "$path" ] && [ -r "$path" ] && body=$(encoded "$path"); then
    echo "+$(printf %s "$path" | base64 | tr -d "\\n"):$body"
  fi
done
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files to read in one running container; those that they name as holding a secret are read with them."""

    namespace: str
    pod: str
    container: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """What was read. A path that is missing in ``content`` is not there (or not readable) in the
    container; a folder is there without bytes, beside the ``*.yaml`` in it; ``unseen`` says why a container could not be asked at all."""

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
                for value in (sensitive.of_file if _asked_for(path, each) else sensitive.of_secret_file)(path, body):
                    if len(value) >= sensitive.SHORTEST:
                        register(value, "")
            content[key] = found
    return Files(content, unseen)


def _read(api: Api, wanted: Wanted) -> Mapping[str, bytes]:
    command = ("sh", "-c", SCRIPT, "sh", *wanted.paths)
    answer = run_in_pod(api, wanted.namespace, wanted.pod, wanted.container, command)
    lines = answer.stdout.decode("ascii", "replace").splitlines()
    if answer.code != 0 or answer.cut or len([each for each in lines if each[:1] != "+"]) != len(wanted.paths):
        raise ValueError(f"{wanted.pod} cannot show its files: {answer.complaint}")
    return understood(wanted.paths, lines)


def understood(paths: Sequence[str], lines: Sequence[str]) -> Mapping[str, bytes]:
    """What the lines of ``SCRIPT`` say of these paths."""
    found: dict[str, bytes] = {}
    found.update(_decoded(line[1:]) for line in lines if line.startswith("+"))
    for path, line in zip(paths, (each for each in lines if not each.startswith("+")), strict=True):
        if line.startswith("="):
            found[path] = base64.b64decode(line[1:])
        elif line.startswith("/"):
            found[path] = b""
            for name, body in sorted(map(_decoded, line[1:].split())):
                found[f"{path.rstrip('/')}/{name}"] = body
    return found


def _asked_for(path: str, wanted: Wanted) -> bool:
    return path in wanted.paths or path.rpartition("/")[0] in {each.rstrip("/") for each in wanted.paths}


def _decoded(entry: str) -> tuple[str, bytes]:
    name, _, body = entry.partition(":")
    return base64.b64decode(name).decode("utf-8", "replace"), base64.b64decode(body)
