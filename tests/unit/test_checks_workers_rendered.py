"""The check of rendered configurations, and what it is told by, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.deployment.model import Deployment
from postflight.deployment.parts import Container, Side, SynapseProcess
from postflight.deployment.pods import read_pod
from postflight.deployment.templates import Unrendered, unrendered
from postflight.probes.rendering import InitTroubles, Trouble, ended_well, init_troubles, troubles_in
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.loopback import Refused, Reply, Request, answering, api_to
from tests.unit.observations import MODEL, ask, only
from tests.unit.worlds import container, pod

CHECK = "workers.rendered_config"
ONE = next(each for each in MODEL.synapse if each.workload_name == "synapse-presence-writer")
NO_ENVSUBST = Trouble("render-config", "/bin/sh: 1: envsubst: not found", "envsubst")
EMPTY = "File '/config/homeserver.yaml' is empty or doesn't parse into a key-value map. IGNORING."


def changed(process: SynapseProcess = ONE, *, up: bool = True, rendered: bool = True, **fields: Any) -> Deployment:
    """The deployment with one process otherwise; ``rendered``: its init containers have ended."""
    assert process.pod
    init = tuple(replace(each, ready=rendered, running=not rendered) for each in process.pod.init)
    containers: tuple[Container, ...] = process.pod.containers
    if not up:
        containers = tuple(replace(each, running=False, ready=False) for each in containers)
    its_pod = replace(process.pod, ready=up, init=init, containers=containers)
    other = replace(process, **({"pod": its_pod} | fields))
    return replace(MODEL, synapse=tuple(other if each.id == process.id else each for each in MODEL.synapse))


def said(*troubles: Trouble, unread: dict[str, str] | None = None) -> InitTroubles:
    return InitTroubles({ONE.id: troubles}, unread or {})


def judged(model: Deployment, *troubles: Trouble, words: tuple[str, ...] = ()) -> Judge:
    return ask(CHECK, deployment=model, init_troubles=said(*troubles), last_words={ONE.id: words})


class TestEmpty:
    HEADLINE = (
        "the configuration of synapse-presence-writer-0 is empty: envsubst is not in the image of init container"
        " render-config, which ended with exit code 0 all the same"
    )

    def test_as_it_is_read_while_the_process_runs_for_a_moment(self) -> None:
        model = changed(up=False, config=None, config_problem="empty")
        found = only(judged(model, NO_ENVSUBST))
        assert (found.headline, found.stops, found.nature) == (self.HEADLINE, (ONE.id,), Nature.WRONG)
        assert found.evidence == ("/bin/sh: 1: envsubst: not found",)

    def test_though_the_spec_says_what_it_was_meant_to_be(self) -> None:
        found = only(judged(changed(up=False, derived=True), NO_ENVSUBST, words=("", EMPTY)))
        assert found.headline == self.HEADLINE

    def test_by_the_log_of_the_init_container_alone(self) -> None:
        assert only(judged(changed(up=False, derived=True), NO_ENVSUBST)).headline == self.HEADLINE

    def test_by_the_log_of_the_process_alone(self) -> None:
        found = only(judged(changed(up=False, derived=True), words=(EMPTY,)))
        assert found.headline.endswith("is empty: what should have written it did not")

    def test_for_another_reason(self) -> None:
        trouble = Trouble("render-config", "sh: 1: cannot create /config/a: Permission denied")
        found = only(judged(changed(up=False, config=None, config_problem="empty"), trouble))
        assert "says 'sh: 1: cannot create /config/a: Permission denied'" in found.headline

    def test_the_file_of_all_but_not_that_of_the_worker(self) -> None:
        found = only(judged(changed(up=False, config={"worker_name": "one"}), NO_ENVSUBST))
        assert found.headline.startswith("the configuration of synapse-presence-writer-0 is without server_name")

    def test_it_does_not_parse(self) -> None:
        found = only(judged(changed(up=False, config=None, config_problem="not YAML: expected a key")))
        assert "is not YAML: expected a key" in found.headline

    def test_many_have_one_cause(self) -> None:
        model = replace(
            MODEL, synapse=tuple(replace(each, config=None, config_problem="empty") for each in MODEL.synapse)
        )
        found = only(ask(CHECK, deployment=model))
        assert "and 14 more is empty" in found.headline
        assert len(found.stops) == 15

    def test_a_process_that_crashes_for_another_reason_is_left_to_others(self) -> None:
        other = Trouble("render-config", "sh: 1: jq: not found", "jq")
        model = changed(up=False, derived=True)
        assert only(judged(model, other, words=("password authentication failed",)), Status.WARNED)
        assert judged(model, words=("password authentication failed",)).failures == []


class TestLeft:
    def left(self, value: Any, *, later: bool = False) -> Deployment:
        config = {**(ONE.config or {}), "form_secret": value}
        return changed(**{"next_config" if later else "config": config})

    def test_a_placeholder_is_the_secret(self) -> None:
        found = only(ask(CHECK, deployment=self.left("${FORM_SECRET}")))
        assert found.headline == (
            "form_secret of synapse-presence-writer-0 is the placeholder of the template, ${FORM_SECRET}"
        )
        assert found.cause == "FORM_SECRET was not put in when the file was rendered"

    def test_one_of_helms(self) -> None:
        found = only(ask(CHECK, deployment=self.left("{{ .Values.form }}")))
        assert found.cause == "the template was not rendered to its end"

    def test_all_have_it(self) -> None:
        model = replace(
            MODEL, synapse=tuple(replace(each, config={**(each.config or {}), "a": "${A}"}) for each in MODEL.synapse)
        )
        assert " and 14 more is the placeholder" in only(ask(CHECK, deployment=model)).headline

    def test_at_the_next_start(self) -> None:
        found = only(ask(CHECK, deployment=self.left("${FORM_SECRET}", later=True)), Status.WARNED)
        assert found.headline.endswith("${FORM_SECRET} in form_secret the next time")


class TestServerName:
    def test_of_one_is_another(self) -> None:
        found = only(ask(CHECK, deployment=changed(server_name="other.test", config={"server_name": "other.test"})))
        assert found.headline == "synapse-presence-writer-0 calls itself other.test, main is matrix.lab.test"

    def test_of_lis_is_lis_identity_to_say(self) -> None:
        model = changed(server_name="other.test", side=Side.LI)
        assert ask(CHECK, deployment=model).failures == []


class TestNotSeen:
    def test_init_containers_warn_of_what_left_no_trace(self) -> None:
        found = only(judged(MODEL, Trouble("render-config", "sh: 1: jq: not found", "jq")), Status.WARNED)
        assert found.headline.endswith("ended with exit code 0 and says: sh: 1: jq: not found")

    def test_not_rendered_yet(self) -> None:
        found = only(judged(changed(up=False, rendered=False, derived=True)))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, ONE.id)

    def test_a_configuration_that_is_not_known(self) -> None:
        model = changed(up=False, derived=True, config=None, config_problem="/config/a is not to be had")
        assert "is not known: /config/a is not to be had" in only(judged(model), Status.UNKNOWN).headline

    def test_no_right_to_read_files(self) -> None:
        found = only(judged(changed(derived=True, config_problem="read from the spec only: no right")), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith("was not seen: read from the spec only: no right")

    def test_the_spec_of_one_that_is_up_proves_nothing(self) -> None:
        assert only(judged(changed(derived=True, config=None, config_problem="empty")), Status.UNKNOWN)

    def test_no_right_to_read_logs(self) -> None:
        seen = said(unread={ONE.id: "no right: pods/log is forbidden"})
        found = only(ask(CHECK, init_troubles=seen), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert "what the init containers of synapse-presence-writer-0 had to say was not read" in found.headline

    def test_a_workload_without_pods_runs_on_nothing(self) -> None:
        gone = replace(MODEL, synapse=tuple(replace(each, pod=None, config=None) for each in MODEL.synapse))
        pen = ask(CHECK, deployment=gone)
        assert (pen.seen, pen.failures) == ([], [])


@pytest.mark.parametrize(
    ("value", "marker"),
    [
        ("${NAME}", "${NAME}"),
        ("a${NAME:-b}c", "${NAME:-b}"),
        ("{{ .Values.name }}", "{{ .Values.name }}"),
        ("{{- $name -}}", "{{- $name -}}"),
        ("<no value>", "<no value>"),
        ("%!s(<nil>)", "%!s(<nil>)"),
    ],
)
def test_what_templates_leave(value: str, marker: str) -> None:
    (found,) = unrendered({"a": [{"b": value}]})
    assert (found.setting, found.marker) == ("a[0].b", marker)


@pytest.mark.parametrize(
    "value", ["{{ user.preferred_username }}", "$ecret", "${", "a{b}", "$2b$12$abc", "%(asctime)s", 5, None]
)
def test_what_is_no_templates(value: Any) -> None:
    assert unrendered({"a": value}) == ()


def test_a_key_may_be_one_too() -> None:
    assert unrendered({"${A}": 1}) == (Unrendered("${A}", "${A}", "A"),)


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("sh: 1: envsubst: not found", "envsubst"),
        ("/bin/sh: envsubst: not found", "envsubst"),
        ("bash: line 3: envsubst: command not found", "envsubst"),
        ("/scripts/init.sh: line 3: /usr/bin/envsubst: not found", "/usr/bin/envsubst"),
        ("/entrypoint: 3: envsubst: not found", "envsubst"),
        ("zsh:1: command not found: envsubst", "envsubst"),
        ("env: 'envsubst': No such file or directory", "envsubst"),
        ("sh: 2: cannot open /templates/homeserver.yaml: No such file", ""),
        ("sh: can't create /config/homeserver.yaml: Permission denied", ""),
        ("bash: line 2: /config/a.yaml: Read-only file system", ""),
        ("envsubst: error while reading", ""),
    ],
)
def test_what_shells_complain_of(line: str, missing: str) -> None:
    assert troubles_in("render", ["begin", line, line]) == (Trouble("render", line, missing),)


@pytest.mark.parametrize(
    "line",
    [
        'nc: getaddrinfo for host "pg" port 5432: Name or service not known',
        "psql: error: connection to server failed: FATAL: database not found",
        "Host not found",
        "config not found: using the default",
    ],
)
def test_what_is_no_complaint_of_a_shell(line: str) -> None:
    assert troubles_in("render", [line]) == ()


class TestProbe:
    def ask(self, answer: Any) -> tuple[InitTroubles, list[Request]]:
        with answering(answer) as (port, seen):
            return init_troubles(api_to(port), replace(MODEL, synapse=(ONE,))), seen

    def test_reads_each_init_container(self) -> None:
        def answer(asked: Request) -> Reply:
            return 200, b"sh: 1: envsubst: not found\n"

        found, seen = self.ask(answer)
        assert found.found == {ONE.id: (Trouble("render-config", "sh: 1: envsubst: not found", "envsubst"),)}
        assert [each.query["container"] for each in seen] == ["render-config"]

    def test_says_why_it_could_not(self) -> None:
        def answer(asked: Request) -> Reply:
            raise Refused(403, "pods/log is forbidden")

        found, _ = self.ask(answer)
        assert found == InitTroubles({}, {ONE.id: "no right: pods/log is forbidden"})

    def test_reads_only_those_that_have_ended_well(self) -> None:
        raw = pod("one", container("app"), initContainers=[{"name": "a"}, {"name": "b"}, {"name": "c"}])
        raw["status"]["initContainerStatuses"] = [
            {"name": "a", "ready": True, "state": {"terminated": {"exitCode": 0}}},
            {"name": "b", "ready": False, "state": {"terminated": {"exitCode": 1}}},
            {"name": "c", "ready": False, "state": {"running": {}}},
        ]
        assert ended_well(read_pod(raw)) == ("a",)
