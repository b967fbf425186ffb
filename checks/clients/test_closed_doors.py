from collections.abc import Sequence

from postflight.check import check
from postflight.cluster.kinds import INGRESS
from postflight.deployment.listeners import resources_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.probes.closed_doors import ClosedDoors, Knock, is_on
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

#: Steps of a registration that anybody takes (Client-Server API, 5.6).
FREE = frozenset({"m.login.dummy", "m.login.terms"})
REFUSED = (401, 403, 404, 405)
GUESTS = "allow_guest_access"
WHITELIST = "federation_domain_whitelist"


@check(
    "clients.closed_doors",
    severity=Severity.CRITICAL,
    kinds=(INGRESS,),
    remedy="enable_registration: false, or a proof that newcomers must show; allow_guest_access: false; the proxy keeps"
    " /_synapse/admin from the outside",
    blind_spots="guests by the configuration in effect alone, as asking would make one; routes other than Ingresses and"
    " HAProxy's client port; a proof that a newcomer shows easily; a registration service beside Synapse",
)
def test_strangers_and_guests_find_no_way_in_nor_the_admin_api(
    deployment: Deployment, closed_doors: tuple[ClosedDoors, ...], judge: Judge
) -> None:
    """Where anybody may make accounts somebody does, by the thousand, and sends spam in this server's name. The
    admin API reads and changes everything."""
    for seen in closed_doors:
        judge.saw(seen.main.id)
        _registration(seen, judge)
        _admin(seen, judge)
        _federation(seen, judge)
    _guests([each for each in deployment.synapse if each.side is Side.MAIN], judge)


def _registration(seen: ClosedDoors, judge: Judge) -> None:
    main, said = seen.main, seen.available.said
    if not is_on(said):
        if said.status not in (403, 404):
            _unseen(seen, seen.available, "whether anybody may register was not seen", judge)
    elif seen.register is None:
        line = f"registration is on at {main.workload_name}: what it asks of a newcomer was not seen, as a question opens a session"
        judge.unproven(main.id, line, observed=f"asked whether a name is free: {said.short}")
    elif seen.flows is None:
        _unseen(seen, seen.register, "registration is on, and what it asks of a newcomer was not seen", judge)
    elif free := [flow for flow in seen.flows if FREE.issuperset(flow)]:
        config = main.config or {}
        keys = ("enable_registration", "enable_registration_without_verification", "registration_requires_token")
        judge.wrong(
            main.id,
            f"anybody may make an account at {main.workload_name}: registration is on and asks for no proof",
            observed=f"POST register, {seen.register.way}: {len(seen.flows)} ways, one of them {' and '.join(free[0])}",
            expected="403 M_FORBIDDEN, or in every way a token, a captcha, an address",
            cause=", ".join(f"{key}: {str(config[key]).lower()}" for key in keys if key in config),
            remedy="set enable_registration: false, or registration_requires_token: true",
        )


def _admin(seen: ClosedDoors, judge: Judge) -> None:
    main, said = seen.main, seen.users.said
    if said.status == 200:
        judge.wrong(
            main.id,
            f"anybody may list the users of {main.workload_name}: the admin API asks for no token",
            observed=f"GET users without a token, {seen.users.way}: 200",
            expected="401, or a refusal by the proxy",
            cause="something on the way adds an admin's token",
            remedy="take the token out of the proxy, and keep /_synapse/admin from the outside",
        )
    elif said.status not in REFUSED:
        _unseen(seen, seen.users, "whether strangers reach the admin API was not seen", judge)
    if seen.nonce.ingress and seen.nonce.said.status == 200 and "nonce" in seen.nonce.said.json:
        judge.warn(
            main.id,
            f"who learns the registration secret makes admins from outside: Ingress {seen.nonce.ingress} leads to the admin API",
            observed=f"GET /_synapse/admin/v1/register, {seen.nonce.way}: 200 and a nonce",
            remedy="keep /_synapse/admin from the outside, or open it to the admins' network only",
        )


def _federation(seen: ClosedDoors, judge: Judge) -> None:
    """Where main lets no server in, no process may ask a server who it is: it would let it in."""
    open_at = [process for process, said in seen.federation if said.status == 401]
    for process, said in seen.federation:
        judge.saw(process.id)
        if said.status not in REFUSED:
            judge.unknown(process.id, f"whether {process.workload_name} lets servers in was not seen: {said.short}")
    if open_at:
        judge.wrong(
            open_at[0].id,
            f"other servers are let in by {_names(open_at)}, though federation is off at {seen.main.workload_name}",
            observed=f"{_names(open_at)}: 401 to an event asked by nobody",
            expected=f"403 M_FORBIDDEN, as {WHITELIST}: [] has it",
            cause=f"{WHITELIST}: {(open_at[0].config or {}).get(WHITELIST, 'not set')} for {open_at[0].workload_name}",
            remedy=f"set {WHITELIST}: [] for all processes",
        )


def _guests(processes: Sequence[SynapseProcess], judge: Judge) -> None:
    """By the configuration of each process that clients reach: any of them may be the one that is asked."""
    for each in processes:
        if each.config is None:
            line = f"whether {each.workload_name} lets guests in is not known: {each.config_problem}"
            judge.unknown(each.id, line)
    let_in = [each for each in processes if "client" in resources_of(each) and (each.config or {}).get(GUESTS)]
    let_in.sort(key=lambda each: not each.is_main)
    if let_in:
        judge.wrong(
            let_in[0].id,
            f"guests come in without an account: {GUESTS} is on for {_names(let_in)}",
            expected=f"{GUESTS}: false, as it is by default",
            cause=f"{GUESTS}: true in the configuration",
            remedy=f"set {GUESTS}: false, then restart {_names(let_in)}",
        )


def _unseen(seen: ClosedDoors, knock: Knock, line: str, judge: Judge) -> None:
    needs = (seen.main.id, *dict.fromkeys(pod.id for pod in knock.pods))
    up = all(pod.ready for pod in (*knock.pods, *((seen.main.pod,) if seen.main.pod else ())))
    way = f" ({knock.way})" if knock.way else ""
    say = judge.unknown if up and knock.said.status != 503 else judge.unavailable
    say(seen.main.id, f"{line}: {knock.said.short}{way}", needs=needs)


def _names(processes: Sequence[SynapseProcess]) -> str:
    return several(dict.fromkeys(each.workload_name for each in processes))
