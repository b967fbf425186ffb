from collections.abc import Mapping, Sequence

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess, names_of
from postflight.deployment.templates import Unrendered, unrendered
from postflight.probes.rendering import InitTroubles, Trouble
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: What Synapse says of a file that it passes over (synapse/config/_base.py, 1.119 and 1.163).
EMPTY = "is empty or doesn't parse into a key-value map"
#: What a configuration is where there is none (``merge``); said of a file that was read in the pod.
UNUSABLE = ("empty", "not YAML", "not a mapping")
#: Programs that make a configuration of a template: without them it stays empty.
RENDERERS = frozenset({"envsubst", "gomplate", "confd", "consul-template", "dockerize", "j2", "jinja2", "sigil", "ytt"})
NAMED = 3


@check(
    "workers.rendered_config",
    severity=Severity.CRITICAL,
    finding="6.1",
    remedy="give the init container an image with the program that renders, let its script end at the first failure"
    " (set -e), and give it every variable that the template names",
    blind_spots="a variable that is not set and was rendered to nothing inside a longer value; $NAME without braces;"
    " the log configuration and other files that Synapse's configuration names; an init container whose log is gone",
)
def test_every_process_runs_on_a_fully_rendered_configuration(
    deployment: Deployment,
    init_troubles: InitTroubles,
    last_words: Mapping[str, tuple[str, ...]],
    judge: Judge,
) -> None:
    """A script that goes on after a command that it lacks leaves an empty file and a pod that crashes for no visible
    reason; a placeholder that is left is a secret that everyone can read in the template."""
    empty: dict[tuple[str, Trouble | None], list[SynapseProcess]] = {}
    left: dict[Unrendered, list[SynapseProcess]] = {}
    later: dict[Unrendered, list[SynapseProcess]] = {}
    whole: list[SynapseProcess] = []
    for process in deployment.synapse:
        if process.pod is None:
            continue
        troubles = init_troubles.found.get(process.pod.id, ())
        if what := _unusable(process, troubles, last_words.get(process.pod.id, ())):
            empty.setdefault((what, _cause(troubles)), []).append(process)
        elif process.config is None:
            why = process.config_problem
            judge.unknown(process.id, f"the configuration that {process.name} runs on is not known: {why}")
        elif process.derived and not _is_rendered(process):
            line = f"the configuration of {process.name} is not rendered yet: its init containers have not ended"
            judge.unavailable(process.id, line)
        else:
            judge.saw(process.id)
            whole.append(process)
            now = unrendered(process.config)
            for each in now:
                left.setdefault(each, []).append(process)
            for each in unrendered(process.next_config):
                if each not in now:
                    later.setdefault(each, []).append(process)
    for (what, trouble), processes in empty.items():
        _empty(what, trouble, processes, judge)
    for each, processes in left.items():
        _left(each, processes, judge)
    for each, processes in later.items():
        line = f"{names_of(processes)} will start on a configuration with {each.marker} in {each.setting} the next time"
        judge.warn(processes[0].id, line)
    _complaints(whole, init_troubles, judge)
    _same_name(whole, judge)
    _not_seen(whole, init_troubles, judge)


def _is_rendered(process: SynapseProcess) -> bool:
    """Whether all that must end before it starts has ended, with exit code 0."""
    return process.pod is not None and all(each.ready or each.sidecar for each in process.pod.init)


def _unusable(process: SynapseProcess, troubles: Sequence[Trouble], words: Sequence[str]) -> str:
    """What is the matter with a configuration that Synapse cannot start on, "" where nothing is known to be. What
    the spec says of a container that is down is held against what its log says."""
    if process.config is None and process.config_problem.startswith(UNUSABLE):
        # By the spec alone it says nothing of a process that is up.
        return "" if process.derived and process.is_up else process.config_problem
    if process.is_up:
        return ""
    if any(EMPTY in line for line in words):
        return "empty"
    if process.config is not None and not process.derived and not process.config.get("server_name"):
        return "without server_name"
    return "empty" if process.derived and any(each.missing in RENDERERS for each in troubles) else ""


