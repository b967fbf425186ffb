"""Interfaces and routes. The "internet" is a namespace of its own, which also holds the switch between the nodes."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.node.spec import INTERNET_GATEWAY, INTERNET_HOSTS, Node, Spec

CUT = ("nomaster",)  # a cut node keeps its way to the internet
REJOIN = ("master", "lan")


def prepare_internet(pid: int) -> None:
    """Addresses of the hosts out there and the switch, in the network namespace of `pid`."""
    hosts = "".join(f"addr add {address}/32 dev lo\n" for address in (INTERNET_GATEWAY, *INTERNET_HOSTS))
    _ip(f"link set lo up\n{hosts}link add lan type bridge\nlink set lan up\n", pid)


def plug(node: Node, pid: int, internet: int) -> None:
    """Cables from the switch and from the internet into the network namespace of `pid`.

    The internet knows the way back to the pods, so out there a pod's own address is seen: there is no NAT.
    """
    n, via = node.number, f"via {node.internet_address} dev up{node.number} onlink src {INTERNET_GATEWAY}"
    unplug(node, internet)
    _ip(
        f"""link add lan{n} type veth peer name lan0 netns {pid}
link set lan{n} master lan
link set lan{n} up
link add up{n} type veth peer name wan0 netns {pid}
link set up{n} up
route add {node.internet_address}/32 dev up{n} src {INTERNET_GATEWAY}
route add {node.pods} {via}
route add {node.address}/32 {via}
""",
        internet,
    )


def unplug(node: Node, internet: int) -> None:
    """Takes away what is left of a node that was killed; no error when nothing is."""
    _ip(f"link del lan{node.number}\nlink del up{node.number}\n", internet, force=True)


def configure(node: Node, spec: Spec) -> None:
    """The node's own end of the cables, in the namespace of the caller."""
    others = "".join(f"route add {o.pods} via {o.address}\n" for o in spec.all_nodes if o != node)
    _ip(
        f"""link set lo up
addr add {node.address}/24 dev lan0
link set lan0 up
addr add {node.internet_address}/24 dev wan0
link set wan0 up
route add default via {INTERNET_GATEWAY}
{others}"""
    )
    for name, value in (
        ("ip_forward", "1"),
        ("conf/all/rp_filter", "0"),
        ("conf/default/rp_filter", "0"),
        ("conf/all/route_localnet", "1"),
    ):
        Path("/proc/sys/net/ipv4", name).write_text(value)


def switch(node: Node, how: Sequence[str]) -> list[str]:
    """The command that, run on the internet, takes a node off the switch (CUT) or puts it back (REJOIN)."""
    return ["ip", "link", "set", f"lan{node.number}", *how]


def _ip(commands: str, pid: int | None = None, force: bool = False) -> None:
    """Raises CalledProcessError unless forced."""
    inside = [] if pid is None else ["nsenter", "-t", str(pid), "-n"]
    argv = [*inside, "ip", *(["-force"] if force else []), "-batch", "-"]
    subprocess.run(argv, input=commands.encode(), check=not force, stderr=subprocess.DEVNULL if force else None)
