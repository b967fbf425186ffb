from collections.abc import Mapping, Sequence

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, names_of
from postflight.probes.identity import PATH, VERSION, WorkerIdentity
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: Key ids with their keys, sorted.
Keys = tuple[tuple[str, str], ...]


@check(
    "workers.signing_key",
    severity=Severity.MAJOR,
    finding="6.2",
    remedy="mount one Secret with one signing.key in all Synapse pods, readable by the group of the process (0440 with"
    " fsGroup), and restart them",
    blind_spots="a process without a listener for other servers signs too and publishes nothing: of it only the mounted"
    " Secret tells, as it is now; whether other servers have an older key of this one in mind",
)
def test_every_process_publishes_the_same_signing_key_and_signs_with_it(
    deployment: Deployment,
    worker_identities: tuple[WorkerIdentity, ...],
    judge: Judge,
) -> None:
    """Other servers ask main for the key and believe what is signed by it: what a worker with another key signs is
    refused everywhere, and here nobody notices."""
    for process in (each for each in deployment.unread if each.side is Side.MAIN and each.pod):
        why = process.config_problem
        judge.unknown(process.id, f"whether {process.name} publishes a signing key is not known: {why}")
    mine = [each for each in worker_identities if each.process.side is Side.MAIN]
    asked = [each for each in mine if each.listens]
    if not asked and not deployment.unread:
        judge.absent("no process has a listener for other servers (resource federation or keys)")
        return
    for each in asked:
        _heard(each, judge)
    for namespace in dict.fromkeys(each.process.namespace for each in asked):
        heard = [each for each in asked if each.process.namespace == namespace and each.keys]
        if heard:
            # Other servers are led to main for it.
            reference = min(heard, key=lambda each: not each.process.is_main)
            _same(reference, heard, judge)
            silent = [each for each in mine if each.process.namespace == namespace and not each.listens]
            _configured(reference, silent, judge)


def _heard(each: WorkerIdentity, judge: Judge) -> None:
    process = each.process
    if each.problem:
        say = judge.unknown if process.pod and process.pod.ready else judge.unavailable
        say(process.id, f"{process.name} could not be asked for its signing key: {each.problem}")
        return
    judge.saw(process.id)
    unsigned = sorted(set(each.keys) - set(each.signed))
    if unsigned or not each.keys:
        judge.wrong(
            process.id,
            f"{process.name} publishes {', '.join(unsigned) or 'no key'} and does not sign with it",
            observed=f"{PATH}: verify_keys {', '.join(sorted(each.keys)) or 'none'}, signed by"
            f" {', '.join(each.signed) or 'none of them'}",
            expected="one or more verify_keys, and a signature by each",
            cause=f"its key is {each.origin}",
        )
    if each.version not in (0, 200):
        judge.warn(process.id, f"{process.name} has a federation listener and answers {VERSION} with {each.version}")


def _same(reference: WorkerIdentity, heard: Sequence[WorkerIdentity], judge: Judge) -> None:
    """Those that publish other keys than the one that other servers are led to, together by what they publish."""
    odd: dict[Keys, list[WorkerIdentity]] = {}
    for each in heard:
        if each.keys != reference.keys:
            odd.setdefault(tuple(sorted(each.keys.items())), []).append(each)
    for keys, those in odd.items():
        first = those[0]
        judge.wrong(
            first.process.id,
            f"{names_of([each.process for each in those])} {'sign' if those[1:] else 'signs'} with"
            f" {_told(dict(keys), reference.keys)}, {reference.process.name} publishes"
            f" {_told(reference.keys, dict(keys))}",
            observed=f"{PATH}: {first.process.name}: {_shown(dict(keys))}; {reference.process.name}:"
            f" {_shown(reference.keys)}",
            expected="the same verify_keys from every process",
            cause=_cause(first.process.name, first.origin, reference),
            remedy=f"give {names_of([each.process for each in those])} the signing key of {reference.process.name}, and"
            " restart; name the other in old_signing_keys if anything was signed with it",
        )


def _configured(reference: WorkerIdentity, silent: Sequence[WorkerIdentity], judge: Judge) -> None:
    """Those that publish nothing: their configuration tells, where it can. It is held against main's: a Secret may
    have been changed since all of them started."""
    due = reference.configured or reference.keys
    if due != reference.keys:
        now, then = _told(reference.keys, due), _told(due, reference.keys)
        line = f"{reference.process.name} publishes {now}, and {then} after its next start"
        judge.warn(reference.process.id, line, cause=f"{reference.origin} holds {_shown(due)}")
    odd: dict[Keys, list[WorkerIdentity]] = {}
    for each in (each for each in silent if each.configured):
        judge.saw(each.process.id)
        if each.configured != due:
            odd.setdefault(tuple(sorted((each.configured or {}).items())), []).append(each)
    for keys, found in odd.items():
        those = [each.process for each in found]
        judge.wrong(
            those[0].id,
            f"{names_of(those)} {'are' if those[1:] else 'is'} given {_told(dict(keys), due)} to sign"
            f" with, {reference.process.name} {_told(due, dict(keys))}",
            observed=f"by configuration: {_shown(dict(keys))}; {reference.process.name}: {_shown(due)}",
            expected="one signing key for all processes of a homeserver",
            cause=_cause(those[0].name, found[0].origin, reference),
            remedy=f"give {names_of(those)} the signing key of {reference.process.name}, and restart",
        )


def _cause(name: str, origin: str, reference: WorkerIdentity) -> str:
    if origin == reference.origin:
        return f"both have it from {origin}: one of them was started before it was changed, or each made one of its own"
    return f"{name} has its key from {origin}; {reference.process.name} from {reference.origin}"


def _told(keys: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Keys by their ids, as far as these tell them from the others."""
    return _shown(keys) if set(keys) == set(other) else " and ".join(sorted(keys)) or "no key"


def _shown(keys: Mapping[str, str]) -> str:
    """Key ids with their public keys, which anyone may see."""
    return ", ".join(f"{name} {key}" for name, key in sorted(keys.items()))
