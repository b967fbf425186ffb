import re
from collections.abc import Iterator, Mapping, Sequence

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.modules import modules_of
from postflight.deployment.parts import SynapseProcess, missing_id, names_of
from postflight.deployment.vault_parts import ApiKey, KeyVault
from postflight.probes.key_vault import GONE, RECORD, VaultAnswers, VaultRecord
from postflight.probes.module_imports import ModuleImports
from postflight.probes.probe import BarredBy, NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: What Python, and Synapse, say as their last words of a module (synapse/util/module_loader.py, 1.163).
ABSENT = re.compile(r"No module named '([\w.]+)'")
LACKING = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
UNPARSED = re.compile(r"Failed to parse config for module '([\w.]+)'")
#: Where the settings say how a key vault is asked (docs/settings.md).
SAY_HOW = "say in the settings how it is asked: key_vault, with header, store, fetch and remove"
NOT_SEEN = "that a record comes back from key vault {} as it was stored was not seen"


@check(
    "li.recovery_keys",
    severity=Severity.CRITICAL,
    finding="4.3",
    remedy="put the module into the image of every process that names it, and give Synapse and the key vault one API key",
    blind_spots="whether clients hand their recovery keys over: Synapse sees only encrypted backups, and a key reaches it"
    " only by a client that was changed for it; what the module itself does with the key vault",
)
def test_the_modules_are_there_and_the_key_vault_keeps_what_it_is_given_from_who_has_its_key_alone(
    deployment: Deployment,
    last_words: Mapping[str, tuple[str, ...]],
    module_imports: tuple[ModuleImports, ...] | NotTried,
    key_vaults: tuple[VaultAnswers, ...],
    key_vault_records: tuple[VaultRecord, ...] | NotTried,
    judge: Judge,
) -> None:
    """Synapse ends where it cannot import a module that its configuration names. A recovery key that the vault does not
    take is lost for good, and one that it gives to anybody opens all of its user's messages."""
    unread = [each for each in deployment.unread if each.is_main]
    for process in unread:
        why = process.config_problem
        judge.unknown(process.id, f"which modules {process.workload_name} has is not known: {why}")
    users = [each for each in deployment.synapse if modules_of(each.config)]
    if not users and not deployment.vaults:
        if not unread:
            judge.absent("no process of Synapse's has modules, and nothing here is a key vault")
        return
    told = {each.id for each in users if _cannot_start(each, last_words.get(each.id, ()), judge)}
    _imports(module_imports, users, told, judge)
    processes = {each.id: each for each in deployment.synapse}
    for answers in key_vaults:
        if _reached(answers, processes, judge) and _asked(answers.vault, judge):
            trip = _trip(answers.vault, key_vault_records)
            _stranger(answers, trip, judge)
            if _keys(answers, processes, judge):
                _record(answers.vault, key_vault_records, trip, judge)


def _cannot_start(process: SynapseProcess, said: Sequence[str], judge: Judge) -> bool:
    """One that is not up, and says that it is for want of a module. Returns whether it does."""
    if process.is_up:
        return False
    for name, line, why in _lacking(process, said):
        judge.wrong(
            process.id,
            f"{process.name} cannot start: modules in its configuration names {name}, {why}",
            observed=line,
            expected=f"{name} in the image, or on the PYTHONPATH, of every process that names it",
            cause=f"module {name} is not there for {process.name}, or lies where its Python does not look",
            remedy=f"put {name.partition('.')[0]} into the image of {process.workload_name}, or take it out of modules",
            evidence=tuple(said),
            stops=(process.id,),
        )
        return True
    return False


