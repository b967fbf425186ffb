"""``postflight verify-signoff``: is an envelope genuine, and does what it was signed for still stand?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from postflight.arguments import Parser
from postflight.cluster.api import Api
from postflight.cluster.connection import ClusterError, connect
from postflight.cluster.kinds import CONFIGURATION, POD, REPLICA_SET
from postflight.cluster.snapshot import take
from postflight.deployment.synapse import holds_homeserver
from postflight.signoff.envelope import Broken, opened
from postflight.signoff.keys import KeyProblem, public_key
from postflight.signoff.standing import Standing, differences, standing
from postflight.signoff.statement import NoSignOff, Signed, read
from postflight.verdict.status import Exit

#: What the running deployment is read from.
KINDS = (POD, REPLICA_SET, *CONFIGURATION)


def main(arguments: Sequence[str]) -> int:
    """0: genuine, and nothing differs. 1: not genuine, or something differs. 4: a file cannot be used.
    6: the cluster could not be looked at."""
    given = _parser().parse_args(arguments)
    try:
        key = public_key(given.key)
        text = given.envelope.read_text(encoding="utf-8")
    except (KeyProblem, OSError, UnicodeDecodeError) as error:
        return _said(Exit.USAGE, str(error) if isinstance(error, KeyProblem) else f"{given.envelope}: {error}")
    try:
        signed = read(opened(text, key))
    except (Broken, NoSignOff) as error:
        return _said(Exit.FAILED, f"not genuine: {given.envelope}: {error}")
    try:
        now = _now(given.kubeconfig, given.context, signed.standing.namespaces)
    except ClusterError as error:
        return _said(Exit.UNKNOWN, f"genuine ({_whose(signed)}), but the cluster could not be looked at: {error}")
    if lines := differences(signed.standing, now):
        return _said(Exit.FAILED, *(f"differs: {line}" for line in lines), f"not as signed: {_whose(signed)}")
    return _said(Exit.GREEN, f"as signed: {_whose(signed)}")


def _now(kubeconfig: Path | None, context: str | None, namespaces: Sequence[str]) -> Standing:
    """What stands in these namespaces. Raises ClusterError, also where not all of it can be seen."""
    snapshot = take(Api(connect(kubeconfig, context)), namespaces, holds_homeserver, KINDS)
    if why := snapshot.why_unseen(*KINDS):
        raise ClusterError(why)
    return standing(snapshot)


def _whose(signed: Signed) -> str:
    return f"{signed.release}, of cluster {signed.cluster}, by {signed.by} at {signed.at}"


def _said(code: int, *lines: str) -> int:
    print(*lines, sep="\n")
    return code


def _parser() -> Parser:
    told = "Check the signature of a sign-off, and that the deployment is still what was signed."
    parser = Parser(prog="postflight verify-signoff", description=told)
    parser.add_argument("envelope", type=Path, metavar="ENVELOPE", help="signoff.json")
    parser.add_argument("--key", type=Path, required=True, metavar="PUB", help="the public key, PEM")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="the cluster (as for a run)")
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    return parser
