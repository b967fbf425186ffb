"""A TURN server for the recorded lab, and what the probes would observe of it where all is well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from postflight.deployment.listeners import resources_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Pod, Side
from postflight.deployment.pods import read_pod
from postflight.deployment.turn_parts import SharedSecret, TurnServer, TurnSetup, TurnUri, TurnUse
from postflight.probes.http import Said
from postflight.probes.turn_credentials import Login, TurnCredentials
from postflight.probes.turn_relays import Meeting, TurnRelays
from postflight.secrets import Secret
from tests.unit.worlds import container, pod

NODE, SERVICE = "10.10.0.2", "10.96.84.44"
URIS = tuple(f"turn:turn.lab.test:3478?transport={each}" for each in ("udp", "tcp"))
SECRET = Secret("a shared secret of the lab")
OURS = SharedSecret(SECRET, "Secret synapse-secrets/TURN_SECRET")
THEIRS = SharedSecret(SECRET, "Secret coturn-secrets/TURN_SHARED_SECRET")
ID = "turn/matrix/coturn"
MINE = Login("1795912198:@postflight:matrix.lab.test", Secret("a password for TURN"))


def ready(name: str) -> Pod:
    return read_pod(pod(name, container("coturn"), ip=NODE))


POD = ready("coturn-abcde")
SERVER = TurnServer(
    id=ID,
    namespace="matrix",
    name="coturn",
    workload="daemonset/matrix/coturn",
    pods=(POD,),
    port=3478,
    secrets=(THEIRS,),
    external=(NODE,),
    denied=("10.0.0.0-10.255.255.255",),
    allowed=("10.10.0.0-10.10.0.255",),
    addresses=(NODE, SERVICE),
)


def uri(text: str = URIS[0], **fields: Any) -> TurnUri:
    transport = text.rpartition("=")[2]
    endpoint = Endpoint("turn.lab.test", 3478, "", "", (), external=True)
    return replace(TurnUri(text, "turn.lab.test", 3478, transport, False, endpoint), **fields)


def uses(model: Deployment, **fields: Any) -> tuple[TurnUse, ...]:
    """Of every process that clients may come to."""
    own = [each for each in model.synapse if each.side is Side.MAIN and "client" in resources_of(each)]
    return tuple(replace(TurnUse(each.id, URIS, tuple(map(uri, URIS)), OURS), **fields) for each in own)


def with_turn(model: Deployment, **fields: Any) -> Deployment:
    """The deployment with coturn in it, some fields of which are others."""
    return replace(model, turn=TurnSetup((replace(SERVER, **fields),), uses(model)))


def credentials(model: Deployment, **fields: Any) -> tuple[TurnCredentials, ...]:
    main = next(each for each in model.synapse if each.is_main)
    given = TurnCredentials(
        main,
        Said(main.name, 200, "{}"),
        MINE,
        URIS,
        3600,
        Login(MINE.username, Secret("what nobody has signed")),
        Login("1:@postflight:matrix.lab.test", Secret("what was good once")),
    )
    return (replace(given, **fields),)


def meeting(way: str = "", **fields: Any) -> Meeting:
    """Met in its pod over UDP."""
    met = Meeting(
        server=SERVER,
        way=way or f"{POD.name} over UDP",
        transport="udp",
        pod=POD,
        addresses=(NODE,),
        address=NODE,
        software="Coturn-4.6.1 'Gorst'",
        relayed=(NODE, NODE),
        passed=(True, True),
        other=401,
        expired=401,
    )
    return replace(met, **fields)


def told(text: str = URIS[0], **fields: Any) -> Meeting:
    """Met by an address that clients are told."""
    address = {"addresses": (SERVICE,), "address": SERVICE}
    return meeting(text, **{"pod": None, "uri": uri(text), "transport": uri(text).transport, **address, **fields})


def relays(**fields: Any) -> TurnRelays:
    """From the probe pod, by every way; ``fields`` are what each meeting came to."""
    over_tcp = meeting(f"{POD.name} over TCP", transport="tcp", **fields)
    return TurnRelays((meeting(**fields), over_tcp, *(told(each, **fields) for each in URIS)))


def tunnels(**fields: Any) -> tuple[Meeting, ...]:
    tunnelled = {"addresses": ("127.0.0.1",), "address": "127.0.0.1", **fields}
    return (meeting(f"{POD.name} over TCP", transport="tcp", **tunnelled),)
