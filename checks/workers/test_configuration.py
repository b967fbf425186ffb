import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher

from postflight.check import check
from postflight.cluster.kinds import CONFIG_MAP
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess, names_of
from postflight.deployment.refusals import Refusal, refusals
from postflight.probes.known_settings import KnownSettings
from postflight.probes.probe import NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: How alike two names must be for one to be the other misspelt (0 to 1: difflib, ``ratio``).
ALIKE = 0.85
#: Keys that are the user's own: anchors of YAML, extensions.
OWN = re.compile(r"x[-_]")
#: Where a setting was read: itself, and the one that it is a key of ("" at the top level).
Place = tuple[str, str]


@check(
    "workers.configuration",
    severity=Severity.MAJOR,
    kinds=(CONFIG_MAP,),
    remedy="spell settings as the running release reads them, and take out what it does not read",
    blind_spots="values (only names are looked at), settings of modules, keys of sections that Synapse hands on to other"
    " code, settings of a release that are read in a way of its own; what upstream refuses of stream writers and"
    " senders is workers.stream_writers' and federation.exactly_once's to say",
)
def test_every_setting_is_one_that_the_running_synapse_reads_and_takes(
    deployment: Deployment,
    known_settings: Mapping[str, KnownSettings] | NotTried,
    snapshot: Snapshot,
    judge: Judge,
) -> None:
    """Synapse passes over a setting that it does not know without a word: what it was to do is not done, and the
    configuration says that it is."""
    told = {} if isinstance(known_settings, NotTried) else known_settings
    strange: dict[tuple[str, Place], list[SynapseProcess]] = {}
    refused: dict[Refusal, list[SynapseProcess]] = {}
    later: dict[Refusal, list[SynapseProcess]] = {}
    unasked: dict[str, list[SynapseProcess]] = {}
    for process in deployment.synapse:
        if process.pod is None:
            continue
        if process.config is None:
            line = f"which settings {process.name} has is not known: {process.config_problem}"
            judge.unknown(process.id, line)
            continue
        now = refusals(process, process.config)
        for each in now:
            (later if process.is_up else refused).setdefault(each, []).append(process)
        for each in refusals(process, process.next_config) if process.next_config else ():
            if each not in now:
                later.setdefault(each, []).append(process)
        image = _image(process)
        known = told.get(image)
        if known is None or known.problem:
            unasked.setdefault(image, []).append(process)
            continue
        judge.saw(process.id)
        for place in _strange(process.config, known):
            strange.setdefault((image, place), []).append(process)
    for (image, place), processes in strange.items():
        _unknown(place, told[image], processes, snapshot, judge)
    for refusal, processes in refused.items():
        _refused(refusal, processes, judge)
    for refusal, processes in later.items():
        line = f"{names_of(processes)} will not start another time, as upstream has it: {refusal.why}"
        judge.warn(processes[0].id, line, remedy=refusal.remedy)
    for image, processes in unasked.items():
        if isinstance(known_settings, NotTried):
            line = f"that the Synapse of {names_of(processes)} reads what is set was not seen: {known_settings.reason}"
            judge.unproven(processes[0].id, line)
            continue
        said = told.get(image)
        why = f"{said.asked}: {said.problem}" if said else "no container of it runs"
        line = f"which settings the Synapse of {names_of(processes)} reads is not known ({image}: {why})"
        judge.unknown(processes[0].id, line, needs=tuple(each.id for each in processes))


def _image(process: SynapseProcess) -> str:
    status = process.pod.container(process.container) if process.pod else None
    return status.image if status else ""


def _strange(config: Mapping[str, object], known: KnownSettings) -> list[Place]:
    """The settings that are read nowhere, each with where it stands."""
    found = [(key, "") for key in map(str, config) if key not in known.settings and not OWN.match(key)]
    for section, keys in known.within.items():
        inner = config.get(section)
        found += [(str(key), section) for key in inner if str(key) not in keys] if isinstance(inner, dict) else []
    return found


def _unknown(
    place: Place, known: KnownSettings, processes: Sequence[SynapseProcess], snapshot: Snapshot, judge: Judge
) -> None:
    key, section = place
    meant = _meant(key, known.within[section] if section else known.settings)
    spelt, right = (f"{section}.{each}" if section else each for each in (key, meant))
    release = f"Synapse {known.version}" if known.version else f"the Synapse in {known.image}"
    where = _where(key, processes[0].namespace, snapshot) if not section else ""
    config = processes[0].config or {}
    inner = config.get(section) if section else config
    there_too = isinstance(inner, Mapping) and meant in inner
    if meant and not there_too:
        judge.wrong(
            processes[0].id,
            f"{spelt} is no setting of Synapse: {right} is meant, and is not set",
            observed=f"{spelt} in the configuration of {names_of(processes)}{where}; {release} reads no such setting",
            expected=right,
            cause=f"{spelt} is misspelt: Synapse passes over it without a word",
            remedy=f"call it {right}, and restart {names_of(processes)}",
        )
    elif not section:
        hint = f"; {right} is set beside it" if there_too else ""
        judge.warn(
            processes[0].id,
            f"{spelt} is nothing that {release} reads: it does nothing{hint}",
            observed=f"in the configuration of {names_of(processes)}{where}",
            expected="settings that the release reads; x-... for what is one's own",
            remedy=f"take {spelt} out, or run the release that reads it",
        )


def _meant(key: str, known: Iterable[str]) -> str:
    """The setting that this is a misspelling of, "" where it is none: as good as the same letters, with the same digits;
    and not a name that has a word more (``_path``), which another release may well read."""
    likely = [each for each in known if _digits(each) == _digits(key) and not _is_longer(key, each)]
    best = max(likely, key=lambda each: SequenceMatcher(None, key, each).ratio(), default="")
    return best if SequenceMatcher(None, key, best).ratio() >= ALIKE else ""


def _digits(name: str) -> str:
    return re.sub(r"\D", "", name)


def _is_longer(one: str, other: str) -> bool:
    mine, others = set(one.split("_")), set(other.split("_"))
    return mine < others or mine > others


def _where(key: str, namespace: str, snapshot: Snapshot) -> str:
    """The ConfigMaps of the namespace in which a setting stands at the beginning of a line."""
    line = re.compile(rf"^[\"']?{re.escape(key)}[\"']?\s*:", re.MULTILINE)
    found = [
        f"ConfigMap {each['metadata']['name']}/{name}"
        for each in snapshot.all(CONFIG_MAP, namespace)
        for name, text in (each.get("data") or {}).items()
        if line.search(text)
    ]
    return f" ({', '.join(found)})" if found else ""


def _refused(refusal: Refusal, processes: Sequence[SynapseProcess], judge: Judge) -> None:
    judge.wrong(
        processes[0].id,
        f"Synapse refuses the configuration of {names_of(processes)}: {refusal.why}",
        observed=f"not up; in its configuration: {', '.join(refusal.settings)}",
        expected="settings that Synapse takes together",
        cause=refusal.why,
        remedy=refusal.remedy,
        stops=tuple(each.id for each in processes),
    )