def _lacking(process: SynapseProcess, said: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Each module of a process's that its last words complain of: its name, their line, and what is wrong."""
    for module in modules_of(process.config):
        for line in reversed(said):
            absent, lacking, unparsed = ABSENT.search(line), LACKING.search(line), UNPARSED.search(line)
            if absent and f"{module.package}.".startswith(f"{absent[1]}."):
                yield module.name, line.strip(), f"and its image has no Python module {absent[1]}"
            elif lacking and ".".join(lacking.groups()) == module.name:
                yield module.name, line.strip(), f"and {lacking[1]} has no {lacking[2]}"
            elif unparsed and unparsed[1] == module.name:
                yield module.name, line.strip(), "which refuses its configuration"


def _imports(
    seen: tuple[ModuleImports, ...] | NotTried, users: Sequence[SynapseProcess], told: set[str], judge: Judge
) -> None:
    """That what a process imported as it began, the next one would import too."""
    if isinstance(seen, NotTried):
        if users:
            line = (
                f"{names_of(users)} {'runs' if len(users) == 1 else 'run'} with modules; that these would be imported"
            )
            say = judge.unknown if not any(each.is_up for each in users) else judge.unproven
            say(users[0].id, f"{line} again was not seen: {seen.reason}")
        return
    for each in seen:
        if each.down:
            if not {one.id for one in each.alike} & told:
                judge.unavailable(
                    each.process.id, f"{names_of(each.alike)} cannot be asked for modules: {each.problem}"
                )
        elif each.problem:
            line = f"whether {each.process.name} finds the modules in its configuration was not seen: {each.problem}"
            judge.unknown(each.process.id, line)
        elif each.refused:
            for name, why in each.refused.items():
                judge.warn(
                    each.process.id,
                    f"{names_of(each.alike)} would not start again: module {name} is not to be had ({why})",
                    remedy=f"put {name.partition('.')[0]} into the image",
                )
        else:
            judge.saw(*(f"module {name}" for name in each.modules))


def _reached(answers: VaultAnswers, processes: Mapping[str, SynapseProcess], judge: Judge) -> bool:
    """Whether the key vault is well by its own word."""
    vault, health = answers.vault, answers.health
    if answers.unasked:
        judge.unknown(vault.id, f"key vault {vault.where} could not be asked: {answers.unasked}")
        return False
    if not health.status or health.status >= 500:
        users = _users(vault.keys, processes)
        judge.unavailable(
            vault.id,
            f"key vault {vault.name} is not there for {names_of(users)}: {_of(health.status)}{health}"
            if users
            else f"key vault {vault.name} is not there: {_of(health.status)}{health}",
            expected=f"{vault.where} answers GET /health with 200",
            needs=(vault.id, *map(missing_id, vault.workloads)),
        )
        return False
    if not health.good:
        judge.wrong(
            vault.id,
            f"key vault {vault.name} does not say that it is well: GET /health is answered with {health}",
            expected="200",
            cause=f"what answers at {vault.where} is another service, or expects to be asked by another name",
        )
        return False
    judge.saw(vault.id)
    if not vault.keys:
        judge.warn(
            vault.id,
            f"key vault {vault.name} runs, and no module of Synapse's speaks to it: no recovery key is stored",
            remedy="name the module that does in modules, in the configuration that main has",
        )
    return True


def _asked(vault: KeyVault, judge: Judge) -> bool:
    """Whether anybody says how a record is asked for."""
    if vault.requests is None or not vault.requests.fetch:
        line = f"whether key vault {vault.name} takes Synapse's API key, refuses others and keeps a record was not seen"
        judge.unproven(vault.id, f"{line}: nobody says how it is asked", remedy=SAY_HOW)
        return False
    return True


def _trip(vault: KeyVault, seen: tuple[VaultRecord, ...] | NotTried) -> VaultRecord | None:
    """The way of a record into this key vault, where one was sent on it."""
    return None if isinstance(seen, NotTried) else next((each for each in seen if each.vault.id == vault.id), None)


def _stranger(answers: VaultAnswers, trip: VaultRecord | None, judge: Judge) -> None:
    """That it gives nothing to a key that nobody has. One may be told of no record (404) instead of being refused: what
    that is worth shows while there is a record."""
    vault, said, beside = answers.vault, answers.stranger, trip.stranger if trip else None
    line = f"whether key vault {vault.name} refuses a key that nobody has was not seen"
    if (trip and trip.given) or (said and said.good):
        told = beside if beside and trip and trip.given else said
        judge.wrong(
            vault.id,
            f"key vault {vault.name} gives records to whoever asks: it does not refuse a key that nobody has",
            observed=f"{_request(vault)} with such a key is answered with {told}",
            expected="401 or 403",
            cause="it looks at no API key, or at another header than the requests say",
        )
    elif beside and not beside.refuses and beside.status != 404:
        judge.unknown(vault.id, f"{line}: {_request(vault)}, while the record was there, is answered with {beside}")
    elif said and said.status == 404 and beside is None:
        judge.unproven(vault.id, f"{line}: {_request(vault)} is answered with {said}, and no record was there")
    elif said and not said.refuses and said.status != 404:
        judge.unknown(vault.id, f"{line}: {_request(vault)} is answered with {said}")


def _keys(answers: VaultAnswers, processes: Mapping[str, SynapseProcess], judge: Judge) -> bool:
    """That it opens to the keys that Synapse has. Returns whether it opens to one."""
    vault = answers.vault
    for key in (each for each in vault.keys if each.secret is None):
        users = _users(key.users, processes)
        judge.wrong(
            users[0].id if users else vault.id, f"{_names(users)} cannot use key vault {vault.name}: {key.hidden}"
        )
    taken = False
    for key, said in answers.known:
        users = _users(key.users, processes)
        if said.refuses:
            judge.wrong(
                vault.id,
                f"key vault {vault.name} refuses the API key of {_names(users)}: {said}",
                observed=f"{_request(vault)} with the key from {key.origin} is answered with {said}",
                expected="the key that Synapse has in effect is taken: the record, or 404",
                cause=_differs(key, vault.own),
                remedy=f"make {key.origin} and the key vault's own key equal, then restart both",
            )
        elif not said.status or said.status >= 500:
            judge.unavailable(vault.id, f"key vault {vault.name} does not answer {_request(vault)}: {said}")
        elif not said.good and said.status != 404:
            line = f"whether key vault {vault.name} takes the API key of {_names(users)} was not seen"
            judge.unknown(vault.id, f"{line}: {_request(vault)} is answered with {said}", remedy=SAY_HOW)
        else:
            taken = True
            judge.saw(f"API key from {key.origin}")
    return taken


def _differs(key: ApiKey, own: ApiKey | None) -> str:
    if own is None:
        return f"the key from {key.origin} is not, or no longer, the key vault's"
    if own.secret != key.secret:
        return f"{key.origin} differs from {own.origin}"
    return f"the key vault was started before {own.origin} was changed"


def _record(vault: KeyVault, seen: tuple[VaultRecord, ...] | NotTried, trip: VaultRecord | None, judge: Judge) -> None:
    """That a record comes back as it was."""
    if isinstance(seen, NotTried):
        say = judge.unknown if seen.barred_by is BarredBy.RIGHT else judge.unproven
        say(vault.id, f"{NOT_SEEN.format(vault.name)}: {seen.reason}")
        return
    if trip is None or trip.stored is None:
        judge.unproven(vault.id, f"{NOT_SEEN.format(vault.name)}: nobody says how one is stored", remedy=SAY_HOW)
        return
    if not trip.stored.good:
        say = judge.unavailable if not trip.stored.status or trip.stored.status >= 500 else judge.wrong
        say(
            vault.id,
            f"key vault {vault.name} does not take a record: {_of(trip.stored.status)}{trip.stored}",
            expected="a record is taken from who has its API key",
            cause="the log of the key vault says why",
        )
    elif not trip.same:
        said = (
            f"it is answered with {trip.fetched}" if trip.fetched and not trip.fetched.good else "other bytes come back"
        )
        judge.wrong(
            vault.id,
            f"key vault {vault.name} does not give back the record that it took: {said}",
            expected="the record, byte for byte",
            cause="it stores elsewhere than it reads, or changes what it stores",
        )
    else:
        judge.saw(f"record {RECORD} in {vault.name}")
    if trip.stored.good and trip.removed is not None and trip.removed.status not in GONE:
        line = f"record {RECORD} stays in key vault {vault.name}: removing it was answered with {trip.removed}"
        judge.warn(vault.id, line, remedy="correct key_vault.remove in the settings")


def _users(of: Sequence[ApiKey] | Sequence[str], processes: Mapping[str, SynapseProcess]) -> list[SynapseProcess]:
    """Main before its workers: the first is named."""
    ids = [one for each in of for one in (each.users if isinstance(each, ApiKey) else (each,))]
    return sorted((processes[each] for each in ids if each in processes), key=lambda each: not each.is_main)


def _names(users: Sequence[SynapseProcess]) -> str:
    return names_of(users) if users else "its own Secret"


def _of(status: int) -> str:
    return "it answers " if status else ""


def _request(vault: KeyVault) -> str:
    return f"{vault.requests.fetch.replace('{id}', RECORD)}" if vault.requests else "a request"
