"""What a lab is, in numbers: the one place for its addresses, names and folders."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

INSIDE = Path("/run/state")  # where a node sees its own folder, so that a state may be moved or copied
NODE_NET = "10.10.0.0/24"
POD_NET = "10.244.0.0/16"
SERVICE_NET = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
API_ADDRESS = "10.10.0.2"  # the first node holds the control plane
API_PORT = 6443
DNS_SERVICE = "10.96.0.10"
INTERNET_NET = "198.51.100.0/24"
INTERNET_GATEWAY = "198.51.100.1"
INTERNET_HOSTS = ("198.51.100.10", "198.51.100.11", "198.51.100.20")  # for whoever is to be found out there


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the lab whose folder is `home`; numbers count from 1."""

    home: Path
    number: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def folder(self) -> Path:
        """Its state as the host sees it; inside it is INSIDE."""
        return self.home if self.number == 1 else self.home / self.name

    @property
    def address(self) -> str:
        return f"10.10.0.{self.number + 1}"

    @property
    def internet_address(self) -> str:
        return f"198.51.100.{self.number + 1}"

    @property
    def pods(self) -> str:
        return f"10.244.{self.number - 1}.0/24"


@dataclass(frozen=True, slots=True)
class Spec:
    """What is fixed for a lab before it starts; kept as spec.json in its folder."""

    home: Path
    bin: Path
    nodes: int = 1

    @property
    def all_nodes(self) -> tuple[Node, ...]:
        return tuple(Node(self.home, number) for number in range(1, self.nodes + 1))

    @property
    def cgroup(self) -> str:
        """Own to this folder: two caches may hold labs of one name."""
        return f"postflight-{self.home.name}-{hashlib.sha256(str(self.home).encode()).hexdigest()[:6]}"

    def save(self) -> None:
        write(self.home / "spec.json", json.dumps({"bin": str(self.bin), "nodes": self.nodes}))


def load(home: Path) -> Spec:
    """The lab in `home`. Raises OSError or ValueError when there is none."""
    kept = json.loads((home / "spec.json").read_text())
    return Spec(home, Path(kept["bin"]), kept["nodes"])


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Whole or not at all, also when the writer is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.touch(mode)
    part.write_text(text)
    part.replace(path)
