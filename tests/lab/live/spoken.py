"""The lab's secrets, and every spelling in which one might get out."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

from lab.cluster import Cluster

#: What is shorter occurs in ordinary text, and is reported as weak instead.
SHORTEST = 8
#: Keys of Secrets that hold names and addresses: a report must be able to say them.
PUBLIC = re.compile(
    r"(?i)^(host|port|user|username|dbname|(\w+_)?db_(host|name|user|port)|fqdn.*host|.*\.crt|ca\.crt|tls\.crt)$"
)


def of(cluster: Cluster, namespace: str = "matrix") -> set[str]:
    """All values of all Secrets of the deployment, and the long words in them (a key in a PEM, a password in a URI)."""
    found: set[str] = set()
    certificates = ""
    for secret in cluster.get(f"/api/v1/namespaces/{namespace}/secrets")["items"]:
        for key, encoded in (secret.get("data") or {}).items():
            text = base64.b64decode(encoded).decode("utf-8", "replace")
            if not PUBLIC.match(key):
                found |= set(_parts(text))
            elif key.endswith(".crt"):
                certificates += "".join(text.split()) + " "
    # The last line of an EC key may be of its public half alone, which its certificate shows.
    return {each for each in found if each not in certificates}


def in_effect(cluster: Cluster, namespace: str = "matrix") -> set[str]:
    """The passwords that Synapse's processes have at the moment, as their pods hold them."""
    found: set[str] = set()
    labels = "app.kubernetes.io/name=synapse"
    script = "cat /config/homeserver.yaml; tr '\\0' '\\n' < /proc/1/environ"
    for pod in cluster.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={quote(labels)}")["items"]:
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]["name"]
        statuses = pod["status"].get("containerStatuses") or [{}]
        if "running" in (statuses[0].get("state") or {}):
            text = cluster.kubectl("exec", "-n", namespace, name, "-c", container, "--", "sh", "-c", script)
            found |= set(
                re.findall(r"(?im)^\s*[\w.]*(?:password|secret|secret_key|api_key)\s*[:=]\s*[\"']?([^\s\"']{8,})", text)
            )
    return found


def leaks(secrets: set[str], folder: Path) -> list[str]:
    """Where in the files of a folder a secret stands, in whatever spelling; never the secret itself."""
    found = []
    spelled: dict[str, str] = {}
    for secret in secrets:
        for kind, spelling in _spellings(secret):
            spelled.setdefault(spelling, kind)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            # A wrapped line hides nothing.
            text = file.read_text(encoding="utf-8", errors="replace")
            both = (text, re.sub(r"\s+", "", text))
            kinds = {kind for spelling, kind in spelled.items() if any(spelling in each for each in both)}
            found += [f"{file.relative_to(folder)}: a secret, {kind}" for kind in sorted(kinds)]
    return found


def _parts(value: str) -> Iterator[str]:
    value = value.strip()
    if len(value) >= SHORTEST:
        yield value
    for line in value.splitlines():
        if not line.startswith("-----"):
            yield from (word for word in line.split() if len(word) >= 16)
    if inside := re.search(r"://[^:/@\s]+:([^@\s]+)@", value):
        yield inside[1]


def _spellings(secret: str) -> Iterator[tuple[str, str]]:
    raw = secret.encode()
    yield "plain", secret
    yield "without its line breaks", re.sub(r"\s+", "", secret)
    yield "in base64", base64.b64encode(raw).decode()
    yield "in base64 for URLs", base64.urlsafe_b64encode(raw).decode().rstrip("=")
    yield "in base64, with its line break", base64.b64encode(raw + b"\n").decode()
    yield "as part of a URL", quote(secret, safe="")
    yield "as part of a form", quote_plus(secret)
    yield "as JSON", json.dumps(secret)[1:-1]
    yield "as Python", repr(secret)[1:-1]
