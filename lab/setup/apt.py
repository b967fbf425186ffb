"""The machine's own Debian packages, and where it gets them from."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lab.errors import LabError
from lab.setup.runner import Work

SUITE = "bookworm"
_SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable")
_PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "nft": "nftables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
_FILES = {
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of one mirror."""

    uri: str
    suite: str


def missing() -> list[str]:
    """Packages whose programs the machine lacks. A program that is there stays, whoever brought it."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    wanted = {package for program, package in _PROGRAMS.items() if not shutil.which(program, path=path)}
    wanted |= {package for file, package in _FILES.items() if not Path(file).exists()}
    if find_spec("ensurepip") is None:
        wanted.add("python3-venv")
    return sorted(wanted)


def install(work: Work) -> None:
    """Installs what is missing and removes nothing. Raises LabError."""
    packages = missing()
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise LabError(f"this machine has no apt-get: install {', '.join(packages)} by its own package manager")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    work.run("dpkg", "--configure", "-a", environment=quiet, keep=True)
    work.run("apt-get", "update", "-q", keep=True)
    options = ["-y", "-q", "--no-remove", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"]
    work.run("apt-get", "install", *options, *packages, environment=quiet, keep=True)
    if still := missing():
        raise LabError(f"apt-get installed all and still there is no {', '.join(still)}")


def sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """Where this machine has Debian from, for bookworm; empty when it has none (debootstrap knows a default)."""
    found = list(dict.fromkeys(_sources(etc)))
    if exact := [source for source in found if source.suite in (SUITE, f"{SUITE}-updates", f"{SUITE}-security")]:
        return exact
    # Another release of Debian: its mirrors hold bookworm too.
    return [Source(source.uri, SUITE) for source in found if source.suite in _SUITES][:1]


def _sources(etc: Path) -> Iterator[Source]:
    """Debian's own: component main, signed by Debian's key or by nothing in particular."""
    lists = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]
    for file in (file for file in lists if file.is_file()):
        for line in file.read_text().splitlines():
            match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)", line)
            if match and "main" in match[4].split() and _signed_by_debian(match[1] or ""):
                yield Source(match[2].rstrip("/"), match[3])
    for file in sorted((etc / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", file.read_text()):
            lines = "\n".join(line for line in stanza.splitlines() if not line.startswith("#"))
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", lines, re.M))
            of_debian = "main" in fields.get("Components", "").split() and "deb" in fields.get("Types", "").split()
            signer = f"signed-by={fields['Signed-By']}" if "Signed-By" in fields else ""
            if of_debian and fields.get("Enabled", "yes").strip() != "no" and _signed_by_debian(signer):
                for uri in fields.get("URIs", "").split():
                    yield from (Source(uri.rstrip("/"), suite) for suite in fields.get("Suites", "").split())


def _signed_by_debian(options: str) -> bool:
    return "signed-by" not in options or "debian-archive" in options