def _cause(troubles: Sequence[Trouble]) -> Trouble | None:
    """The complaint that explains an empty file best: of a program that renders, else of any, else of the first."""
    rank = sorted(troubles, key=lambda each: (each.missing not in RENDERERS, not each.missing))
    return next(iter(rank), None)


def _empty(what: str, trouble: Trouble | None, processes: Sequence[SynapseProcess], judge: Judge) -> None:
    said = "; ".join(f"{each.name}: {each.config_problem or what}" for each in processes[:NAMED])
    if trouble and trouble.missing:
        cause = f"{trouble.missing} is not in the image of init container {trouble.container}, which ended with exit code 0 all the same"
        remedy = f"give {trouble.container} an image that has {trouble.missing}, and let its script end at a failure (set -e)"
    elif trouble:
        cause = f"init container {trouble.container} says {trouble.line!r}, and ended with exit code 0 all the same"
        remedy = f"mend what {trouble.container} complains of, and let its script end at a failure (set -e)"
    else:
        cause, remedy = "what should have written it did not", "look at what its init containers write, and where"
    judge.wrong(
        processes[0].id,
        f"the configuration of {names_of(processes)} is {what}: {cause}",
        observed=said,
        expected="a configuration that parses, with server_name",
        cause=cause,
        remedy=remedy,
        evidence=(trouble.line,) if trouble else (),
        stops=tuple(each.id for each in processes),
    )


def _left(what: Unrendered, processes: Sequence[SynapseProcess], judge: Judge) -> None:
    judge.wrong(
        processes[0].id,
        f"{what.setting} of {names_of(processes)} is the placeholder of the template, {what.marker}",
        observed=f"{what.marker} in {what.setting}, in {len(processes)} processes",
        expected="no placeholder in a configuration that a process runs on",
        cause=f"{what.variable} was not put in when the file was rendered"
        if what.variable
        else "the template was not rendered to its end",
        remedy=f"name {what.variable} to what renders the file (envsubst puts in only what its list names, if it has"
        " one), set it, then restart"
        if what.variable
        else "render the template with a value for it, then restart",
    )


def _complaints(processes: Sequence[SynapseProcess], init: InitTroubles, judge: Judge) -> None:
    """Those that left no trace in the configuration."""
    found: dict[Trouble, list[SynapseProcess]] = {}
    for process in processes:
        for trouble in init.found.get(process.pod.id, ()) if process.pod else ():
            found.setdefault(trouble, []).append(process)
    for trouble, those in found.items():
        judge.warn(
            those[0].id,
            f"init container {trouble.container} of {names_of(those)} ended with exit code 0 and says: {trouble.line}",
            remedy=f"let the script of {trouble.container} end at a failure (set -e)",
        )


def _same_name(processes: Sequence[SynapseProcess], judge: Judge) -> None:
    """All processes of one side of a namespace are of the homeserver whose main stands there."""
    for process in processes:
        mains = [each for each in processes if each.is_main and _side(each) == _side(process) and each.server_name]
        names = sorted({each.server_name for each in mains})
        if names and process.server_name not in names:
            judge.wrong(
                process.id,
                f"{process.name} calls itself {process.server_name or 'nothing'}, main is {' or '.join(names)}",
                observed=f"server_name: {process.server_name}",
                expected=f"server_name: {' or '.join(names)}, as in the configuration of {names_of(mains)}",
                cause=f"the configuration of {process.name} is another than main's",
                remedy="let all processes of a homeserver share the file that server_name stands in",
            )


def _not_seen(processes: Sequence[SynapseProcess], init: InitTroubles, judge: Judge) -> None:
    by_spec = [each for each in processes if each.derived and each.is_up]
    if by_spec:
        why = by_spec[0].config_problem or "its files could not be read"
        line = f"that {names_of(by_spec)} run on a rendered configuration was not seen: {why}"
        judge.unproven(by_spec[0].id, line)
    unread = [each for each in processes if each.pod and each.pod.id in init.unread]
    if unread and unread[0].pod:
        why = init.unread[unread[0].pod.id]
        line = f"what the init containers of {names_of(unread)} had to say was not read: {why}"
        judge.unproven(unread[0].id, line)


def _side(process: SynapseProcess) -> tuple[str, str]:
    return process.namespace, process.side
