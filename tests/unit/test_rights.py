"""The rights preflight: what the API server would refuse, asked all at once, and never a stumbling block."""

from __future__ import annotations

from postflight.cluster.rights import missing_rights
from postflight.probes.probe import EXEC as STREAM
from postflight.probes.probe import FORWARD, Right
from tests.unit.loopback import Refused, Reply, Request, answering, api_to, closed_port

EXEC = ("create", "pods/exec", "", "matrix")
LEASES = ("create", "leases", "coordination.k8s.io", "matrix")


def test_those_that_are_refused_are_missing() -> None:
    def answer(asked: Request) -> Reply:
        return 201, {"status": {"allowed": asked.body["spec"]["resourceAttributes"]["resource"] == "leases"}}

    with answering(answer) as (port, _):
        assert missing_rights(api_to(port), [EXEC, LEASES]) == {EXEC}


def test_where_nobody_may_ask_none_is_said_to_be_missing() -> None:
    def answer(asked: Request) -> Reply:
        raise Refused(403, "selfsubjectaccessreviews is forbidden")

    with answering(answer) as (port, _):
        assert missing_rights(api_to(port), [EXEC]) == frozenset()
    assert missing_rights(api_to(closed_port()), [EXEC]) == frozenset()


def test_nothing_wanted_is_nothing_asked() -> None:
    with answering(lambda asked: (500, {})) as (port, seen):
        assert missing_rights(api_to(port), []) == frozenset()
    assert seen == []


def test_a_stream_needs_what_any_version_of_kubernetes_asks_for_it() -> None:
    assert set(STREAM.verbs) == set(FORWARD.verbs) == {"get", "create"}
    assert Right("delete", "leases").verbs == ("delete",)
