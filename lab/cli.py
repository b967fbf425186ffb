"""The lab's command: `python -m lab COMMAND`."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import defects, demo, elsewhere, labs, verifier
from lab.cluster import Cluster
from lab.errors import LabError
from lab.homes import Home, home
from lab.node import lifecycle
from lab.node.spec import Node

NAME = "lab"
Command = Callable[[Home, argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 with one line that says what to do, 130 when interrupted, or the code of a command run."""
    arguments = _parser().parse_args(argv)
    try:
        command: Command = arguments.command
        return command(home(), arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
    except PermissionError as error:
        print(f"lab: {error.strerror}: {error.filename}: a lab needs root: sudo make ...", file=sys.stderr)
    except OSError as error:
        print(f"lab: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("lab: interrupted: `make lab-list` shows which labs are up, `make lab-down` ends one", file=sys.stderr)
        return 130
    return 1


def _parser() -> argparse.ArgumentParser:
    told = "A real Kubernetes in miniature with the reference deployment in it."
    parser = argparse.ArgumentParser(prog="lab", description=told)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Command, told: str, named: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=told, description=told)
        sub.set_defaults(command=run)
        if named:
            sub.add_argument("--name", default=NAME, help=f"which lab (default: {NAME})")
        return sub

    up = add("up", _up, "bring a lab up and wait until all in it is Ready")
    up.add_argument("--nodes", type=int, default=1, metavar="N", help="how many nodes (default: 1)")
    up.add_argument(
        "--from",
        dest="origin",
        choices=("golden", "nothing", "stopped"),
        default="golden",
        help="a copy of a healthy lab (default; made on first use), an empty cluster, or the lab as it was stopped",
    )
    up.add_argument("--synapse", default="", metavar="RELEASE", help="another Synapse than the newest: 1.119")
    up.add_argument("--rename", type=Path, metavar="FILE", help="other names for namespaces, objects and labels")
    down = add("down", _down, "end a lab; its state and logs stay until the next `up`")
    down.add_argument("--remove", action="store_true", help="remove its state too")
    broken = add("break", _break, "break a running lab and wait until it bites")
    broken.add_argument("defects", nargs="+", metavar="DEFECT", help="see `list`")
    add("heal", _heal, "take back whatever is broken, and wait until all is Ready")
    add("list", _list, "every defect and kind, and every lab", named=False)
    add("status", _status, "what runs in a lab, and what is not Ready")
    add("shell", _shell, "a shell with kubectl and this lab's KUBECONFIG")
    run = add("run", _run, "run a command with kubectl on PATH and this lab's KUBECONFIG")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    enter = add("enter", _enter, "run a command inside a node, or on the lab's internet")
    enter.add_argument("place", metavar="nodeN|internet")
    enter.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    for name, told in (("cut", "take a node off the switch between the nodes"), ("join", "put it back")):
        add(name, _switch, told).add_argument("node", metavar="nodeN")
        commands.choices[name].set_defaults(switch=name)
    add("verifier", _verifier, "build the verifier's image of this checkout and import it into a running lab")
    add("elsewhere", _elsewhere, "a second homeserver on the lab's internet, with TLS, until Ctrl-C")
    fork = add("fork", _fork, "copy a lab with all that is in it; `up --from stopped` starts the copy", named=False)
    fork.add_argument("source", metavar="SRC")
    fork.add_argument("target", metavar="DST")
    show = add("demo", _demo, "healthy, broken, healed: a lab with a report of each", named=False)
    show.add_argument("--defect", default=demo.DEFECT, help=f"what to break (default: {demo.DEFECT})")
    return parser


def _up(where: Home, arguments: argparse.Namespace) -> int:
    if arguments.nodes < 1:
        raise LabError("--nodes is a number from 1")
    wanted = labs.Wanted(arguments.name, arguments.nodes, arguments.origin, arguments.rename, arguments.synapse)
    cluster = labs.up(where, wanted, _say)
    named = "" if cluster.name == NAME else f" --name {cluster.name}"
    make_named = "" if cluster.name == NAME else f" NAME={cluster.name}"
    print(
        f"""
kubeconfig  {cluster.kubeconfig}
verify      .venv/bin/pytest checks/ --kubeconfig {cluster.kubeconfig}
kubectl     {cluster.kubectl_path} --kubeconfig {cluster.kubeconfig} get pods -A
            (or: make lab-shell{make_named}, a shell with both set)
break       make lab-break DEFECT={demo.DEFECT}{make_named}   (make lab-list shows all)
end         make lab-down{make_named}   (.venv/bin/python -m lab down{named} --remove also removes its state)"""
    )
    return 0


def _down(where: Home, arguments: argparse.Namespace) -> int:
    ran = labs.down(where, arguments.name, arguments.remove)
    print(f"lab {arguments.name} {'is' if ran else 'was already'} down{', state removed' if arguments.remove else ''}")
    return 0


def _break(where: Home, arguments: argparse.Namespace) -> int:
    labs.must_be_defects(arguments.defects, or_kinds=True)
    defects.break_(_open(where, arguments), arguments.defects)
    print(f"lab {arguments.name} is broken: {', '.join(arguments.defects)} (`make lab-heal` takes it back)")
    return 0


def _heal(where: Home, arguments: argparse.Namespace) -> int:
    defects.heal(_open(where, arguments))
    print(f"lab {arguments.name} is healed")
    return 0


def _list(where: Home, arguments: argparse.Namespace) -> int:
    known = [*defects.names(), *defects.kinds()]
    width = max((len(defect.name) for defect in known), default=0)
    for defect in known:
        print(f"{defect.name:<{width}}  {defect.title}")
    for name in where.names():
        found = lifecycle.running(where.lab(name))
        print(f"lab {name}: {f'up, {where.lab(name)}/kubeconfig' if found else 'down'}")
    return 0


def _status(where: Home, arguments: argparse.Namespace) -> int:
    for line in labs.status(_open(where, arguments)):
        print(line)
    return 0


def _shell(where: Home, arguments: argparse.Namespace) -> int:
    cluster = _open(where, arguments)
    print(f"KUBECONFIG is set to lab {cluster.name}; exit leaves, the lab stays up")
    return subprocess.run([os.environ.get("SHELL", "/bin/sh")], env=cluster.environment(), check=False).returncode


def _run(where: Home, arguments: argparse.Namespace) -> int:
    cluster = _open(where, arguments)
    return _call(_words(arguments.argv), cluster.environment())


def _enter(where: Home, arguments: argparse.Namespace) -> int:
    cluster = _open(where, arguments)
    words = _words(arguments.argv)
    if arguments.place == "internet":
        return _call(cluster.internet_command(words))
    return _call(cluster.node_command(words, _node(cluster, arguments.place).number))


def _switch(where: Home, arguments: argparse.Namespace) -> int:
    cluster = _open(where, arguments)
    node = _node(cluster, arguments.node)
    (cluster.cut if arguments.switch == "cut" else cluster.rejoin)(node.number)
    return 0


def _verifier(where: Home, arguments: argparse.Namespace) -> int:
    print(verifier.load(where, _open(where, arguments)))
    return 0


def _elsewhere(where: Home, arguments: argparse.Namespace) -> int:
    with elsewhere.there(_open(where, arguments)):
        print(f"{elsewhere.SERVER_NAME} is there, at {elsewhere.HOST} of the lab's internet; Ctrl-C takes it away")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


def _fork(where: Home, arguments: argparse.Namespace) -> int:
    labs.fork(where, arguments.source, arguments.target)
    print(f"lab {arguments.target} is there: .venv/bin/python -m lab up --name {arguments.target} --from stopped")
    return 0


def _demo(where: Home, arguments: argparse.Namespace) -> int:
    labs.must_be_defects([arguments.defect])
    return demo.run(where, arguments.defect, _say)


def _open(where: Home, arguments: argparse.Namespace) -> Cluster:
    return labs.open_lab(where, arguments.name)


def _node(cluster: Cluster, name: str) -> Node:
    known = {f"node{number}": number for number in range(1, cluster.nodes + 1)}
    if name not in known:
        raise LabError(f"lab {cluster.name} has no {name}: there is {', '.join(known)} (more with `up --nodes N`)")
    return Node(cluster.home, known[name])


def _words(argv: list[str]) -> list[str]:
    words = argv[1:] if argv[:1] == ["--"] else argv
    if not words:
        raise LabError("which command? Give it at the end of the line")
    return words


def _call(command: list[str], environment: dict[str, str] | None = None) -> int:
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except OSError as error:
        raise LabError(f"{command[0]} cannot run: {error.strerror}") from error


def _say(line: str) -> None:
    print(line, flush=True)
